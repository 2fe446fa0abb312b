"""``moestro plan --pin``: what a stack file declares becomes the search, and the search's choice goes into the file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from moestro import paths
from moestro.commands.options import AUTO, PlanOptions
from moestro.commands.pin import pin, read_stack, read_text
from moestro.errors import InvalidInput
from moestro.planning.cost import SPOT
from moestro.planning.plan import Plan
from moestro.settings import ModelSettings, Settings, parse_settings

# Sections that no plan depends on; they may hold secrets that only Pulumi can read.
_UNREAD = ("moe:gateway",)
_STAND_IN = "H200_SXM5"


def from_stack(options: PlanOptions, path: Path) -> PlanOptions:
    """The options with everything filled in that the stack file declares and the command line leaves open.

    Raises:
        InvalidInput: the file cannot be read or its declaration has mistakes.
    """
    config = read_stack(path)
    gpu = config.get("moe:gpu")
    automatic = isinstance(gpu, dict) and gpu.get("type") == AUTO
    settings = _settings(config, automatic)
    engine, load, layout = settings.engine, settings.load, settings.engine.layout
    gpus = options.gpus or ((AUTO,) if automatic else (settings.gpu.type,))
    own_gpu = settings.cloud.name == "sandbox"
    declared: dict[str, Any] = {
        "model": _model(settings.model),
        "context": load.context,
        "concurrency": load.concurrency,
        "count": None if automatic or options.gpus else settings.gpu.count,
        "max_price": settings.cloud.max_usd_per_hour,
        "max_nodes": 1,  # a replica of a stack is one machine
        "engine_version": engine.version,
        "gpu_memory_utilization": engine.memory_utilization,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "max_num_seqs": engine.max_num_seqs,
        **{size: getattr(layout, size, None) for size in ("tp", "pp", "dp", "ep")},
    }
    open_ones = {key: value for key, value in declared.items() if getattr(options, key) is None}
    return replace(
        options,
        **open_ones,
        gpus=("cpu",) if own_gpu else gpus,
        unpriced=options.max_price is None,  # the order has the stack's limit again
        regions=options.regions or settings.cloud.regions,
        spot=options.spot or settings.gpu.purchase == SPOT,
        engine=engine.name if options.engine == PlanOptions().engine else options.engine,
        kv_cache_dtype=_first(options.kv_cache_dtype, engine.kv_cache_dtype),
        enforce_eager=options.enforce_eager or engine.enforce_eager,
    )


def write_choice(path: Path, plan: Plan) -> str:
    """Write type, count and purchase of the plan into the file; say what was done.

    Raises:
        InvalidInput: the file has no place for them or cannot be written.
    """
    before = read_text(path)
    after = pin(before, {"type": plan.gpu, "count": plan.count, "purchase": plan.cost.purchase})
    what = f"{plan.count}x {plan.gpu}, {plan.cost.purchase}"
    if after == before:
        return f"{path} already says {what}"
    try:
        path.write_bytes(after.encode("utf-8"))
    except OSError as error:
        raise InvalidInput(f"stack file {path} cannot be written: {error.strerror}") from None
    unknown = (
        "" if plan.cost.usd_per_hour is not None else "; its price is not known here, the order keeps to the budget"
    )
    return f"pinned {what} in {path}{unknown}"


def _settings(config: dict[str, Any], automatic: bool) -> Settings:
    """The stack's settings, with a stand-in for ``type: auto``, which they would refuse."""
    read = {key: value for key, value in config.items() if key not in _UNREAD}
    if automatic:
        sandbox = isinstance(read.get("moe:cloud"), dict) and read["moe:cloud"].get("name") == "sandbox"
        read["moe:gpu"] = {**read["moe:gpu"], "type": "cpu" if sandbox else _STAND_IN}
    try:
        return parse_settings({key: _as_pulumi_gives(value) for key, value in read.items()})
    except InvalidInput as error:
        title, *mistakes = (line.strip() for line in str(error).splitlines())
        raise InvalidInput(f"{title} {'; '.join(mistakes)}") from None


def _as_pulumi_gives(value: Any) -> str:
    """A text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _model(model: ModelSettings) -> str:
    if model.directory is None:
        return model.repo or ""
    kind, _, name = model.directory.rpartition(":")
    return str(paths.cache() / "models" / name) if kind == "cache" else model.directory


def _first(asked: str, declared: str | None) -> str:
    return declared if asked == PlanOptions().kv_cache_dtype and declared else asked
