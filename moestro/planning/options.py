"""Trying every layout of a number of GPUs: which hold the load, which is best, and what is against the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from moestro.planning.engine import cache_dtype, engine_choice
from moestro.planning.gpu import GpuSpec
from moestro.planning.layout import MatrixRow, in_order, nodes_for, row_for, shortfall
from moestro.planning.memory import Load, memory_of, stage_weights
from moestro.planning.model import ModelSpec
from moestro.planning.plan import EngineChoice, Layout, Memory
from moestro.planning.request import Request
from moestro.planning.rules import gpu_violation

SMALLEST_AUTOMATIC_CONTEXT = 8192  # where nothing is asked for, less than this is not called a fit
_ROUND_CONTEXT = 1024
_NO_MEMORY = Memory((0.0,), 0, 0, 0.0, 0.0, False, {})


@dataclass(frozen=True, slots=True)
class Option:
    """One layout that was looked at: its memory, the engine's settings, and what is against it."""

    layout: Layout
    engine: EngineChoice
    memory: Memory
    context: int
    against: str | None
    refused: bool = False  # ``against`` says that the engine would not start at all


def options_for(
    model: ModelSpec, gpu: GpuSpec, request: Request, count: int, matrix: Sequence[MatrixRow], everything: bool = True
) -> list[Option]:
    """Every layout of ``count`` GPUs, the best first; those that cannot be come last.

    Args:
        everything: False stops at the first that holds the load.
    """
    refused = gpu_violation(model, gpu, cache_dtype(model, request))
    row = row_for(matrix, model, gpu, count)
    engine = engine_choice(model, gpu, request, request.wanted.nodes or nodes_for(gpu.site, count))
    layouts = in_order(model, gpu.site, count, request.wanted, row)
    if not everything:
        return _first(model, gpu, request, engine, layouts, refused)
    found = [_option(model, gpu, request, layout, engine, refused or against) for layout, against in layouts]
    return sorted(found, key=_failure)  # a stable sort: the order of preference stays


def _first(
    model: ModelSpec,
    gpu: GpuSpec,
    request: Request,
    engine: EngineChoice,
    layouts: Sequence[tuple[Layout, str | None]],
    refused: str | None,
) -> list[Option]:
    """The first option that holds the load, else the best of those that do not."""
    best: Option | None = None
    for layout, against in layouts:
        if refused or against or (best and _hopeless(model, gpu, layout, engine)):
            continue
        option = _option(model, gpu, request, layout, engine, None)
        if option.against is None:
            return [option]
        best = best or option
    if best or not layouts:
        return [best] if best else []
    layout, against = layouts[0]
    return [_option(model, gpu, request, layout, engine, refused or against)]


def _hopeless(model: ModelSpec, gpu: GpuSpec, layout: Layout, engine: EngineChoice) -> bool:
    """Whether the weights alone are too much."""
    return gpu.device == "cuda" and max(stage_weights(model, layout)) > gpu.memory_gib * engine.gpu_memory_utilization


def _failure(option: Option) -> tuple[int, int]:
    """What fits comes first, then what is only too small (by whole GiB that are short), then what is refused."""
    if option.against is None:
        return (0, 0)
    memory = option.memory
    short = max(memory.weights_gib_per_gpu) + memory.overhead_gib_per_gpu - memory.usable_gib_per_gpu
    return (2, 0) if option.refused else (1, max(0, round(short)))


def _option(
    model: ModelSpec, gpu: GpuSpec, request: Request, layout: Layout, engine: EngineChoice, refused: str | None
) -> Option:
    asked = Load(request.context or model.max_context, request.concurrency or 1, request.kv_headroom)
    if refused:
        return Option(layout, engine, _NO_MEMORY, asked.context, refused, refused=True)
    memory = memory_of(model, gpu, layout, engine, asked)
    context = asked.context
    if request.context is None and not memory.fits:
        context = _automatic_context(model, memory, layout, asked)
        engine, asked = replace(engine, max_model_len=context), replace(asked, context=context)
        memory = memory_of(model, gpu, layout, engine, asked)
    against = None if memory.fits else shortfall(memory, asked.tokens_of(layout.dp) * layout.dp)
    return Option(layout, engine, memory, context, against)


def _automatic_context(model: ModelSpec, memory: Memory, layout: Layout, asked: Load) -> int:
    """The longest context that the cache holds, at least what is worth calling a fit."""
    requests = -(-asked.concurrency // layout.dp)
    each = int(memory.kv_tokens // layout.dp / requests / (1 + asked.headroom))
    least = min(SMALLEST_AUTOMATIC_CONTEXT, model.max_context)
    return max(least, min(model.max_context, each // _ROUND_CONTEXT * _ROUND_CONTEXT))
