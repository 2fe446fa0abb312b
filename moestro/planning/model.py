"""A model as the planner needs it: its shape, how each class of tensors is stored, and how each one is sharded."""

from dataclasses import dataclass, field
from enum import StrEnum

from moestro.planning.plan import Label
from moestro.planning.quantization import BF16, Quantization


class AttentionKind(StrEnum):
    """How a model attends, which decides what a token costs in the KV cache."""

    GQA = "GQA"
    MLA = "MLA"
    DSA = "MLA+DSA"  # MLA with DeepSeek's sparse indexer
    CHUNKED = "GQA, chunked"  # Llama 4
    SLIDING = "GQA, sliding window"


class Sharding(StrEnum):
    """What becomes of a class of tensors when a stage has several GPUs."""

    TENSOR = "split over TP"
    KV_HEADS = "split over TP up to the KV heads, then replicated"
    EXPERTS = "whole experts over EP, else split over TP x DP"
    VOCABULARY = "split over TP by rows of the vocabulary"
    REPLICATED = "replicated"


class Place(StrEnum):
    """On which pipeline stages a class of tensors lies."""

    LAYERS = "with its layers"
    FIRST = "first stage"
    LAST = "last stage"
    TIED = "last stage, where that is not the first"
    EVERY = "every stage"


@dataclass(frozen=True, slots=True)
class Attention:
    """Heads and, for MLA, ranks. ``window`` is of the sliding layers, ``full_layers`` counts the others."""

    kind: AttentionKind
    heads: int
    kv_heads: int
    head_dim: int
    q_lora: int = 0
    kv_lora: int = 0
    nope: int = 0
    rope: int = 0
    value: int = 0
    index_heads: int = 0
    index_dim: int = 0
    index_topk: int = 0
    window: int = 0
    sliding_layers: tuple[bool, ...] = ()
    chunk: int = 0

    @property
    def mla(self) -> bool:
        """Whether the cache is one latent vector a token (then it is the same on every TP rank)."""
        return self.kind in (AttentionKind.MLA, AttentionKind.DSA)


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed experts, and the shared ones as one block of ``shared_width``."""

    count: int
    top_k: int
    width: int
    shared: int = 0
    shared_width: int = 0
    layers: tuple[bool, ...] = ()  # which layers are MoE


@dataclass(frozen=True, slots=True)
class WeightClass:
    """One class of tensors: ``layer_bytes`` per layer (place LAYERS) or one number (the other places).

    ``parameters`` and bytes are of the whole model, before any sharding; buffers that the engine makes while it loads
    (``runtime``) are no parameters.
    """

    name: str
    sharding: Sharding
    place: Place
    layer_bytes: tuple[float, ...]
    parameters: int = 0
    runtime: bool = False
    label: Label = Label.DERIVED

    @property
    def total_bytes(self) -> float:
        """Bytes of the whole class, unsharded."""
        return sum(self.layer_bytes)


@dataclass(frozen=True, eq=False)  # compared by identity, so that it is a cheap key of caches
class ModelSpec:
    """Everything the planner knows of one checkpoint.

    Attributes:
        name: the catalog's name, a repository id, or a directory's name.
        repo: the repository to download from; empty for a directory.
        parameters: of the loaded model, without multi-token-prediction layers.
        active_parameters: those that one token passes through.
        weights: all classes of tensors.
        mtp_layers: multi-token-prediction layers of the checkpoint; the engine does not load them.
        exact: whether the bytes come from the checkpoint's own tensor headers.
        notes: what else there is to know, one line each.
    """

    name: str
    architecture: str
    model_type: str
    layers: int
    hidden: int
    vocabulary: int
    max_context: int
    attention: Attention
    weights: tuple[WeightClass, ...]
    experts: Experts | None = None
    dense_width: int = 0
    quantization: Quantization = BF16
    dtype: str = "bfloat16"
    parameters: int = 0
    active_parameters: int = 0
    mtp_layers: int = 0
    repo: str = ""
    revision: str | None = None
    family: str = ""
    exact: bool = False
    gated: bool = False
    tokenizer_mode: str | None = None
    trust_remote_code: bool = False
    source: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def dense(self) -> bool:
        """Whether it has no routed experts."""
        return self.experts is None

    @property
    def precision(self) -> str:
        """BF16, FP8, INT4, NVFP4 or MXFP4."""
        return self.quantization.dtype

    @property
    def file_gib(self) -> float:
        """Bytes of the loaded checkpoint, GiB, without what the engine adds while loading."""
        return sum(w.total_bytes for w in self.weights if not w.runtime) / 2**30

    def identifier(self) -> str:
        """What the engine is pointed at: the repository where there is one, else the name."""
        return self.repo or self.name
