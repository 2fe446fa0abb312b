from dataclasses import replace
from typing import Any

import pytest

from moestro.errors import InvalidInput
from moestro.planning.plan import Layout
from moestro.serving.launch import Node
from moestro.serving.vllm import ray_node, render
from tests.unit.serving.plans import ENDPOINT, FIRST, MUTUAL_ENDPOINT, SECOND, TLS_ENDPOINT, plan, value


class TestOneNode:
    def test_whole_line(self) -> None:
        launch = render(
            plan(
                kv_cache_dtype="fp8",
                max_num_seqs=16,
                max_num_batched_tokens=8192,
                tokenizer_mode="deepseek_v32",
                trust_remote_code=True,
                extra_args=("--kernel-config.enable_flashinfer_autotune=False",),
            ),
            MUTUAL_ENDPOINT,
            program="/opt/moestro/engine/bin/vllm",
        )
        assert " ".join(launch.argv) == (
            "/opt/moestro/engine/bin/vllm serve /var/lib/moestro/weights/m --served-model-name m"
            " --host 0.0.0.0 --port 8000 --ssl-certfile /etc/moestro/e.crt --ssl-keyfile /etc/moestro/e.key"
            " --ssl-ca-certs /etc/moestro/ca.crt --ssl-cert-reqs 2"
            " --kv-cache-dtype fp8 --tokenizer-mode deepseek_v32 --trust-remote-code --max-model-len 32768"
            " --tensor-parallel-size 8 --enable-expert-parallel"
            " --max-num-seqs 16 --max-num-batched-tokens 8192 --gpu-memory-utilization 0.9 --enable-prefix-caching"
            " --shutdown-timeout 120 --kernel-config.enable_flashinfer_autotune=False"
        )
        assert launch.env == {"VLLM_USE_DEEP_GEMM": "1"}

    def test_same_plan_renders_the_same_line(self) -> None:
        assert render(plan(), ENDPOINT) == render(plan(), ENDPOINT)

    @pytest.mark.parametrize(
        ("layout", "expected"),
        [
            (Layout(), {}),
            (Layout(tp=4, pp=2), {"--tensor-parallel-size": "4", "--pipeline-parallel-size": "2"}),
            (Layout(dp=8, ep=True), {"--data-parallel-size": "8"}),
            (Layout(tp=8, dcp=8), {"--tensor-parallel-size": "8", "--decode-context-parallel-size": "8"}),
        ],
    )
    def test_parallel_sizes(self, layout: Layout, expected: dict[str, str]) -> None:
        launch = render(plan(layout), ENDPOINT)
        flags = [
            "--tensor-parallel-size",
            "--pipeline-parallel-size",
            "--data-parallel-size",
            "--decode-context-parallel-size",
        ]
        assert {flag: value(launch, flag) for flag in flags if flag in launch.argv} == expected
        assert ("--enable-expert-parallel" in launch.argv) == layout.ep

    @pytest.mark.parametrize(
        ("choice", "present", "absent"),
        [
            ({"prefix_caching": False}, "--no-enable-prefix-caching", "--enable-prefix-caching"),
            ({"prefix_caching": True}, "--enable-prefix-caching", "--no-enable-prefix-caching"),
            ({"enforce_eager": True}, "--enforce-eager", "--dtype"),
            ({"dtype": "bfloat16"}, "--dtype", "--enforce-eager"),
            ({"quantization": "fp8_per_tensor"}, "--quantization", "--kv-cache-dtype"),
        ],
    )
    def test_choices(self, choice: dict[str, Any], present: str, absent: str) -> None:
        argv = render(plan(**choice), ENDPOINT).argv
        assert present in argv
        assert absent not in argv

    def test_server_certificate_alone_demands_no_client_certificate(self) -> None:
        argv = render(plan(), TLS_ENDPOINT).argv
        assert "--ssl-certfile" in argv
        assert "--ssl-cert-reqs" not in argv


