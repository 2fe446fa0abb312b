"""``moestro:serve:Engine``."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from moestro.errors import Cancelled, DeadlineExceeded, NotReady
from moestro.hosts.layout import unit_name
from provider.host_resource import HostResource, OnHost, Operations
from provider.models import Host, Mark, Secret, Stored
from provider.resource import Timeouts

if TYPE_CHECKING:
    from moestro.hosts.engine import EngineSpec, EngineState


def _operations() -> Operations[EngineSpec, EngineState]:
    from moestro.hosts.engine import ensure_engine, read_engine, remove_engine

    return Operations(ensure_engine, read_engine, remove_engine)


class EngineInputs(OnHost):
    """What one engine is to be."""

    service: str = Field(description="Name of the service; names the unit and its directory.", min_length=1)
    replica: str = Field(description="This replica's name in the gateway's upstreams.", min_length=1)
    served_name: str = Field(description="The model's name in requests.", min_length=1)
    argv: list[str] = Field(description="Launch line; the first word is the program.", min_length=1)
    env: dict[str, str] = Field(default={}, description="Environment, without secrets.")
    api_key: Secret = Field(description="What the engine demands of the gateway.", min_length=1)
    certificate_pem: str = Field(description="The engine's certificate, signed by the authority.")
    private_key_pem: Secret = Field(description="Its private key.")
    authority_pem: str = Field(description="Its authority; vLLM lets in only callers with a certificate of it.")
    port: int = Field(description="TCP port that it listens on.", ge=1, le=65535)
    engine: Literal["vllm", "sglang"] = Field(
        default="vllm", description="`vllm` or `sglang`: how it gets the API key, and how it ends."
    )
    version: str = Field(description="Version of the engine; another one restarts it.")
    ready_timeout_seconds: Annotated[int, Mark.QUIET] = Field(
        default=1800, description="Seconds from its start to its first completion.", ge=1
    )
    shutdown_timeout_seconds: int = Field(
        default=120, description="Seconds that running requests may take to finish when it stops.", ge=0
    )
    gateway: Annotated[Host | None, Mark.QUIET] = Field(
        default=None, description="Where the service's nginx runs: the replica is drained there before a restart."
    )
    max_unavailable: Annotated[int, Mark.QUIET] = Field(
        default=1, description="Replicas of the service that may be down at once.", ge=1
    )


class EngineOutputs(Stored):
    """An engine."""

    unit: str = Field(description="Its systemd unit.")
    url: str = Field(description="Its address for the gateway, `https://address:port`.")
    state: Annotated[str, Mark.VOLATILE] = Field(description="`ready`, or what keeps it from that.")
    ready_seconds: Annotated[float | None, Mark.VOLATILE] = Field(
        default=None, description="Seconds from its last start to its first completion."
    )


class Engine(HostResource[EngineInputs, EngineOutputs, "EngineSpec", "EngineState"]):
    """The systemd unit of one inference server, proven ready by a real completion.

    An engine that does not get ready stays in the state with its error, which ends with its log; the next ``pulumi up``
    works on it again. An update takes the replica out of the gateway, lets it finish, restarts and proves it, and puts
    it back.
    """

    token = "moestro:serve:Engine"
    inputs = EngineInputs
    outputs = EngineOutputs
    timeouts = Timeouts(create=3 * 3600.0, update=3 * 3600.0, read=45.0, delete=30 * 60.0)
    leaves_behind = (NotReady, Cancelled, DeadlineExceeded)

    def __init__(self, operations: Callable[[], Operations[EngineSpec, EngineState]] = _operations) -> None:
        super().__init__(operations)

    def spec(self, inputs: EngineInputs) -> EngineSpec:
        """What the host shall have."""
        from moestro.hosts.engine import EngineSpec

        return EngineSpec(
            service=inputs.service,
            served_name=inputs.served_name,
            argv=tuple(inputs.argv),
            env=inputs.env,
            api_key=inputs.api_key,
            certificate_pem=inputs.certificate_pem,
            private_key_pem=inputs.private_key_pem,
            authority_pem=inputs.authority_pem,
            port=inputs.port,
            engine=inputs.engine,
            version=inputs.version,
            replica=inputs.replica,
            ready_timeout_seconds=inputs.ready_timeout_seconds,
            shutdown_timeout_seconds=inputs.shutdown_timeout_seconds,
            gateway=inputs.gateway.connection() if inputs.gateway else None,
            max_unavailable=inputs.max_unavailable,
        )

    def name(self, inputs: EngineInputs) -> str:
        """The unit."""
        return unit_name(inputs.service)

    def result(self, inputs: EngineInputs, state: EngineState) -> EngineOutputs:
        """The outputs."""
        return EngineOutputs(unit=state.unit, url=state.url, state=state.state, ready_seconds=state.ready_seconds)

    def unfinished(self, inputs: EngineInputs) -> EngineOutputs:
        """An engine that is there and has not answered."""
        return EngineOutputs(unit=unit_name(inputs.service), url=_url(inputs), state="not ready", ready_seconds=None)

    def foresee(self, inputs: EngineInputs, state: EngineOutputs | None) -> Mapping[str, Any]:
        """Unit and address follow from the inputs."""
        return {"unit": unit_name(inputs.service), "url": _url(inputs)}

    def drift(self, state: EngineState) -> str | None:
        """An engine that is not ready, or not as declared, is worked on by the next ``up``."""
        return None if state.state == "ready" else f"it is {state.state}"


def _url(inputs: EngineInputs) -> str:
    return f"https://{inputs.host.address}:{inputs.port}"  # as moestro.hosts.engine says it
