"""From config.json to a ModelSpec."""

from typing import Any

import pytest

from moestro.catalog import load_model
from moestro.errors import InvalidInput
from moestro.planning.fields import UnknownArchitecture
from moestro.planning.model import AttentionKind
from moestro.planning.quantization import parse as parse_quantization
from moestro.planning.spec import spec_from_config
from moestro.planning.tensors import Tensor, class_of, layer_of
from tests.unit.planning.models import TINY, TINY_CONFIG, moe_config

PUBLISHED = {  # billions of parameters as the models' own cards count them, without multi-token prediction
    "deepseek-v3.2": (671.9, 0.005),
    "deepseek-r1": (671.0, 0.005),
    "kimi-k2": (1026.4, 0.005),
    "llama-4-maverick": (401.6, 0.005),
    "mixtral-8x22b": (140.6, 0.005),
    "mixtral-8x7b": (46.70, 0.001),
    "qwen2-57b-a14b": (57.4, 0.005),
    "llama-3-70b": (70.6, 0.005),
    "qwen3-235b-a22b": (235, 0.01),
    "qwen3-30b-a3b": (30.5, 0.01),
    "gpt-oss-120b": (116.8, 0.01),
    "gpt-oss-20b": (20.9, 0.01),
    "glm-4.5": (355, 0.01),
    "minimax-m2": (230, 0.01),
}


class TestParameters:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_as_published(self, name: str) -> None:
        billions, tolerance = PUBLISHED[name]
        assert load_model(name).parameters / 1e9 == pytest.approx(billions, rel=tolerance)

    def test_bytes_as_published(self) -> None:
        model = load_model("mixtral-8x7b")
        assert model.file_gib * 2**30 == pytest.approx(93_405_577_216, rel=1e-4)
        assert load_model("gpt-oss-120b").file_gib == pytest.approx(60.87, rel=0.005)

    @pytest.mark.parametrize(("name", "active"), [("deepseek-v3.2", 37), ("mixtral-8x22b", 39), ("kimi-k2", 32)])
    def test_active(self, name: str, active: float) -> None:
        assert load_model(name).active_parameters / 1e9 == pytest.approx(active, rel=0.05)


class TestAttention:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("mixtral-8x7b", AttentionKind.GQA),
            ("kimi-k2", AttentionKind.MLA),
            ("deepseek-v3.2", AttentionKind.DSA),
            ("llama-4-maverick", AttentionKind.CHUNKED),
            ("gpt-oss-20b", AttentionKind.SLIDING),
        ],
    )
    def test_kind(self, name: str, kind: AttentionKind) -> None:
        assert load_model(name).attention.kind is kind

    def test_gpt_oss_slides_in_every_other_layer(self) -> None:
        assert load_model("gpt-oss-20b").attention.sliding_layers[:4] == (True, False, True, False)

    def test_switched_off_window(self) -> None:
        spec = spec_from_config(moe_config(sliding_window=4096, use_sliding_window=False), "m")
        assert spec.attention.kind is AttentionKind.GQA

    def test_nested_text_config(self) -> None:
        model = load_model("llama-4-maverick")
        assert (model.layers, model.experts and model.experts.count) == (48, 128)
        assert sum(model.experts.layers) == 24 if model.experts else False


