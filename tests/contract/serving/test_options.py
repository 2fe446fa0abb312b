"""Every option that the renderers know, read back by the engine's own parser."""

from typing import Any

import pytest

from moestro.planning.plan import Layout, Plan
from moestro.serving import sglang, vllm
from moestro.serving.launch import Endpoint, Node
from tests.contract.serving.oracles import Verdict, ask_sglang, ask_vllm
from tests.unit.serving.plans import ENDPOINT, FIRST, MUTUAL_ENDPOINT, SECOND, TLS_ENDPOINT, plan

Case = tuple[Plan, Endpoint, Node, dict[str, Any]]
ONE = Node()

VLLM: dict[str, Case] = {
    "defaults": (plan(), ENDPOINT, ONE, {"tensor_parallel_size": 8, "enable_expert_parallel": True, "port": 8000}),
    "names": (plan(), ENDPOINT, ONE, {"model_tag": "/var/lib/moestro/weights/m", "served_model_name": ["m"]}),
    "pipeline": (plan(Layout(tp=4, pp=2)), ENDPOINT, ONE, {"pipeline_parallel_size": 2}),
    "data": (plan(Layout(dp=8, ep=True)), ENDPOINT, ONE, {"data_parallel_size": 8}),
    "decode-context": (plan(Layout(tp=8, dcp=8)), ENDPOINT, ONE, {"decode_context_parallel_size": 8}),
    "kv-fp8": (plan(kv_cache_dtype="fp8"), ENDPOINT, ONE, {"kv_cache_dtype": "fp8"}),
    "kv-ds-mla": (plan(kv_cache_dtype="fp8_ds_mla"), ENDPOINT, ONE, {"kv_cache_dtype": "fp8_ds_mla"}),
    "limits": (
        plan(max_num_seqs=16, max_num_batched_tokens=8192, gpu_memory_utilization=0.85, max_model_len=16384),
        ENDPOINT,
        ONE,
        {"max_num_seqs": 16, "max_num_batched_tokens": 8192, "gpu_memory_utilization": 0.85, "max_model_len": 16384},
    ),
    "eager": (plan(enforce_eager=True), ENDPOINT, ONE, {"enforce_eager": True}),
    "no-prefix-cache": (plan(prefix_caching=False), ENDPOINT, ONE, {"enable_prefix_caching": False}),
    "online-quantization": (plan(quantization="fp8_per_tensor", dtype="bfloat16"), ENDPOINT, ONE, {}),
    "deepseek": (
        plan(
            tokenizer_mode="deepseek_v32",
            trust_remote_code=True,
            extra_args=(
                "--kernel-config.enable_flashinfer_autotune=False",
                "--tool-call-parser=deepseek_v32",
                "--enable-auto-tool-choice",
                "--reasoning-parser=deepseek_v3",
            ),
        ),
        ENDPOINT,
        ONE,
        {},
    ),
    "mutual-tls": (plan(), MUTUAL_ENDPOINT, ONE, {"ssl_cert_reqs": 2, "shutdown_timeout": 120}),
    "leader": (plan(Layout(tp=8, pp=2, nodes=2)), MUTUAL_ENDPOINT, FIRST, {"nnodes": 2, "headless": False}),
    "follower": (plan(Layout(tp=8, pp=2, nodes=2)), MUTUAL_ENDPOINT, SECOND, {"node_rank": 1, "headless": True}),
    "data-leader": (plan(Layout(dp=16, ep=True, nodes=2)), ENDPOINT, FIRST, {"data_parallel_size": 16, "nnodes": 1}),
    "data-follower": (plan(Layout(dp=16, ep=True, nodes=2)), ENDPOINT, SECOND, {"headless": True}),
    "ray": (plan(Layout(tp=8, pp=2, nodes=2), distributed_backend="ray"), ENDPOINT, FIRST, {"nnodes": 1}),
    "ray-data": (plan(Layout(tp=8, dp=2, nodes=2), distributed_backend="ray"), ENDPOINT, FIRST, {}),
    "cpu": (plan(Layout(tp=2), device="cpu", version="0.32.0", cpu_kv_cache_gib=1), ENDPOINT, ONE, {}),
}


def _sglang(layout: Layout | None = None, **engine: Any) -> Plan:
    return plan(layout, engine="sglang", version="0.5.23", **engine)


