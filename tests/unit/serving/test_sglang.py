from typing import Any

import pytest

from moestro.errors import InvalidInput
from moestro.planning.plan import Layout
from moestro.serving.launch import Node
from moestro.serving.sglang import render
from tests.unit.serving.plans import ENDPOINT, FIRST, MUTUAL_ENDPOINT, SECOND, TLS_ENDPOINT, value
from tests.unit.serving.plans import plan as any_plan


def plan(layout: Layout | None = None, **engine: Any) -> Any:
    return any_plan(layout, **{"engine": "sglang", "version": "0.5.23", **engine})


def test_whole_line() -> None:
    launch = render(plan(kv_cache_dtype="fp8", max_num_seqs=16, trust_remote_code=True), TLS_ENDPOINT)
    assert " ".join(launch.argv) == (
        "sglang serve --model-path /var/lib/moestro/weights/m --served-model-name m --host 0.0.0.0 --port 8000"
        " --enable-metrics --ssl-certfile /etc/moestro/e.crt --ssl-keyfile /etc/moestro/e.key"
        " --kv-cache-dtype fp8_e4m3 --trust-remote-code --context-length 32768 --tp-size 8 --ep-size 8"
        " --mem-fraction-static 0.842 --max-running-requests 16"
    )
    assert launch.env == {}


def test_static_fraction_leaves_the_overhead_out() -> None:
    # 0.9 x (1 - 8 / 125.83) = 0.8428: weights and KV cache get what vLLM would give them.
    assert value(render(plan(), ENDPOINT), "--mem-fraction-static") == "0.842"


def test_data_parallelism_lies_inside_the_tensor_parallel_size() -> None:
    launch = render(plan(Layout(tp=2, dp=4, ep=True), max_num_seqs=64, max_num_batched_tokens=8192), ENDPOINT)
    assert value(launch, "--tp-size") == "8"
    assert value(launch, "--attn-dp-size") == "4"
    assert value(launch, "--ep-size") == "8"
    assert value(launch, "--max-running-requests") == "256"
    assert value(launch, "--chunked-prefill-size") == "32768"


def test_layout_of_one_gpu_names_no_sizes() -> None:
    argv = render(plan(Layout()), ENDPOINT).argv
    assert not [part for part in argv if part.endswith("-size")]


def test_every_node_runs_the_engine() -> None:
    layout = Layout(tp=8, pp=2, nodes=2)
    first, second = (render(plan(layout), ENDPOINT, node) for node in (FIRST, SECOND))
    for rank, launch in enumerate((first, second)):
        assert value(launch, "--nnodes") == "2"
        assert value(launch, "--node-rank") == str(rank)
        assert value(launch, "--dist-init-addr") == "10.0.0.1:29501"
    assert second.env == {"SGLANG_HOST_IP": "10.0.0.2", "NCCL_SOCKET_IFNAME": "eth1", "GLOO_SOCKET_IFNAME": "eth1"}


@pytest.mark.parametrize(
    ("choice", "present"),
    [
        ({"prefix_caching": False}, "--disable-radix-cache"),
        ({"enforce_eager": True}, "--disable-decode-cuda-graph"),
        ({"enforce_eager": True}, "--disable-prefill-cuda-graph"),
        ({"dtype": "bfloat16"}, "--dtype"),
        ({"tokenizer_mode": "slow"}, "--tokenizer-mode"),
        ({"extra_args": ("--enable-eplb",)}, "--enable-eplb"),
    ],
)
def test_choices(choice: dict[str, Any], present: str) -> None:
    assert present in render(plan(**choice), ENDPOINT).argv
    assert present not in render(plan(), ENDPOINT).argv


def test_deepseek_tokenizer_is_chosen_by_sglang_itself() -> None:
    assert "--tokenizer-mode" not in render(plan(tokenizer_mode="deepseek_v32"), ENDPOINT).argv


def test_online_quantization_has_another_name() -> None:
    assert value(render(plan(quantization="fp8_per_tensor"), ENDPOINT), "--quantization") == "fp8"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"kv_cache_dtype": "int4_per_token_head"}, "no equivalent of KV cache dtype 'int4_per_token_head'"),
        ({"quantization": "fp8_per_block"}, "no equivalent of quantization 'fp8_per_block'"),
        ({"tokenizer_mode": "mistral"}, "no equivalent of tokenizer mode 'mistral'"),
        ({"device": "cpu"}, "CUDA GPUs only"),
        ({"version": "0.4.6"}, "older than 0.5.23"),
        ({"extra_args": ("--admin-api-key=s3cret",)}, "'--admin-api-key' would show a secret"),
        ({"dtype": "fp8"}, "no computing dtype"),
    ],
)
def test_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        render(plan(**choice), ENDPOINT)


def test_client_certificates_are_refused_not_forgotten() -> None:
    with pytest.raises(InvalidInput, match="cannot demand client certificates"):
        render(plan(), MUTUAL_ENDPOINT)


def test_ray_is_refused() -> None:
    with pytest.raises(InvalidInput, match="without Ray"):
        render(plan(Layout(tp=8, pp=2, nodes=2), distributed_backend="ray"), ENDPOINT, FIRST)


def test_node_outside_the_plan() -> None:
    with pytest.raises(InvalidInput, match="not in a plan"):
        render(plan(), ENDPOINT, Node(rank=0, count=2))
