"""From ``config.json`` to the model's shape: attention, experts, dense layers, by the rules of each model type."""

from dataclasses import dataclass

from moestro.errors import InvalidInput
from moestro.planning.fields import Fields, UnknownArchitecture
from moestro.planning.model import Attention, AttentionKind, Experts

MLA_TYPES = ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2")
DEEPSEEK_TYPES = (*MLA_TYPES, "glm4_moe")
QWEN_MOE = ("qwen2_moe", "qwen3_moe")
MIXTRAL_LIKE = ("mixtral", "minimax_m2", "gpt_oss")
LLAMA4 = ("llama4", "llama4_text")
DENSE_TYPES = ("llama", "mistral", "qwen2", "qwen3")
KNOWN_TYPES = (*DEEPSEEK_TYPES, *QWEN_MOE, *MIXTRAL_LIKE, *LLAMA4, *DENSE_TYPES)
_LAYER_TYPES = ("full_attention", "sliding_attention", "chunked_attention")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that decide everything else."""

    model_type: str
    layers: int
    hidden: int
    vocabulary: int
    max_context: int
    attention: Attention
    experts: Experts | None
    dense_width: int
    tied: bool
    qkv_bias: bool
    qk_norm: bool


def parse(fields: Fields) -> Shape:
    """The shape that a (text) configuration describes.

    Raises:
        UnknownArchitecture: a model type or a kind of attention that is not understood.
        InvalidInput: a missing, absurd or contradictory field.
    """
    model_type = fields.text("model_type")
    if model_type not in KNOWN_TYPES:
        raise UnknownArchitecture("model_type", model_type)
    layers = fields.integer("num_hidden_layers", most=1000)
    experts = _experts(fields, model_type, layers)
    return Shape(
        model_type=model_type,
        layers=layers,
        hidden=fields.integer("hidden_size", most=1 << 20),
        vocabulary=fields.integer("vocab_size", most=1 << 26),
        max_context=fields.integer("max_position_embeddings", most=1 << 30),
        attention=_attention(fields, model_type, layers),
        experts=experts,
        dense_width=_dense_width(fields, model_type, experts),
        tied=fields.flag("tie_word_embeddings"),
        qkv_bias=fields.flag("attention_bias") or model_type in ("qwen2", "qwen2_moe"),
        qk_norm=model_type in ("qwen3", "qwen3_moe") or fields.flag("use_qk_norm"),
    )


def _attention(fields: Fields, model_type: str, layers: int) -> Attention:
    if model_type in MLA_TYPES:
        return _latent_attention(fields)
    heads = fields.integer("num_attention_heads", most=4096)
    kv_heads = fields.integer("num_key_value_heads", default=heads, most=4096)
    head_dim = _head_dim(fields, heads)
    if heads % kv_heads:
        raise InvalidInput(
            f"config.json: num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}; "
            "take config.json from the model's own repository"
        )
    sliding = _sliding_layers(fields, model_type, layers)
    kind = AttentionKind.GQA
    if model_type in LLAMA4:
        kind = AttentionKind.CHUNKED
    elif any(sliding):
        kind = AttentionKind.SLIDING
    window = fields.integer("sliding_window") if any(sliding) else 0
    chunk = fields.integer("attention_chunk_size", default=0) if kind is AttentionKind.CHUNKED else 0
    return Attention(kind, heads, kv_heads, head_dim, window=window, sliding_layers=sliding, chunk=chunk)


def _head_dim(fields: Fields, heads: int) -> int:
    if fields.has("head_dim"):
        return fields.integer("head_dim", most=4096)
    hidden = fields.integer("hidden_size")
    if hidden < heads:
        raise InvalidInput(f"config.json: hidden_size {hidden} is less than num_attention_heads {heads}")
    return hidden // heads


def _latent_attention(fields: Fields) -> Attention:
    heads = fields.integer("num_attention_heads", most=4096)
    sparse = fields.has("index_topk")
    rope, value = fields.integer("qk_rope_head_dim"), fields.integer("v_head_dim")
    nope = fields.integer("qk_nope_head_dim")
    return Attention(
        kind=AttentionKind.DSA if sparse else AttentionKind.MLA,
        heads=heads,
        kv_heads=1,
        head_dim=nope + rope,
        q_lora=fields.integer("q_lora_rank", default=0),
        kv_lora=fields.integer("kv_lora_rank"),
        nope=nope,
        rope=rope,
        value=value,
        index_heads=fields.integer("index_n_heads") if sparse else 0,
        index_dim=fields.integer("index_head_dim") if sparse else 0,
        index_topk=fields.integer("index_topk") if sparse else 0,
    )


def _sliding_layers(fields: Fields, model_type: str, layers: int) -> tuple[bool, ...]:
    kinds = fields.items("layer_types")
    unknown = next((kind for kind in kinds if kind not in _LAYER_TYPES), None)
    if unknown is not None:
        raise UnknownArchitecture("layer_types", unknown)
    if any(other != 1 for other in fields.items("attn_type_list")):
        raise UnknownArchitecture("attn_type_list", fields.raw["attn_type_list"])
    window = fields.integer("sliding_window", default=0, least=0)  # 0 is none, as for vLLM
    if not window or not fields.flag("use_sliding_window", default=True):
        return (False,) * layers
    if kinds and len(kinds) != layers:
        raise InvalidInput(f"config.json: layer_types has {len(kinds)} entries for num_hidden_layers {layers}")
    if kinds:
        return tuple(kind == "sliding_attention" for kind in kinds)
    # transformers' GptOssConfig: every other layer slides, the first one too; others slide everywhere.
    return tuple(model_type != "gpt_oss" or i % 2 == 0 for i in range(layers))


def _experts(fields: Fields, model_type: str, layers: int) -> Experts | None:
    if model_type in DENSE_TYPES:
        return None
    count = fields.integer("num_local_experts", "n_routed_experts", "num_experts", most=1 << 16)
    top_k = fields.integer("num_experts_per_tok", "experts_per_token", most=1 << 16)
    if top_k > count:
        raise InvalidInput(f"config.json: num_experts_per_tok {top_k} is more than the {count} experts there are")
    shared = fields.integer("n_shared_experts", default=0, least=0)
    if model_type in DEEPSEEK_TYPES:
        width = fields.integer("moe_intermediate_size")
        return Experts(count, top_k, width, shared, shared * width, _from_layer(fields, layers))
    if model_type in QWEN_MOE:
        width = fields.integer("moe_intermediate_size")
        wide = fields.integer("shared_expert_intermediate_size", default=0, least=0)
        return Experts(count, top_k, width, int(wide > 0), wide, _every_nth(fields, layers))
    width = fields.integer("intermediate_size")
    if model_type in LLAMA4:
        return Experts(count, top_k, width, 1, width, _interleaved(fields, layers))
    wide = fields.integer("shared_intermediate_size", default=0, least=0)
    return Experts(count, top_k, width, int(wide > 0), wide, (True,) * layers)


def _from_layer(fields: Fields, layers: int) -> tuple[bool, ...]:
    first = fields.integer("first_k_dense_replace", default=0, least=0, most=layers)
    step = fields.integer("moe_layer_freq", default=1)
    return tuple(i >= first and i % step == 0 for i in range(layers))


def _every_nth(fields: Fields, layers: int) -> tuple[bool, ...]:
    dense = fields.items("mlp_only_layers")
    step = fields.integer("decoder_sparse_step", default=1)
    return tuple(i not in dense and (i + 1) % step == 0 for i in range(layers))


def _interleaved(fields: Fields, layers: int) -> tuple[bool, ...]:
    chosen = fields.items("moe_layers")
    step = fields.integer("interleave_moe_layer_step", default=1)
    return tuple(i in chosen if chosen else (i + 1) % step == 0 for i in range(layers))


def _dense_width(fields: Fields, model_type: str, experts: Experts | None) -> int:
    if model_type in LLAMA4:
        return fields.integer("intermediate_size_mlp")
    if experts is not None and all(experts.layers):
        return 0
    return fields.integer("intermediate_size")
