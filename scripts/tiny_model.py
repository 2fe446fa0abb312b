"""Make the tiny Mixtral that the `local` stack serves: `scripts/tiny_model.py DIRECTORY`.

It is a real Mixture of Experts (2 layers, 8 experts of which 2 answer, hidden size 256, 13 MB in bfloat16) with random
weights and a tokenizer of bytes, so a token is a byte. It says nonsense, but always the same nonsense: every file is
bitwise the same on every machine, and greedy decoding is its default. The weights of tokens that are not printable
ASCII are zero in the output layer, so that the nonsense can be read.
"""

import hashlib
import json
import math
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HIDDEN, LAYERS, EXPERTS, CHOSEN_EXPERTS, EXPERT_WIDTH = 256, 2, 8, 2, 512
HEADS, KV_HEADS, HEAD_DIM = 8, 4, 32
POSITIONS = 4096
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>")
VOCABULARY = 256 + len(SPECIAL_TOKENS)
OUTPUT_GAIN = 3.0
"""How much sharper than a trained model's the choice of the next token is."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CONFIG: dict[str, Any] = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": HIDDEN,
    "intermediate_size": EXPERT_WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "num_local_experts": EXPERTS,
    "num_experts_per_tok": CHOSEN_EXPERTS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "sliding_window": None,
    "tie_word_embeddings": False,
    "pad_token_id": 256,
    "bos_token_id": 257,
    "eos_token_id": 258,
    "torch_dtype": "bfloat16",
}
TOKENIZER_CONFIG: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "model_max_length": POSITIONS,
    "clean_up_tokenization_spaces": False,
    "chat_template": CHAT_TEMPLATE,
}
GENERATION_CONFIG: dict[str, Any] = {"do_sample": True, "top_k": 1, "eos_token_id": 258, "pad_token_id": 256}


def make(directory: Path) -> None:
    """Write the checkpoint; the directory appears only when it is whole, and takes the place of an older one."""
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    files = {
        "config.json": CONFIG,
        "generation_config.json": GENERATION_CONFIG,
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": TOKENIZER_CONFIG,
    }
    for name, content in files.items():
        (unfinished / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (unfinished / "model.safetensors").write_bytes(_safetensors(list(_tensors())))
    shutil.rmtree(directory, ignore_errors=True)
    unfinished.rename(directory)


def _safetensors(tensors: list[tuple[str, list[int], bytes]]) -> bytes:
    """The safetensors format: the header's length, the header as JSON padded to 8 bytes, then the values.

    The library's own writer promises no order and takes raw memory addresses; this is bitwise the same everywhere.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape, data in tensors:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, start + len(data)]}
        start += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors)


def _tensors() -> Iterator[tuple[str, list[int], bytes]]:
    """Every tensor of the checkpoint as (name, shape, bfloat16 bytes)."""
    yield "model.embed_tokens.weight", [VOCABULARY, HIDDEN], _random("embed", VOCABULARY * HIDDEN, fan_in=1)
    for layer in range(LAYERS):
        yield from _layer(f"model.layers.{layer}.")
    yield _ones("model.norm.weight")
    yield "lm_head.weight", [VOCABULARY, HIDDEN], _output_weights()


def _layer(prefix: str) -> Iterator[tuple[str, list[int], bytes]]:
    yield _ones(f"{prefix}input_layernorm.weight")
    yield _ones(f"{prefix}post_attention_layernorm.weight")
    yield _linear(f"{prefix}self_attn.q_proj.weight", HEADS * HEAD_DIM, HIDDEN)
    yield _linear(f"{prefix}self_attn.k_proj.weight", KV_HEADS * HEAD_DIM, HIDDEN)
    yield _linear(f"{prefix}self_attn.v_proj.weight", KV_HEADS * HEAD_DIM, HIDDEN)
    yield _linear(f"{prefix}self_attn.o_proj.weight", HIDDEN, HEADS * HEAD_DIM)
    yield _linear(f"{prefix}block_sparse_moe.gate.weight", EXPERTS, HIDDEN)
    for expert in range(EXPERTS):
        yield _linear(f"{prefix}block_sparse_moe.experts.{expert}.w1.weight", EXPERT_WIDTH, HIDDEN)
        yield _linear(f"{prefix}block_sparse_moe.experts.{expert}.w2.weight", HIDDEN, EXPERT_WIDTH)
        yield _linear(f"{prefix}block_sparse_moe.experts.{expert}.w3.weight", EXPERT_WIDTH, HIDDEN)


def _linear(name: str, rows: int, columns: int) -> tuple[str, list[int], bytes]:
    return name, [rows, columns], _random(name, rows * columns, fan_in=columns)


def _ones(name: str) -> tuple[str, list[int], bytes]:
    return name, [HIDDEN], _bfloat16(1.0) * HIDDEN


def _output_weights() -> bytes:
    printable = range(ord(" "), ord("~") + 1)
    row_bytes = HIDDEN * 2
    random = _random("lm_head", len(printable) * HIDDEN, fan_in=HIDDEN, gain=OUTPUT_GAIN)
    zeros = bytes(row_bytes)
    return zeros * printable.start + random + zeros * (VOCABULARY - printable.stop)


def _random(name: str, count: int, fan_in: int, gain: float = 1.0) -> bytes:
    """Values of 256 levels, uniform around zero, whose variance is ``gain² / fan_in``; the name is the seed."""
    bound = gain * math.sqrt(3.0 / fan_in)
    levels = [_bfloat16(bound * (2 * level - 255) / 255) for level in range(256)]
    stream = hashlib.shake_256(name.encode()).digest(count)
    values = bytearray(2 * count)
    values[0::2] = stream.translate(bytes(low for low, _ in levels))
    values[1::2] = stream.translate(bytes(high for _, high in levels))
    return bytes(values)


def _bfloat16(value: float) -> bytes:
    """The upper half of the IEEE 754 single, little-endian (truncated, not rounded)."""
    return struct.pack("<f", value)[2:]


def _tokenizer() -> dict[str, Any]:
    """A byte-level tokenizer in the format of the `tokenizers` library: 256 bytes, no merges, three special tokens."""
    special = [
        {"id": 256 + index, "content": token, "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for index, token in enumerate(SPECIAL_TOKENS)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {_symbol(byte): byte for byte in range(256)}, "merges": []},
    }


def _symbol(byte: int) -> str:
    """The character that stands for a byte in byte-level vocabularies: itself when visible, else one above U+0100."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    if byte in visible:
        return chr(byte)
    hidden = [each for each in range(256) if each not in visible]
    return chr(0x100 + hidden.index(byte))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/tiny_model.py DIRECTORY")
    make(Path(sys.argv[1]))
