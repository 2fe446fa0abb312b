"""Machines prepared up to the engine's door: runtime, weights and nginx, without the minute that vLLM takes to load.

For faults that have nothing to do with the engine. Same components, same settings, same plugin as the real program.
"""

import pulumi
from pulumi import Output, ResourceOptions
from pulumi.runtime import get_config_env

from components.gateway import Gateway
from components.identity import Identity
from components.machine import rent
from components.resources import Instance, Runtime, Weights
from moestro.declaration import local_directory
from moestro.settings import Settings, parse_settings


def machine(name: str, settings: Settings, identity: Identity) -> Instance:
    """One machine with runtime and weights."""
    instance = rent(name, settings, identity, gpu_type="CPU", gpu_count=1, opts=ResourceOptions())
    on_host = ResourceOptions(deleted_with=instance)
    host = instance.connection(identity.key_pair.private_key)
    packages = list(pulumi.Config().get_object("packages") or [])
    Runtime(
        f"{name}-runtime",
        host=host,
        device="cpu",
        engine="vllm",
        engine_version="0.32.0",
        packages=packages,
        opts=on_host,
    )
    Weights(f"{name}-weights", host=host, source=str(local_directory(settings.model)), opts=on_host)
    return instance


def main() -> None:
    """Declare the machines and the gateway on the first of them."""
    config = {key: value for key, value in get_config_env().items() if key != "moe:packages"}
    settings = parse_settings(config)
    identity = Identity("hosts", settings)
    machines = [(f"host-{n}", machine(f"host-{n}", settings, identity)) for n in range(settings.replicas)]
    gateway = Gateway("gateway", settings, "tiny-mixtral", identity, machines[0][1], machines)
    pulumi.export("endpoint", gateway.endpoint)
    pulumi.export("apiKey", identity.user_keys["default"])
    pulumi.export("machines", Output.all(*[instance.name for _, instance in machines]))
    pulumi.export("addresses", Output.all(*[instance.address for _, instance in machines]))


main()
