"""The arithmetic of a plan, line by line, each figure with its formula, label and source. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from moestro.catalog.gpus import gpu as load_gpu
from moestro.planning.memory import SEED_FACTOR, weights_parts
from moestro.planning.model import ModelSpec
from moestro.planning.plan import Label, MemoryPart, Plan
from moestro.report.wording import count, gib, usd


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the arithmetic."""

    name: str
    formula: str
    value: str
    label: str
    source: str


def explain(plan: Plan, model: ModelSpec) -> list[Line]:
    """What one GPU of the fullest stage holds, what that leaves for the cache, and what it costs."""
    return [*_budget(plan), *_weights(plan, model), *_overhead(plan), *_cache(plan), *_seed(plan), *_money(plan)]


def _budget(plan: Plan) -> Iterator[Line]:
    memory, utilization = plan.memory, plan.engine.gpu_memory_utilization
    if plan.engine.device != "cuda":
        yield Line("budget", "weights + overhead + cache", gib(memory.usable_gib_per_gpu), Label.DERIVED, "the plan")
        return
    total = memory.total_gib_per_gpu
    yield Line(
        "memory", f"one {plan.gpu}", gib(total), load_gpu(plan.gpu).memory_label, "cudaMemGetInfo, catalog/gpus.yaml"
    )
    formula = f"{total:.2f} × {utilization:g}"
    yield Line(
        "usable",
        formula,
        gib(memory.usable_gib_per_gpu),
        memory.labels["usable_gib_per_gpu"],
        "--gpu-memory-utilization",
    )


def _weights(plan: Plan, model: ModelSpec) -> Iterator[Line]:
    for part in weights_parts(model, plan.layout):
        how, _, source = part.source.partition("; ")
        yield Line(part.name, how, gib(part.gib), part.label, source or how)
    sizes = plan.memory.weights_gib_per_gpu
    stages = "the sum" if len(sizes) == 1 else f"stages {', '.join(f'{size:.2f}' for size in sizes)}; the fullest"
    yield Line("weights", stages, gib(max(sizes)), plan.memory.labels["weights_gib_per_gpu"], "the lines above")


def _overhead(plan: Plan) -> Iterator[Line]:
    memory = plan.memory
    yield from (_part(part) for part in memory.overhead_parts)
    low, high = memory.overhead_range_gib
    formula = f"the sum; {low:.1f} to {high:.1f} GiB were seen" if high > low else "the sum"
    label = memory.labels["overhead_gib_per_gpu"]
    yield Line("overhead", formula, gib(memory.overhead_gib_per_gpu), label, "the lines above")


def _part(part: MemoryPart) -> Line:
    how, _, source = part.source.partition("; ")
    return Line(part.name, how if source else "", gib(part.gib), part.label, source or how)


def _cache(plan: Plan) -> Iterator[Line]:
    memory, labels = plan.memory, plan.memory.labels
    sizes = (
        f"{memory.usable_gib_per_gpu:.2f} − {max(memory.weights_gib_per_gpu):.2f} − {memory.overhead_gib_per_gpu:.2f}"
    )
    left = memory.usable_gib_per_gpu - max(memory.weights_gib_per_gpu) - memory.overhead_gib_per_gpu
    yield Line("left for the KV cache", sizes, gib(left), labels["kv_gib_per_gpu"], "vLLM gpu_worker.py")
    per_token = f"{count(memory.kv_bytes_per_token_per_gpu)} B"
    dtype = f"layers of a stage × cached values a token, dtype {plan.engine.kv_cache_dtype}"
    yield Line(
        "a token on one GPU", dtype, per_token, labels["kv_bytes_per_token_per_gpu"], "vLLM kv_cache_interface.py"
    )
    ranks = plan.layout.dp * plan.layout.dcp
    formula = "left / bytes a token, in whole blocks" + (f", × {ranks} ranks" if ranks > 1 else "")
    yield Line(
        "KV tokens of the replica", formula, count(memory.kv_tokens), labels["kv_tokens"], "vLLM kv_cache_utils.py"
    )
    needed = gib(memory.kv_needed_gib_per_gpu)
    yield Line("cache that was asked for", "context × concurrency × bytes", needed, Label.DERIVED, "the request")


def _seed(plan: Plan) -> Iterator[Line]:
    rule, cache = plan.memory.seed_rule_gb, plan.memory.seed_rule_kv_gb or 0.0
    if rule is not None:
        formula = f"parameters × bytes × {SEED_FACTOR:g} + KV cache: {rule:,.1f} + {cache:,.1f}, whole model"
        yield Line("the rule of thumb", formula, f"{rule + cache:,.1f} GB", Label.ILLUSTRATIVE, "seed document")


def _batch(plan: Plan) -> Iterator[Line]:
    job = plan.cost.batch_job
    if job is None or not job.on_demand_usd_per_day:
        return
    hourly = f"({usd(plan.cost.on_demand_usd_per_hour)} − {usd(plan.cost.spot_usd_per_hour)}) × {job.hours_per_day:g} h"
    label, source = plan.cost.labels["batch_job"], "both ways to buy"
    yield Line("spot saves a day", hourly, f"{usd(job.saved_usd_per_day)} USD", label, source)
    month = f"{usd(job.saved_usd_per_day)} × 30 days"
    yield Line("spot saves a month", month, f"{usd(job.saved_usd_per_month)} USD", label, "a job on every day")


def _money(plan: Plan) -> Iterator[Line]:
    cost = plan.cost
    if cost.usd_per_hour is None:
        yield Line("cost", "no price is known for this GPU", "unknown", Label.DERIVED, "catalog/prices.yaml")
        return
    hour, month = f"{usd(cost.usd_per_hour)} USD", f"{usd(cost.usd_per_month)} USD"
    yield Line(
        "an hour",
        f"{plan.count} GPUs, {cost.purchase}",
        hour,
        cost.labels["usd_per_hour"],
        cost.source or "catalog/prices.yaml",
    )
    yield from _batch(plan)
    yield Line("a month", f"{usd(cost.usd_per_hour)} × 730 h", month, cost.labels["usd_per_month"], "730 hours a month")
    if plan.throughput_tokens_per_second is None:
        return
    label = plan.throughput_label or Label.ESTIMATED
    speed = f"{count(plan.throughput_tokens_per_second)} tokens/s"
    yield Line("output of the replica", "roofline at this concurrency", speed, label, "planning/throughput.py")
    if cost.usd_per_million_tokens is not None:
        formula = f"{usd(cost.usd_per_hour)} / 3600 / {count(plan.throughput_tokens_per_second)} × 10⁶"
        yield Line("a million tokens", formula, f"{usd(cost.usd_per_million_tokens, 3)} USD", label, "the lines above")
