"""The gateway: nginx beside the first replica or on a machine of its own, with the users' keys."""

from collections.abc import Sequence
from typing import Any

from pulumi import ComponentResource, Input, Output, ResourceOptions

from components import resources
from components.identity import Identity
from components.machine import rent
from components.resources import Instance
from moestro.settings import GatewaySettings, Settings, TlsSettings


def own_machine(name: str, settings: Settings, identity: Identity, opts: ResourceOptions) -> Instance | None:
    """The machine that nginx gets for itself, or ``None`` where it lives beside a replica."""
    gpu_type = settings.gateway.gpu_type
    if gpu_type is None:
        return None
    return rent(name, settings, identity, gpu_type=gpu_type, gpu_count=1, opts=opts)


class Gateway(ComponentResource):
    """nginx in front of the replicas; attribute ``endpoint`` is the base address for clients, without ``/v1``."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        served_name: str,
        identity: Identity,
        machine: Instance,
        upstreams: Sequence[tuple[str, Instance]],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("moestro:components:Gateway", name, None, opts)
        certificate = identity.certificate(name)
        gateway = settings.gateway
        self.gateway = resources.Gateway(
            f"{name}-nginx",
            host=machine.connection(identity.key_pair.private_key),
            service=settings.name,
            served_name=served_name,
            # Addresses alone, not finished engines: nginx serves while one replica is still loading or has failed.
            upstreams=[_upstream(replica, instance, settings.engine.port) for replica, instance in upstreams],
            api_keys=identity.user_keys,
            engine_api_key=identity.engine_key,
            certificate_pem=certificate.certificate_pem,
            private_key_pem=certificate.private_key_pem,
            authority_pem=identity.authority.certificate_pem,
            listen_port=gateway.listen_port,
            tls=_tls(gateway.tls),
            **_limits(gateway),
            opts=ResourceOptions(parent=self, deleted_with=machine),
        )
        self.endpoint: Output[str] = self.gateway.url
        self.register_outputs({"endpoint": self.endpoint})


def _upstream(replica: str, instance: Instance, port: int) -> dict[str, Input[Any]]:
    return {"name": replica, "address": instance.address, "port": port}


def _tls(tls: TlsSettings | None) -> dict[str, Input[str]] | None:
    if tls is None:
        return None
    private_key = Output.secret(tls.private_key.get_secret_value())
    return {"certificatePem": tls.certificate, "privateKeyPem": private_key}


def _limits(gateway: GatewaySettings) -> dict[str, int | None]:
    return {
        "read_timeout_seconds": gateway.read_timeout_seconds,
        "max_body_mb": gateway.max_body_mb,
        "requests_per_second_per_key": gateway.requests_per_second_per_key,
        "connections_per_key": gateway.connections_per_key,
    }
