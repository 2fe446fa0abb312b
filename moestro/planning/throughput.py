"""An estimate of decode throughput by a roofline, and measured figures where a benchmark has written them.

A step of a batch B costs the longer of reading (weights that the batch touches, once, and every request's cache) and
computing (2 FLOPs a parameter a token), plus communication. Efficiencies are assumptions, named below.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from moestro.planning.gpu import GpuSpec
from moestro.planning.memory import stage_weights
from moestro.planning.model import ModelSpec
from moestro.planning.plan import Label, Layout, Memory
from moestro.planning.request import Request
from moestro.planning.units import GIB
from moestro.planning.weights import EMBEDDING, EXPERTS

BANDWIDTH_EFFICIENCY = 0.7  # share of peak memory bandwidth that decode kernels reach; an assumption
COMPUTE_EFFICIENCY = 0.5  # share of peak dense FLOPs; an assumption
LINK_EFFICIENCY = 0.6  # share of the link's bandwidth; an assumption
STEP_SECONDS = 0.002  # scheduler, sampling and kernel launches of a step; an assumption
HOP_SECONDS = 12e-6  # latency of one collective inside a node; an assumption
NETWORK_HOP_SECONDS = 40e-6
LARGEST_BATCH = 256
TYPICAL_CONTEXT = 4096  # tokens a request holds where nobody says what is asked
WORD = 2
P95_FACTOR = 1.3  # a p95 request against the mean one under steady load; an assumption


@dataclass(frozen=True, slots=True)
class Measured:
    """One benchmark's result; it stands for the same model on as many of the same GPU in the same layout."""

    model: str  # repository or catalog name
    gpu: str
    layout: Layout
    tokens_per_second: float
    p95_seconds: float | None
    batch: int | None
    date: str


@dataclass(frozen=True, slots=True)
class Rate:
    """Output tokens a second of a replica at ``batch`` requests in flight, measured or estimated."""

    tokens_per_second: float
    p95_seconds: float | None
    batch: int | None
    label: Label


@dataclass(frozen=True, slots=True)
class Estimate:
    """The roofline's parts for a step of ``batch`` requests, seconds."""

    batch: int
    step_seconds: float
    tokens_per_second: float
    p95_seconds: float
    reading_seconds: float
    computing_seconds: float
    communication_seconds: float


def throughput(
    model: ModelSpec,
    gpu: GpuSpec,
    layout: Layout,
    memory: Memory,
    request: Request,
    context: int,
    measured: Sequence[Measured] = (),
) -> Rate | None:
    """The measured rate where there is one, else the estimate; None where the plan does not fit or on the CPU."""
    for one in measured:
        if (one.gpu, one.layout) == (gpu.name, layout) and one.model in (model.name, model.repo):
            return Rate(one.tokens_per_second, one.p95_seconds, one.batch, Label.MEASURED)
    typical = request.context or min(context, TYPICAL_CONTEXT)

    def of(batch: int | None) -> Estimate | None:
        return estimate(model, gpu, layout, memory, typical, batch, request.output_tokens)

    guess = of(request.concurrency)
    if guess is not None and request.p95_seconds is not None and request.concurrency is None:
        guess = of(_batch_within(request.p95_seconds, guess.batch, of))
    return None if guess is None else Rate(guess.tokens_per_second, guess.p95_seconds, guess.batch, Label.ESTIMATED)


def _batch_within(seconds: float, most: int, of: Callable[[int], Estimate | None]) -> int:
    """The most requests in flight, up to ``most``, whose p95 keeps to ``seconds``; 1 where not even one does."""

    def p95(batch: int) -> float:  # more requests never make a step shorter
        found = of(batch)
        return 0.0 if found is None else found.p95_seconds

    return max(1, bisect_right(range(1, most + 1), seconds, key=p95))


