"""The KV cache: bytes a token a GPU, and how many tokens fit, as vLLM 0.33 allocates it.

Formulas: vLLM ``v1/kv_cache_interface.py`` (page sizes), ``v1/core/kv_cache_utils.py`` (blocks, reported tokens),
``config/model.py`` (KV heads a GPU), re-computed with the engine's own classes.
"""

from moestro.errors import InvalidInput
from moestro.planning.model import AttentionKind, ModelSpec

INDEXER_BYTES = 132  # 128 of FP8 and a scale of 4 a token and layer (``deepseek_v2.py``)
FP8_DS_MLA_BYTES = 656  # DeepSeek's own layout: 512 FP8, 16 scales, 128 of BF16 rope
NVFP4_DS_MLA_BYTES = 352
_ONE_BYTE = ("fp8", "fp8_e4m3", "fp8_e5m2")
KV_DTYPES = ("auto", "bfloat16", "float16", *_ONE_BYTE, "fp8_ds_mla", "nvfp4_ds_mla")
BLOCK, SPARSE_BLOCK = 16, 64  # tokens a block; the sparse indexer's kernel takes 64 (``indexer.py``)


def element_bytes(kv_dtype: str) -> int:
    """Bytes of one cached value.

    Raises:
        InvalidInput: a cache dtype that is not known.
    """
    if kv_dtype not in KV_DTYPES:
        raise InvalidInput(f"kv_cache_dtype '{kv_dtype}' is not known: choose one of {', '.join(KV_DTYPES)}")
    return 1 if kv_dtype in _ONE_BYTE else 2


def layer_bytes(model: ModelSpec, tp: int, kv_dtype: str, hopper: bool = True) -> int:
    """Bytes that one token takes in one layer's cache on one GPU."""
    heads = model.attention
    size = element_bytes(kv_dtype)
    if not heads.mla:
        return max(1, heads.kv_heads // tp) * 2 * heads.head_dim * size
    latent = (heads.kv_lora + heads.rope) * size
    if heads.kind is not AttentionKind.DSA:
        return latent
    if kv_dtype == "fp8_ds_mla" or (size == 1 and hopper):
        latent = FP8_DS_MLA_BYTES  # on Hopper vLLM rewrites fp8 to fp8_ds_mla (``mla_attention.py``)
    elif kv_dtype == "nvfp4_ds_mla":
        latent = NVFP4_DS_MLA_BYTES
    return latent + INDEXER_BYTES


def block_tokens(model: ModelSpec) -> int:
    """Tokens of one block."""
    return SPARSE_BLOCK if model.attention.kind is AttentionKind.DSA else BLOCK


def tokens_that_fit(
    model: ModelSpec, available_bytes: float, stage: tuple[int, int], one_layer: int, context: int, in_flight: int
) -> int:
    """KV tokens of one stage (layers ``stage[0]`` to ``stage[1]``), rounded down to blocks as the engine does.

    With sliding layers vLLM gives groups of equally many layers blocks of one pool, and the tokens are those that it
    reports: requests that fit at ``context`` times ``context``. A sliding layer keeps its window and the tokens that
    are ``in_flight``.
    """
    full, sliding = layers_by_kind(model, stage)
    if available_bytes <= 0 or full + sliding == 0:
        return 0
    block, size = block_tokens(model), _group_layers(full, sliding)
    blocks = int(available_bytes // (size * one_layer * block))
    if not sliding:
        return blocks * block
    cached = min(model.attention.window - 1 + in_flight, context)
    needed = -(-full // size) * -(-context // block) + -(-sliding // size) * (-(-cached // block) + 1)
    return int(blocks / needed * context)


def _group_layers(full: int, sliding: int) -> int:
    """Layers of a group: as many as the rarer kind has, or as the other where that is less than half as many more."""
    fewest, most = sorted((full or sliding, sliding or full))
    return most if most < fewest * 1.5 else fewest


def layers_by_kind(model: ModelSpec, stage: tuple[int, int]) -> tuple[int, int]:
    """(layers that keep every token, layers that keep a window) of a stage."""
    sliding = sum(model.attention.sliding_layers[stage[0] : stage[1]])
    return stage[1] - stage[0] - sliding, sliding


def token_bytes(model: ModelSpec, tp: int, kv_dtype: str, stage: tuple[int, int], hopper: bool = True) -> int:
    """Bytes that one more token of a long context takes on one GPU of a stage."""
    full, sliding = layers_by_kind(model, stage)
    return (full or sliding) * layer_bytes(model, tp, kv_dtype, hopper)
