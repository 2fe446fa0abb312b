"""Every table of the seed document as the planner computes it, beside the seed's figure, each difference explained."""

from collections.abc import Iterator
from dataclasses import dataclass

from moestro.catalog import decision_matrix, load_gpu, load_model, load_prices
from moestro.catalog.checklist import Checklist, CostRow, GpuSet, SeedModel, StrategyRow, WeightsRow, checklist
from moestro.catalog.models import family
from moestro.planning.cost import HOURS_PER_MONTH, batch_job, spot_saving, usd_per_million
from moestro.planning.memory import SEED_BYTES
from moestro.planning.model import ModelSpec
from moestro.planning.plan import Plan
from moestro.planning.planner import Request, plan
from moestro.report import seed_figures as words
from moestro.report.wording import count, layout, usd

AGREES = "agrees"
_LOAD = Request(context=4096, concurrency=1)  # the seed's smallest configurations assume almost no cache
_COMPARED = ("what", "seed", "planner", "difference")


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its remarks."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def tables() -> list[Table]:
    """All of them, in the seed's order."""
    seed = checklist()
    stored = ("planner: arithmetic over parameters; stored: the checkpoint",)
    rates = ("seed throughputs are illustrative, the planner's estimated",)
    batch = f"A batch job, {seed.batch_job.count}x B200 for {seed.batch_job.hours_per_day:g} hours a day"
    return [
        Table("The models", _COMPARED, [row for one in seed.models for row in _model(one)]),
        Table("Bytes per parameter", _COMPARED, list(_bytes(seed))),
        Table("Weights, GB", _COMPARED, [row for one in seed.weights for row in _weights(one)], stored),
        Table("Smallest GPU configuration at FP8", _COMPARED, [_smallest(one) for one in seed.weights]),
        Table("Decision matrix", _COMPARED, [_strategy(one) for one in seed.decision_matrix.rows]),
        Table("Best conditions", ("strategy", "when", "today"), list(_conditions(seed))),
        Table("GPU configurations", _COMPARED, list(_configurations(seed))),
        Table("Cost per token", _COMPARED, [row for one in seed.costs for row in _cost(one)], rates),
        Table("GPU prices, USD an hour of one GPU", _COMPARED, list(_prices(seed))),
        Table(batch, _COMPARED, list(_batch(seed))),
        Table("Spot or on-demand", ("purchase", "for", "today"), list(_purchases(seed))),
        Table("What to watch", ("metric", "healthy", "alert", "where it is today"), list(_metrics(seed))),
        Table("Autoscaling", ("direction", "seed", "today"), list(_scaling(seed))),
        Table("Production checklist", ("step", "check", "today"), list(_steps(seed))),
        Table("Corrections", ("the seed's commands", "today"), [(one.seed, one.today) for one in seed.corrections]),
    ]


def _compare(what: str, said: float, ours: float, why: str, digits: int = 0, unit: str = "") -> tuple[str, ...]:
    """A row of two numbers; a difference beyond rounding needs its explanation."""
    difference = ours / said - 1
    text = AGREES if abs(difference) <= words.ROUNDING else f"{difference:+.1%}: {why}"
    return what, f"{said:,.{digits}f}{unit}", f"{ours:,.{digits}f}{unit}", text


def _model(row: SeedModel) -> Iterator[tuple[str, ...]]:
    model = load_model(row.checkpoint)
    total, active = model.parameters / 1e9, model.active_parameters / 1e9
    yield _compare(f"{row.title}: parameters", row.total_b, total, words.WHY_PARAMETERS.get(row.family, ""), 1, " B")
    yield _compare(f"{row.title}: active", row.active_b, active, words.WHY_ACTIVE.get(row.family, ""), 1, " B")
    yield _equal(f"{row.title}: experts", f"{row.experts} top {row.top_k}", _experts(model))
    kind = f"{model.attention.kind} + MoE"
    agrees = AGREES if row.architecture in kind else "differs"
    yield f"{row.title}: architecture", row.architecture, kind, agrees


def _experts(model: ModelSpec) -> str:
    return f"{model.experts.count} top {model.experts.top_k}" if model.experts else "dense"


def _equal(what: str, said: str, ours: str, why: str = "differs") -> tuple[str, ...]:
    return what, said, ours, AGREES if said == ours else why


def _bytes(seed: Checklist) -> Iterator[tuple[str, ...]]:
    for dtype, size in seed.bytes_per_parameter.items():
        yield _equal(dtype, f"{size:g}", f"{SEED_BYTES[dtype]:g}")


