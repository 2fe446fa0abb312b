"""Why a plan is as it is, and what to watch: one line each."""

from moestro.planning.gpu import GpuSpec
from moestro.planning.model import AttentionKind, ModelSpec
from moestro.planning.plan import Plan
from moestro.planning.request import Request
from moestro.planning.rules import DEEP_GEMM_MAJORS


def engine_reasons(plan: Plan, model: ModelSpec, gpu: GpuSpec, request: Request) -> list[str]:
    """Why the engine is told what it is told."""
    reasons = []
    if model.precision != "BF16":
        reasons.append(
            f"{model.precision} comes from the checkpoint; the engine finds it by itself, --dtype stays auto"
        )
    if model.attention.kind is AttentionKind.DSA and request.gpu_memory_utilization is None:
        reasons.append(
            f"utilization {plan.engine.gpu_memory_utilization:g}: sparse attention allocates its "
            "logits at run time, beyond what vLLM profiles"
        )
    if plan.engine.engine == "vllm" and model.experts and gpu.device == "cuda":
        reasons.append(_deep_gemm(plan, model, gpu))
    if plan.engine.kv_cache_dtype != request.kv_cache_dtype:
        reasons.append(
            f"KV cache {plan.engine.kv_cache_dtype}: the checkpoint declares it, which is what 'auto' means to the "
            f"engine; --kv-cache-dtype {model.dtype} keeps the model's own"
        )
    if plan.engine.kv_cache_dtype.startswith("fp8") and plan.engine.prefix_caching:
        reasons.append("prefix caching stays on: with an FP8 cache it works in today's engines")
    return reasons


def _deep_gemm(plan: Plan, model: ModelSpec, gpu: GpuSpec) -> str:
    block = "128x128 block FP8 on Hopper or data-center Blackwell"
    if plan.engine.use_deep_gemm:
        return f"DeepGEMM on: 128x128 block FP8 experts on {gpu.architecture}"
    if model.attention.kind is AttentionKind.DSA:
        return "DeepGEMM off for the experts, which it does not take; the sparse indexer uses it all the same"
    if gpu.compute_capability[0] in DEEP_GEMM_MAJORS and model.quantization.block == (128, 128):
        return "DeepGEMM off: a GPU's part of an expert is no multiple of 128 wide"
    return f"DeepGEMM off: its MoE kernel takes {block} only"


def warnings(plan: Plan, model: ModelSpec, gpu: GpuSpec, request: Request) -> list[str]:
    """What to watch in a plan that fits."""
    return [
        *_memory_warnings(plan, model, request),
        *_latency_warnings(plan, request),
        *_hardware_warnings(plan, model, gpu),
        *model.notes,
    ]


def _latency_warnings(plan: Plan, request: Request) -> list[str]:
    if request.p95_seconds is None or request.concurrency is not None or plan.throughput_batch is None:
        return []
    most = plan.throughput_batch
    return [f"p95 keeps to {request.p95_seconds:g} s with up to {most} requests in flight: let no more in at once"]


def _memory_warnings(plan: Plan, model: ModelSpec, request: Request) -> list[str]:
    memory = plan.memory
    found: list[str] = []
    high = memory.overhead_range_gib[1]
    left = memory.usable_gib_per_gpu - max(memory.weights_gib_per_gpu) - high
    if left < memory.kv_needed_gib_per_gpu and plan.engine.device == "cuda":
        found.append(f"tight: with the largest overhead seen ({high:.1f} GiB) the cache would not hold the load")
    if request.context is None and plan.engine.max_model_len < model.max_context:
        found.append(
            f"context lowered from {model.max_context:,} to {plan.engine.max_model_len:,} tokens, what the cache holds"
        )
    if plan.engine.gpu_memory_utilization > 0.95:
        found.append("utilization above 0.95 leaves no headroom for routing overhead; 0.90 is the checklist's")
    if model.attention.kind is AttentionKind.DSA and (plan.engine.max_num_batched_tokens or 0) > 16384:
        found.append("sparse attention allocates its logits at run time: above 16384 batched tokens servers ran out")
    return found


def _hardware_warnings(plan: Plan, model: ModelSpec, gpu: GpuSpec) -> list[str]:
    found: list[str] = []
    if plan.layout.gpus > 1 and gpu.interconnect in ("pcie", "nvlink-bridge"):
        found.append(f"{gpu.name} talks over PCIe: benchmark before production, prefer SXM from 4 GPUs on")
    if model.precision == "FP8" and "fp8" not in gpu.tflops and gpu.device == "cuda":
        found.append(f"{gpu.name} has no FP8 tensor cores: Marlin saves memory, computing stays BF16")
    if model.precision == "NVFP4" and gpu.compute_capability[0] < 10:
        found.append(f"{gpu.name} has no FP4 tensor cores: Marlin saves memory, computing stays BF16")
    if plan.engine.kv_cache_dtype.startswith("fp8") and gpu.compute_capability < (8, 9):
        found.append(f"FP8 KV cache on {gpu.name} saves memory only and needs the FlashInfer backend")
    if model.precision == "MXFP4":
        found.append("MXFP4 kernels pad each GPU's experts differently; weights may be some 15 % more than computed")
    if plan.engine.engine == "sglang":
        found.append("the cache is computed by vLLM's accounting; SGLang divides its memory by --mem-fraction-static")
    if plan.layout.nodes > 1:
        found.append("several nodes: start all ranks together; a lost node stops the replica")
    return found
