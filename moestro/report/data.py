"""A plan as JSON data with stable keys; see docs/planner.md."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from moestro.catalog.seed import illustrative, spot_use
from moestro.planning.plan import Label, Layout, Memory, Plan
from moestro.report.checks import checks
from moestro.serving.launch import Endpoint, Launch, Node
from moestro.serving.render import render

LEADER = "LEADER_ADDRESS"  # where the first node's address goes in launch lines over several nodes
OWN = "NODE_ADDRESS"


def answer_data(
    plan: Plan, others: Sequence[Plan] = (), model_path: str | None = None, after: Sequence[Plan] = ()
) -> dict[str, Any]:
    """The chosen plan, with the compared ones under ``compared`` and the next ones of a search under ``next``."""
    data = plan_data(plan, model_path)
    beside = {"compared": others, "next": after}
    return data | {key: [plan_data(one, model_path) for one in plans] for key, plans in beside.items() if plans}


def plan_data(plan: Plan, model_path: str | None = None) -> dict[str, Any]:
    """The plan with everything that a program may want of it. ``launch`` is empty where the plan does not fit."""
    return {
        "model": plan.model,
        "revision": plan.revision,
        "gpu": plan.gpu,
        "count": plan.count,
        "layout": layout_data(plan.layout),
        "memory": memory_data(plan.memory),
        "engine": asdict(plan.engine),
        "launch": launch_data(plan, model_path),
        "cost": asdict(plan.cost),
        "throughput": {
            "tokens_per_second": plan.throughput_tokens_per_second,
            "requests_in_flight": plan.throughput_batch,
            "p95_seconds": plan.p95_seconds,
            "label": plan.throughput_label,
        },
        "seed": seed_data(plan),
        "reasons": list(plan.reasons),
        "warnings": list(plan.warnings),
        "rejected": [{"layout": layout_data(one.layout), "reason": one.reason} for one in plan.rejected],
    }


def seed_data(plan: Plan) -> dict[str, Any]:
    """What the seed has to say: its figures for this very setup, what it puts on spot, its checklist for this plan."""
    figures, use = illustrative(plan.model, plan.gpu, plan.count), spot_use()
    return {
        "illustrative": None if figures is None else figures._asdict() | {"label": Label.ILLUSTRATIVE},
        "use_spot_for": list(use.on_spot),
        "use_on_demand_for": list(use.on_demand),
        "checklist": [one._asdict() for one in checks(plan)],
    }


def layout_data(layout: Layout) -> dict[str, Any]:
    """The sizes of a layout; ``ep`` says whether experts stay whole, over tp x dp GPUs."""
    return {field: getattr(layout, field) for field in ("tp", "pp", "dp", "ep", "dcp", "nodes")}


def memory_data(memory: Memory) -> dict[str, Any]:
    """GiB of one GPU; ``weights_gib_per_gpu`` has one entry a pipeline stage."""
    data = asdict(memory)
    for parts in ("weights_parts", "overhead_parts"):
        data.pop(parts)
    return data


def launch_data(plan: Plan, model_path: str | None = None) -> dict[str, Any]:
    """The first node's process, and those of the other nodes; nothing to start where the plan does not fit."""
    if not plan.memory.fits:
        return {"argv": [], "env": {}, "other_nodes": []}
    first, *others = ({"argv": list(one.argv), "env": dict(one.env)} for one in launches(plan, model_path))
    return {**first, "other_nodes": others}


def launches(plan: Plan, model_path: str | None = None) -> list[Launch]:
    """The launch lines of a plan, the first node's first. With Ray only the first node runs the engine."""
    endpoint = Endpoint(model_path=model_path or plan.model, served_name=plan.model)
    nodes = plan.layout.nodes
    ranks = range(1 if plan.engine.distributed_backend == "ray" else nodes)
    addresses = [LEADER, *[OWN] * (nodes - 1)]
    return [render(plan, endpoint, Node(rank, nodes, LEADER, addresses[rank])) for rank in ranks]
