"""Every table of the seed document as the planner computes it, beside the seed's figure, each difference explained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moestro.catalog import decision_matrix, load_gpu, load_model, load_prices
from moestro.planning.cost import HOURS_PER_MONTH, batch_job, spot_saving, usd_per_million
from moestro.planning.memory import SEED_BYTES
from moestro.planning.model import ModelSpec
from moestro.planning.plan import Plan
from moestro.planning.planner import Request, plan
from moestro.report import seed_figures as seed
from moestro.report.wording import count, layout, usd

AGREES = "agrees"
_LOAD = Request(context=4096, concurrency=1)  # the seed's smallest configurations assume almost no cache


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its remarks."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def tables() -> list[Table]:
    """All of them, in the seed's order."""
    compared = ("what", "seed", "planner", "difference")
    return [
        Table("The models", compared, list(_models())),
        Table("Bytes per parameter", compared, list(_bytes())),
        Table(
            "Weights, GB", compared, list(_weights()), ("planner: arithmetic over parameters; stored: the checkpoint",)
        ),
        Table("Smallest GPU configuration at FP8", compared, [_smallest(row) for row in seed.MODELS if row.smallest]),
        Table("Decision matrix", compared, list(_matrix())),
        Table("GPU configurations", compared, list(_configurations())),
        Table(
            "Cost per token", compared, list(_costs()), ("seed throughputs are illustrative, the planner's estimated",)
        ),
        Table("GPU prices, USD an hour of one GPU", compared, list(_prices())),
        Table("A batch job, 8x B200 for 10 hours a day", compared, list(_batch())),
        Table("What to watch", ("metric", "seed's healthy range", "where it is today"), [*seed.METRICS]),
    ]


def _compare(what: str, said: float, ours: float, why: str, digits: int = 0, unit: str = "") -> tuple[str, ...]:
    """A row of two numbers; a difference beyond rounding needs its explanation."""
    difference = ours / said - 1
    text = AGREES if abs(difference) <= seed.ROUNDING else f"{difference:+.1%}: {why}"
    return what, f"{said:,.{digits}f}{unit}", f"{ours:,.{digits}f}{unit}", text


def _models() -> Iterator[tuple[str, ...]]:
    for row in seed.MODELS:
        if row.parameters is None or row.active is None:
            continue
        model = load_model(row.name)
        title = row.title
        yield _compare(f"{title}: parameters", row.parameters, model.parameters / 1e9, row.why_parameters, 1, " B")
        yield _compare(f"{title}: active", row.active, model.active_parameters / 1e9, row.why_active, 1, " B")
        yield _equal(f"{title}: experts", f"{row.experts} top {row.top_k}", _experts(model))


def _experts(model: ModelSpec) -> str:
    return f"{model.experts.count} top {model.experts.top_k}" if model.experts else "dense"


def _equal(what: str, said: str, ours: str, why: str = "differs") -> tuple[str, ...]:
    return what, said, ours, AGREES if said == ours else why


def _bytes() -> Iterator[tuple[str, ...]]:
    for dtype, size in seed.BYTES:
        yield _equal(dtype, f"{size:g}", f"{SEED_BYTES[dtype]:g}")


def _weights() -> Iterator[tuple[str, ...]]:
    for row in seed.MODELS:
        stored = dict(row.checkpoints)
        for dtype, said in row.weights:
            ours = load_model(row.name).parameters * SEED_BYTES[dtype] / 1e9
            why = row.why_parameters or "the seed rounds the parameters"
            what, figure, computed, difference = _compare(f"{row.title}: {dtype}", said, ours, why)
            yield what, figure, computed, difference + _stored(stored.get(dtype), dtype, ours)


def _stored(checkpoint: str | None, dtype: str, arithmetic: float) -> str:
    if checkpoint is None:
        return "; no such checkpoint is published, the figure is arithmetic"
    size = load_model(checkpoint).file_gib * 2**30 / 1e9
    why = seed.WHY_STORED[dtype] if abs(size / arithmetic - 1) > 0.005 else ""
    return f"; stored {size:,.0f} GB" + (f" ({why})" if why else "")


def _smallest(row: seed.ModelRow) -> tuple[str, ...]:
    assert row.smallest is not None
    number, gpu = row.smallest
    return _configuration(f"{row.title}", row.name, number, gpu)


def _configurations() -> Iterator[tuple[str, ...]]:
    for row in seed.MODELS:
        for kind, number, gpu in row.configurations:
            yield _configuration(f"{row.title}: {kind}", row.name, number, gpu, smallest=kind == "min")


