"""Weights, bytes a token and tokens of every family under exact layouts, against sums that are written out here.

The configurations are directories with nothing but config.json, as the models' own repositories have it; the sums know
nothing of the planner. Bytes: 2 of BF16, 1 + 4/16384 of FP8 in blocks of 128x128 with a float scale each.
"""

from math import ceil
from pathlib import Path
from typing import NamedTuple

import pytest

from moestro.catalog import load_gpu, load_model
from moestro.planning.kv import tokens_that_fit
from moestro.planning.layout import Wanted
from moestro.planning.model import AttentionKind
from moestro.planning.plan import Layout, Plan
from moestro.planning.planner import Request, plan
from moestro.planning.spec import spec_from_config
from tests.unit.planning.models import moe_config

CONFIGS = Path(__file__).parents[2] / "fixtures" / "configs"
GIB = 2**30
FP8 = 1 + 4 / (128 * 128)
BF16 = 2


def planned(name: str, layout: Layout, gpu: str = "H200", **knobs: object) -> Plan:
    wanted = Wanted(layout.tp, layout.pp, layout.dp, layout.ep, layout.dcp, layout.nodes)
    request = Request(wanted=wanted, context=4096, **knobs)  # type: ignore[arg-type]
    found = plan(load_model(str(CONFIGS / name)), load_gpu(gpu), request)
    assert found.layout == layout
    return found


