"""What ``moestro plan`` was asked, apart from how a terminal asks it."""

from dataclasses import dataclass
from pathlib import Path

AUTO = "auto"
MOST_NODES = 4


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The options of ``moestro plan``; None where the planner is free to choose.

    Attributes:
        gpus: GPU types to look at; none, or ``auto``, is all of the catalog.
        max_price: USD an hour of the whole replica, at most.
        unpriced: whether a plan of no known price may stand where none of a known price keeps to that.
    """

    model: str | None = None
    gpus: tuple[str, ...] = ()
    count: int | None = None
    context: int | None = None
    concurrency: int | None = None
    kv_headroom: float = 0.0
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: bool | None = None
    dcp: int | None = None
    nodes: int | None = None
    engine: str = "vllm"
    engine_version: str | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_dtype: str = "auto"
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    enforce_eager: bool = False
    spot: bool = False
    hours_per_day: float | None = None
    max_price: float | None = None
    max_nodes: int | None = None
    regions: tuple[str, ...] = ()
    min_tokens_per_second: float | None = None
    max_p95_seconds: float | None = None
    measured: Path | None = None
    prices: Path | None = None
    json: bool = False
    explain: bool = False
    compare: bool = False
    html: Path | None = None
    pin: Path | None = None
    unpriced: bool = False
    seed_tables: bool = False

    @property
    def most_nodes(self) -> int:
        """Machines of one replica at most, where the planner chooses the count."""
        return self.max_nodes if self.max_nodes is not None else MOST_NODES

    @property
    def searching(self) -> bool:
        """Whether the planner chooses among GPU types or by what a plan costs and gives, and where."""
        limits = (self.max_price, self.min_tokens_per_second, self.max_p95_seconds)
        limited = bool(self.regions) or any(limit is not None for limit in limits)
        return limited or len(self.gpus) != 1 or self.gpus[0] == AUTO