def _configuration(what: str, name: str, number: int, gpu: str, smallest: bool = True) -> tuple[str, ...]:
    """Whether the seed's GPUs hold the model and, where they are called the smallest, the fewest that do."""
    asked, fewest = _plan(name, gpu, number), _plan(name, gpu, None)
    said = f"{number}x {gpu}"
    smaller = f"{fewest.count}x {gpu} {layout(fewest.layout)}"
    if not asked.memory.fits:
        return what, said, f"needs {smaller}", f"does not fit: {asked.reasons[0]}"
    ours = f"{said} {layout(asked.layout)}: {count(asked.memory.kv_tokens)} KV tokens"
    if not smallest or fewest.count >= number:
        return what, said, ours, AGREES
    rule = "the seed divides parameters × bytes × 1.15 by the marketing memory; weights and overhead are less"
    return what, said, ours, f"fits; {smaller} is the least, with {count(fewest.memory.kv_tokens)} KV tokens: {rule}"


def _plan(name: str, gpu: str, number: int | None) -> Plan:
    asked = Request(count=number, context=_LOAD.context, concurrency=_LOAD.concurrency)
    return plan(load_model(name), load_gpu(gpu), asked, load_prices(), decision_matrix())


def _matrix() -> Iterator[tuple[str, ...]]:
    names = {"mixtral-8x7b": "mixtral-8x7b-fp8", "mixtral-8x22b": "mixtral-8x22b-fp8"}
    types = {"mixtral-8x7b": "H100_SXM5", "deepseek-v3.2": "H200_SXM5", "kimi-k2": "H100_SXM5"}
    for row in decision_matrix():
        gpu = types.get(row.family, "A100_80G_PCIE")
        if row.family == "deepseek-v3.2-speciale":
            continue
        found = _plan(names.get(row.family, row.family), gpu, row.count)
        said = f"TP{row.tp} PP{row.pp}" + (" EP" if row.ep else "")
        ours = f"TP{found.layout.tp} PP{found.layout.pp}" + (" EP" if found.layout.ep else "")
        why = found.reasons[0] if found.reasons else ""
        note = f"; {found.warnings[0]}" if found.layout.ep and "PCIE" in gpu and found.warnings else ""
        what, _, _, difference = _equal(f"{row.family} on {row.count}x {gpu}", said, ours, why)
        yield what, f"{said} ({row.strategy})", ours, difference + note


def _costs() -> Iterator[tuple[str, ...]]:
    for row in seed.COSTS:
        price = load_prices()[row.gpu]
        hourly = (price.of(row.purchase) or 0.0) * row.count
        yield _compare(f"{row.title}: USD/h on-demand", row.on_demand, (price.on_demand or 0) * row.count, "", 2)
        if row.spot is not None and price.spot is not None:
            yield _compare(f"{row.title}: USD/h spot", row.spot, price.spot * row.count, "", 2)
        at_seed_rate = usd_per_million(hourly, row.tokens_per_second)
        yield _compare(f"{row.title}: USD/M at the seed's rate", row.per_million, at_seed_rate, "", 3)
        yield _rate(row)


def _rate(row: seed.CostRow) -> tuple[str, ...]:
    found = plan(load_model(row.name), load_gpu(row.gpu), Request(count=row.count, context=4096), load_prices())
    said = f"{count(row.tokens_per_second)} (illustrative)"
    what = f"{row.title}: tokens/s"
    if not found.memory.fits or found.throughput_tokens_per_second is None:
        return what, said, "does not fit", f"BF16: {found.reasons[0]}" if found.reasons else "does not fit"
    ours = f"{count(found.throughput_tokens_per_second)} ({found.throughput_label})"
    requests = f" at {count(found.throughput_batch)} requests of 4,096 tokens" if found.throughput_batch else ""
    return what, said, ours, f"roofline{requests}; the seed names no batch and no context"


def _prices() -> Iterator[tuple[str, ...]]:
    for gpu, on_demand, spot, saving in seed.PRICES:
        price = load_prices()[gpu]
        yield _equal(f"{gpu}: on-demand", usd(on_demand), usd(price.on_demand))
        yield _equal(f"{gpu}: spot", _offered(spot), _offered(price.spot))
        if saving is not None:
            ours = spot_saving(price) or 0.0
            dearer = "; spot is dearer: buy on-demand" if ours < 0 else ""
            what, said, computed, difference = _compare(f"{gpu}: spot saves", saving, ours * 100, "", 1, "%")
            yield what, said, computed, difference + dearer


def _offered(value: float | None) -> str:
    return "N/A" if value is None else usd(value)


def _batch() -> Iterator[tuple[str, ...]]:
    gpu, number, hours, on_demand, spot, saved, saved_month = seed.BATCH
    job = batch_job(load_prices()[gpu], number, hours)
    assert job is not None
    figures: Sequence[tuple[str, float, float]] = (
        ("USD/day on-demand", on_demand, job.on_demand_usd_per_day),
        ("USD/day spot", spot, job.spot_usd_per_day),
        ("USD/day saved", saved, job.saved_usd_per_day),
        ("USD/month saved, 30 days", saved_month, job.saved_usd_per_month),
    )
    for what, said, ours in figures:
        yield _compare(what, said, ours, "", 2)
    always = (load_prices()[gpu].on_demand or 0) * number * HOURS_PER_MONTH
    yield "USD/month on-demand, all 730 hours", "-", usd(always), "not in the seed; the planner's month"