class TestDeepGemm:
    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ({"use_deep_gemm": True}, "1"),
            ({"use_deep_gemm": True, "tokenizer_mode": "deepseek_v32"}, "1"),
            ({"use_deep_gemm": False}, "0"),
            # NVFP4 V3.2: the experts do not use DeepGEMM, the sparse indexer does, whatever the variable says.
            ({"use_deep_gemm": False, "tokenizer_mode": "deepseek_v32"}, "0"),
            ({"use_deep_gemm": False, "tokenizer_mode": "deepseek_v32", "version": "0.13.0"}, None),
        ],
    )
    def test_variable(self, choice: dict[str, Any], expected: str | None) -> None:
        assert render(plan(**choice), ENDPOINT).env.get("VLLM_USE_DEEP_GEMM") == expected

    def test_cpu_has_none(self) -> None:
        launch = render(plan(Layout(), device="cpu", version="0.32.0", use_deep_gemm=False), ENDPOINT)
        assert launch.env["VLLM_USE_DEEP_GEMM"] == "0"


class TestCpu:
    def test_environment_replaces_utilization(self) -> None:
        launch = render(plan(Layout(), device="cpu", version="0.32.0", cpu_kv_cache_gib=1), ENDPOINT)
        assert launch.env["VLLM_CPU_KVCACHE_SPACE"] == "1"
        assert launch.env["TORCHDYNAMO_DISABLE"] == "1"
        assert launch.env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
        assert "--gpu-memory-utilization" not in launch.argv

    def test_tensor_parallel_ranks_get_a_core_each(self) -> None:
        launch = render(plan(Layout(tp=2), device="cpu", version="0.32.0", cpu_kv_cache_gib=1), ENDPOINT)
        assert launch.env["VLLM_CPU_OMP_THREADS_BIND"] == "0|1"

    def test_one_rank_on_each_of_two_nodes_is_not_bound_to_the_first_core(self) -> None:
        two = plan(Layout(tp=2, nodes=2), device="cpu", version="0.32.0", cpu_kv_cache_gib=1)
        assert render(two, ENDPOINT, SECOND).env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"

    def test_without_a_cache_size_the_utilization_bounds_memory(self) -> None:
        argv = render(plan(Layout(), device="cpu", version="0.32.0"), ENDPOINT).argv
        assert "--gpu-memory-utilization" in argv


class TestNodes:
    TENSOR = Layout(tp=8, pp=2, nodes=2)
    DATA = Layout(dp=16, ep=True, nodes=2)

    def test_leader(self) -> None:
        launch = render(plan(self.TENSOR), MUTUAL_ENDPOINT, FIRST)
        assert value(launch, "--nnodes") == "2"
        assert value(launch, "--node-rank") == "0"
        assert value(launch, "--master-addr") == "10.0.0.1"
        assert "--headless" not in launch.argv
        assert "--ssl-certfile" in launch.argv
        assert launch.env == {
            "VLLM_USE_DEEP_GEMM": "1",
            "VLLM_HOST_IP": "10.0.0.1",
            "NCCL_SOCKET_IFNAME": "eth1",
            "GLOO_SOCKET_IFNAME": "eth1",
        }

    def test_other_node_has_no_server(self) -> None:
        launch = render(plan(self.TENSOR), MUTUAL_ENDPOINT, SECOND)
        assert "--headless" in launch.argv
        assert value(launch, "--node-rank") == "1"
        assert launch.env["VLLM_HOST_IP"] == "10.0.0.2"
        assert not {"--port", "--host", "--ssl-certfile"} & set(launch.argv)

    def test_data_parallel_ranks_of_each_node(self) -> None:
        first, second = (render(plan(self.DATA), ENDPOINT, node) for node in (FIRST, SECOND))
        for launch in (first, second):
            assert value(launch, "--data-parallel-size") == "16"
            assert value(launch, "--data-parallel-size-local") == "8"
            assert value(launch, "--data-parallel-address") == "10.0.0.1"
            assert "--nnodes" not in launch.argv
        assert value(first, "--data-parallel-start-rank") is None
        assert value(second, "--data-parallel-start-rank") == "8"
        assert "--headless" in second.argv

    def test_data_parallel_rank_over_two_nodes_goes_by_node_rank(self) -> None:
        layout = Layout(tp=8, pp=2, dp=2, ep=True, nodes=4)
        launch = render(plan(layout), ENDPOINT, replace(SECOND, rank=3, count=4))
        assert value(launch, "--nnodes") == "4"
        assert value(launch, "--node-rank") == "3"

    def test_interface_is_optional(self) -> None:
        launch = render(plan(self.TENSOR), ENDPOINT, replace(FIRST, network_interface=None))
        assert "NCCL_SOCKET_IFNAME" not in launch.env

    def test_node_outside_the_plan(self) -> None:
        with pytest.raises(InvalidInput, match="node 0 of 1 is not in a plan over 2 nodes"):
            render(plan(self.TENSOR), ENDPOINT)

    def test_layout_that_does_not_divide(self) -> None:
        with pytest.raises(InvalidInput, match="do not divide over 2 nodes"):
            render(plan(Layout(tp=1, nodes=2)), ENDPOINT, FIRST)


