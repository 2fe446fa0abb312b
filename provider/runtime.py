"""``moestro:host:Runtime``."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from provider.host_resource import HostResource, OnHost, Operations
from provider.models import Mark, Stored
from provider.resource import Timeouts

if TYPE_CHECKING:
    from moestro.hosts.runtime import RuntimeSpec, RuntimeState


def _operations() -> Operations[RuntimeSpec, RuntimeState]:
    from moestro.hosts.runtime import ensure_runtime, read_runtime, remove_runtime

    return Operations(ensure_runtime, read_runtime, remove_runtime)


class RuntimeInputs(OnHost):
    """What a host shall be able to run."""

    device: Literal["cpu", "cuda"] = Field(description="What the engine computes on: `cpu` or `cuda`.")
    engine: Literal["vllm", "sglang"] = Field(description="`vllm` or `sglang`.")
    engine_version: str = Field(description="Version of the engine, such as `0.33.0`.", min_length=1)
    deep_gemm: bool = Field(default=False, description="Make nvcc available, which compiles DeepGEMM's kernels.")
    packages: list[str] = Field(
        default=[], description="Further Python requirements of the engine, and Debian packages as `apt:NAME`."
    )


class RuntimeOutputs(Stored):
    """What a host is able to run."""

    engine_path: Annotated[str, Mark.VOLATILE] = Field(description="The engine's program on the host.")
    engine_version: Annotated[str, Mark.VOLATILE] = Field(description="Version of the engine that is there.")
    os: str = Field(description="Operating system.")
    cpus: int = Field(description="Logical CPUs.")
    memory_gib: float = Field(description="Memory in GiB (2^30 bytes).")
    gpus: list[str] = Field(description="Name of each GPU.")
    driver_version: Annotated[str | None, Mark.VOLATILE] = Field(default=None, description="NVIDIA driver.")
    cuda_version: Annotated[str | None, Mark.VOLATILE] = Field(default=None, description="CUDA of the driver.")


class Runtime(HostResource[RuntimeInputs, RuntimeOutputs, "RuntimeSpec", "RuntimeState"]):
    """Everything that an engine needs on one host: NVIDIA driver, CUDA, Python and the engine itself."""

    token = "moestro:host:Runtime"
    inputs = RuntimeInputs
    outputs = RuntimeOutputs
    timeouts = Timeouts(create=60 * 60.0, update=60 * 60.0, read=45.0)

    def __init__(self, operations: Callable[[], Operations[RuntimeSpec, RuntimeState]] = _operations) -> None:
        super().__init__(operations)

    def spec(self, inputs: RuntimeInputs) -> RuntimeSpec:
        """What the host shall have."""
        from moestro.hosts.runtime import RuntimeSpec

        return RuntimeSpec(
            device=inputs.device,
            engine=inputs.engine,
            engine_version=inputs.engine_version,
            deep_gemm=inputs.deep_gemm,
            packages=tuple(inputs.packages),
        )

    def name(self, inputs: RuntimeInputs) -> str:
        """One a host."""
        return "runtime"

    def result(self, inputs: RuntimeInputs, state: RuntimeState) -> RuntimeOutputs:
        """The outputs."""
        return RuntimeOutputs(
            engine_path=state.engine_path,
            engine_version=state.engine_version,
            os=state.os,
            cpus=state.cpus,
            memory_gib=state.memory_gib,
            gpus=list(state.gpus),
            driver_version=state.driver_version,
            cuda_version=state.cuda_version,
        )
