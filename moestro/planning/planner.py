"""The planner's public API: a model, a GPU and a load become a :class:`Plan`. Pure arithmetic; milliseconds.

    from moestro.catalog import load_gpu, load_model, load_prices        # or moestro.catalog.plan_catalog
    from moestro.planning.planner import Request, plan
    plan(load_model("deepseek-v3.2"), load_gpu("H200_SXM5"), Request(count=8, context=32768), load_prices())

``plan`` never fails for lack of memory: such a plan has ``memory.fits`` False and its reasons say what is short
(``require_fit`` turns that into an error). It raises ``InvalidInput`` for requests that make no sense.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from moestro.errors import InvalidInput
from moestro.planning.advice import advice
from moestro.planning.cost import NO_PRICES, Prices, cost_of, price_warnings
from moestro.planning.engine import engine_choice
from moestro.planning.gpu import GpuSpec
from moestro.planning.layout import ANY, MatrixRow, Wanted, layouts_for, preference, shortfall, why_not
from moestro.planning.memory import Load, memory_of, weights_parts
from moestro.planning.model import ModelSpec
from moestro.planning.plan import EngineChoice, Label, Layout, Memory, Plan, Rejected
from moestro.planning.request import Request, check
from moestro.planning.rules import deep_gemm_runs, gpu_violation
from moestro.planning.throughput import estimate

__all__ = ["ANY", "Request", "Wanted", "plan", "require_fit"]

SMALLEST_AUTOMATIC_CONTEXT = 8192  # where nothing is asked for, less than this is not called a fit
_ROUND_CONTEXT = 1024


@dataclass(frozen=True, slots=True)
class Option:
    """One layout that was looked at: its memory, the engine's settings, and what is against it."""

    layout: Layout
    engine: EngineChoice
    memory: Memory
    context: int
    against: str | None


def plan(
    model: ModelSpec,
    gpu: GpuSpec,
    request: Request,
    prices: Prices = NO_PRICES,
    matrix: Sequence[MatrixRow] = (),
    explain: bool = True,
) -> Plan:
    """The best layout for the load on this GPU, with memory, engine settings, cost, reasons and rejections.

    Args:
        matrix: rows of the decision matrix, which come before the general rules (``catalog.decision_matrix()``).
        explain: False leaves out the parts, reasons and rejections, for searches over many plans.

    Raises:
        InvalidInput: the request makes no sense (``moestro.planning.request.check``).
    """
    check(request, model)
    for count in _counts(request, gpu):
        options = _options(model, gpu, request, count, matrix)
        if options and options[0].against is None:
            return _plan(model, gpu, request, prices, options, explain)
    fallback = options or _options(model, gpu, replace(request, wanted=ANY), count, matrix)
    return _plan(model, gpu, request, prices, fallback, explain)


def require_fit(found: Plan) -> Plan:
    """The plan itself.

    Raises:
        InvalidInput: it does not fit; the line says what is short.
    """
    if found.memory.fits:
        return found
    raise InvalidInput(f"{found.model} does not run on {found.count}x {found.gpu}: {found.reasons[0]}")


def _counts(request: Request, gpu: GpuSpec) -> Iterable[int]:
    wanted = request.wanted
    if request.count is not None:
        return (request.count,)
    if wanted.tp and wanted.pp and wanted.dp:
        return (wanted.tp * wanted.pp * wanted.dp,)
    if gpu.device == "cpu":
        return (wanted.tp or 1,)
    step = (wanted.tp or 1) * (wanted.pp or 1) * (wanted.dp or 1)
    single = range(step, gpu.gpus_per_node + 1, step)
    whole = [gpu.gpus_per_node * nodes for nodes in range(2, request.max_nodes + 1)]
    return [*single, *(count for count in whole if count % step == 0)] or (step,)


def _options(model: ModelSpec, gpu: GpuSpec, request: Request, count: int, matrix: Sequence[MatrixRow]) -> list[Option]:
    """Every layout of ``count`` GPUs, the best first; those that cannot be come last."""
    refused = gpu_violation(model, gpu, request.kv_cache_dtype)
    row = next((one for one in matrix if one.names(model, gpu, count)), None)
    found = []
    for layout, violation in layouts_for(model, gpu, count, request.wanted):
        found.append(_option(model, gpu, request, layout, refused or violation))
    found.sort(key=lambda o: (_failure(o), preference(model, gpu, o.layout, row)))
    return found


