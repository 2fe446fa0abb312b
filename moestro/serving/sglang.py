"""The launch line of SGLang: a Plan as ``sglang serve`` arguments and environment.

Written for 0.5.23; flags and choices: ``sglang/srt/arg_groups/fields`` of that release. What vLLM can do and SGLang
cannot is refused by name instead of being left out silently.
"""

import math

from moestro.errors import InvalidInput
from moestro.planning.plan import EngineChoice, Plan
from moestro.serving.arguments import ONLY_NODE, check, network_environment, option, parallel_sizes, version_tuple
from moestro.serving.launch import Endpoint, Launch, Node

OLDEST = (0, 5, 23)  # the first release with --attn-dp-size in place of the deprecated --enable-dp-attention checked
RENDEZVOUS_PORT = 29501

_KV_CACHE_DTYPES = {
    "auto": "auto",
    "bfloat16": "bfloat16",
    "fp8": "fp8_e4m3",
    "fp8_e4m3": "fp8_e4m3",
    "fp8_e5m2": "fp8_e5m2",
    "fp8_ds_mla": "fp8_e4m3",  # SGLang lays out the sparse-attention cache itself
    "nvfp4": "nvfp4",
}
# Online quantization of a BF16 checkpoint has other names; methods read from the checkpoint have the same.
_QUANTIZATIONS = {
    "fp8_per_tensor": "fp8",
    "fp8": "fp8",
    "awq": "awq",
    "awq_marlin": "awq_marlin",
    "gptq": "gptq",
    "gptq_marlin": "gptq_marlin",
    "compressed-tensors": "compressed-tensors",
    "modelopt": "modelopt_fp8",
    "modelopt_fp4": "modelopt_fp4",
    "mxfp4": "mxfp4",
}
_OWN_TOKENIZERS = {"auto", "deepseek_v32"}  # SGLang chooses DeepSeek's encoding by the architecture
_TOKENIZER_MODES = {"slow": "slow"}


def render(plan: Plan, endpoint: Endpoint, node: Node = ONLY_NODE, program: str = "sglang") -> Launch:
    """The SGLang process of ``plan`` on ``node``; every node of a replica runs one.

    The API key is not here: moestro.serving.engines adds it. No ``--ssl-ca-certs``: with it SGLang still asks no
    client for a certificate, but checks its own under 127.0.0.1, a name that it does not have, and ends.

    Args:
        program: the ``sglang`` executable on the host.

    Raises:
        InvalidInput: SGLang has no equivalent for something the plan or the endpoint needs.
    """
    check(plan, endpoint, node)
    _check_support(plan, endpoint)
    argv = [program, "serve", "--model-path", endpoint.model_path, "--served-model-name", endpoint.served_name]
    argv += ["--host", endpoint.host, "--port", str(endpoint.port), "--enable-metrics"]
    argv += option("--ssl-certfile", endpoint.certificate)
    argv += option("--ssl-keyfile", endpoint.private_key)
    argv += _model(plan.engine)
    argv += _parallel(plan)
    argv += _over_nodes(node)
    argv += _scheduling(plan)
    return Launch((*argv, *plan.engine.extra_args), network_environment(node, "SGLANG_HOST_IP"))


def _check_support(plan: Plan, endpoint: Endpoint) -> None:
    choice = plan.engine
    if version_tuple(choice.version) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise InvalidInput(f"SGLang {choice.version} is older than {oldest}, the oldest that Moestro can start")
    if choice.device != "cuda":
        raise InvalidInput(f"SGLang is started on CUDA GPUs only, not on device '{choice.device}': use engine 'vllm'")
    if endpoint.authority:
        raise InvalidInput(
            f"SGLang {choice.version} cannot demand client certificates, which this endpoint does: use engine 'vllm'"
        )
    if plan.layout.nodes > 1 and choice.distributed_backend == "ray":
        raise InvalidInput("SGLang's nodes find each other without Ray: leave the distributed backend out")


def _model(choice: EngineChoice) -> list[str]:
    argv: list[str] = []
    if choice.dtype != "auto":
        argv += ["--dtype", choice.dtype]
    if choice.quantization is not None:
        argv += ["--quantization", _equivalent("quantization", choice.quantization, _QUANTIZATIONS)]
    argv += ["--kv-cache-dtype", _equivalent("KV cache dtype", choice.kv_cache_dtype, _KV_CACHE_DTYPES)]
    if choice.tokenizer_mode is not None and choice.tokenizer_mode not in _OWN_TOKENIZERS:
        argv += ["--tokenizer-mode", _equivalent("tokenizer mode", choice.tokenizer_mode, _TOKENIZER_MODES)]
    argv += ["--trust-remote-code"] if choice.trust_remote_code else []
    return [*argv, "--context-length", str(choice.max_model_len)]


def _equivalent(what: str, value: str, known: dict[str, str]) -> str:
    if value not in known:
        raise InvalidInput(f"SGLang has no equivalent of {what} '{value}': use one of {', '.join(known)}")
    return known[value]


def _parallel(plan: Plan) -> list[str]:
    """SGLang counts attention data parallelism inside its tensor-parallel size; vLLM multiplies the two."""
    layout = plan.layout
    world = layout.tp * layout.dp
    sizes = {
        "--tp-size": world,
        "--pp-size": layout.pp,
        "--attn-dp-size": layout.dp,
        "--ep-size": world if layout.ep else 1,
        "--dcp-size": layout.dcp,
    }
    return [*parallel_sizes(sizes)]


def _over_nodes(node: Node) -> list[str]:
    if node.count == 1:
        return []
    rendezvous = f"{node.leader_address}:{RENDEZVOUS_PORT}"
    return ["--nnodes", str(node.count), "--node-rank", str(node.rank), "--dist-init-addr", rendezvous]


def _scheduling(plan: Plan) -> list[str]:
    choice = plan.engine
    argv = ["--mem-fraction-static", f"{_static_fraction(plan):g}"]
    argv += option("--max-running-requests", _over_ranks(choice.max_num_seqs, plan))
    argv += option("--chunked-prefill-size", _over_ranks(choice.max_num_batched_tokens, plan))
    if choice.enforce_eager:
        argv += ["--disable-decode-cuda-graph", "--disable-prefill-cuda-graph"]
    return argv if choice.prefix_caching else [*argv, "--disable-radix-cache"]


def _over_ranks(limit: int | None, plan: Plan) -> int | None:
    """SGLang divides these limits among the attention's data-parallel ranks; vLLM gives each rank the whole."""
    return None if limit is None else limit * plan.layout.dp


def _static_fraction(plan: Plan) -> float:
    """The share for weights and KV cache alone: SGLang's figure leaves out what vLLM's utilization contains.

    utilization x (1 - overhead / usable), rounded down to a thousandth.
    """
    memory = plan.memory
    share = plan.engine.gpu_memory_utilization * (1 - memory.overhead_gib_per_gpu / memory.usable_gib_per_gpu)
    return math.floor(share * 1000) / 1000