class TestQuantization:
    @pytest.mark.parametrize(
        ("raw", "scheme", "group"),
        [
            ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block", 0),
            ({"quant_method": "fp8"}, "fp8-tensor", 0),
            ({"quant_method": "awq", "bits": 4, "group_size": 64}, "int4", 64),
            ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "int4", 128),
            ({"quant_method": "mxfp4"}, "mxfp4", 32),
            ({"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4", "group_size": 16}}, "nvfp4", 16),
            ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8-tensor", 0),
        ],
    )
    def test_schemes(self, raw: dict[str, Any], scheme: str, group: int) -> None:
        found = parse_quantization({"quantization_config": raw})
        assert (found.scheme, found.group_size) == (scheme, group)

    @pytest.mark.parametrize(
        ("weights", "scheme"),
        [
            ({"num_bits": 8, "type": "float", "strategy": "channel"}, "fp8-channel"),
            ({"num_bits": 8, "type": "float", "strategy": "tensor"}, "fp8-tensor"),
            ({"num_bits": 4, "type": "int", "group_size": 32, "symmetric": True}, "int4"),
            ({"num_bits": 4, "type": "float", "group_size": 16}, "nvfp4"),
        ],
    )
    def test_compressed_tensors(self, weights: dict[str, Any], scheme: str) -> None:
        raw = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": weights}}}
        assert parse_quantization({"quantization_config": raw}).scheme == scheme

    @pytest.mark.parametrize(
        ("weights", "size"),
        [
            ({"num_bits": 4, "type": "int", "group_size": 128, "symmetric": True}, 0.5 + 2 / 128),
            ({"num_bits": 4, "type": "int", "group_size": 32, "symmetric": False}, 0.5 + 2.5 / 32),
            ({"num_bits": 8, "type": "int", "group_size": 32, "symmetric": True}, 1 + 2 / 32),
            ({"num_bits": 8, "type": "int", "group_size": -1}, 1.0),
            ({"num_bits": 4, "type": "float", "group_size": 16}, 0.5 + 1 / 16),
            ({"num_bits": 4, "type": "float", "group_size": 32}, 0.5 + 1 / 32),
        ],
    )
    def test_scales_of_groups_count(self, weights: dict[str, Any], size: float) -> None:
        raw = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": weights}}}
        assert parse_quantization({"quantization_config": raw}).bytes_per_parameter == pytest.approx(size, abs=1e-6)

    def test_ignored_modules_keep_their_dtype(self) -> None:
        raw = {"quant_method": "fp8", "ignored_layers": ["re:.*self_attn.*", "model.layers.0.*", "lm_head"]}
        found = parse_quantization({"quantization_config": raw})
        assert not found.covers("model.layers.3.self_attn.q_proj")
        assert not found.covers("model.layers.0.mlp.up_proj")
        assert found.covers("model.layers.3.mlp.up_proj")

    def test_a_pattern_takes_in_what_is_below_it(self) -> None:
        raw = {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.*.self_attn"]}
        found = parse_quantization({"quantization_config": raw})
        assert not found.covers("model.layers.3.self_attn.q_proj")
        assert found.covers("model.layers.3.self_attn2.q_proj")

    def test_targets_are_all_that_is_covered(self) -> None:
        group = {"targets": ["re:.*experts.*"], "weights": {"num_bits": 4, "type": "int", "group_size": 128}}
        raw = {"quant_method": "compressed-tensors", "config_groups": {"g": group}}
        found = parse_quantization({"quantization_config": raw})
        assert found.covers("model.layers.3.mlp.experts.0.gate_proj")
        assert not found.covers("model.layers.3.self_attn.o_proj")

    def test_groups_of_one_kind_are_one(self) -> None:
        weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
        groups = {"a": {"targets": ["Linear"], "weights": weights}, "b": {"targets": ["re:x"], "weights": weights}}
        raw = {"quant_method": "compressed-tensors", "config_groups": groups}
        assert parse_quantization({"quantization_config": raw}).targets == ()

    @pytest.mark.parametrize("second", [{"num_bits": 8, "type": "float", "strategy": "channel"}, None])
    def test_groups_of_several_kinds_are_not_understood(self, second: dict[str, Any] | None) -> None:
        first = {"num_bits": 4, "type": "int", "group_size": 128}
        groups = {"a": {"weights": first}, "b": {"weights": second}} if second else {}
        raw = {"quant_method": "compressed-tensors", "config_groups": groups}
        with pytest.raises(UnknownArchitecture, match=f"config_groups '{2 if second else 0} kinds of weights'"):
            parse_quantization({"quantization_config": raw})

    @pytest.mark.parametrize(
        ("raw", "cache"),
        [
            ({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}, "fp8"),
            ({"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": None}}, ""),
            ({"quant_algo": "NVFP4", "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False}}, "fp8"),
            ({"quant_algo": "FP8", "kv_cache_quant_algo": "strange"}, ""),
        ],
    )
    def test_the_cache_that_modelopt_declares(self, raw: dict[str, Any], cache: str) -> None:
        assert parse_quantization({"quantization_config": {"quant_method": "modelopt", **raw}}).kv_cache == cache

    def test_the_cache_that_compressed_tensors_declare(self) -> None:
        weights = {"num_bits": 8, "type": "float", "strategy": "tensor"}
        raw = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": weights}}}
        assert parse_quantization({"quantization_config": raw}).kv_cache == ""
        raw["kv_cache_scheme"] = {"num_bits": 8, "type": "float"}
        assert parse_quantization({"quantization_config": raw}).kv_cache == "fp8"

    def test_mxfp4_is_of_experts_alone(self) -> None:
        found = parse_quantization({"quantization_config": {"quant_method": "mxfp4"}})
        assert found.covers("model.layers.3.mlp.experts.0.gate_proj")
        assert not found.covers("model.layers.3.self_attn.o_proj")

    def test_unknown_method_is_named(self) -> None:
        with pytest.raises(InvalidInput, match="quant_method 'zip' is not understood"):
            parse_quantization({"quantization_config": {"quant_method": "zip"}})


class TestMistakes:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_hidden_layers": None}, "num_hidden_layers is missing"),
            ({"num_hidden_layers": -3}, "num_hidden_layers is -3"),
            ({"hidden_size": "big"}, "hidden_size is 'big'"),
            ({"num_attention_heads": True}, "num_attention_heads is True"),
            ({"num_key_value_heads": 5}, "32 is no multiple of num_key_value_heads 5"),
            ({"num_experts_per_tok": 9}, "9 is more than the 8 experts"),
            ({"vocab_size": 0}, "vocab_size is 0"),
            ({"head_dim": None, "hidden_size": 16}, "hidden_size 16 is less than num_attention_heads 32"),
            ({"layer_types": "full"}, "layer_types is 'full', not a list"),
        ],
    )
    def test_one_line_with_field_and_value(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message) as caught:
            spec_from_config(moe_config(**changes), "m")
        assert "\n" not in str(caught.value)

    def test_unknown_architecture_names_the_field_and_bounds_the_memory(self) -> None:
        tensors = [Tensor("model.x.weight", "BF16", (1 << 20, 1 << 10))]
        with pytest.raises(UnknownArchitecture, match="model_type 'mamba9' is not understood") as caught:
            spec_from_config({"model_type": "mamba9"}, "m", tensors)
        assert "2.0/N GiB" in str(caught.value)
        assert (caught.value.field, caught.value.total_bytes) == ("model_type", 1 << 31)

    def test_missing_model_type(self) -> None:
        with pytest.raises(UnknownArchitecture, match="model_type is missing"):
            spec_from_config(moe_config(model_type=None), "m")

    def test_a_language_model_without_a_type_has_that_of_the_whole(self) -> None:
        config = {"model_type": "mixtral", "text_config": moe_config(model_type=None)}
        assert spec_from_config(config, "m").model_type == "mixtral"

    def test_no_architectures_is_told(self) -> None:
        assert "names no architectures" in spec_from_config(moe_config(architectures=None), "m").notes[-1]

    def test_unknown_layer_type(self) -> None:
        with pytest.raises(UnknownArchitecture, match="layer_types 'linear_attention'"):
            spec_from_config(moe_config(layer_types=["linear_attention"] * 32), "m")

    def test_not_an_object(self) -> None:
        with pytest.raises(InvalidInput, match="no JSON object"):
            spec_from_config([], "m")  # type: ignore[arg-type]


