"""Keys, certificates and ``moe:machines`` machines of ``moe:gpuCount`` devices, called after ``moe:prefix``."""

import pulumi
from pulumi import Output

from components.outputs import export
from components.resources import Authority, Certificate, Instance, KeyPair, SshKey, Token

config = pulumi.Config()
key_pair = KeyPair("ssh", comment="test")
token = Token("token", prefix="sk-")
authority = Authority("authority", common_name="test")
certificate = Certificate(
    "certificate",
    authority_certificate_pem=authority.certificate_pem,
    authority_private_key_pem=authority.private_key_pem,
    common_name="test",
    names=["test"],
)
ssh_key = SshKey("key", cloud="sandbox", name="test-key", public_key=key_pair.public_key)
machines = [
    Instance(
        f"machine-{number}",
        cloud="sandbox",
        name=f"{config.get('prefix') or 'test'}-{number}",
        gpu_type="CPU",
        gpu_count=1,
        purchase="on-demand",
        regions=config.get_object("regions"),
        max_usd_per_hour=config.get_float("limit"),
        ssh_key_id=ssh_key.key_id,
        public_key=key_pair.public_key,
    )
    for number in range(config.require_int("machines"))
]
export(
    early={"token": token.value},
    late={
        "names": Output.all(*[machine.name for machine in machines]),
        "addresses": Output.all(*[machine.address for machine in machines]),
        "hosts": [machine.connection(key_pair.private_key) for machine in machines],
    },
)