def estimate(
    model: ModelSpec, gpu: GpuSpec, layout: Layout, memory: Memory, context: int, batch: int | None, output: int = 256
) -> Estimate | None:
    """The estimate for a batch (what the cache holds at that context, at most 256, by default); None without a fit."""
    if not memory.fits or gpu.device == "cpu":
        return None
    held = max(1, memory.kv_tokens // max(1, context))
    size = min(held, batch or LARGEST_BATCH)
    reading = _reading(model, gpu, layout, memory, context, size)
    computing = _computing(model, gpu, layout, size)
    talking = _communication(model, gpu, layout, size)
    step = max(reading, computing) + talking + STEP_SECONDS
    prompt = _prompt_seconds(model, gpu, layout, context)
    p95 = (prompt + output * step) * P95_FACTOR
    return Estimate(size, step, size / step, p95, reading, computing, talking)


def _reading(model: ModelSpec, gpu: GpuSpec, layout: Layout, memory: Memory, context: int, batch: int) -> float:
    """Each stage reads its own weights; a token passes all stages, one after the other."""
    touched = touched_share(model, batch)
    weights = sum(stage_weights(model, layout)) * GIB * touched
    cached = batch / (layout.dp * layout.dcp) * context / 2 * memory.kv_bytes_per_token_per_gpu * layout.pp
    return (weights + cached) / (gpu.bandwidth_gb_s * 1e9 * BANDWIDTH_EFFICIENCY)


@lru_cache(maxsize=4096)
def touched_share(model: ModelSpec, batch: int) -> float:
    """The share of a stage's weights that a step reads: all but the embedding rows and the experts nobody chose."""
    total = sum(one.total_bytes for one in model.weights if not one.runtime)
    routed = sum(one.total_bytes for one in model.weights if one.name == EXPERTS)
    rows = sum(one.total_bytes for one in model.weights if one.name == EMBEDDING)
    if model.experts is None:
        return (total - rows) / total
    missed = (1 - model.experts.top_k / model.experts.count) ** batch
    return (total - rows - routed * missed) / total


def _computing(model: ModelSpec, gpu: GpuSpec, layout: Layout, batch: int) -> float:
    return 2 * model.active_parameters * batch / (peak_flops(model, gpu) * layout.tp * layout.dp * COMPUTE_EFFICIENCY)


def peak_flops(model: ModelSpec, gpu: GpuSpec) -> float:
    """Peak dense FLOPs in the dtype that the weights are multiplied in on this GPU."""
    wanted = {"FP8": "fp8", "NVFP4": "fp4", "INT8": "int8"}.get(model.precision, "bf16")
    return gpu.tflops.get(wanted, gpu.tflops.get("bf16", 1.0)) * 1e12


def _communication(model: ModelSpec, gpu: GpuSpec, layout: Layout, batch: int) -> float:
    """Two all-reduces a layer inside a stage, the experts' all-to-all where DP feeds EP, a transfer a stage."""
    message = batch / layout.dp * model.hidden * WORD
    inside = layout.gpus // layout.nodes
    crosses = layout.tp > inside
    link = (gpu.network_gb_s if crosses else gpu.interconnect_gb_s) * 1e9 * LINK_EFFICIENCY
    hop = NETWORK_HOP_SECONDS if crosses else HOP_SECONDS
    seconds = 0.0
    if layout.tp > 1:
        seconds += 2 * model.layers * (hop + 2 * message * (layout.tp - 1) / layout.tp / link)
    if model.experts and layout.dp > 1:
        copies = model.experts.top_k if layout.ep else layout.dp
        seconds += 2 * model.layers * (hop + message * copies / link)
    network = gpu.network_gb_s if layout.nodes > 1 else gpu.interconnect_gb_s
    return seconds + (layout.pp - 1) * (NETWORK_HOP_SECONDS + message / (network * 1e9 * LINK_EFFICIENCY))


def _prompt_seconds(model: ModelSpec, gpu: GpuSpec, layout: Layout, context: int) -> float:
    """Reading a prompt of half the context: compute bound."""
    flops = 2 * model.active_parameters * context / 2
    return flops / (peak_flops(model, gpu) * layout.tp * COMPUTE_EFFICIENCY)
