"""``moestro:gateway:Gateway``."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from provider.host_resource import HostResource, OnHost, Operations
from provider.models import Mark, Model, Secret, Stored

if TYPE_CHECKING:
    from moestro.hosts.gateway import GatewaySpec, GatewayState


def _operations() -> Operations[GatewaySpec, GatewayState]:
    from moestro.hosts.gateway import ensure_gateway, read_gateway, remove_gateway

    return Operations(ensure_gateway, read_gateway, remove_gateway)


class Upstream(Model):
    """One replica as the gateway reaches it."""

    name: str = Field(description="The replica's name.", min_length=1)
    address: str = Field(description="IP address or name.", min_length=1)
    port: int = Field(description="TCP port of its engine.", ge=1, le=65535)


class Tls(Model):
    """The certificate that the gateway shows to its users."""

    certificate_pem: str = Field(description="Certificate and intermediates.")
    private_key_pem: Secret = Field(description="Its private key.")


class GatewayInputs(OnHost):
    """What the gateway of a service is to be."""

    service: str = Field(description="Name of the service; names its unit and directory.", min_length=1)
    served_name: str = Field(description="The model's name in requests.", min_length=1)
    upstreams: list[Upstream] = Field(description="The replicas.", min_length=1)
    api_keys: Annotated[dict[str, str], Field(repr=False), Mark.SECRET] = Field(
        description="User to key. Users appear in the access log, keys nowhere.", min_length=1
    )
    engine_api_key: Secret = Field(description="What replaces the user's key on the way to an engine.", min_length=1)
    certificate_pem: str = Field(description="The gateway's client certificate, which vLLM demands.")
    private_key_pem: Secret = Field(description="Its private key.")
    authority_pem: str = Field(description="The authority that signed the engines' certificates.")
    listen_port: int = Field(description="TCP port for users.", ge=1, le=65535)
    tls: Tls | None = Field(default=None, description="Certificate for users; left out: plain HTTP.")
    read_timeout_seconds: int = Field(
        default=3600, description="Longest silence of an engine in seconds; a reply not streamed is silent.", ge=1
    )
    max_body_mb: int = Field(default=64, description="Largest request body in MiB (2^20 bytes).", ge=1)
    requests_per_second_per_key: float | None = Field(
        default=None, description="Requests a second of one key; left out: no limit.", gt=0
    )
    connections_per_key: int | None = Field(
        default=None, description="Requests of one key at a time; left out: no limit.", ge=1
    )


class GatewayOutputs(Stored):
    """A gateway."""

    url: str = Field(description="Base address for users, without `/v1`.")
    config_digest: Annotated[str, Mark.VOLATILE] = Field(
        description="SHA-256 of the configuration that runs; `changed` where it is not the declared one."
    )


class Gateway(HostResource[GatewayInputs, GatewayOutputs, "GatewaySpec", "GatewayState"]):
    """nginx in front of a service's replicas.

    A new configuration is tested on the host before anything changes, and running requests finish under the old one.
    """

    token = "moestro:gateway:Gateway"
    inputs = GatewayInputs
    outputs = GatewayOutputs

    def __init__(self, operations: Callable[[], Operations[GatewaySpec, GatewayState]] = _operations) -> None:
        super().__init__(operations)

    def spec(self, inputs: GatewayInputs) -> GatewaySpec:
        """What the host shall have."""
        from moestro.hosts import gateway

        return gateway.GatewaySpec(
            service=inputs.service,
            served_name=inputs.served_name,
            upstreams=tuple(gateway.Upstream(it.name, it.address, it.port) for it in inputs.upstreams),
            api_keys=inputs.api_keys,
            engine_api_key=inputs.engine_api_key,
            certificate_pem=inputs.certificate_pem,
            private_key_pem=inputs.private_key_pem,
            authority_pem=inputs.authority_pem,
            listen_port=inputs.listen_port,
            tls=gateway.Tls(inputs.tls.certificate_pem, inputs.tls.private_key_pem) if inputs.tls else None,
            read_timeout_seconds=inputs.read_timeout_seconds,
            max_body_mb=inputs.max_body_mb,
            requests_per_second_per_key=inputs.requests_per_second_per_key,
            connections_per_key=inputs.connections_per_key,
        )

    def name(self, inputs: GatewayInputs) -> str:
        """The service."""
        return f"gateway/{inputs.service}"

    def result(self, inputs: GatewayInputs, state: GatewayState) -> GatewayOutputs:
        """The outputs."""
        return GatewayOutputs(url=state.url, config_digest=state.config_digest)

    def foresee(self, inputs: GatewayInputs, state: GatewayOutputs | None) -> Mapping[str, Any]:
        """The address follows from the inputs."""
        address = inputs.host.address
        named = f"[{address}]" if ":" in address else address
        return {"url": f"{'https' if inputs.tls else 'http'}://{named}:{inputs.listen_port}"}

    def drift(self, state: GatewayState) -> str | None:
        """A gateway that does not run, or runs something else, is brought back by the next ``up``."""
        if state.state != "active":
            return f"nginx is {state.state}"
        return "its configuration is not the declared one" if state.config_digest == "changed" else None
