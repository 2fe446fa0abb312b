"""Memory of one GPU: weights by class and sharding, engine overhead, and the KV tokens that remain.

GiB throughout. vLLM's budget (``v1/worker/utils.py``, ``gpu_worker.py``): utilization x total memory as CUDA reports
it, minus weights, minus the peak of a profiling run, minus (from 0.21 on) an estimate of the CUDA graphs.
"""

from dataclasses import dataclass
from functools import lru_cache

from moestro.planning import kv
from moestro.planning.gpu import GpuSpec
from moestro.planning.model import ModelSpec, Place, Sharding, WeightClass
from moestro.planning.overhead import OverheadInput, batch_sizes, overhead_parts, seen_range
from moestro.planning.plan import EngineChoice, Label, Layout, Memory, MemoryPart
from moestro.planning.units import GB, GIB

SEED_FACTOR = 1.15
SEED_BYTES = {"BF16": 2.0, "FP8": 1.0, "INT8": 1.0, "INT4": 0.5, "NVFP4": 0.5, "MXFP4": 0.5}
_WEIGHTS_SOURCE = "config.json and vLLM's sharding of it"
_HEADERS_SOURCE = "safetensors headers and vLLM's sharding of them"
_LABELS = {
    "weights_gib_per_gpu": Label.DERIVED,
    "kv_bytes_per_token_per_gpu": Label.DERIVED,
    "kv_tokens": Label.ESTIMATED,
    "overhead_gib_per_gpu": Label.ESTIMATED,
    "overhead_range_gib": Label.ESTIMATED,
    "usable_gib_per_gpu": Label.DERIVED,
    "kv_gib_per_gpu": Label.ESTIMATED,
    "kv_needed_gib_per_gpu": Label.DERIVED,
    "seed_rule_gb": Label.ILLUSTRATIVE,
    "seed_rule_kv_gb": Label.DERIVED,
}


