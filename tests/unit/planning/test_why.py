"""Reasons are true: of the machines, of the request, and of what stood against the others."""

import pytest

from moestro.catalog import gpus, plan_catalog
from moestro.catalog.models import entries
from moestro.planning.layout import Wanted
from moestro.planning.plan import Layout, Plan
from moestro.planning.planner import Request


def _reason(found: Plan, start: str) -> str:
    return next(one for one in found.reasons if one.startswith(start))


def test_nvlink_is_named_where_there_is_nvlink() -> None:
    assert "NVLink carries" in _reason(plan_catalog("glm-4.5-fp8", "H200", Request(count=8)), "expert parallel")


@pytest.mark.parametrize("gpu", [name for name, one in gpus().items() if one.device == "cuda" and not one.nvlink])
def test_nvlink_is_not_named_over_pcie(gpu: str) -> None:
    for name in entries():
        found = plan_catalog(name, gpu, Request(count=4, context=4096))
        assert not any("NVLink" in text for text in (*found.reasons, *(one.reason for one in found.rejected)))


def test_the_matrix_over_pcie_asks_for_a_benchmark() -> None:
    found = plan_catalog("mixtral-8x22b-fp8", "A100_80G_PCIE", Request(count=4))
    reason = _reason(found, "expert parallel")
    assert "decision matrix has 'Tensor + Expert parallelism'" in reason
    assert "over PCIe compare it with --no-ep" in reason
    plain = next(one.reason for one in found.rejected if one.layout == Layout(tp=4))
    assert "decision matrix" in plain
    assert any("benchmark before production" in warning for warning in found.warnings)


def test_what_is_asked_for_is_said_to_be() -> None:
    wanted = Wanted(tp=2, pp=2, dp=2, ep=True)
    found = plan_catalog("mixtral-8x7b", "H200", Request(count=8, wanted=wanted))
    for start in ("expert parallel", "2 pipeline stages", "2 attention replicas"):
        assert "as asked" in _reason(found, start)


def test_replicas_say_what_is_against_one() -> None:
    reason = _reason(plan_catalog("qwen2-57b", "H100", Request(count=8)), "2 attention replicas")
    assert reason.endswith("with TP8 PP1 DP1 EP8 28 attention heads do not divide by TP 8")
    tight = plan_catalog("kimi-k2", "B200", Request(count=8, context=131072, concurrency=8))
    assert "KV tokens and 1,048,576 are needed" in _reason(tight, f"{tight.layout.dp} attention replicas")


def test_stages_of_nodes() -> None:
    found = plan_catalog("deepseek-v3.2", "H100", Request(count=16, context=16384))
    assert "each node is a stage" in _reason(found, "2 pipeline stages")


def test_stages_inside_a_node_only_where_memory_binds_and_why() -> None:
    found = plan_catalog("llama-3.3-70b", "L40S", Request(count=6, context=8192))
    assert found.layout.pp > 1
    assert "with TP" in _reason(found, f"{found.layout.pp} pipeline stages")


def test_deep_gemm_is_said_as_it_is_set() -> None:
    assert "data-center Blackwell only" in _reason(plan_catalog("deepseek-r1", "A100", Request(count=16)), "DeepGEMM")
    assert "the sparse indexer uses it all the same" in _reason(plan_catalog("deepseek-v3.2-nvfp4", "B200"), "DeepGEMM")
    sglang = plan_catalog("deepseek-r1", "H200", Request(count=8, engine="sglang"))
    assert not any("DeepGEMM" in one for one in sglang.reasons)
