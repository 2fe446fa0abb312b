"""Which layout the planner chooses, what it refuses, and why."""

import pytest

from moestro.catalog import decision_matrix, gpus, load_gpu, load_model, load_prices, plan_catalog
from moestro.catalog.models import entries
from moestro.errors import InvalidInput
from moestro.planning.layout import Wanted
from moestro.planning.plan import Layout, Plan
from moestro.planning.planner import Request, plan, require_fit
from moestro.planning.spec import spec_from_config
from tests.unit.planning.models import TINY, moe_config


def _reason(found: Plan) -> str:
    assert not found.memory.fits
    return found.reasons[0]


class TestDecisionMatrix:
    @pytest.mark.parametrize(
        ("model", "gpu", "count", "layout"),
        [
            ("mixtral-8x7b", "H100_SXM5", 2, Layout(tp=2, ep=True)),
            ("mixtral-8x7b-fp8", "H100_PCIE", 2, Layout(tp=2, ep=True)),
            ("deepseek-v3.2", "H200_SXM5", 8, Layout(tp=8, ep=True)),
            ("deepseek-v3.2-speciale", "H200_SXM5", 8, Layout(tp=8, ep=True)),
            ("kimi-k2", "H100_SXM5", 16, Layout(tp=8, pp=2, nodes=2)),
            ("mixtral-8x22b-fp8", "A100_80G_PCIE", 4, Layout(tp=4, ep=True)),
        ],
    )
    def test_rows(self, model: str, gpu: str, count: int, layout: Layout) -> None:
        found = plan_catalog(model, gpu, Request(count=count))
        assert (found.layout, found.memory.fits) == (layout, True)


class TestBestConditions:
    def test_nvlink_brings_expert_parallelism(self) -> None:
        assert plan_catalog("glm-4.5-fp8", "H200", Request(count=8)).layout == Layout(tp=8, ep=True)

    def test_pcie_brings_tensor_parallelism_and_a_warning(self) -> None:
        found = plan_catalog("llama-4-maverick-fp8", "H100_PCIE", Request(count=8, context=32768))
        assert found.layout == Layout(tp=8)
        assert any("PCIe: benchmark" in warning for warning in found.warnings)
        against = next(one.reason for one in found.rejected if one.layout == Layout(tp=8, ep=True))
        assert "PCIe" in against

    def test_dense_models_take_tensor_parallelism(self) -> None:
        assert plan_catalog("llama-3.3-70b-fp8", "H100", Request(count=4)).layout == Layout(tp=4)

    def test_heads_that_do_not_divide_bring_attention_replicas(self) -> None:
        assert plan_catalog("qwen2-57b", "H100", Request(count=8)).layout == Layout(tp=4, dp=2, ep=True)

    def test_stages_are_for_nodes(self) -> None:
        found = plan_catalog("deepseek-v3.2", "H100", Request(count=16, context=16384))
        assert found.layout == Layout(tp=8, pp=2, nodes=2)
        assert found.engine.distributed_backend == "mp"

    def test_context_parallelism_only_where_the_cache_would_not_hold(self) -> None:
        asked = Request(count=16, context=131072, concurrency=4)
        found = plan_catalog("kimi-k2", "H100", asked)
        assert found.memory.fits
        assert found.layout.dcp > 1

    def test_fewest_gpus_where_none_are_named(self) -> None:
        assert plan_catalog("mixtral-8x7b-fp8", "H100", Request()).count == 1
        assert plan_catalog("deepseek-v3.2", "H200", Request(context=4096)).count > 4