@dataclass(frozen=True, slots=True)
class Load:
    """What the cache must hold: ``concurrency`` requests of ``context`` tokens and ``headroom`` (0.2: a fifth) more."""

    context: int
    concurrency: int = 1
    headroom: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens that must be in the cache at once."""
        return self.tokens_of(1)

    def tokens_of(self, engines: int) -> int:
        """Tokens that each of ``engines`` data-parallel ranks must hold; a request stays on one of them."""
        return int(self.context * -(-self.concurrency // engines) * (1 + self.headroom))


def memory_of(model: ModelSpec, gpu: GpuSpec, layout: Layout, engine: EngineChoice, load: Load) -> Memory:
    """The memory of the fullest GPU of ``layout``. Does not ask whether the engine accepts the layout."""
    stages = stage_layers(model.layers, layout.pp)
    weights = stage_weights(model, layout)
    hopper = gpu.compute_capability[0] == 9
    one_layer = kv.layer_bytes(model, layout.tp, engine.kv_cache_dtype, hopper)
    overheads = overhead_parts(OverheadInput.of(model, gpu, layout, engine))
    overhead = sum(part.gib for part in overheads)
    budget = _budget(gpu, engine, weights, overhead)
    in_flight = (layout.pp + 1) * batch_sizes(gpu, engine)[0]  # one step a stage, and the next is being scheduled
    free = [budget - size - overhead for size in weights]
    per_engine = min(
        kv.tokens_that_fit(model, left * GIB, stage, one_layer, load.context, in_flight)
        for left, stage in zip(free, stages, strict=True)
    )
    tokens = per_engine * layout.dcp * layout.dp
    fullest = max(range(layout.pp), key=weights.__getitem__)
    per_token = max(kv.token_bytes(model, layout.tp, engine.kv_cache_dtype, stage, hopper) for stage in stages)
    needed = load.tokens_of(layout.dp)
    return Memory(
        weights_gib_per_gpu=weights,
        kv_bytes_per_token_per_gpu=per_token,
        kv_tokens=tokens,
        overhead_gib_per_gpu=overhead,
        usable_gib_per_gpu=budget,
        fits=per_engine * layout.dcp >= needed,
        labels=_labels(gpu),
        seed_rule_gb=model.parameters * SEED_BYTES.get(model.precision, 2.0) * SEED_FACTOR / 1e9,
        seed_rule_kv_gb=load.tokens * kv.token_bytes(model, 1, engine.kv_cache_dtype, (0, model.layers), hopper) / GB,
        overhead_parts=overheads,
        overhead_range_gib=seen_range(overhead) if gpu.device == "cuda" else (overhead, overhead),
        kv_gib_per_gpu=max(0.0, free[fullest]),
        kv_needed_gib_per_gpu=needed * per_token / layout.dcp / GIB,
        total_gib_per_gpu=gpu.memory_gib if gpu.device == "cuda" else budget,
    )


def _labels(gpu: GpuSpec) -> dict[str, Label]:
    """The label of each figure: what is a share of a guessed memory is a guess itself."""
    if gpu.device != "cuda":
        return _LABELS | {"kv_tokens": Label.DERIVED, "total_gib_per_gpu": Label.DERIVED}
    usable = Label.ESTIMATED if gpu.memory_label is Label.ESTIMATED else Label.DERIVED
    return _LABELS | {"total_gib_per_gpu": gpu.memory_label, "usable_gib_per_gpu": usable}


def _budget(gpu: GpuSpec, engine: EngineChoice, weights: tuple[float, ...], overhead: float) -> float:
    """What the engine may take. On the CPU it takes the cache it is told, whatever the machine has."""
    if gpu.device == "cuda":
        return gpu.memory_gib * engine.gpu_memory_utilization
    return max(weights) + overhead + (engine.cpu_kv_cache_gib or 0)


def stage_layers(layers: int, stages: int) -> tuple[tuple[int, int], ...]:
    """First and past-the-last layer of each pipeline stage, as vLLM splits them (``distributed/utils.py``).

    Layers that are left over go to the stages before the last, from the back: 61 over 2 is 31 and 30.
    """
    sizes = [layers // stages] * stages
    for i in range(layers % stages):
        sizes[-2 - i if stages > 1 else 0] += 1
    bounds, start = [], 0
    for size in sizes:
        bounds.append((start, start + size))
        start += size
    return tuple(bounds)


def stage_weights(model: ModelSpec, layout: Layout) -> tuple[float, ...]:
    """GiB of weights on one GPU of each stage."""
    return _stage_weights(model, layout.tp, layout.pp, layout.dp, layout.ep)


@lru_cache(maxsize=16384)
def _stage_weights(model: ModelSpec, tp: int, pp: int, dp: int, ep: bool) -> tuple[float, ...]:
    stages = stage_layers(model.layers, pp)
    shares = [(one, share(one, model, tp, dp, ep)) for one in model.weights]
    return tuple(
        sum(_on_stage(one, stage, number, pp) * part for one, part in shares) / GIB
        for number, stage in enumerate(stages)
    )


def _on_stage(one: WeightClass, stage: tuple[int, int], number: int, pp: int) -> float:
    """Bytes of a class on a stage, before sharding."""
    if one.place is Place.LAYERS:
        return sum(one.layer_bytes[stage[0] : stage[1]])
    first, last = number == 0, number == pp - 1
    here = {Place.FIRST: first, Place.LAST: last, Place.TIED: last and pp > 1, Place.EVERY: True}[one.place]
    return one.layer_bytes[0] if here else 0.0


def share(one: WeightClass, model: ModelSpec, tp: int, dp: int, ep: bool) -> float:
    """The part of a class that one GPU of its stage holds."""
    if one.sharding is Sharding.REPLICATED:
        return 1.0
    if one.sharding is Sharding.KV_HEADS:
        return 1 / min(tp, model.attention.kv_heads)
    if one.sharding is not Sharding.EXPERTS:
        return 1 / tp
    if ep and model.experts:
        return -(-model.experts.count // (tp * dp)) / model.experts.count * _padding(model, 1)
    return _padding(model, tp * dp) / (tp * dp)


def _padding(model: ModelSpec, ranks: int) -> float:
    """MXFP4 kernels pad each rank's experts: width to 128 and hidden size to 256 (vLLM ``mxfp4.py``)."""
    if model.quantization.scheme != "mxfp4" or model.experts is None:
        return 1.0
    width = model.experts.width / ranks
    return -(-width // 128) * 128 / width * (-(-model.hidden // 256) * 256 / model.hidden)


def weights_parts(model: ModelSpec, layout: Layout) -> tuple[MemoryPart, ...]:
    """Each class on one GPU of the fullest stage, largest first, with how it is sharded."""
    weights = stage_weights(model, layout)
    number = max(range(layout.pp), key=weights.__getitem__)
    stage = stage_layers(model.layers, layout.pp)[number]
    source = _HEADERS_SOURCE if model.exact else _WEIGHTS_SOURCE
    parts = []
    for one in model.weights:
        part = share(one, model, layout.tp, layout.dp, layout.ep)
        gib = _on_stage(one, stage, number, layout.pp) * part / GIB
        parts.append(MemoryPart(one.name, gib, one.label, f"{one.sharding}; {source}"))
    return tuple(sorted((p for p in parts if p.gib > 0), key=lambda p: -p.gib))
