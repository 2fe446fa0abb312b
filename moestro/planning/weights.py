"""The classes of tensors of a model, from its shape and its quantization: how many bytes, and how each is sharded.

The sharding follows vLLM's model definitions (``models/deepseek_v2.py``, ``mixtral.py``, ``llama4.py``,
``qwen2_moe.py``, ``gpt_oss.py``); the back-test against measured loads is tests/unit/planning/test_measured.py.
"""

from collections.abc import Iterator, Sequence

from moestro.planning.model import Attention, Place, Sharding, WeightClass
from moestro.planning.quantization import Quantization
from moestro.planning.shape import DEEPSEEK_TYPES, LLAMA4, Shape

WORD = 2  # bytes of bfloat16 and float16, in which everything that is not quantized is loaded
ABSORBED = "absorbed W_UK and W_UV"
ROPE = "rotary cache"
VISION = "vision tower"
EMBEDDING, HEAD = "embedding", "lm_head"
EXPERTS, SHARED, DENSE, ROUTER = "routed experts", "shared experts", "dense MLP", "router"
ATTENTION, ATTENTION_KV, ATTENTION_LOW, INDEXER = "attention", "attention k v", "attention q_a kv_a", "indexer"
NORMS = "norms"

SHARDING = {
    ATTENTION: Sharding.TENSOR,
    ATTENTION_KV: Sharding.KV_HEADS,
    ATTENTION_LOW: Sharding.REPLICATED,
    INDEXER: Sharding.REPLICATED,
    ABSORBED: Sharding.TENSOR,
    EXPERTS: Sharding.EXPERTS,
    SHARED: Sharding.TENSOR,
    DENSE: Sharding.TENSOR,
    ROUTER: Sharding.REPLICATED,
    NORMS: Sharding.REPLICATED,
    EMBEDDING: Sharding.VOCABULARY,
    HEAD: Sharding.VOCABULARY,
    VISION: Sharding.TENSOR,
    ROPE: Sharding.REPLICATED,
}


def weight_classes(shape: Shape, quantization: Quantization, vision: int = 0) -> tuple[WeightClass, ...]:
    """All classes of tensors.

    Args:
        vision: parameters of a vision tower, which stays in the model's own dtype.
    """
    build = _Builder(shape, quantization)
    classes = [*build.attention(), *build.feed_forward(), *build.ends()]
    if vision:
        classes.append(WeightClass(VISION, SHARDING[VISION], Place.FIRST, (float(vision * WORD),), vision))
    return tuple(c for c in classes if c.total_bytes > 0)


def modules_of(shape: Shape) -> dict[str, str]:
    """Class -> a module of it, as checkpoints name them (``{i}`` is the layer)."""
    layer = "language_model.model.layers.{i}" if shape.model_type in LLAMA4 else "model.layers.{i}"
    mlp = {"mixtral": "block_sparse_moe", "minimax_m2": "block_sparse_moe"}.get(shape.model_type, "mlp")
    mlp = "feed_forward" if shape.model_type in LLAMA4 else mlp
    shared = "shared_experts" if shape.model_type in DEEPSEEK_TYPES else "shared_expert"
    part = "w1" if mlp == "block_sparse_moe" else "gate_proj"
    dense = "feed_forward" if shape.model_type in LLAMA4 else "mlp"
    return {
        ATTENTION: f"{layer}.self_attn.o_proj",
        ATTENTION_KV: f"{layer}.self_attn.k_proj",
        ATTENTION_LOW: f"{layer}.self_attn.kv_a_proj_with_mqa",
        INDEXER: f"{layer}.self_attn.indexer.wq_b",
        EXPERTS: f"{layer}.{mlp}.experts.0.{part}",
        SHARED: f"{layer}.{mlp}.{shared}.gate_proj",
        DENSE: f"{layer}.{dense}.gate_proj",
        ROUTER: f"{layer}.{mlp}.gate",
    }