class TestRefused:
    def test_eight_ways_for_28_heads(self) -> None:
        found = plan_catalog("qwen2-57b", "H100", Request(count=8, wanted=Wanted(tp=8)))
        assert "28 attention heads do not divide by TP 8" in _reason(found)

    def test_gpt_oss_does_not_copy_kv_heads(self) -> None:
        found = plan_catalog("gpt-oss-120b", "H100", Request(count=16, wanted=Wanted(tp=16)))
        assert "8 KV heads are not copied" in _reason(found)
        assert plan_catalog("gpt-oss-120b", "H100", Request(count=8, wanted=Wanted(tp=8))).memory.fits

    def test_fewer_experts_than_tensor_parallel_ranks(self) -> None:
        few = spec_from_config(moe_config(model_type="minimax_m2", num_local_experts=4), "m")
        found = plan(few, load_gpu("H100"), Request(count=8, wanted=Wanted(tp=8, ep=False)))
        assert "TP 8 is more than the 4 experts" in _reason(found)

    def test_keys_narrower_than_a_block(self) -> None:
        block = {"quant_method": "fp8", "weight_block_size": [128, 128]}
        narrow = spec_from_config(moe_config(head_dim=64, quantization_config=block), "m")
        assert plan(narrow, load_gpu("H100"), Request(count=4, wanted=Wanted(tp=4))).memory.fits
        found = plan(narrow, load_gpu("H100"), Request(count=8, wanted=Wanted(tp=8)))
        assert "keys and values of width 64 a GPU at TP 8" in _reason(found)

    def test_sparse_attention_on_a100(self) -> None:
        assert "sparse attention needs Hopper" in _reason(plan_catalog("deepseek-v3.2", "A100", Request(count=8)))

    def test_sparse_attention_on_workstation_blackwell(self) -> None:
        assert "12.0" in _reason(plan_catalog("deepseek-v3.2", "RTXPRO6000", Request(count=8)))

    def test_deepseek_on_eight_h100(self) -> None:
        assert "exceed" in _reason(plan_catalog("deepseek-v3.2", "H100", Request(count=8)))

    def test_kimi_on_eight_h200(self) -> None:
        assert "exceed" in _reason(plan_catalog("kimi-k2", "H200", Request(count=8)))

    def test_sixteen_data_parallel_kimis_on_80_gb(self) -> None:
        wanted = Wanted(tp=1, dp=16, ep=True)
        found = plan_catalog("kimi-k2", "H100", Request(count=16, wanted=wanted, gpu_memory_utilization=0.92))
        assert "weights 73." in _reason(found)

    @pytest.mark.parametrize("model", ["kimi-k2", "deepseek-r1"])
    def test_fp8_cache_with_mla_on_a100(self, model: str) -> None:
        found = plan_catalog(model, "A100", Request(count=16, kv_cache_dtype="fp8"))
        assert "FP8 KV cache with MLA needs Hopper" in _reason(found)

    @pytest.mark.parametrize(
        ("model", "gpu", "dtype", "message"),
        [
            ("kimi-k2", "B200", "fp8_ds_mla", "sparse attention's own"),
            ("deepseek-v3.2", "H200", "nvfp4_ds_mla", "needs Blackwell"),
            ("deepseek-v3.2", "H200", "float16", "must be the model's own"),
        ],
    )
    def test_cache_dtypes(self, model: str, gpu: str, dtype: str, message: str) -> None:
        assert message in _reason(plan_catalog(model, gpu, Request(count=8, kv_cache_dtype=dtype)))

    def test_expert_parallelism_of_a_dense_model(self) -> None:
        found = plan_catalog("llama-3.3-70b-fp8", "H100", Request(count=2, wanted=Wanted(ep=True)))
        assert "dense" in _reason(found)

    def test_block_fp8_beyond_tp16(self) -> None:
        found = plan_catalog("deepseek-r1", "H100", Request(count=32, wanted=Wanted(tp=32)))
        assert "no multiple of the fp8-block unit 128" in _reason(found)

    def test_experts_that_do_not_divide(self) -> None:
        found = plan_catalog("mixtral-8x22b-fp8", "H100", Request(count=3, wanted=Wanted(dp=3, ep=False)))
        assert "experts of width 16384 do not divide by TP x DP 3" in _reason(found)

    def test_dp_on_the_cpu(self) -> None:
        found = plan(TINY, load_gpu("cpu"), Request(count=2, wanted=Wanted(dp=2)))
        assert "only TP works" in _reason(found)

    def test_asking_for_a_fit_gives_one_line(self) -> None:
        found = plan_catalog("kimi-k2", "H200", Request(count=8))
        with pytest.raises(InvalidInput, match="does not run on 8x H200_SXM5") as caught:
            require_fit(found)
        assert "\n" not in str(caught.value)

    def test_every_rejected_layout_has_its_line(self) -> None:
        found = plan_catalog("deepseek-v3.2", "H200", Request(count=8))
        assert len(found.rejected) > 10
        assert found.layout not in [one.layout for one in found.rejected]


