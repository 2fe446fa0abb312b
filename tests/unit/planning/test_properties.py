"""What must hold for any model, GPU and load."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moestro.catalog import decision_matrix, gpus, load_gpu, load_model
from moestro.catalog.models import entries
from moestro.planning.memory import Load, memory_of, share, stage_layers, stage_weights
from moestro.planning.model import AttentionKind, ModelSpec, Sharding
from moestro.planning.plan import EngineChoice, Layout, Plan
from moestro.planning.planner import Request, plan
from moestro.planning.spec import spec_from_config
from moestro.planning.units import gb_to_gib, gib, gib_bytes, gib_to_gb
from tests.unit.planning.models import moe_config

MODELS = st.sampled_from(sorted(entries()))
GPUS = st.sampled_from([name for name, gpu in gpus().items() if gpu.device == "cuda"])
POWERS = st.sampled_from([1, 2, 4, 8])
ENGINE = EngineChoice()


def _needed(model: ModelSpec, load: Load) -> float:
    """GiB a GPU that weights, overhead and the load's cache take."""
    memory = memory_of(model, load_gpu("H200"), Layout(tp=8), ENGINE, load)
    return max(memory.weights_gib_per_gpu) + memory.overhead_gib_per_gpu + memory.kv_needed_gib_per_gpu


class TestMemoryNeverFalls:
    @given(name=MODELS, context=st.integers(1, 100_000), more=st.integers(0, 100_000), requests=st.integers(1, 64))
    def test_with_context(self, name: str, context: int, more: int, requests: int) -> None:
        model = load_model(name)
        assert _needed(model, Load(context, requests)) <= _needed(model, Load(context + more, requests))

    @given(name=MODELS, context=st.integers(1, 100_000), requests=st.integers(1, 64), more=st.integers(0, 64))
    def test_with_concurrency(self, name: str, context: int, requests: int, more: int) -> None:
        model = load_model(name)
        assert _needed(model, Load(context, requests)) <= _needed(model, Load(context, requests + more))

    @given(
        field=st.sampled_from(["num_hidden_layers", "num_local_experts", "intermediate_size", "vocab_size"]),
        factor=st.integers(1, 4),
        load=st.builds(Load, st.integers(1, 30_000), st.integers(1, 8)),
    )
    def test_with_parameters(self, field: str, factor: int, load: Load) -> None:
        small = spec_from_config(moe_config(), "small")
        large = spec_from_config(moe_config(**{field: moe_config()[field] * factor}), "large")
        assert small.parameters <= large.parameters
        assert _needed(small, load) <= _needed(large, load)

    @given(name=MODELS, tokens=st.integers(256, 65536), more=st.integers(0, 65536))
    def test_with_batched_tokens(self, name: str, tokens: int, more: int) -> None:
        model, gpu = load_model(name), load_gpu("H200")
        sizes = (replace(ENGINE, max_num_batched_tokens=size) for size in (tokens, tokens + more))
        first, second = (memory_of(model, gpu, Layout(tp=8), one, Load(1024)).overhead_gib_per_gpu for one in sizes)
        assert first <= second


