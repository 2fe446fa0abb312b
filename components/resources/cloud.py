"""What is rented from a cloud."""

from collections.abc import Sequence
from typing import Any

from pulumi import Input, ResourceOptions

from components.resources.base import Attribute, Resource, connection


class SshKey(Resource):
    """A public key registered with a cloud."""

    token = "moestro:cloud:SshKey"
    outputs = ("keyId",)
    key_id = Attribute[str]("keyId")

    def __init__(
        self,
        resource_name: str,
        *,
        cloud: Input[str],
        name: Input[str],
        public_key: Input[str],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__(resource_name, {"cloud": cloud, "name": name, "publicKey": public_key}, opts)


class Instance(Resource):
    """A rented machine. ``name`` as an argument is the prefix of its real, unique name."""

    token = "moestro:cloud:Instance"
    outputs = (
        "name",
        "address",
        "sshPort",
        "sshUser",
        "hostKey",
        "state",
        "region",
        "provider",
        "image",
        "usdPerHour",
        "createdAt",
    )
    name = Attribute[str]("name")
    address = Attribute[str]("address")
    ssh_port = Attribute[int]("sshPort")
    ssh_user = Attribute[str]("sshUser")
    host_key = Attribute[str]("hostKey")
    state = Attribute[str]("state")
    region = Attribute[str]("region")
    provider = Attribute[str]("provider")
    image = Attribute[str]("image")
    usd_per_hour = Attribute[float]("usdPerHour")
    created_at = Attribute[str]("createdAt")

    def __init__(
        self,
        resource_name: str,
        *,
        cloud: Input[str],
        name: Input[str],
        gpu_type: Input[str],
        gpu_count: Input[int],
        purchase: Input[str],
        ssh_key_id: Input[str],
        public_key: Input[str],
        regions: Input[Sequence[Input[str]]] | None = None,
        providers: Input[Sequence[Input[str]]] | None = None,
        image: Input[str] | None = None,
        max_usd_per_hour: Input[float] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "cloud": cloud,
            "name": name,
            "gpuType": gpu_type,
            "gpuCount": gpu_count,
            "purchase": purchase,
            "regions": regions,
            "providers": providers,
            "image": image,
            "maxUsdPerHour": max_usd_per_hour,
            "sshKeyId": ssh_key_id,
            "publicKey": public_key,
        }
        super().__init__(resource_name, inputs, opts)

    def connection(self, private_key: Input[str]) -> dict[str, Input[Any]]:
        """The ``host`` argument for resources on this machine."""
        return connection(
            address=self.address,
            port=self.ssh_port,
            user=self.ssh_user,
            private_key=private_key,
            host_key=self.host_key,
        )
