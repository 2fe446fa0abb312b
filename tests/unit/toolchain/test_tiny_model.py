"""The tiny model's files: the same everywhere, and a whole Mixtral."""

import hashlib
import json
import runpy
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors import deserialize

SCRIPT = runpy.run_path(str(Path(__file__).parents[3] / "scripts/tiny_model.py"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "tiny"
    SCRIPT["make"](directory)
    return directory


def digest(directory: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        whole.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def content(model: Path, name: str) -> Any:
    return json.loads((model / name).read_text())


def test_is_bitwise_what_every_other_machine_makes(model: Path) -> None:
    assert digest(model) == "12abf9834f6a4aa6d9b4ac1195faff8b4fafdd15bbeedf396162a8c51e18ebc7"


def test_made_again_takes_the_place_of_the_old_one(model: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tiny"
    directory.mkdir()
    (directory / "left-over").touch()
    SCRIPT["make"](directory)
    assert digest(directory) == digest(model)
    assert [each.name for each in tmp_path.iterdir()] == ["tiny"]


class TestWeights:
    def test_are_the_tensors_of_the_configured_mixtral(self, model: Path) -> None:
        config = content(model, "config.json")
        tensors = dict(deserialize((model / "model.safetensors").read_bytes()))
        layers, experts, hidden = (config[key] for key in ("num_hidden_layers", "num_local_experts", "hidden_size"))
        assert len(tensors) == 3 + layers * (2 + 4 + 1 + 3 * experts)
        assert {tensor["dtype"] for tensor in tensors.values()} == {"BF16"}
        assert tensors["lm_head.weight"]["shape"] == [config["vocab_size"], hidden]
        keys = tensors["model.layers.1.self_attn.k_proj.weight"]["shape"]
        assert keys == [config["num_key_value_heads"] * config["head_dim"], hidden]
        gate = tensors["model.layers.0.block_sparse_moe.gate.weight"]["shape"]
        assert gate == [experts, hidden]

    def test_keep_the_variance_that_a_layer_of_their_width_needs(self, model: Path) -> None:
        tensors = dict(deserialize((model / "model.safetensors").read_bytes()))
        data = bytes(tensors["model.layers.0.block_sparse_moe.experts.7.w2.weight"]["data"])
        values = [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, len(data), 2)]
        mean = sum(values) / len(values)
        variance = sum(value * value for value in values) / len(values)
        assert mean == pytest.approx(0.0, abs=1e-3)
        assert variance == pytest.approx(1 / 512, rel=0.02)

    def test_make_only_printable_tokens_likely(self, model: Path) -> None:
        tensors = dict(deserialize((model / "model.safetensors").read_bytes()))
        data = bytes(tensors["lm_head.weight"]["data"])
        rows = [data[at : at + 512] for at in range(0, len(data), 512)]
        assert [chr(token) for token, row in enumerate(rows) if any(row)] == [chr(code) for code in range(32, 127)]


class TestTokenizer:
    def test_has_a_symbol_of_its_own_for_every_byte(self, model: Path) -> None:
        tokenizer = content(model, "tokenizer.json")
        vocabulary = tokenizer["model"]["vocab"]
        assert sorted(vocabulary.values()) == list(range(256))
        assert vocabulary["A"] == 65
        assert vocabulary["Ġ"] == 32, "the byte-level convention for a space"
        assert vocabulary["Ċ"] == 10, "and for a line feed"

    def test_special_tokens_come_after_the_bytes_and_agree_with_the_configuration(self, model: Path) -> None:
        special = {token["content"]: token["id"] for token in content(model, "tokenizer.json")["added_tokens"]}
        config, tokenizer = content(model, "config.json"), content(model, "tokenizer_config.json")
        for role in ("pad", "bos", "eos"):
            assert special[tokenizer[f"{role}_token"]] == config[f"{role}_token_id"]
        assert config["vocab_size"] == 256 + len(special)