class TestHeaders:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("model.embed_tokens.weight", "embedding"),
            ("lm_head.weight", "lm_head"),
            ("model.layers.3.mlp.experts.7.down_proj.weight_scale_inv", "routed experts"),
            ("model.layers.3.mlp.shared_experts.up_proj.weight", "shared experts"),
            ("model.layers.3.mlp.gate.weight", "router"),
            ("model.layers.0.mlp.gate_proj.weight", "dense MLP"),
            ("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "attention q_a kv_a"),
            ("model.layers.0.self_attn.kv_a_layernorm.weight", "norms"),
            ("model.layers.0.self_attn.kv_b_proj.weight", "attention"),
            ("model.layers.0.self_attn.k_proj.weight", "attention k v"),
            ("model.layers.0.self_attn.indexer.wq_b.weight", "indexer"),
            ("language_model.model.layers.1.feed_forward.router.weight", "router"),
            ("vision_model.model.layers.0.self_attn.q_proj.weight", "vision tower"),
            ("model.mystery", "other tensors"),
        ],
    )
    def test_classes(self, name: str, kind: str) -> None:
        assert class_of(name) == kind

    def test_layers(self) -> None:
        assert layer_of("model.layers.17.mlp.gate.weight") == 17
        assert layer_of("lm_head.weight") is None

    def test_bytes_come_from_the_headers_and_mtp_is_left_out(self) -> None:
        tensors = [
            Tensor("model.layers.0.block_sparse_moe.experts.0.w1.weight", "BF16", (512, 256)),
            Tensor("model.layers.2.block_sparse_moe.experts.0.w1.weight", "BF16", (512, 256)),  # layer 2 of 2: MTP
        ]
        spec = spec_from_config(TINY_CONFIG, "m", tensors)
        loaded = [one for one in spec.weights if not one.runtime]
        assert [(one.name, one.total_bytes) for one in loaded] == [("routed experts", 512 * 256 * 2)]
        assert spec.exact

    def test_prediction_outside_the_layers_is_left_out_too(self) -> None:
        spec = spec_from_config(
            TINY_CONFIG, "m", [Tensor("mtp.fc.weight", "BF16", (512, 256)), Tensor("x", "BF16", (4,))]
        )
        assert sum(one.total_bytes for one in spec.weights if not one.runtime) == 8

    def test_wide_weights_load_in_two_bytes_and_scales_do_not(self) -> None:
        names = ("model.layers.0.self_attn.o_proj.weight", "model.layers.0.self_attn.o_proj.weight_scale_inv")
        spec = spec_from_config(TINY_CONFIG, "m", [Tensor(name, "F32", (10, 10)) for name in names])
        assert sum(one.total_bytes for one in spec.weights if not one.runtime) == 100 * 2 + 100 * 4

    def test_unknown_tensors_are_told(self) -> None:
        spec = spec_from_config(TINY_CONFIG, "m", [Tensor("model.mystery", "F32", (10,))])
        assert any("not understood" in note for note in spec.notes)


def test_multi_token_prediction_is_noted() -> None:
    assert load_model("deepseek-v3.2").mtp_layers == 1
    assert load_model("minimax-m2").mtp_layers == 3
    assert TINY.mtp_layers == 0