def _failure(option: Option) -> tuple[int, float]:
    """0 for what fits; else refused layouts after those that are only too small, the smallest shortage first."""
    if option.against is None:
        return (0, 0.0)
    memory = option.memory
    short = max(memory.weights_gib_per_gpu) + memory.overhead_gib_per_gpu - memory.usable_gib_per_gpu
    return (1, max(0.0, short)) if memory.weights_gib_per_gpu[0] and _only_short(option) else (2, 0.0)


def _only_short(option: Option) -> bool:
    return option.against is not None and "GiB" in option.against


def _option(model: ModelSpec, gpu: GpuSpec, request: Request, layout: Layout, refused: str | None) -> Option:
    engine = engine_choice(model, gpu, request, layout.nodes)
    asked = Load(request.context or model.max_context, request.concurrency or 1, request.kv_headroom)
    if refused:
        return Option(layout, engine, _no_memory(model, layout), asked.context, refused)
    memory = memory_of(model, gpu, layout, engine, asked)
    context = asked.context
    if request.context is None and not memory.fits:
        context = _automatic_context(model, memory, layout, asked)
        memory = memory_of(model, gpu, layout, engine, replace(asked, context=context))
    against = None if memory.fits else shortfall(memory, Load(context, asked.concurrency, asked.headroom).tokens)
    return Option(layout, replace(engine, max_model_len=context), memory, context, against)


def _automatic_context(model: ModelSpec, memory: Memory, layout: Layout, asked: Load) -> int:
    """The longest context that the cache holds, at least what is worth calling a fit."""
    each = min(memory.kv_tokens // layout.dp, int(memory.kv_tokens / asked.concurrency / (1 + asked.headroom)))
    least = min(SMALLEST_AUTOMATIC_CONTEXT, model.max_context)
    return max(least, min(model.max_context, each // _ROUND_CONTEXT * _ROUND_CONTEXT))


def _no_memory(model: ModelSpec, layout: Layout) -> Memory:
    """For layouts that the engine refuses: there is no memory to speak of."""
    del model
    return Memory((0.0,) * layout.pp, 0, 0, 0.0, 0.0, False, {})


def _plan(
    model: ModelSpec, gpu: GpuSpec, request: Request, prices: Prices, options: Sequence[Option], explain: bool
) -> Plan:
    if not options:
        raise InvalidInput(
            f"{request.count} GPUs cannot be laid out as asked: drop one of tp, pp, dp or change the count"
        )
    best = options[0]
    memory, layout = best.memory, best.layout
    engine = replace(best.engine, use_deep_gemm=engine_runs_deep_gemm(model, gpu, layout, best.engine))
    guess = estimate(model, gpu, layout, memory, best.context, request.concurrency)
    rate = guess.tokens_per_second if guess else None
    result = Plan(
        model=model.identifier(),
        revision=model.revision,
        gpu=gpu.name,
        count=layout.gpus,
        layout=layout,
        memory=replace(memory, weights_parts=weights_parts(model, layout)) if explain and memory.labels else memory,
        engine=engine,
        cost=cost_of(prices, gpu.name, layout.gpus, request.purchase, rate),
        reasons=(best.against,) if best.against else (),
        throughput_tokens_per_second=rate,
        throughput_label=Label.ESTIMATED if rate else None,
    )
    return _explained(result, model, gpu, request, prices, options) if explain else result


def _explained(
    result: Plan, model: ModelSpec, gpu: GpuSpec, request: Request, prices: Prices, options: Sequence[Option]
) -> Plan:
    reasons, warnings = advice(result, model, gpu, request)
    chosen = result.layout
    others = options[1:] if result.memory.fits else options
    rejected = tuple(Rejected(o.layout, o.against or why_not(o.layout, chosen, gpu)) for o in others)
    priced = price_warnings(prices, gpu.name, request.purchase) if prices else ()
    return replace(result, reasons=(*result.reasons, *reasons), warnings=(*warnings, *priced), rejected=rejected)


def engine_runs_deep_gemm(model: ModelSpec, gpu: GpuSpec, layout: Layout, engine: EngineChoice) -> bool:
    """Whether the engine should be told to use DeepGEMM's MoE kernel."""
    return engine.device == "cuda" and deep_gemm_runs(model, gpu, layout)
