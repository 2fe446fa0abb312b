"""From plans to what the HTML page shows."""

from collections.abc import Sequence
from dataclasses import replace

from moestro.catalog.seed import illustrative
from moestro.planning.model import ModelSpec
from moestro.planning.plan import Label, Plan
from moestro.planning.weights import EXPERTS
from moestro.report.charts import Bar, Point, Segment
from moestro.report.checks import checks
from moestro.report.data import launches
from moestro.report.explain import explain
from moestro.report.html import Figure, Page
from moestro.report.text import batch_job, plan_row
from moestro.report.wording import UNKNOWN, command, count, layout, machine, short_count, usd


def page(
    plan: Plan,
    model: ModelSpec,
    others: Sequence[Plan],
    spot: Sequence[Plan] = (),
    model_path: str | None = None,
) -> Page:
    """The page of ``plan``, with the plans of other GPUs beside it.

    Args:
        others: the plans on other GPUs (``plan`` itself may be among them), fitting or not.
        spot: plans bought on the spot market, for the scatter.
        model_path: what the engine is pointed at, where that is not the repository.
    """
    compared = [plan, *(one for one in others if one.gpu != plan.gpu)]
    refused = [one for one in compared if one.refused]
    points = [point for one in [*compared, *spot] if (point := _point(one, one is plan)) is not None]
    return Page(
        model=plan.model,
        fits=plan.memory.fits,
        summary=_summary(plan),
        figures=_figures(plan) if plan.memory.fits else (),
        bars=[_bar(one, one is plan) for one in compared if one not in refused],
        bars_note=f"Dashed: what the engine may use, {plan.engine.gpu_memory_utilization:g} of the GPU.",
        points=points,
        points_note=_points_note(compared),
        plans=[_cells(one) for one in sorted(compared, key=_cost_order) if one.memory.fits],
        arithmetic=explain(plan, model),
        refused=[(one.gpu, one.reasons[0]) for one in refused],
        reasons=(*plan.reasons, *batch_job(plan)),
        warnings=plan.warnings,
        checks=checks(plan) if plan.memory.fits else (),
        rejected=[(layout(one.layout), one.reason) for one in plan.rejected],
        launch=_launch(plan, model_path) if plan.memory.fits else "",
        footer=_footer(plan, model),
    )


def _launch(plan: Plan, model_path: str | None) -> str:
    return "\n\n".join(command(one.argv, one.env) for one in launches(plan, model_path))


def _summary(plan: Plan) -> str:
    engine = plan.engine
    context = f"{count(engine.max_model_len)} tokens of context"
    return f"{machine(plan)}, {layout(plan.layout)}, {engine.engine} {engine.version}, {context}, {plan.cost.purchase}"


def _figures(plan: Plan) -> list[Figure]:
    memory, cost = plan.memory, plan.cost
    figures = [Figure("KV tokens", count(memory.kv_tokens), memory.labels["kv_tokens"])]
    if cost.usd_per_hour is not None:
        label = cost.labels["usd_per_hour"]
        figures.append(Figure("USD per hour", usd(cost.usd_per_hour), label))
        figures.append(Figure("USD per month", usd(cost.usd_per_month, 0), label))
    if plan.throughput_tokens_per_second is not None:
        figures.append(
            Figure("tokens per second", count(plan.throughput_tokens_per_second), str(plan.throughput_label))
        )
    if cost.usd_per_million_tokens is not None:
        price, label = usd(cost.usd_per_million_tokens), cost.labels["usd_per_million_tokens"]
        figures.append(Figure("USD per million tokens", price, label))
    if quoted := illustrative(plan.model, plan.gpu, plan.count):
        figures.append(Figure("tokens per second, the seed", count(quoted.tokens_per_second), Label.ILLUSTRATIVE))
    return figures


def _bar(plan: Plan, chosen: bool) -> Bar:
    memory = plan.memory
    weights = max(memory.weights_gib_per_gpu)
    experts = sum(part.gib for part in memory.weights_parts if part.name == EXPERTS)
    cache = memory.kv_gib_per_gpu if memory.fits else 0.0
    sizes = (
        ("experts", "expert weights", experts),
        ("weights", "other weights", weights - experts),
        ("kv", "KV cache", cache),
        ("overhead", "activations, graphs, communication", memory.overhead_gib_per_gpu),
    )
    short = weights + memory.overhead_gib_per_gpu - memory.usable_gib_per_gpu
    missing = f"{short:.1f} GiB too little" if short > 0 else "too few KV tokens"
    note = f"{short_count(memory.kv_tokens)} KV tokens" if memory.fits else missing
    return Bar(
        label=f"{plan.count}x {plan.gpu} {layout(replace(plan.layout, nodes=1))}",
        segments=tuple(Segment(kind, name, gib) for kind, name, gib in sizes if gib > 0),
        total_gib=memory.total_gib_per_gpu,
        usable_gib=memory.usable_gib_per_gpu,
        note=note,
        fits=memory.fits,
        chosen=chosen,
    )


def _point(plan: Plan, chosen: bool) -> Point | None:
    hourly, speed = plan.cost.usd_per_hour, plan.throughput_tokens_per_second
    if not plan.memory.fits or not hourly or speed is None:
        return None
    purchase = " spot" if plan.cost.purchase == "spot" else ""
    return Point(f"{plan.count}x {plan.gpu}{purchase}", hourly, speed, chosen)


def _points_note(plans: Sequence[Plan]) -> str:
    unpriced = [one.gpu for one in plans if one.memory.fits and one.cost.usd_per_hour is None]
    missing = f" No price is listed for {', '.join(unpriced)}." if unpriced else ""
    return f"One dot a GPU type and purchase; dotted lines are equal cost per million output tokens.{missing}"


def _cells(plan: Plan) -> tuple[str, ...]:
    row = plan_row(plan)
    return (*row[:2], *row[3:8])


def _cost_order(plan: Plan) -> tuple[bool, float]:
    return (plan.cost.usd_per_hour is None, plan.cost.usd_per_hour or 0.0)


def _footer(plan: Plan, model: ModelSpec) -> str:
    prices = plan.cost.source or UNKNOWN
    model_source = f"Model: {model.source}. " if model.source else ""
    return (
        f"{model_source}Prices: {prices}. Labels: measured was observed on real servers; derived is exact arithmetic "
        "over published facts; estimated uses fitted or assumed constants; illustrative is quoted."
    )
