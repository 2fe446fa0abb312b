"""A GPU as the planner needs it: what CUDA reports, how fast it moves bytes, what it computes natively."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from moestro.planning.plan import Label

CPU = "cpu"


class Site(NamedTuple):
    """What a layout sees of the machines of a GPU type."""

    device: str
    gpus_per_node: int
    nvlink: bool


@dataclass(frozen=True, slots=True, eq=False)
class GpuSpec:
    """One GPU type; values are of one GPU.

    Attributes:
        name: the catalog's name, which is the marketplace's token where there is one (``H100_PCIE``).
        memory_gib: total memory as ``cudaMemGetInfo`` reports it, GiB; what the engine's utilization is a share of.
        memory_gb: the marketing figure, GB.
        bandwidth_gb_s: device memory bandwidth, GB/s.
        interconnect: ``nvlink``, ``nvlink-bridge`` (pairs) or ``pcie``.
        interconnect_gb_s: one direction, GB/s, to the other GPUs of the node.
        compute_capability: (major, minor); (0, 0) on the CPU.
        tflops: dense teraFLOPS by computing dtype (``bf16``, ``fp8``, ``fp4``).
    """

    name: str
    memory_gib: float
    memory_gb: float
    bandwidth_gb_s: float
    interconnect: str
    interconnect_gb_s: float
    compute_capability: tuple[int, int]
    tflops: Mapping[str, float] = field(default_factory=dict)
    architecture: str = ""
    tokens: tuple[str, ...] = ()
    gpus_per_node: int = 8
    network_gb_s: float = 50.0
    device: str = "cuda"
    title: str = ""
    source: str = ""
    memory_label: Label = Label.MEASURED

    @property
    def nvlink(self) -> bool:
        """Whether all GPUs of a node reach each other over NVLink."""
        return self.interconnect == "nvlink"

    @property
    def site(self) -> Site:
        """The machines of this type."""
        return Site(self.device, self.gpus_per_node, self.nvlink)

    @property
    def native_dtypes(self) -> tuple[str, ...]:
        """The dtypes its tensor cores compute in, slowest first."""
        return tuple(self.tflops)
