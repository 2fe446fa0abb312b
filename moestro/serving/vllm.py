"""The launch line of vLLM: a Plan as ``vllm serve`` arguments and environment.

Written for 0.33.0 (CUDA) and 0.32.0 (CPU); versions back to 0.12.0 get what they know. Flags and their meaning:
``vllm/engine/arg_utils.py``, ``vllm/entrypoints/launchers/cli_args.py`` and ``vllm/envs.py`` of those releases.
"""

import posixpath

from moestro.errors import InvalidInput
from moestro.planning.plan import EngineChoice, Plan
from moestro.serving.arguments import (
    ONLY_NODE,
    check,
    network_environment,
    option,
    parallel_sizes,
    sparse_attention,
    version_tuple,
)
from moestro.serving.launch import Endpoint, Launch, Node

OLDEST = (0, 12, 0)  # the first release after multi-node without Ray came (0.11.1) that was checked
_SHUTDOWN_TIMEOUT_SINCE = (0, 18, 0)
_TOKENIZER_MODES_SINCE = {"deepseek_v32": (0, 13, 0)}
_INDEXER_READ_SINCE = (0, 32, 0)  # v1/attention/backends/mla/indexer.py asks has_deep_gemm(), not the variable
_CERT_REQUIRED = 2  # ssl.CERT_REQUIRED: a client without a certificate of the authority is refused
_RAY_PORT = 6379


def render(plan: Plan, endpoint: Endpoint, node: Node = ONLY_NODE, program: str = "vllm") -> Launch:
    """The vLLM process of ``plan`` on ``node``, without the API key, which moestro.serving.engines adds.

    Args:
        program: the ``vllm`` executable on the host.

    Raises:
        InvalidInput: the plan asks for what this version of vLLM does not have.
    """
    check(plan, endpoint, node)
    version = version_tuple(plan.engine.version)
    _check_version(plan.engine, version)
    if _over_ray(plan) and node.rank > 0:
        raise InvalidInput("with Ray only the first node runs vLLM; the others run ray_node()")
    argv = [program, "serve", endpoint.model_path, "--served-model-name", endpoint.served_name]
    argv += _listening(endpoint, node)
    argv += _model(plan.engine)
    argv += _parallel(plan)
    argv += _over_nodes(plan, node)
    argv += _scheduling(plan.engine)
    if version >= _SHUTDOWN_TIMEOUT_SINCE:
        argv += ["--shutdown-timeout", str(endpoint.shutdown_timeout_seconds)]
    return Launch((*argv, *plan.engine.extra_args), _environment(plan, node))


def ray_node(plan: Plan, node: Node, program: str = "vllm") -> Launch:
    """The Ray process of one node, for plans over Ray: the first node leads, the others join it.

    It must run on every node before ``render``'s process starts on the first. ``ray`` lies beside ``program``.
    """
    ray = posixpath.join(posixpath.dirname(program), "ray")
    if node.rank == 0:
        argv = [ray, "start", "--head", "--node-ip-address", node.own_address, "--port", str(_RAY_PORT)]
        argv += ["--include-dashboard", "false"]
    else:
        leader = f"{node.leader_address}:{_RAY_PORT}"
        argv = [ray, "start", "--address", leader, "--node-ip-address", node.own_address]
    return Launch((*argv, "--block"), _environment(plan, node))


def _check_version(choice: EngineChoice, version: tuple[int, int, int]) -> None:
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise InvalidInput(f"vLLM {choice.version} is older than {oldest}, the oldest that Moestro can start")
    since = _TOKENIZER_MODES_SINCE.get(choice.tokenizer_mode or "")
    if since and version < since:
        first = ".".join(map(str, since))
        raise InvalidInput(
            f"vLLM {choice.version} has no tokenizer mode '{choice.tokenizer_mode}': use {first} or later"
        )


def _over_ray(plan: Plan) -> bool:
    return plan.layout.nodes > 1 and plan.engine.distributed_backend == "ray"


def _listening(endpoint: Endpoint, node: Node) -> list[str]:
    if node.rank > 0:
        return []  # only the first node has an API server
    argv = ["--host", endpoint.host, "--port", str(endpoint.port)]
    argv += option("--ssl-certfile", endpoint.certificate)
    argv += option("--ssl-keyfile", endpoint.private_key)
    if endpoint.authority:
        argv += ["--ssl-ca-certs", endpoint.authority, "--ssl-cert-reqs", str(_CERT_REQUIRED)]
    return argv