SGLANG: dict[str, Case] = {
    "defaults": (_sglang(), ENDPOINT, ONE, {"tp_size": 8, "ep_size": 8, "enable_metrics": True, "port": 8000}),
    "names": (_sglang(), ENDPOINT, ONE, {"model_path": "/var/lib/moestro/weights/m", "served_model_name": "m"}),
    "pipeline": (_sglang(Layout(tp=4, pp=2)), ENDPOINT, ONE, {"tp_size": 4, "pp_size": 2}),
    "data": (_sglang(Layout(tp=2, dp=4, ep=True)), ENDPOINT, ONE, {"tp_size": 8, "attn_dp_size": 4, "ep_size": 8}),
    "decode-context": (_sglang(Layout(tp=8, dcp=8)), ENDPOINT, ONE, {"dcp_size": 8}),
    "kv": (_sglang(kv_cache_dtype="fp8"), ENDPOINT, ONE, {"kv_cache_dtype": "fp8_e4m3"}),
    "limits": (
        _sglang(max_num_seqs=16, max_num_batched_tokens=8192, max_model_len=16384),
        ENDPOINT,
        ONE,
        {"max_running_requests": 16, "chunked_prefill_size": 8192, "context_length": 16384},
    ),
    "eager": (_sglang(enforce_eager=True), ENDPOINT, ONE, {"disable_decode_cuda_graph": True}),
    "no-prefix-cache": (_sglang(prefix_caching=False), ENDPOINT, ONE, {"disable_radix_cache": True}),
    "quantization": (_sglang(quantization="fp8_per_tensor", dtype="bfloat16"), ENDPOINT, ONE, {"quantization": "fp8"}),
    "tls": (_sglang(trust_remote_code=True), TLS_ENDPOINT, ONE, {"ssl_certfile": "/etc/moestro/e.crt"}),
    "follower": (
        _sglang(Layout(tp=8, pp=2, nodes=2)),
        ENDPOINT,
        SECOND,
        {"nnodes": 2, "node_rank": 1, "dist_init_addr": "10.0.0.1:29501"},
    ),
    "slow-tokenizer": (_sglang(tokenizer_mode="slow"), ENDPOINT, ONE, {"tokenizer_mode": "slow"}),
}


@pytest.fixture(scope="module")
def vllm_verdicts() -> dict[str, Verdict]:
    lines = [
        {"name": name, "argv": vllm.render(p, endpoint, node).argv[2:]} for name, (p, endpoint, node, _) in VLLM.items()
    ]
    return ask_vllm([*lines, {"name": "fp8-dtype", "argv": ["m", "--dtype", "fp8"]}])


@pytest.fixture(scope="module")
def sglang_verdicts() -> dict[str, Verdict]:
    lines = [
        {"name": name, "argv": sglang.render(p, endpoint, node).argv[2:]}
        for name, (p, endpoint, node, _) in SGLANG.items()
    ]
    return ask_sglang([*lines, {"name": "bare-fp8", "argv": ["--model-path", "m", "--kv-cache-dtype", "fp8"]}])


@pytest.mark.docker
@pytest.mark.parametrize("name", VLLM)
def test_vllm_reads_what_was_meant(name: str, vllm_verdicts: dict[str, Verdict]) -> None:
    verdict = vllm_verdicts[name]
    assert verdict.error is None
    expected = VLLM[name][3]
    assert {key: verdict.parsed[key] for key in expected} == expected


@pytest.mark.docker
def test_vllm_parser_does_refuse(vllm_verdicts: dict[str, Verdict]) -> None:
    assert "invalid choice: 'fp8'" in (vllm_verdicts["fp8-dtype"].error or "")


@pytest.mark.parametrize("name", SGLANG)
def test_sglang_reads_what_was_meant(name: str, sglang_verdicts: dict[str, Verdict]) -> None:
    verdict = sglang_verdicts[name]
    assert verdict.error is None
    expected = SGLANG[name][3]
    assert {key: verdict.parsed[key] for key in expected} == expected


def test_sglang_parser_does_refuse(sglang_verdicts: dict[str, Verdict]) -> None:
    assert "invalid choice: 'fp8'" in (sglang_verdicts["bare-fp8"].error or "")