class TestSharding:
    @given(name=MODELS, tp=POWERS, ep=st.booleans())
    def test_more_tensor_parallelism_never_raises_what_is_sharded(self, name: str, tp: int, ep: bool) -> None:
        model = load_model(name)
        switch = ep and model.experts is not None
        for one in model.weights:
            narrow, wide = share(one, model, tp, 1, switch), share(one, model, tp * 2, 1, switch)
            padded = 1.43 if model.precision == "MXFP4" and one.sharding is Sharding.EXPERTS else 1.0
            assert wide <= narrow * padded

    @given(layers=st.integers(1, 200), stages=st.integers(1, 16))
    def test_stages_cover_every_layer_once(self, layers: int, stages: int) -> None:
        bounds = stage_layers(layers, min(stages, layers))
        assert [start for start, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
        assert bounds[-1][1] == layers
        sizes = [end - start for start, end in bounds]
        assert max(sizes) - min(sizes) <= 1

    def test_the_split_that_a_real_log_shows(self) -> None:
        assert stage_layers(61, 2) == ((0, 31), (31, 61))

    @given(name=MODELS, tp=POWERS, pp=POWERS)
    def test_every_byte_lies_somewhere(self, name: str, tp: int, pp: int) -> None:
        model = load_model(name)
        held = sum(stage_weights(model, Layout(tp=tp, pp=pp))) * tp
        assert held >= model.file_gib * 0.999


class TestEveryPlan:
    """Each plan that fits is checked again here, by rules written a second time from the engine's documentation."""

    @given(
        name=MODELS,
        gpu=GPUS,
        count=st.integers(1, 32),
        context=st.one_of(st.none(), st.integers(1, 32768)),
        requests=st.one_of(st.none(), st.integers(1, 64)),
        cache=st.sampled_from(["auto", "fp8"]),
    )
    @settings(max_examples=300, deadline=None)
    def test_keeps_every_constraint(
        self, name: str, gpu: str, count: int, context: int | None, requests: int | None, cache: str
    ) -> None:
        model = load_model(name)
        asked = Request(count=count, context=context and min(context, model.max_context), concurrency=requests)
        found = plan(model, load_gpu(gpu), replace(asked, kv_cache_dtype=cache), {}, decision_matrix())
        assert found.count == found.layout.gpus == count
        if found.memory.fits:
            _check(found, model, asked)
        else:
            assert found.reasons
        assert all(one.reason and "\n" not in one.reason for one in found.rejected)

    @given(name=MODELS, gpu=GPUS, count=st.integers(1, 16))
    @settings(deadline=None)
    def test_searching_finds_what_explaining_finds(self, name: str, gpu: str, count: int) -> None:
        model, card = load_model(name), load_gpu(gpu)
        short = plan(model, card, Request(count=count), {}, decision_matrix(), explain=False)
        full = plan(model, card, Request(count=count), {}, decision_matrix())
        assert short.memory.fits == full.memory.fits
        if full.memory.fits:
            assert short.layout == full.layout


def _check(found: Plan, model: ModelSpec, asked: Request) -> None:
    layout, memory, gpu = found.layout, found.memory, load_gpu(found.gpu)
    heads, kv_heads = model.attention.heads, model.attention.kv_heads
    assert heads % layout.tp == 0
    if not model.attention.mla:
        assert kv_heads % layout.tp == 0 or layout.tp % kv_heads == 0
    if model.attention.kind is AttentionKind.DSA:
        assert gpu.compute_capability[0] in (9, 10)
        assert layout.dcp == 1
    assert layout.tp % layout.dcp == 0
    assert layout.gpus % layout.nodes == 0
    assert layout.gpus // layout.nodes <= gpu.gpus_per_node
    assert layout.pp <= model.layers
    assert model.dense_width % layout.tp == 0
    if model.experts and not layout.ep and model.precision != "MXFP4":
        assert model.experts.width % (layout.tp * layout.dp) == 0
    assert not layout.ep or (model.experts and 1 < layout.tp * layout.dp <= model.experts.count)
    if model.quantization.scheme == "fp8-block" and model.dense_width:
        assert model.dense_width // layout.tp % 128 == 0
    for weights in memory.weights_gib_per_gpu:
        assert weights + memory.overhead_gib_per_gpu < memory.usable_gib_per_gpu < gpu.memory_gib
    requests = -(-(asked.concurrency or 1) // layout.dp)
    assert memory.kv_tokens // layout.dp >= found.engine.max_model_len * requests
    assert found.engine.max_model_len == (asked.context or found.engine.max_model_len) <= model.max_context
    if found.engine.use_deep_gemm:
        assert model.quantization.block == (128, 128)
        assert gpu.compute_capability[0] in (9, 10)


@given(size=st.floats(0, 1e15))
def test_units_round_trip(size: float) -> None:
    assert gib_bytes(gib(size)) == pytest.approx(size)
    assert gib_to_gb(gb_to_gib(size)) == pytest.approx(size)
    assert gib_to_gb(gib(size)) == pytest.approx(size / 1e9)