def _model(choice: EngineChoice) -> list[str]:
    argv: list[str] = []
    if choice.dtype != "auto":
        argv += ["--dtype", choice.dtype]
    argv += option("--quantization", choice.quantization)
    if choice.kv_cache_dtype != "auto":
        argv += ["--kv-cache-dtype", choice.kv_cache_dtype]
    argv += option("--tokenizer-mode", choice.tokenizer_mode)
    argv += ["--trust-remote-code"] if choice.trust_remote_code else []
    return [*argv, "--max-model-len", str(choice.max_model_len)]


def _parallel(plan: Plan) -> list[str]:
    layout = plan.layout
    sizes = {
        "--tensor-parallel-size": layout.tp,
        "--pipeline-parallel-size": layout.pp,
        "--data-parallel-size": layout.dp,
        "--decode-context-parallel-size": layout.dcp,
    }
    return [*parallel_sizes(sizes), *(["--enable-expert-parallel"] if layout.ep else [])]


def _over_nodes(plan: Plan, node: Node) -> list[str]:
    if node.count == 1:
        return []
    if _over_ray(plan):
        return _ray(plan)
    if _replicas_stay_on_nodes(plan):
        return _data_parallel_nodes(plan, node)
    argv = ["--nnodes", str(node.count), "--node-rank", str(node.rank), "--master-addr", node.leader_address]
    return argv + (["--headless"] if node.rank else [])


def _replicas_stay_on_nodes(plan: Plan) -> bool:
    """Whether every data-parallel rank has all its GPUs on one node."""
    layout = plan.layout
    return layout.dp > 1 and (layout.gpus // layout.nodes) % (layout.tp * layout.pp) == 0


def _data_parallel_nodes(plan: Plan, node: Node) -> list[str]:
    local = plan.layout.dp // node.count
    argv = ["--data-parallel-size-local", str(local), "--data-parallel-address", node.leader_address]
    if node.rank:
        argv += ["--headless", "--data-parallel-start-rank", str(node.rank * local)]
    return argv


def _ray(plan: Plan) -> list[str]:
    argv = ["--distributed-executor-backend", "ray"]
    if plan.layout.dp > 1:
        argv += ["--data-parallel-backend", "ray"]
        argv += ["--data-parallel-size-local", str(max(1, plan.layout.dp // plan.layout.nodes))]
    return argv


def _scheduling(choice: EngineChoice) -> list[str]:
    argv = [*option("--max-num-seqs", choice.max_num_seqs)]
    argv += option("--max-num-batched-tokens", choice.max_num_batched_tokens)
    if choice.device == "cuda" or choice.cpu_kv_cache_gib is None:
        argv += ["--gpu-memory-utilization", f"{choice.gpu_memory_utilization:g}"]
    argv += ["--enforce-eager"] if choice.enforce_eager else []
    return [*argv, "--enable-prefix-caching" if choice.prefix_caching else "--no-enable-prefix-caching"]


def _environment(plan: Plan, node: Node) -> dict[str, str]:
    own = _cpu_environment(plan) if plan.engine.device == "cpu" else {}
    return _deep_gemm(plan.engine) | own | network_environment(node, "VLLM_HOST_IP")


def _deep_gemm(choice: EngineChoice) -> dict[str, str]:
    """DeepGEMM by decree: "1" forces the MoE kernel and fails where it cannot run, "0" takes it off the list.

    The indexer of DeepSeek's sparse attention calls DeepGEMM whatever is said here, in the releases that were read.
    Before them a model that has one and is not block-FP8 (NVFP4, AWQ) keeps vLLM's default, which forces nothing.
    """
    if choice.use_deep_gemm:
        return {"VLLM_USE_DEEP_GEMM": "1"}
    unread = version_tuple(choice.version) < _INDEXER_READ_SINCE
    return {} if sparse_attention(choice) and unread else {"VLLM_USE_DEEP_GEMM": "0"}


def _cpu_environment(plan: Plan) -> dict[str, str]:
    # Without a compiler on the host the first request of a tensor-parallel server dies in TorchInductor.
    environment = {"TORCHDYNAMO_DISABLE": "1"}
    if plan.engine.cpu_kv_cache_gib is not None:
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(plan.engine.cpu_kv_cache_gib)
    local_ranks = plan.layout.gpus // plan.layout.nodes
    # By itself vLLM binds to the first cores it sees: hosts that share a machine would all sit on the same one.
    cores = "|".join(str(core) for core in range(local_ranks)) if local_ranks > 1 else "nobind"
    return environment | {"VLLM_CPU_OMP_THREADS_BIND": cores}