class TestEngine:
    def test_deep_gemm_only_where_its_kernel_runs(self) -> None:
        on = {
            (name, gpu): plan_catalog(name, gpu, Request(count=8)).engine.use_deep_gemm
            for name, gpu in [
                ("deepseek-r1", "H200"),
                ("deepseek-r1", "A100"),
                ("mixtral-8x22b-fp8", "H100"),
                ("llama-4-maverick-fp8", "H100"),
                ("deepseek-v3-nvfp4", "B200"),
                ("deepseek-r1", "RTXPRO6000"),
            ]
        }
        assert [pair for pair, used in on.items() if used] == [("deepseek-r1", "H200")]

    def test_versions_are_pinned(self) -> None:
        assert plan_catalog("mixtral-8x7b-fp8", "H100", Request(count=1)).engine.version == "0.33.0"
        assert plan(TINY, load_gpu("cpu"), Request()).engine.version == "0.32.0"

    def test_cpu(self) -> None:
        engine = plan(TINY, load_gpu("cpu"), Request(context=512)).engine
        assert (engine.device, engine.dtype, engine.enforce_eager, engine.cpu_kv_cache_gib) == (
            "cpu",
            "bfloat16",
            True,
            1,
        )

    def test_checklist_utilization(self) -> None:
        assert plan_catalog("mixtral-8x7b", "H100", Request(count=4)).engine.gpu_memory_utilization == 0.90
        assert plan_catalog("deepseek-v3.2", "H200", Request(count=8)).engine.gpu_memory_utilization == 0.85

    def test_fp8_cache_keeps_prefix_caching(self) -> None:
        found = plan_catalog("glm-4.5-fp8", "H200", Request(count=8, kv_cache_dtype="fp8"))
        assert found.engine.prefix_caching
        assert any("prefix caching stays on" in reason for reason in found.reasons)

    def test_sglang(self) -> None:
        engine = plan_catalog("deepseek-v3.2", "H200", Request(count=8, engine="sglang")).engine
        assert (engine.engine, engine.version) == ("sglang", "0.5.23")

    def test_eager_mode_saves_the_graphs(self) -> None:
        with_graphs = plan_catalog("mixtral-8x7b", "H100", Request(count=4)).memory
        without = plan_catalog("mixtral-8x7b", "H100", Request(count=4, enforce_eager=True)).memory
        assert without.kv_tokens > with_graphs.kv_tokens


class TestContext:
    def test_lowered_with_a_warning_where_nobody_asked(self) -> None:
        found = plan_catalog("llama-4-maverick-fp8", "H100", Request(count=8))
        assert 500_000 < found.engine.max_model_len < 1_048_576
        assert any("context lowered" in warning for warning in found.warnings)

    def test_what_is_asked_for_stays(self) -> None:
        found = plan_catalog("llama-4-maverick-fp8", "H100", Request(count=8, context=1_048_576))
        assert "KV tokens" in _reason(found)


class TestMistakes:
    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (Request(count=-1), "count -1 is below 1"),
            (Request(count=0), "count 0 is below 1"),
            (Request(context=200_000), "context 200000 is impossible: 163840 is the maximum of deepseek-v3.2"),
            (Request(concurrency=0), "concurrency 0 is below 1"),
            (Request(gpu_memory_utilization=1.5), "gpu_memory_utilization 1.5"),
            (Request(kv_cache_dtype="fp6"), "kv_cache_dtype 'fp6' is not known"),
            (Request(purchase="stolen"), "purchase 'stolen'"),
            (Request(engine="llamacpp"), "engine 'llamacpp'"),
            (Request(kv_headroom=-0.5), "kv_headroom -0.5 is below 0"),
            (Request(count=8, wanted=Wanted(tp=2, pp=2, dp=1)), "is 4 GPUs, not count 8"),
            (Request(count=8, wanted=Wanted(tp=3)), "cannot be laid out as asked"),
            (Request(wanted=Wanted(pp=0)), "pp 0 is below 1"),
        ],
    )
    def test_one_line_each(self, request_: Request, message: str) -> None:
        with pytest.raises(InvalidInput, match=message) as caught:
            plan_catalog("deepseek-v3.2", "H200", request_)
        assert "\n" not in str(caught.value)