def _weights(row: WeightsRow) -> Iterator[tuple[str, ...]]:
    checkpoints = _checkpoints(row.family)
    parameters = next(iter(checkpoints.values())).parameters
    why = words.WHY_PARAMETERS.get(row.family, words.WHY_WEIGHTS)
    for dtype, said in (("BF16", row.bf16_gb), ("FP8", row.fp8_gb), ("INT4", row.int4_gb)):
        ours = parameters * SEED_BYTES[dtype] / 1e9
        what, figure, computed, difference = _compare(f"{row.title}: {dtype}", said, ours, why)
        yield what, figure, computed, difference + _stored(checkpoints.get(dtype), dtype, ours)


def _checkpoints(name: str) -> dict[str, ModelSpec]:
    """The first checkpoint of each precision, of the family or of the one with the same architecture."""
    models = [*family(name), *family(words.STAND_INS.get(name, ""))]
    return {model.precision: model for model in reversed(models)}


def _fp8(name: str) -> ModelSpec:
    return _checkpoints(name)["FP8"]


def _stored(checkpoint: ModelSpec | None, dtype: str, arithmetic: float) -> str:
    if checkpoint is None:
        return "; no such checkpoint is published, the figure is arithmetic"
    size = checkpoint.file_gib * 2**30 / 1e9
    why = words.WHY_STORED[dtype] if abs(size / arithmetic - 1) > 0.005 else ""
    return f"; stored {size:,.0f} GB" + (f" ({why})" if why else "")


def _smallest(row: WeightsRow) -> tuple[str, ...]:
    return _configuration(row.title, row.family, GpuSet(gpu=row.gpu, count=row.count))


def _configurations(seed: Checklist) -> Iterator[tuple[str, ...]]:
    for row in seed.configurations:
        yield _configuration(f"{row.title}: min", row.family, row.minimum)
        yield _configuration(f"{row.title}: recommended", row.family, row.recommended, smallest=False)
        yield _configuration(f"{row.title}: optimal", row.family, row.optimal, smallest=False)
        yield f"{row.title}: notes", row.notes, row.today or "-", "as the seed says" if not row.today else "see planner"


def _configuration(what: str, name: str, asked_for: GpuSet, smallest: bool = True) -> tuple[str, ...]:
    """Whether the seed's GPUs hold the model and, where they are called the smallest, the fewest that do."""
    number, gpu, model = asked_for.count, asked_for.gpu, _fp8(name)
    asked, fewest = _plan(model, gpu, number), _plan(model, gpu, None)
    said = f"{number}x {gpu}"
    smaller = f"{fewest.count}x {gpu} {layout(fewest.layout)}"
    if not asked.memory.fits:
        return what, said, f"needs {smaller}", f"does not fit: {asked.reasons[0]}"
    ours = f"{said} {layout(asked.layout)}: {count(asked.memory.kv_tokens)} KV tokens"
    if not smallest or fewest.count >= number:
        return what, said, ours, AGREES
    rule = "the seed divides parameters × bytes × 1.15 by the marketing memory; weights and overhead are less"
    return what, said, ours, f"fits; {smaller} is the least, with {count(fewest.memory.kv_tokens)} KV tokens: {rule}"


def _plan(model: ModelSpec, gpu: str, number: int | None) -> Plan:
    asked = Request(count=number, context=_LOAD.context, concurrency=_LOAD.concurrency)
    return plan(model, load_gpu(gpu), asked, load_prices(), decision_matrix())


def _strategy(row: StrategyRow) -> tuple[str, ...]:
    gpu = _FULL_NAMES[row.gpus[0] if row.gpus else "H100"]
    found = _plan(_fp8(row.families[0]), gpu, row.count)
    said = f"TP{row.tp} PP{row.pp}" + (" EP" if row.ep else "")
    ours = f"TP{found.layout.tp} PP{found.layout.pp}" + (" EP" if found.layout.ep else "")
    note = f"; {found.warnings[0]}" if found.layout.ep and not load_gpu(gpu).nvlink and found.warnings else ""
    what, _, _, difference = _equal(f"{row.families[0]} on {row.count}x {gpu}", said, ours, found.reasons[0])
    return what, f"{said} ({row.strategy})", ours, difference + note


_FULL_NAMES = {"H100": "H100_SXM5", "H200": "H200_SXM5", "A100": "A100_80G_PCIE"}  # the seed's A100 is the PCIe one


def _conditions(seed: Checklist) -> Iterator[tuple[str, ...]]:
    for one in seed.best_conditions:
        yield f"{one.strategy} ({one.flag})", "; ".join(one.when), one.today
    for link in seed.interconnects:
        yield link.title, f"{link.seed_gb_s:g} GB/s", link.today