class _Builder:
    """Walks over the layers once a class."""

    def __init__(self, shape: Shape, quantization: Quantization) -> None:
        self._shape, self._quantization = shape, quantization
        self._modules = modules_of(shape)
        experts = shape.experts
        self._moe = experts.layers if experts else (False,) * shape.layers

    def attention(self) -> Iterator[WeightClass]:
        shape, heads = self._shape, self._shape.attention
        if heads.mla:
            yield self._layered(ATTENTION_LOW, shape.hidden * (heads.q_lora + heads.kv_lora + heads.rope))
            yield self._layered(ATTENTION, _latent_parameters(heads, shape.hidden))
            yield self._absorbed(heads)
        else:
            wide, narrow = heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim
            bias = shape.qkv_bias or shape.model_type == "gpt_oss"
            yield self._layered(ATTENTION, 2 * shape.hidden * wide + bias * wide)
            yield self._layered(ATTENTION_KV, 2 * narrow * (shape.hidden + bias))
        if heads.index_topk:
            small = shape.hidden * (heads.index_dim + heads.index_heads)
            yield self._layered(INDEXER, heads.q_lora * heads.index_heads * heads.index_dim + small)
        yield self._layered(NORMS, self._norms(), quantized=False)

    def feed_forward(self) -> Iterator[WeightClass]:
        shape, experts = self._shape, self._shape.experts
        if shape.dense_width:
            yield self._layered(DENSE, 3 * shape.hidden * shape.dense_width, where=[not moe for moe in self._moe])
        if experts is None:
            return
        one = 3 * shape.hidden * experts.width
        bias = 2 * experts.width + shape.hidden if shape.model_type == "gpt_oss" else 0
        yield self._layered(EXPERTS, experts.count * one, where=self._moe, plain=experts.count * bias)
        yield self._layered(SHARED, 3 * shape.hidden * experts.shared_width, where=self._moe)
        yield self._layered(ROUTER, shape.hidden * experts.count, quantized=False, where=self._moe)

    def ends(self) -> Iterator[WeightClass]:
        shape = self._shape
        size = padded_vocabulary(shape.vocabulary) * shape.hidden
        count = shape.vocabulary * shape.hidden
        yield WeightClass(EMBEDDING, SHARDING[EMBEDDING], Place.FIRST, (float(size * WORD),), count)
        place = Place.TIED if shape.tied else Place.LAST
        yield WeightClass(HEAD, SHARDING[HEAD], place, (float(size * WORD),), 0 if shape.tied else count, shape.tied)
        yield rope_cache(shape)

    def _layered(
        self,
        name: str,
        parameters: int,
        quantized: bool = True,
        where: Sequence[bool] = (),
        plain: int = 0,
    ) -> WeightClass:
        """``parameters`` in each layer of ``where``; ``plain`` more that are never quantized."""
        module, scheme = self._modules.get(name, ""), self._quantization
        held = where or (True,) * self._shape.layers

        def size(layer: int) -> float:
            covered = quantized and scheme.covers(module.format(i=layer))
            return parameters * (scheme.bytes_per_parameter if covered else WORD) + plain * WORD

        sizes = tuple(size(layer) if held[layer] else 0.0 for layer in range(self._shape.layers))
        return WeightClass(name, SHARDING[name], Place.LAYERS, sizes, (parameters + plain) * sum(held))

    def _absorbed(self, heads: Attention) -> WeightClass:
        """vLLM keeps kv_b_proj and, beside it, its two halves in the model's dtype (``mla_attention.py``)."""
        size = float(heads.heads * heads.kv_lora * (heads.nope + heads.value) * WORD)
        return WeightClass(ABSORBED, SHARDING[ABSORBED], Place.LAYERS, (size,) * self._shape.layers, runtime=True)

    def _norms(self) -> int:
        heads = self._shape.attention
        own = heads.q_lora + heads.kv_lora if heads.mla else 2 * heads.head_dim * self._shape.qk_norm
        return 2 * self._shape.hidden + own


def _latent_parameters(heads: Attention, hidden: int) -> int:
    queries = (heads.q_lora or hidden) * heads.heads * (heads.nope + heads.rope)
    return queries + heads.heads * (heads.kv_lora * (heads.nope + heads.value) + heads.value * hidden)


def rope_cache(shape: Shape) -> WeightClass:
    """The cosines and sines of every position, which vLLM makes once while it loads (``rotary_embedding/base.py``)."""
    width = shape.attention.rope or shape.attention.head_dim
    size = float(shape.max_context * width * WORD)
    return WeightClass(ROPE, SHARDING[ROPE], Place.EVERY, (size,), runtime=True)


def padded_vocabulary(vocabulary: int) -> int:
    """vLLM pads the vocabulary to a multiple of 64 (``vocab_parallel_embedding.py``)."""
    return -(-vocabulary // 64) * 64