class TestRay:
    PLAN = plan(Layout(tp=8, pp=2, nodes=2), distributed_backend="ray")

    def test_leader(self) -> None:
        launch = render(self.PLAN, ENDPOINT, FIRST)
        assert value(launch, "--distributed-executor-backend") == "ray"
        assert "--nnodes" not in launch.argv

    def test_only_the_leader_runs_the_engine(self) -> None:
        with pytest.raises(InvalidInput, match="only the first node"):
            render(self.PLAN, ENDPOINT, SECOND)

    def test_cluster_processes(self) -> None:
        head = ray_node(self.PLAN, FIRST, program="/opt/moestro/engine/bin/vllm")
        worker = ray_node(self.PLAN, SECOND, program="/opt/moestro/engine/bin/vllm")
        assert head.argv[:3] == ("/opt/moestro/engine/bin/ray", "start", "--head")
        assert value(worker, "--address") == "10.0.0.1:6379"
        assert worker.env["VLLM_HOST_IP"] == "10.0.0.2"
        assert head.argv[-1] == worker.argv[-1] == "--block"

    def test_data_parallel_backend(self) -> None:
        two = plan(Layout(tp=8, dp=2, ep=True, nodes=2), distributed_backend="ray")
        launch = render(two, ENDPOINT, FIRST)
        assert value(launch, "--data-parallel-backend") == "ray"
        assert value(launch, "--data-parallel-size-local") == "1"


class TestVersions:
    @pytest.mark.parametrize(("version", "known"), [("0.33.0", True), ("0.18.0", True), ("0.17.1", False)])
    def test_shutdown_timeout(self, version: str, known: bool) -> None:
        assert ("--shutdown-timeout" in render(plan(version=version), ENDPOINT).argv) == known

    def test_utilization_is_always_said_because_its_default_changed(self) -> None:
        assert value(render(plan(version="0.12.0"), ENDPOINT), "--gpu-memory-utilization") == "0.9"

    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            ({"version": "0.9.2"}, "older than 0.12.0"),
            ({"version": "latest"}, "'latest' is not of the form"),
            ({"version": "0.12.0", "tokenizer_mode": "deepseek_v32"}, "use 0.13.0 or later"),
        ],
    )
    def test_refused(self, choice: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            render(plan(**choice), ENDPOINT)

    def test_post_release(self) -> None:
        assert "--shutdown-timeout" in render(plan(version="0.32.0.post1"), ENDPOINT).argv


class TestRefusals:
    def test_fp8_is_no_dtype(self) -> None:
        with pytest.raises(InvalidInput, match="no computing dtype"):
            render(plan(dtype="fp8"), ENDPOINT)

    @pytest.mark.parametrize("argument", ["--api-key", "--api_key", "--api-key=x"])
    def test_secrets_stay_out_of_the_process_list(self, argument: str) -> None:
        with pytest.raises(InvalidInput, match="process list") as caught:
            render(plan(extra_args=(argument,)), ENDPOINT)
        assert "=x" not in str(caught.value)

    def test_half_a_certificate(self) -> None:
        with pytest.raises(InvalidInput, match="belong together"):
            render(plan(), replace(ENDPOINT, certificate="/c"))

    def test_authority_without_certificate(self) -> None:
        with pytest.raises(InvalidInput, match="own certificate"):
            render(plan(), replace(ENDPOINT, authority="/ca"))

    def test_rank_beyond_the_last(self) -> None:
        with pytest.raises(InvalidInput, match="node 1 of 1"):
            render(plan(), ENDPOINT, Node(rank=1))
