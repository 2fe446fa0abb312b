"""What the engine is told besides the layout: pinned versions and the defaults of a GPU, a model and the checklist."""

from dataclasses import replace

from moestro.planning.gpu import GpuSpec
from moestro.planning.model import AttentionKind, ModelSpec
from moestro.planning.overhead import batch_sizes
from moestro.planning.plan import EngineChoice
from moestro.planning.request import Request

VERSIONS = {("vllm", "cuda"): "0.33.0", ("vllm", "cpu"): "0.32.0", ("sglang", "cuda"): "0.5.23"}
UTILIZATION = 0.90  # the production checklist's; vLLM's own default is 0.92
SPARSE_UTILIZATION = 0.85  # sparse attention allocates logits at run time beyond what profiling sees
SPARSE_BATCH_TOKENS = 16384  # at 32768 a measured server of DeepSeek V3.2 ran out of memory


def cache_dtype(model: ModelSpec, request: Request) -> str:
    """The cache's dtype that is asked for, else the one that the checkpoint declares: what vLLM makes of ``auto``."""
    return (request.kv_cache_dtype == "auto" and model.quantization.kv_cache) or request.kv_cache_dtype


def engine_choice(model: ModelSpec, gpu: GpuSpec, request: Request, nodes: int) -> EngineChoice:
    """The engine's settings for this model on this GPU; the context comes from the plan."""
    sparse = model.attention.kind is AttentionKind.DSA
    cpu = gpu.device == "cpu"
    batch = request.max_num_batched_tokens
    if batch is None and sparse and gpu.memory_gib >= 160:
        batch = SPARSE_BATCH_TOKENS
    choice = EngineChoice(
        engine=request.engine,
        version=request.engine_version or VERSIONS.get((request.engine, gpu.device), VERSIONS["vllm", "cuda"]),
        device=gpu.device,
        dtype="bfloat16" if cpu else "auto",
        kv_cache_dtype=cache_dtype(model, request),
        max_model_len=request.context or model.max_context,
        max_num_seqs=request.max_num_seqs,
        max_num_batched_tokens=batch,
        gpu_memory_utilization=request.gpu_memory_utilization or (SPARSE_UTILIZATION if sparse else UTILIZATION),
        enforce_eager=request.enforce_eager or cpu,
        prefix_caching=request.prefix_caching,
        cpu_kv_cache_gib=request.cpu_kv_cache_gib if cpu else None,
        tokenizer_mode=model.tokenizer_mode,
        trust_remote_code=model.trust_remote_code,
        distributed_backend="mp" if nodes > 1 else None,
        extra_args=request.extra_args,
    )
    tokens, sequences = batch_sizes(gpu, choice)
    return choice if tokens >= sequences else replace(choice, max_num_batched_tokens=sequences)  # or vLLM refuses
