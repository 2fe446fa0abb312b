"""The runtime of one host: driver, system packages and engine, brought to what a spec asks for."""

from collections.abc import Callable
from dataclasses import dataclass

from moestro.hosts import layout
from moestro.hosts.connection import HostConnection
from moestro.hosts.converge import converge
from moestro.hosts.facts import Facts, gather
from moestro.hosts.ssh import Host, connect
from moestro.hosts.steps import Step
from moestro.hosts.steps.boot import finish_boot
from moestro.hosts.steps.driver import MINIMUM_BRANCH, branch, install_driver
from moestro.hosts.steps.engine import EngineRequest, find_engine, install_engine, remove_engines, system_packages
from moestro.hosts.steps.packages import install_packages
from moestro.waiting import Wait

APT_PREFIX = "apt:"


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """What a host shall be able to run.

    Attributes:
        device: "cpu" or "cuda".
        engine: "vllm" or "sglang".
        engine_version: as "0.33.0", without a local part.
        deep_gemm: make nvcc available for DeepGEMM's kernels (they are compiled on the host; the library itself is
            inside the engine).
        packages: further Python requirements for the engine ("ray>=2.50"), and Debian packages as "apt:NAME".
    """

    device: str
    engine: str
    engine_version: str
    deep_gemm: bool = False
    packages: tuple[str, ...] = ()

    @property
    def request(self) -> EngineRequest:
        """The part that concerns the engine."""
        python = tuple(name for name in self.packages if not name.startswith(APT_PREFIX))
        return EngineRequest(self.device, self.engine, self.engine_version, self.deep_gemm, python)

    @property
    def debian_packages(self) -> tuple[str, ...]:
        """The Debian packages that the spec names."""
        return tuple(name.removeprefix(APT_PREFIX) for name in self.packages if name.startswith(APT_PREFIX))


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """What a host is able to run. ``engine_path`` is the engine's program, the first word of a launch line."""

    engine_path: str
    engine_version: str
    os: str
    cpus: int
    memory_gib: float
    gpus: tuple[str, ...]
    driver_version: str | None = None
    cuda_version: str | None = None


def ensure_runtime(connection: HostConnection, spec: RuntimeSpec, wait: Wait) -> RuntimeState:
    """Bring the host to the spec, doing only what is missing; one round trip where nothing is.

    Long steps run detached, so that a second call continues what an interrupted one began. The host is restarted
    where a driver was installed.

    Raises:
        InvalidInput: the spec asks for something impossible.
        HostError: the host cannot be brought to the spec, or a step failed (``CommandFailed``, with the log's tail).
    """
    host = connect(connection, wait)
    facts = gather(host)
    for plan in _plans(spec):
        facts = converge(host, plan, facts, wait)
    return _state(facts, spec)


def read_runtime(connection: HostConnection, spec: RuntimeSpec, wait: Wait) -> RuntimeState | None:
    """What the host is able to run; None where something that the spec asks for is missing."""
    facts = gather(connect(connection, wait))
    driver_missing = spec.device == "cuda" and not (facts.gpus and branch(facts.driver_version) >= MINIMUM_BRANCH)
    if driver_missing or find_engine(facts, spec.request) is None or not facts.has(*spec.debian_packages):
        return None
    return _state(facts, spec)


def remove_runtime(connection: HostConnection, spec: RuntimeSpec, wait: Wait) -> None:
    """Remove the engines that Moestro installed. What the image brought along, drivers and packages stay."""
    del spec
    host: Host = connect(connection, wait)
    command = remove_engines()
    host.run(command.script, timeout=command.timeout)


def _plans(spec: RuntimeSpec) -> tuple[Callable[[Facts], Step], ...]:
    request = spec.request
    return (
        finish_boot,
        lambda facts: install_driver(facts, spec.device),
        lambda facts: install_packages(facts, [*spec.debian_packages, *system_packages(request, facts)]),
        lambda facts: install_engine(facts, request),
    )


def _state(facts: Facts, spec: RuntimeSpec) -> RuntimeState:
    engine = find_engine(facts, spec.request)
    assert engine is not None, "converge() ends only when the engine is there"
    return RuntimeState(
        engine_path=layout.engine_program(engine.name, engine.root),
        engine_version=engine.version,
        os=facts.os_name,
        cpus=facts.cpus,
        memory_gib=round(facts.memory_gib, 1),
        gpus=tuple(gpu.name for gpu in facts.gpus),
        driver_version=facts.driver_version,
        cuda_version=facts.cuda_version,
    )
