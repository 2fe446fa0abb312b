"""The planner's public API: a model, a GPU and a load become a :class:`Plan`. Pure arithmetic; milliseconds.

    from moestro.catalog import load_gpu, load_model, load_prices        # or moestro.catalog.plan_catalog
    from moestro.planning.planner import Request, plan
    plan(load_model("deepseek-v3.2"), load_gpu("H200_SXM5"), Request(count=8, context=32768), load_prices())

``plan`` never fails for lack of memory: such a plan has ``memory.fits`` False and its reasons say what is short
(``require_fit`` turns that into an error). It raises ``InvalidInput`` for requests that make no sense.
"""

from collections.abc import Sequence
from dataclasses import replace

from moestro.errors import InvalidInput
from moestro.planning.advice import engine_reasons, warnings
from moestro.planning.cost import NO_PRICES, Prices, cost_of, price_warnings
from moestro.planning.counts import counts_for
from moestro.planning.gpu import GpuSpec
from moestro.planning.layout import ANY, MatrixRow, Wanted, row_for
from moestro.planning.memory import Load, memory_of, weights_parts
from moestro.planning.model import ModelSpec
from moestro.planning.options import Option, options_for
from moestro.planning.plan import Label, Plan, Rejected
from moestro.planning.request import Request, check
from moestro.planning.rules import deep_gemm_runs
from moestro.planning.throughput import Measured, throughput
from moestro.planning.why import why, why_not

__all__ = ["ANY", "Measured", "Request", "Wanted", "plan", "require_fit"]


def plan(
    model: ModelSpec,
    gpu: GpuSpec,
    request: Request,
    prices: Prices = NO_PRICES,
    matrix: Sequence[MatrixRow] = (),
    explain: bool = True,
    measured: Sequence[Measured] = (),
) -> Plan:
    """The best layout for the load on this GPU, with memory, engine settings, cost, reasons and rejections.

    Args:
        matrix: rows of the decision matrix, which come before the general rules (``catalog.decision_matrix()``).
        explain: False leaves out the parts, reasons and rejections, for searches over many plans.
        measured: what benchmarks have measured (``catalog.load_measured``); it takes the estimate's place.

    Raises:
        InvalidInput: the request makes no sense (``moestro.planning.request.check``).
    """
    check(request, model)
    count = _count(model, gpu, request, matrix)
    options = options_for(model, gpu, request, count, matrix, everything=explain)
    if not options:
        raise InvalidInput(f"{count} GPUs cannot be laid out as asked: change the count or drop tp, pp or dp")
    found = _plan(model, gpu, request, prices, options, measured)
    return _explained(found, model, gpu, request, prices, options, matrix) if explain else found


def require_fit(found: Plan) -> Plan:
    """The plan itself.

    Raises:
        InvalidInput: it does not fit; the line says what is short.
    """
    if found.memory.fits:
        return found
    raise InvalidInput(f"{found.model} does not run on {found.count}x {found.gpu}: {found.reasons[0]}")


def _count(model: ModelSpec, gpu: GpuSpec, request: Request, matrix: Sequence[MatrixRow]) -> int:
    """The count that was asked for, else the smallest that holds the load.

    Where none does it is the largest that the engine would start on, or the smallest where it refuses them all.
    """
    counts = counts_for(gpu, request)
    startable = counts[0]
    for count in counts if len(counts) > 1 else ():
        options = options_for(model, gpu, request, count, matrix, everything=False)
        if options and options[0].against is None:
            return count
        if options and not options[0].refused:
            startable = count
    return startable


def _plan(
    model: ModelSpec,
    gpu: GpuSpec,
    request: Request,
    prices: Prices,
    options: Sequence[Option],
    measured: Sequence[Measured],
) -> Plan:
    best = options[0]
    layout, memory = best.layout, best.memory
    if best.refused:  # the arithmetic is still worth showing
        load = Load(best.context, request.concurrency or 1, request.kv_headroom)
        memory = replace(memory_of(model, gpu, layout, best.engine, load), fits=False)
    engine = best.engine
    if engine.device == "cuda" and deep_gemm_runs(model, gpu, layout):
        engine = replace(engine, use_deep_gemm=True)
    rate = throughput(model, gpu, layout, memory, request, best.context, measured)
    tokens_per_second, rate_label = (rate.tokens_per_second, rate.label) if rate else (None, None)
    hours = request.hours_per_day
    cost = cost_of(
        prices, gpu.name, layout.gpus, request.purchase, tokens_per_second, hours, rate_label or Label.ESTIMATED
    )
    return Plan(
        model=model.identifier(),
        revision=model.revision,
        gpu=gpu.name,
        count=layout.gpus,
        layout=layout,
        memory=memory,
        engine=engine,
        cost=cost,
        reasons=(best.against,) if best.against else (),
        throughput_tokens_per_second=tokens_per_second,
        throughput_label=rate_label,
        throughput_batch=rate.batch if rate else None,
        p95_seconds=rate.p95_seconds if rate else None,
        refused=best.refused,
    )


def _explained(
    result: Plan,
    model: ModelSpec,
    gpu: GpuSpec,
    request: Request,
    prices: Prices,
    options: Sequence[Option],
    matrix: Sequence[MatrixRow],
) -> Plan:
    chosen, fits, row = result.layout, result.memory.fits, row_for(matrix, model, gpu, result.count)
    others = options[1:] if fits else options
    rejected = tuple(Rejected(o.layout, o.against or why_not(o.layout, chosen, gpu, row)) for o in others)
    reasons = (*why(options, model, gpu, request.wanted, row), *engine_reasons(result, model, gpu, request))
    priced = price_warnings(prices, gpu.name, request.purchase) if prices else ()
    return replace(
        result,
        memory=replace(result.memory, weights_parts=weights_parts(model, chosen)),
        reasons=reasons if fits else result.reasons,
        warnings=(*(warnings(result, model, gpu, request) if fits else ()), *priced),
        rejected=rejected,
    )