def _cost(row: CostRow) -> Iterator[tuple[str, ...]]:
    price, what = load_prices()[row.gpu], f"{row.setup}, {row.count}x {row.gpu}"
    hourly = (price.of(row.purchase) or 0.0) * row.count
    yield _compare(f"{what}: USD/h on-demand", row.on_demand, (price.on_demand or 0) * row.count, "", 2)
    if row.spot is not None and price.spot is not None:
        yield _compare(f"{what}: USD/h spot", row.spot, price.spot * row.count, "", 2)
    at_seed_rate = usd_per_million(hourly, row.tokens_per_second)
    yield _compare(f"{what}: USD/M at the seed's rate", row.usd_per_million, at_seed_rate, "", 3)
    yield _rate(row, f"{what}: tokens/s")


def _rate(row: CostRow, what: str) -> tuple[str, ...]:
    found = _plan(load_model(row.checkpoint), row.gpu, row.count)
    said = f"{count(row.tokens_per_second)} (illustrative)"
    if not found.memory.fits or found.throughput_tokens_per_second is None:
        return what, said, "does not fit", f"{found.reasons[0]}; {row.today}"
    busy = plan(load_model(row.checkpoint), load_gpu(row.gpu), Request(count=row.count, context=4096), load_prices())
    ours = f"{count(busy.throughput_tokens_per_second)} ({busy.throughput_label})"
    requests = f" at {count(busy.throughput_batch)} requests of 4,096 tokens" if busy.throughput_batch else ""
    return what, said, ours, f"roofline{requests}; the seed names no batch and no context"


def _prices(seed: Checklist) -> Iterator[tuple[str, ...]]:
    for row in seed.pricing:
        price = load_prices()[row.gpu]
        yield _equal(f"{row.gpu}: on-demand", usd(row.on_demand), usd(price.on_demand))
        yield _equal(f"{row.gpu}: spot", _offered(row.spot), _offered(price.spot))
        if row.saving_percent is not None:
            ours = (spot_saving(price) or 0.0) * 100
            dearer = "; spot is dearer: buy on-demand" if ours < 0 else ""
            what, said, computed, difference = _compare(f"{row.gpu}: spot saves", row.saving_percent, ours, "", 1, "%")
            yield what, said, computed, difference + dearer
        yield f"{row.gpu}: best for", row.best_for, "-", "the seed's advice"


def _offered(value: float | None) -> str:
    return "N/A" if value is None else usd(value)


def _batch(seed: Checklist) -> Iterator[tuple[str, ...]]:
    row, prices = seed.batch_job, load_prices()
    job = batch_job(prices[row.gpu], row.count, row.hours_per_day)
    assert job is not None
    yield _compare("USD/day on-demand", row.on_demand_usd_per_day, job.on_demand_usd_per_day, "", 2)
    yield _compare("USD/day spot", row.spot_usd_per_day, job.spot_usd_per_day, "", 2)
    yield _compare("USD/day saved", row.saved_usd_per_day, job.saved_usd_per_day, "", 2)
    yield _compare("USD/month saved, 30 days", row.saved_usd_per_month, job.saved_usd_per_month, "", 2)
    always = (prices[row.gpu].on_demand or 0) * row.count * HOURS_PER_MONTH
    yield "USD/month on-demand, all 730 hours", "-", usd(always), "not in the seed; the planner's month"


def _purchases(seed: Checklist) -> Iterator[tuple[str, ...]]:
    yield "spot", "; ".join(seed.spot.use_spot_for), seed.spot.today
    yield "on-demand", "; ".join(seed.spot.use_on_demand_for), "the same"


def _metrics(seed: Checklist) -> Iterator[tuple[str, ...]]:
    for row in seed.monitoring:
        yield row.metric, row.healthy, row.alert, "; ".join(part for part in (row.series, row.today) if part)


def _scaling(seed: Checklist) -> Iterator[tuple[str, ...]]:
    up, down, load = seed.autoscaling.up, seed.autoscaling.down, seed.autoscaling.load_minutes
    yield (
        "up, any of",
        f"queue above {up.queue_depth}; p95 above {up.p95_seconds:g} s; "
        f"GPUs above {up.gpu_utilization:.0%} for {up.sustained_minutes:g} min",
        seed.autoscaling.today,
    )
    yield (
        "down",
        f"GPUs below {down.gpu_utilization:.0%} for {down.utilization_minutes:g} min; "
        f"queue at {down.queue_depth} for {down.queue_minutes:g} min",
        "the same",
    )
    warm = f"{seed.autoscaling.keep_warm} always running"
    yield "warm", warm, f"{load.model} loads {load.least:g} to {load.most:g} min on {load.count}x {load.gpu}"


def _steps(seed: Checklist) -> Iterator[tuple[str, ...]]:
    for one in seed.checklist:
        yield one.item, one.check or "-", one.today or "as the seed says"