class Deepseek(NamedTuple):
    """DeepSeek V3 by its paper's sizes: MLA, three dense layers, 256 experts; Kimi K2 with other numbers."""

    heads: int = 128
    experts: int = 256
    dense: int = 3
    vocabulary: int = 129280
    context: int = 163840
    indexer: bool = False

    def layer(self, moe: bool, tp: int, ranks: int, ep: bool) -> float:
        hidden, queries, latent = 7168, 1536, 512
        low = hidden * (queries + latent + 64)  # q_a and kv_a: on every rank
        high = queries * self.heads * 192 + latent * self.heads * 256 + self.heads * 128 * hidden
        absorbed = self.heads * latent * 256 * BF16
        one_expert = 3 * hidden * 2048
        attention = low * FP8 + (high * FP8 + absorbed) / tp
        if self.indexer:
            attention += (queries * 64 * 128 + hidden * (128 + 64)) * FP8
        if not moe:
            return attention + 3 * hidden * 18432 * FP8 / tp
        held = -(-self.experts // ranks) if ep else self.experts / ranks
        router = hidden * self.experts * BF16
        return attention + (held + 1 / tp) * one_expert * FP8 + router

    def stages(self, split: list[int], tp: int, dp: int = 1, ep: bool = False) -> list[float]:
        found, start = [], 0
        for number, layers in enumerate(split):
            moe = [index >= self.dense for index in range(start, start + layers)]
            size = sum(self.layer(one, tp, tp * dp, ep) for one in moe)
            ends = (number == 0) + (number == len(split) - 1)
            size += ends * self.vocabulary * 7168 * BF16 / tp + self.context * 64 * BF16
            found.append(size / GIB)
            start += layers
        return found


class Plain(NamedTuple):
    """Grouped-query attention in BF16, with or without experts in every layer."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    width: int
    experts: int = 0
    shared: int = 0
    tied: bool = False

    def layer(self, tp: int, ranks: int, ep: bool) -> float:
        attention = 2 * self.hidden * self.heads * self.head_dim / tp
        attention += 2 * self.hidden * max(1, self.kv_heads / tp) * self.head_dim
        if not self.experts:
            return (attention + 3 * self.hidden * self.width / tp) * BF16
        held = -(-self.experts // ranks) if ep else self.experts / ranks
        shared = 3 * self.hidden * self.shared / tp
        return (attention + held * 3 * self.hidden * self.width + shared + self.hidden * self.experts) * BF16

    def stages(self, split: list[int], tp: int, dp: int = 1, ep: bool = False) -> list[float]:
        assert sum(split) == self.layers
        rows, rope = self.vocabulary * self.hidden * BF16 / tp, self.context * self.head_dim * BF16
        found = []
        for number, layers in enumerate(split):
            first, last = number == 0, number == len(split) - 1
            ends = first + (last and not (self.tied and first))
            found.append((layers * self.layer(tp, tp * dp, ep) + ends * rows + rope) / GIB)
        return found


V3, V32 = Deepseek(), Deepseek(indexer=True)
KIMI = Deepseek(heads=64, experts=384, dense=1, vocabulary=163840, context=131072)
MIXTRAL_22B = Plain(56, 6144, 48, 8, 128, 32768, 65536, 16384, experts=8)
MIXTRAL_7B = Plain(32, 4096, 32, 8, 128, 32000, 32768, 14336, experts=8)
QWEN2 = Plain(28, 3584, 28, 4, 128, 151936, 32768, 2560, experts=64, shared=20480)
QWEN3 = Plain(48, 2048, 32, 4, 128, 151936, 40960, 768, experts=128)
LLAMA = Plain(80, 8192, 64, 8, 128, 128256, 8192, 28672)
TIED = Plain(16, 2048, 32, 8, 64, 128256, 131072, 8192, tied=True)

WEIGHTS = [  # fixture, sizes, layout, layers of each stage
    ("deepseek-v3", V3, Layout(tp=8), [61]),
    ("deepseek-v3", V3, Layout(tp=8, ep=True), [61]),
    ("deepseek-v3", V3, Layout(tp=1, dp=8, ep=True), [61]),
    ("deepseek-v3", V3, Layout(tp=2, dp=4, ep=True), [61]),
    ("deepseek-v3", V3, Layout(tp=8, pp=2, nodes=2), [31, 30]),
    ("deepseek-v3", V3, Layout(tp=8, pp=4, nodes=4), [15, 15, 16, 15]),
    ("deepseek-v3", V3, Layout(tp=8, dp=3, ep=True, nodes=3), [61]),  # 256 experts over 24: 11 on the first ranks
    ("deepseek-v3.2", V32, Layout(tp=8, ep=True), [61]),
    ("deepseek-v3.2", V32, Layout(tp=1, dp=8, ep=True), [61]),
    ("deepseek-v3.2", V32, Layout(tp=16, nodes=2), [61]),
    ("kimi-k2", KIMI, Layout(tp=8, pp=2, nodes=2), [31, 30]),
    ("kimi-k2", KIMI, Layout(tp=16, ep=True, nodes=2), [61]),
    ("kimi-k2", KIMI, Layout(tp=1, dp=16, ep=True, nodes=2), [61]),
    ("mixtral-8x22b", MIXTRAL_22B, Layout(tp=8), [56]),
    ("mixtral-8x22b", MIXTRAL_22B, Layout(tp=4, ep=True), [56]),
    ("mixtral-8x22b", MIXTRAL_22B, Layout(dp=3, ep=True), [56]),  # 8 experts over 3: 3 on the first ranks
    ("mixtral-8x22b", MIXTRAL_22B, Layout(tp=16, nodes=2), [56]),  # 8 KV heads: twice each
    ("mixtral-8x7b", MIXTRAL_7B, Layout(tp=2, pp=2, dp=2), [16, 16]),
    ("mixtral-8x7b", MIXTRAL_7B, Layout(pp=3), [11, 11, 10]),
    ("qwen2-57b-a14b", QWEN2, Layout(tp=4), [28]),
    ("qwen2-57b-a14b", QWEN2, Layout(tp=4, dp=2, ep=True), [28]),
    ("qwen3-30b-a3b", QWEN3, Layout(tp=8, ep=True), [48]),
    ("llama-3-70b", LLAMA, Layout(tp=4), [80]),
    ("llama-3-70b", LLAMA, Layout(tp=2, pp=3), [27, 27, 26]),
    ("llama-3-70b", LLAMA, Layout(tp=2, dp=4), [80]),
    ("llama-tied", TIED, Layout(), [16]),
    ("llama-tied", TIED, Layout(tp=2, pp=2), [8, 8]),
]


@pytest.mark.parametrize(("name", "sizes", "layout", "split"), WEIGHTS, ids=lambda one: str(one).replace(" ", "-")[:40])
def test_weights_of_every_stage(name: str, sizes: Deepseek | Plain, layout: Layout, split: list[int]) -> None:
    found = planned(name, layout).memory.weights_gib_per_gpu
    assert list(found) == pytest.approx(sizes.stages(split, layout.tp, layout.dp, layout.ep), rel=1e-3)


def test_maverick() -> None:
    """24 layers of 128 experts and a shared one, 24 dense of twice the width; attention and vision in BF16 too."""
    tp, hidden, experts, width = 8, 5120, 128, 8192
    attention = 48 * (2 * hidden * 40 * 128 + 2 * hidden * 8 * 128) / tp
    moe = 24 * ((experts + 1) * 3 * hidden * width / tp + hidden * experts)
    dense = 24 * 3 * hidden * 16384 / tp
    ends = 2 * 202048 * hidden / tp
    text = (attention + moe + dense + ends) * BF16 / GIB
    found = planned("llama-4-maverick", Layout(tp=8)).memory.weights_gib_per_gpu[0]
    assert text < found < text * 1.006  # the vision tower and the rotary cache of a million positions are the rest


def test_gpt_oss_as_it_is_stored() -> None:
    """Its files have 60.8 GiB; the kernels pad 2880 to 2944 and 3072, which the servers' logs show as well."""
    experts = 36 * 128 * 3 * 2880 * 2880 * (0.5 + 1 / 32) / GIB
    padded = experts * (2944 / 2880) * (3072 / 2880)
    rest = (2 * 201088 + 36 * 2 * (64 + 8) * 64) * 2880 * BF16 / GIB
    found = planned("gpt-oss-120b", Layout()).memory.weights_gib_per_gpu[0]
    assert found == pytest.approx(padded + rest, rel=0.005)
    assert load_model("gpt-oss-120b").file_gib == pytest.approx(experts + rest, rel=0.005)


BYTES = [  # fixture, layout, GPU, cache dtype, bytes a token on a GPU of the fullest stage
    ("deepseek-v3", Layout(tp=8), "H200", "auto", 61 * 576 * 2),
    ("deepseek-v3", Layout(tp=1, dp=8, ep=True), "H200", "auto", 61 * 576 * 2),
    ("deepseek-v3", Layout(tp=8), "H200", "fp8", 61 * 576),
    ("deepseek-v3", Layout(tp=8, pp=2, nodes=2), "H200", "auto", 31 * 576 * 2),
    ("deepseek-v3.2", Layout(tp=8, ep=True), "H200", "auto", 78324),
    ("deepseek-v3.2", Layout(tp=8, ep=True), "H200", "fp8", 48068),
    ("deepseek-v3.2", Layout(tp=8, ep=True), "H200", "fp8_ds_mla", 48068),
    ("deepseek-v3.2", Layout(tp=8, ep=True), "B200", "auto", 78324),
    ("deepseek-v3.2", Layout(tp=8, ep=True), "B200", "fp8", 43188),
    ("deepseek-v3.2", Layout(tp=8, ep=True), "B200", "fp8_ds_mla", 48068),
    ("deepseek-v3.2", Layout(tp=8, ep=True), "B200", "nvfp4_ds_mla", 29524),
    ("deepseek-v3.2", Layout(tp=8, pp=2, nodes=2), "H100", "auto", 31 * (1152 + 132)),
    ("kimi-k2", Layout(tp=16, nodes=2), "H200", "auto", 70272),
    ("kimi-k2", Layout(tp=8, pp=2, nodes=2), "H100", "auto", 35712),
    ("mixtral-8x22b", Layout(tp=2), "B200", "auto", 114688),
    ("mixtral-8x22b", Layout(tp=8), "H100", "auto", 28672),
    ("mixtral-8x22b", Layout(tp=16, nodes=2), "H100", "auto", 28672),
    ("mixtral-8x22b", Layout(dp=4, ep=True), "H200", "auto", 229376),
    ("mixtral-8x7b", Layout(tp=8), "H100", "fp8", 8192),
    ("mixtral-8x7b", Layout(pp=3), "H200", "auto", 11 * 4096),
    ("qwen2-57b-a14b", Layout(tp=4), "H100", "auto", 14336),
    ("qwen3-30b-a3b", Layout(tp=8, ep=True), "H100", "auto", 48 * 2 * 128 * 2),
    ("llama-4-maverick", Layout(tp=8), "H200", "auto", 24576),
    ("llama-4-maverick", Layout(tp=8), "H200", "fp8", 12288),
    ("llama-3-70b", Layout(tp=1), "H200", "auto", 327680),
    ("llama-3-70b", Layout(tp=16, nodes=2), "H100", "auto", 40960),
    ("llama-tied", Layout(tp=2, pp=2), "H100", "auto", 8 * 4 * 2 * 64 * 2),
]


@pytest.mark.parametrize(("name", "layout", "gpu", "dtype", "size"), BYTES)
def test_bytes_a_token(name: str, layout: Layout, gpu: str, dtype: str, size: int) -> None:
    assert planned(name, layout, gpu, kv_cache_dtype=dtype).memory.kv_bytes_per_token_per_gpu == size


@pytest.mark.parametrize(
    ("name", "layout", "gpu"),
    [
        ("deepseek-v3", Layout(tp=8, ep=True), "H200"),
        ("deepseek-v3.2", Layout(tp=8, ep=True), "H200"),
        ("deepseek-v3.2", Layout(tp=2, dp=4, ep=True), "H200"),
        ("kimi-k2", Layout(tp=8, pp=2, nodes=2), "H100"),
        ("kimi-k2", Layout(tp=8, pp=2, dcp=8, nodes=2), "H100"),
        ("mixtral-8x22b", Layout(tp=4, ep=True), "H200"),
        ("llama-3-70b", Layout(tp=2, dp=2), "H200"),
        ("llama-tied", Layout(pp=2), "L40S"),
    ],
)
def test_tokens_are_what_is_left_over_the_bytes_of_each(name: str, layout: Layout, gpu: str) -> None:
    found = planned(name, layout, gpu, gpu_memory_utilization=0.9)
    memory, stages = found.memory, len(found.memory.weights_gib_per_gpu)
    layers = load_model(str(CONFIGS / name)).layers
    split = [layers] if stages == 1 else [-(-layers // 2), layers // 2]
    a_layer = memory.kv_bytes_per_token_per_gpu / max(split)
    budget = load_gpu(gpu).memory_gib * 0.9
    left = [budget - weights - memory.overhead_gib_per_gpu for weights in memory.weights_gib_per_gpu]
    tokens = min(free * GIB / (a_layer * count) for free, count in zip(left, split, strict=True))
    assert memory.kv_tokens == pytest.approx(tokens * layout.dp * layout.dcp, rel=2e-3)


KINDS = ["full_attention", "sliding_attention"]


class TestSlidingLayers:
    """gpt-oss-20b: 12 layers keep everything, 12 a window of 128; a layer's token is 8 heads x 2 x 64 x 2 bytes."""

    LAYER = 8 * 2 * 64 * 2

    def tokens(self, available: float, context: int, in_flight: int, stage: tuple[int, int] = (0, 24)) -> int:
        return tokens_that_fit(load_model("gpt-oss-20b"), available, stage, self.LAYER, context, in_flight)

    def test_a_request_takes_blocks_of_both_kinds(self) -> None:
        blocks = 10_000
        needed = 131072 / 16 + ceil((127 + 4096) / 16) + 1
        assert self.tokens(blocks * 12 * 16 * self.LAYER, 131072, 4096) == int(blocks / needed * 131072)

    def test_a_short_request_is_kept_whole_by_both(self) -> None:
        assert self.tokens(10_000 * 12 * 16 * self.LAYER, 1024, 4096) == int(10_000 / (64 + 64 + 1) * 1024)

    def test_kinds_of_nearly_as_many_layers_share_a_size(self) -> None:
        """13 sliding and 12 others: groups of 13, one of them with a layer that is not there."""
        model = spec_from_config(
            moe_config(num_hidden_layers=25, layer_types=["sliding_attention", *KINDS * 12], sliding_window=128), "m"
        )
        one = 8 * 2 * 128 * 2
        found = tokens_that_fit(model, 10_000 * 13 * 16 * one, (0, 25), one, 16384, 1024)
        assert found == int(10_000 / (1024 + 72 + 1) * 16384)

    def test_five_to_one(self) -> None:
        """Groups of 4: one of those that keep everything, five that slide."""
        kinds = [*["sliding_attention"] * 5, "full_attention"] * 4
        model = spec_from_config(moe_config(num_hidden_layers=24, layer_types=kinds, sliding_window=128), "m")
        one = 8 * 2 * 128 * 2
        found = tokens_that_fit(model, 10_000 * 4 * 16 * one, (0, 24), one, 16384, 1024)
        assert found == int(10_000 / (1024 + 5 * (72 + 1)) * 16384)

    def test_sliding_everywhere(self) -> None:
        model = spec_from_config(moe_config(sliding_window=4096), "m")
        one = 8 * 2 * 128 * 2
        found = tokens_that_fit(model, 10_000 * 32 * 16 * one, (0, 32), one, 32768, 2048)
        assert found == int(10_000 / (ceil((4095 + 2048) / 16) + 1) * 32768)

    def test_a_window_of_nothing_is_none(self) -> None:
        assert spec_from_config(moe_config(sliding_window=0), "m").attention.kind is AttentionKind.GQA

    def test_a_stage_without_layers_holds_nothing(self) -> None:
        assert self.tokens(1e9, 1024, 1024, (24, 24)) == 0

    def test_the_next_step_is_in_flight_too(self) -> None:
        asked = Request(count=1, context=131072, max_num_batched_tokens=2048)
        found = plan(load_model("gpt-oss-20b"), load_gpu("H200"), asked).memory
        left = found.kv_gib_per_gpu * GIB
        assert found.kv_tokens == self.tokens(left, 131072, 2 * 2048)

    def test_no_context_parallel_decoding(self) -> None:
        found = plan(load_model("gpt-oss-20b"), load_gpu("H200"), Request(wanted=Wanted(tp=8, dcp=2)))
        assert "no context parallel decoding for sliding windows" in found.reasons[0]
