"""What a server takes besides weights and cache: activations, logits, communication, CUDA graphs.

Each part is a formula over the model's sizes with one constant, fitted to servers that were measured (each constant
names them). They are estimates: real servers were seen between 2.5 and 8 GiB.
"""

from dataclasses import dataclass
from functools import lru_cache

from moestro.planning.gpu import GpuSpec
from moestro.planning.model import ModelSpec
from moestro.planning.plan import EngineChoice, Label, Layout, MemoryPart
from moestro.planning.units import GIB

WORD = 2
LOGITS_BYTES = 22
"""A sequence and vocabulary entry of vLLM's profiling run of the sampler: logits in bf16 and fp32, sorted copies and
their indices. Fitted to five servers: DeepSeek R1 and V3.2 at TP8, Llama 3.3 70B FP8 at TP1, TP2 and TP4."""
COMMUNICATION_GIB = {False: 0.27, True: 0.55}
"""CUDA context and NCCL, by whether there is more than one GPU: llm-d-planner's constants (0.27) and its measured row
of Llama 3.3 70B at TP2 on H100 (0.55 non-torch)."""
GRAPHS_GIB = 0.9
"""CUDA graphs, which vLLM subtracts by default since 0.21: 0.36 GiB was logged on two small GPUs (gpustack/runner#251),
about 1.3 GiB a GPU for a Kimi at TP8 (vllm#51590)."""
GRAPHS_SINCE = (0, 21)
SEEN_LOW, SEEN_HIGH = 2.5, 8.0  # GiB, residuals of measured servers
CPU_GIB = 2.0  # a vLLM CPU server of a 13 MB model: 3.0 GiB resident, 1 GiB of it cache
_FORMULA = "formula over the model's sizes; constant fitted to measured servers"


@dataclass(frozen=True, slots=True)
class OverheadInput:
    """The sizes that the parts depend on."""

    hidden: int
    vocabulary: int
    per_token: float  # values of one token alive at the peak of a layer
    experts_per_token: float  # values of one token inside the expert kernels
    batch_tokens: int
    sequences: int
    gpus: int
    graphs: bool
    device: str

    @classmethod
    def of(cls, model: ModelSpec, gpu: GpuSpec, layout: Layout, engine: EngineChoice) -> "OverheadInput":
        """From a model under a layout and what the engine is told."""
        batch, sequences = batch_sizes(gpu, engine)
        heads, tp = model.attention, layout.tp
        wide = heads.heads * heads.head_dim + 2 * heads.kv_heads * heads.head_dim * (not heads.mla)
        dense = 3 * model.dense_width / tp
        routed = _routed(model, layout)
        older = tuple(int(part) for part in engine.version.split(".")[:2]) < GRAPHS_SINCE
        return cls(
            hidden=model.hidden,
            vocabulary=model.vocabulary,
            per_token=3 * model.hidden + wide / tp + max(0.0, dense - routed),
            experts_per_token=routed,
            batch_tokens=batch,
            sequences=sequences,
            gpus=layout.gpus,
            graphs=not (older or engine.enforce_eager),
            device=gpu.device,
        )


def _routed(model: ModelSpec, layout: Layout) -> float:
    """Each token is copied to each expert it chose; with EP over DP every rank works on all ranks' tokens."""
    if model.experts is None:
        return 0.0
    gathered = layout.dp if layout.ep else 1
    shared = 3 * model.experts.shared_width / layout.tp
    return model.experts.top_k * model.hidden * gathered + shared


def batch_sizes(gpu: GpuSpec, engine: EngineChoice) -> tuple[int, int]:
    """Tokens of a step and sequences at once: as chosen, else vLLM's defaults (``engine/arg_utils.py``)."""
    if gpu.memory_gib >= 160:
        tokens, sequences = 16384, 1024
    elif gpu.memory_gib >= 70 and gpu.architecture != "ampere":
        tokens, sequences = 8192, 1024
    else:
        tokens, sequences = 2048, 256
    tokens = engine.max_num_batched_tokens or tokens
    return tokens, engine.max_num_seqs or min(sequences, tokens)


@lru_cache(maxsize=16384)
def overhead_parts(given: OverheadInput) -> tuple[MemoryPart, ...]:
    """The parts, each with its label and source."""
    if given.device == "cpu":
        return (MemoryPart("process", CPU_GIB, Label.MEASURED, "resident size of vLLM's CPU build with a tiny model"),)
    activations = given.batch_tokens * given.per_token * WORD / GIB
    experts = given.batch_tokens * given.experts_per_token * WORD / GIB
    logits = given.sequences * given.vocabulary * LOGITS_BYTES / GIB
    parts = [
        MemoryPart("activations", activations, Label.ESTIMATED, f"{given.batch_tokens} tokens a step; {_FORMULA}"),
        MemoryPart("expert dispatch", experts, Label.ESTIMATED, f"top-k copies of each token; {_FORMULA}"),
        MemoryPart("logits and sampling", logits, Label.ESTIMATED, f"{given.sequences} sequences; {_FORMULA}"),
        MemoryPart("CUDA and NCCL", COMMUNICATION_GIB[given.gpus > 1], Label.ESTIMATED, "llm-d-planner, measured rows"),
    ]
    if given.graphs:
        parts.append(
            MemoryPart("CUDA graphs", GRAPHS_GIB, Label.ESTIMATED, "vLLM logs: gpustack/runner#251, vllm#51590")
        )
    return tuple(part for part in parts if part.gib > 0)


def seen_range(overhead: float) -> tuple[float, float]:
    """The range that real servers were seen in, stretched so that the estimate lies inside."""
    return min(SEEN_LOW, overhead), max(SEEN_HIGH, overhead * 1.25)
