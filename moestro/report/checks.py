"""The seed's production checklist, held against a plan: what the plan has done, and what is left to do."""

from collections.abc import Callable
from typing import NamedTuple

from moestro.catalog.gpus import gpu as load_gpu
from moestro.catalog.seed import Item, checklist_items
from moestro.planning.plan import Label, Plan

MET, OPEN, VIOLATED, NOTHING = "met", "open", "not met", "nothing to do"
_MOST_UTILIZATION = 0.90
_TOO_MUCH_UTILIZATION = 0.95
_FP8_CACHE_SINCE = (8, 9)


class Check(NamedTuple):
    """One step: ``state`` is one of MET, OPEN (to be done on the machine), VIOLATED and NOTHING."""

    key: str
    item: str
    state: str
    detail: str


def checks(plan: Plan) -> list[Check]:
    """Every step of the checklist for this plan."""
    return [Check(one.key, one.item, *_VERDICTS[one.key](plan, one)) for one in checklist_items()]


def _topology(plan: Plan, item: Item) -> tuple[str, str]:
    return (OPEN, item.check) if plan.count > 1 else (NOTHING, "one GPU has no topology")


def _load_time(plan: Plan, item: Item) -> tuple[str, str]:
    del plan
    return OPEN, item.today


def _utilization(plan: Plan, item: Item) -> tuple[str, str]:
    del item
    share = plan.engine.gpu_memory_utilization
    state = MET if share <= _MOST_UTILIZATION else VIOLATED if share >= _TOO_MUCH_UTILIZATION else OPEN
    return state, f"--gpu-memory-utilization {share:g}"


def _prefix_caching(plan: Plan, item: Item) -> tuple[str, str]:
    return (MET if plan.engine.prefix_caching else VIOLATED), item.today


def _expert_collapse(plan: Plan, item: Item) -> tuple[str, str]:
    return (
        (OPEN, item.today) if plan.layout.ep else (NOTHING, "every GPU holds a part of every expert, or there is none")
    )


def _context(plan: Plan, item: Item) -> tuple[str, str]:
    del item
    return MET, f"{plan.engine.max_model_len:,} tokens"


def _baseline(plan: Plan, item: Item) -> tuple[str, str]:
    return (MET, "measured") if plan.throughput_label is Label.MEASURED else (OPEN, item.check)


def _fp8_cache(plan: Plan, item: Item) -> tuple[str, str]:
    if plan.engine.kv_cache_dtype.startswith("fp8"):
        return MET, f"--kv-cache-dtype {plan.engine.kv_cache_dtype}"
    if load_gpu(plan.gpu).compute_capability < _FP8_CACHE_SINCE:
        return NOTHING, f"{plan.gpu} computes no FP8"
    return OPEN, item.today


_VERDICTS: dict[str, Callable[[Plan, Item], tuple[str, str]]] = {
    "topology": _topology,
    "load-time": _load_time,
    "utilization": _utilization,
    "prefix-caching": _prefix_caching,
    "expert-collapse": _expert_collapse,
    "max-model-len": _context,
    "baseline": _baseline,
    "fp8-kv": _fp8_cache,
}
