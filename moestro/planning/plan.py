"""The Plan: what to run, where, why, and what it costs. Pure values; everything above passes them along.

GiB is 2**30 bytes. GB is 10**9 bytes. USD per hour is of the whole replica (all nodes, all GPUs).
"""

from dataclasses import dataclass
from enum import StrEnum


class Label(StrEnum):
    """Where a number comes from; no number is shown without one."""

    MEASURED = "measured"
    DERIVED = "derived"  # exact arithmetic over published facts
    ESTIMATED = "estimated"  # arithmetic over fitted constants
    ILLUSTRATIVE = "illustrative"  # quoted from the seed document


@dataclass(frozen=True, slots=True)
class Layout:
    """How a model is spread over GPUs. ``ep`` switches expert parallelism over tp x dp ranks of a stage."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: bool = False
    dcp: int = 1
    nodes: int = 1

    @property
    def gpus(self) -> int:
        """GPUs in use, over all nodes."""
        return self.tp * self.pp * self.dp

    def __str__(self) -> str:
        parts = [f"TP{self.tp}", f"PP{self.pp}", f"DP{self.dp}"]
        if self.ep:
            parts.append(f"EP{self.tp * self.dp}")
        if self.dcp > 1:
            parts.append(f"DCP{self.dcp}")
        if self.nodes > 1:
            parts.append(f"{self.nodes} nodes")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """One part of a GPU's memory, of the fullest stage, and where its figure comes from."""

    name: str
    gib: float
    label: Label
    source: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one GPU under a layout, each figure with its label in ``labels`` (field name -> label)."""

    weights_gib_per_gpu: tuple[float, ...]  # one per pipeline stage
    kv_bytes_per_token_per_gpu: int
    kv_tokens: int  # of one replica, all DP ranks together; 0 when it does not fit
    overhead_gib_per_gpu: float
    usable_gib_per_gpu: float  # total as CUDA reports it x utilization
    fits: bool
    labels: dict[str, Label]
    seed_rule_gb: float | None = None  # params x bytes x 1.15, the seed's rule, without KV
    seed_rule_kv_gb: float | None = None  # what the rule adds for the cache: that of the load, held once
    weights_parts: tuple[MemoryPart, ...] = ()  # by class of tensors
    overhead_parts: tuple[MemoryPart, ...] = ()
    overhead_range_gib: tuple[float, float] = (0.0, 0.0)  # what was seen on real servers, scaled like the estimate
    kv_gib_per_gpu: float = 0.0  # what is left for the cache on the fullest stage; never negative
    kv_needed_gib_per_gpu: float = 0.0  # what the context and concurrency that were asked for take
    total_gib_per_gpu: float = 0.0  # as CUDA reports it


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A job of some hours a day on a replica, bought either way; savings are negative where spot is dearer."""

    hours_per_day: float
    on_demand_usd_per_day: float
    spot_usd_per_day: float
    saved_usd_per_day: float
    saved_usd_per_month: float  # of 30 days


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one replica; None where no price (or, per million tokens, no throughput) is known.

    ``usd_per_hour`` is of ``purchase``; the two others are what both ways to buy cost, where they are offered.
    """

    usd_per_hour: float | None
    usd_per_month: float | None  # 730 h
    usd_per_million_tokens: float | None
    purchase: str
    labels: dict[str, Label]
    source: str = ""  # of the price, with its date
    on_demand_usd_per_hour: float | None = None
    spot_usd_per_hour: float | None = None
    batch_job: BatchJob | None = None  # None where one of the two is not offered


@dataclass(frozen=True, slots=True)
class Rejected:
    """A layout that was considered and why it is not the one."""

    layout: Layout
    reason: str


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What the engine is told besides the layout. Renderers in moestro.serving turn it into argv and env."""

    engine: str = "vllm"  # or "sglang"
    version: str = "0.33.0"
    device: str = "cuda"  # or "cpu"
    dtype: str = "auto"
    quantization: str | None = None  # None: taken from the checkpoint
    kv_cache_dtype: str = "auto"
    max_model_len: int = 8192
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float = 0.90
    enforce_eager: bool = False
    prefix_caching: bool = True
    use_deep_gemm: bool = False  # True only where the DeepGEMM MoE kernel really runs
    cpu_kv_cache_gib: int | None = None  # only for device "cpu"
    tokenizer_mode: str | None = None
    trust_remote_code: bool = False
    distributed_backend: str | None = None  # "mp" or "ray" for multi-node
    extra_args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """One complete answer: this model, on this many of this GPU, laid out so, for this money, for these reasons."""

    model: str  # repository id or catalog name
    revision: str | None
    gpu: str  # the catalog's name; "cpu" on the sandbox
    count: int  # GPUs per replica, over all nodes
    layout: Layout
    memory: Memory
    engine: EngineChoice
    cost: Cost
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    throughput_tokens_per_second: float | None = None
    throughput_label: Label | None = None
    throughput_batch: int | None = None  # requests in flight that the throughput is for
    p95_seconds: float | None = None  # of one request's whole answer at that batch, as labelled by throughput_label
    refused: bool = False  # the engine would not start at all, however much memory there were