class TestLabels:
    def test_every_figure_has_one(self) -> None:
        found = plan_catalog("deepseek-v3.2", "B200", Request(count=8))
        shown = (
            "weights_gib_per_gpu",
            "kv_bytes_per_token_per_gpu",
            "kv_tokens",
            "overhead_gib_per_gpu",
            "seed_rule_gb",
        )
        assert set(shown) <= set(found.memory.labels)
        assert all(part.source for part in (*found.memory.weights_parts, *found.memory.overhead_parts))
        assert found.throughput_label == "estimated"
        assert found.cost.labels["usd_per_hour"] == "illustrative"

    def test_parts_add_up(self) -> None:
        memory = plan_catalog("deepseek-v3.2", "B200", Request(count=8)).memory
        assert sum(part.gib for part in memory.weights_parts) == pytest.approx(memory.weights_gib_per_gpu[0])
        assert sum(part.gib for part in memory.overhead_parts) == pytest.approx(memory.overhead_gib_per_gpu)

    def test_the_seed_rule_stands_beside(self) -> None:
        memory = plan_catalog("mixtral-8x22b-fp8", "A100", Request(count=4)).memory
        assert memory.seed_rule_gb == pytest.approx(162, rel=0.01)


def test_every_model_of_the_catalog_runs_somewhere() -> None:
    cards = [gpu for gpu in gpus().values() if gpu.device == "cuda"]
    prices, matrix = load_prices(), decision_matrix()
    for name in entries():
        model, asked = load_model(name), Request(max_nodes=4)
        assert any(plan(model, gpu, asked, prices, matrix, explain=False).memory.fits for gpu in cards), name


class TestBatch:
    def test_more_sequences_than_the_engines_default_tokens(self) -> None:
        found = plan_catalog("mixtral-8x7b-fp8", "A100", Request(count=1, context=4096, max_num_seqs=4096))
        assert (found.engine.max_num_seqs, found.engine.max_num_batched_tokens) == (4096, 4096)

    def test_few_tokens_a_step_need_few_logits(self) -> None:
        few = plan_catalog("mixtral-8x7b-fp8", "H100", Request(count=1, context=4096, max_num_batched_tokens=16))
        assert few.engine.max_num_seqs is None
        logits = next(part.gib for part in few.memory.overhead_parts if part.name == "logits and sampling")
        assert logits == pytest.approx(16 * 32000 * 22 / 2**30)


class TestDeclaredCache:
    """vLLM's ``auto`` is what the checkpoint declares, which halves a token's bytes."""

    def test_it_is_planned_told_and_set(self) -> None:
        found = plan_catalog("llama-3.3-70b-modelopt-fp8", "H200", Request(count=4, context=8192))
        assert found.engine.kv_cache_dtype == "fp8"
        assert any("the checkpoint declares it" in reason for reason in found.reasons)

    def test_another_choice_wins(self) -> None:
        asked = Request(count=4, context=8192, kv_cache_dtype="bfloat16")
        found = plan_catalog("llama-3.3-70b-modelopt-fp8", "H200", asked)
        assert (found.engine.kv_cache_dtype, found.memory.kv_bytes_per_token_per_gpu) == ("bfloat16", 81920)
        assert not any("declares" in reason for reason in found.reasons)

    def test_where_the_gpu_cannot_it_is_refused(self) -> None:
        raw = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
        latent = spec_from_config({**entries()["deepseek-r1"].parent["config"], "quantization_config": raw}, "m")
        assert "FP8 KV cache with MLA" in _reason(plan(latent, load_gpu("A100"), Request(count=8)))
