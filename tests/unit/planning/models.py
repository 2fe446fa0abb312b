"""Small configurations for tests."""

from typing import Any

from moestro.planning.model import ModelSpec
from moestro.planning.spec import spec_from_config

TINY_CONFIG: dict[str, Any] = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 259,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}
TINY: ModelSpec = spec_from_config(TINY_CONFIG, "tiny-mixtral")


def moe_config(**changes: Any) -> dict[str, Any]:
    """A Mixtral configuration of real size with some fields changed; None takes a field out."""
    config = TINY_CONFIG | {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 32000,
        "max_position_embeddings": 32768,
    }
    return {key: value for key, value in (config | changes).items() if value is not None}
