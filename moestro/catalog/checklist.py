"""The seed's tables and checklist as data, with what holds on today's engines."""

import datetime
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from moestro.catalog.files import load

Count = Annotated[int, Field(ge=1)]
Usd = Annotated[float, Field(gt=0)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SeedModel(_Row):
    """A row of the seed's table of models; parameters in billions."""

    title: str
    family: str
    checkpoint: str
    total_b: float
    active_b: float
    experts: Count
    top_k: Count
    architecture: str
    today: str


class WeightsRow(_Row):
    """A row of the seed's memory table, GB, and the least GPUs at FP8."""

    title: str
    family: str
    bf16_gb: float
    fp8_gb: float
    int4_gb: float
    gpu: str
    count: Count
    today: str


class StrategyRow(_Row):
    """A row of the decision matrix; ``gpus`` are name prefixes, none of them means any GPU."""

    scenario: str
    families: tuple[str, ...]
    gpus: tuple[str, ...]
    count: Count
    tp: Count
    pp: Count
    ep: bool
    strategy: str


class DecisionMatrix(_Row):
    """The decision matrix."""

    rows: tuple[StrategyRow, ...]
    today: str


class Condition(_Row):
    """When a kind of parallelism is the right one."""

    strategy: str
    flag: str
    when: tuple[str, ...]
    today: str


class Interconnect(_Row):
    """The seed's bandwidth of a link, GB/s both ways together."""

    name: Literal["nvlink", "pcie"]
    title: str
    seed_gb_s: float
    today: str


class GpuSet(_Row):
    """So many of a GPU, at a precision where the seed names one."""

    gpu: str
    count: Count
    precision: str | None = None


class Configuration(_Row):
    """A row of the seed's table of GPU configurations."""

    title: str
    family: str
    minimum: GpuSet
    recommended: GpuSet
    optimal: GpuSet
    notes: str
    today: str


class CostRow(_Row):
    """A row of the seed's cost table: illustrative figures of a whole replica; ``also`` of the same architecture."""

    setup: str
    checkpoint: str
    also: tuple[str, ...] = ()
    gpu: str
    count: Count
    on_demand: Usd
    spot: Usd | None
    tokens_per_second: float
    usd_per_million: Usd
    purchase: Literal["on-demand", "spot"]
    today: str


class PricingRow(_Row):
    """A row of the seed's price table, USD an hour of one GPU."""

    gpu: str
    on_demand: Usd
    spot: Usd | None
    saving_percent: float | None
    best_for: str


class BatchJobRow(_Row):
    """The seed's batch job."""

    gpu: str
    count: Count
    hours_per_day: float
    on_demand_usd_per_day: float
    spot_usd_per_day: float
    saved_usd_per_day: float
    saved_usd_per_month: float
    today: str


class SpotAdvice(_Row):
    """Which work goes on spot machines and which does not."""

    use_spot_for: tuple[str, ...]
    use_on_demand_for: tuple[str, ...]
    today: str


class LoadBalancing(_Row):
    """The seed's nginx settings."""

    method: str
    keepalive: Count
    read_timeout_seconds: Count
    session_affinity: bool
    today: str


class MonitoringRow(_Row):
    """A metric with its healthy range; an alert is below ``low`` or above ``high``. ``series``: today's name."""

    metric: str
    tool: str
    healthy: str
    alert: str
    low: float | None
    high: float | None
    unit: str
    series: str
    today: str


class ExpertCollapse(_Row):
    """One expert takes more than ``hottest_share`` of the tokens while others take less than ``others_share``."""

    hottest_share: float
    others_share: float
    today: str


class ScaleUp(_Row):
    """Any one of these adds a replica."""

    queue_depth: int
    p95_seconds: float
    gpu_utilization: float
    sustained_minutes: float


class ScaleDown(_Row):
    """These together, each for its minutes, take a replica away."""

    gpu_utilization: float
    utilization_minutes: float
    queue_depth: int
    queue_minutes: float


class LoadMinutes(_Row):
    """How long a model was seen to load."""

    model: str
    gpu: str
    count: Count
    least: float
    most: float


class Autoscaling(_Row):
    """The seed's triggers; ``keep_warm`` replicas always run."""

    up: ScaleUp
    down: ScaleDown
    keep_warm: Count
    load_minutes: LoadMinutes
    today: str


class ChecklistItem(_Row):
    """One step before production; ``check`` is a command that shows it, where there is one."""

    key: str
    item: str
    check: str
    today: str


class Correction(_Row):
    """Something of the seed's commands, and what to do instead."""

    seed: str
    today: str


class Checklist(_Row):
    """checklist.yaml."""

    source: str
    date: datetime.date
    checked: datetime.date
    models: tuple[SeedModel, ...]
    bytes_per_parameter: dict[str, float]
    overhead_factor: float
    weights: tuple[WeightsRow, ...]
    decision_matrix: DecisionMatrix
    best_conditions: tuple[Condition, ...]
    interconnects: tuple[Interconnect, ...]
    configurations: tuple[Configuration, ...]
    costs: tuple[CostRow, ...]
    pricing: tuple[PricingRow, ...]
    batch_job: BatchJobRow
    spot: SpotAdvice
    load_balancing: LoadBalancing
    monitoring: tuple[MonitoringRow, ...]
    expert_collapse: ExpertCollapse
    autoscaling: Autoscaling
    checklist: tuple[ChecklistItem, ...]
    corrections: tuple[Correction, ...]


@cache
def checklist() -> Checklist:
    """The whole file, checked."""
    return Checklist.model_validate(load("checklist.yaml"))
