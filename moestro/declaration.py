"""From what a stack declares to the plan that serves it.

A model of the catalog needs no network. Another repository is looked up on Hugging Face: its configuration and the
headers of its weights, never the weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from moestro import paths
from moestro.catalog import decision_matrix, load_gpu, load_model, load_prices
from moestro.errors import InvalidInput, MoestroError
from moestro.planning.gpu import GpuSpec
from moestro.planning.layout import ANY, Wanted
from moestro.planning.model import ModelSpec
from moestro.planning.plan import Plan
from moestro.planning.planner import Request, plan, require_fit
from moestro.serving.engines import with_warnings
from moestro.settings import NAMESPACE, LayoutSettings, ModelSettings, Settings

Sought = TypeVar("Sought")


def plan_for(settings: Settings) -> Plan:
    """The plan of one replica.

    Raises:
        InvalidInput: the model or GPU is unknown, the declaration makes no sense, or the model does not fit.
    """
    model, gpu = _looked_up(settings)
    found = require_fit(plan(model, gpu, _request(settings), load_prices(), decision_matrix()))
    if found.layout.nodes > 1:
        raise InvalidInput(
            f"{found.model} on {found.count}x {found.gpu} needs {found.layout.nodes} machines a replica, and a replica "
            f"is one machine here: choose a larger GPU (`moestro plan {found.model} --compare`)"
        )
    return with_warnings(found)


def local_directory(model: ModelSettings) -> Path | None:
    """The operator's directory with the checkpoint; ``cache:NAME`` means ``models/NAME`` in Moestro's cache."""
    if model.directory is None:
        return None
    kind, _, name = model.directory.rpartition(":")
    return paths.cache() / "models" / name if kind == "cache" else Path(model.directory)


def _looked_up(settings: Settings) -> tuple[ModelSpec, GpuSpec]:
    """The declared model and GPU; mistakes in both are told together, each with its key."""
    key = "repo" if settings.model.directory is None else "directory"
    mistakes: list[str] = []
    model = _found(f"model.{key}", lambda: _model(settings.model), mistakes)
    gpu = _found("gpu.type", lambda: load_gpu(settings.gpu.type), mistakes)
    if model is None or gpu is None:
        raise InvalidInput("\n  ".join(["the stack's configuration has mistakes:", *mistakes]))
    return model, gpu


def _model(model: ModelSettings) -> ModelSpec:
    directory = local_directory(model)
    if directory is not None and not directory.is_dir():
        raise InvalidInput(
            f"there is no directory '{directory}': name a checkpoint's; `cache:tiny-mixtral` is made by `scripts/setup`"
        )
    return load_model(str(directory or model.repo))


def _found(key: str, look: Callable[[], Sought], mistakes: list[str]) -> Sought | None:
    try:
        return look()
    except MoestroError as error:
        mistakes.append(f"{NAMESPACE}:{key}: {error}")
        return None


def _request(settings: Settings) -> Request:
    engine = settings.engine
    return Request(
        count=settings.gpu.count,
        context=settings.load.context,
        concurrency=settings.load.concurrency,
        wanted=_wanted(engine.layout),
        engine=engine.name,
        engine_version=engine.version,
        gpu_memory_utilization=engine.memory_utilization,
        kv_cache_dtype=engine.kv_cache_dtype or "auto",
        max_num_batched_tokens=engine.max_num_batched_tokens,
        max_num_seqs=engine.max_num_seqs,
        enforce_eager=engine.enforce_eager,
        purchase=settings.gpu.purchase,
    )


def _wanted(layout: LayoutSettings | None) -> Wanted:
    if layout is None:
        return ANY
    return Wanted(tp=layout.tp, pp=layout.pp, dp=layout.dp, ep=layout.ep)
