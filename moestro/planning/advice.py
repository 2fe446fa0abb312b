"""Why a plan is as it is, and what to watch: one line each."""

from moestro.planning.engine import SPARSE_UTILIZATION
from moestro.planning.gpu import GpuSpec
from moestro.planning.model import AttentionKind, ModelSpec
from moestro.planning.plan import Plan
from moestro.planning.request import Request

_TIGHT_SHARE = 0.15


def advice(plan: Plan, model: ModelSpec, gpu: GpuSpec, request: Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(reasons, warnings) of a plan."""
    if not plan.memory.fits:
        return (), ()
    reasons = [*_layout_reasons(plan, model, gpu), *_engine_reasons(plan, model, gpu)]
    warnings = [*_memory_warnings(plan, model, request), *_hardware_warnings(plan, model, gpu), *model.notes]
    return tuple(reasons), tuple(warnings)


def _layout_reasons(plan: Plan, model: ModelSpec, gpu: GpuSpec) -> list[str]:
    layout, memory = plan.layout, plan.memory
    reasons = [
        f"{layout}: weights {max(memory.weights_gib_per_gpu):.1f} + overhead {memory.overhead_gib_per_gpu:.1f} of "
        f"{memory.usable_gib_per_gpu:.1f} usable GiB a GPU leave {memory.kv_tokens:,} KV tokens"
    ]
    if layout.ep:
        reasons.append("expert parallel: NVLink carries expert dispatch, each GPU computes whole experts")
    elif model.experts and layout.tp > 1 and not gpu.nvlink and gpu.device == "cuda":
        reasons.append("tensor parallel without expert parallel: over PCIe expert dispatch is slow")
    if layout.pp > 1:
        why = "each node is a stage" if layout.pp == layout.nodes else "memory binds"
        reasons.append(f"{layout.pp} pipeline stages: {why}")
    if layout.dp > 1 and layout.gpus > 1:
        reasons.append(f"{layout.dp} attention replicas: TP {layout.gpus} would not divide the heads or hold the load")
    if layout.dcp > 1:
        reasons.append(
            f"context parallel decoding over {layout.dcp} ranks: the cache would not hold the load otherwise"
        )
    return reasons


def _engine_reasons(plan: Plan, model: ModelSpec, gpu: GpuSpec) -> list[str]:
    reasons = []
    if model.precision != "BF16":
        reasons.append(
            f"{model.precision} comes from the checkpoint; the engine finds it by itself, --dtype stays auto"
        )
    if model.attention.kind is AttentionKind.DSA and plan.engine.gpu_memory_utilization == SPARSE_UTILIZATION:
        reasons.append("utilization 0.85: sparse attention allocates its logits at run time, beyond what vLLM profiles")
    if plan.engine.use_deep_gemm:
        reasons.append("DeepGEMM on: 128x128 block FP8 experts on " + gpu.architecture)
    elif model.experts and gpu.device == "cuda":
        reasons.append("DeepGEMM off: its MoE kernel takes 128x128 block FP8 on Hopper or Blackwell only")
    if plan.engine.kv_cache_dtype.startswith("fp8") and plan.engine.prefix_caching:
        reasons.append("prefix caching stays on: with an FP8 cache it works in today's vLLM")
    return reasons


def _memory_warnings(plan: Plan, model: ModelSpec, request: Request) -> list[str]:
    memory, warnings = plan.memory, []
    high = memory.overhead_range_gib[1]
    left = memory.usable_gib_per_gpu - max(memory.weights_gib_per_gpu) - high
    if left < memory.kv_needed_gib_per_gpu and plan.engine.device == "cuda":
        warnings.append(f"tight: with the largest overhead seen ({high:.1f} GiB) the cache would not hold the load")
    if request.context is None and plan.engine.max_model_len < model.max_context:
        warnings.append(
            f"context lowered from {model.max_context:,} to {plan.engine.max_model_len:,} tokens, what the cache holds"
        )
    if plan.engine.gpu_memory_utilization > 0.95:
        warnings.append("utilization above 0.95 leaves no headroom for routing overhead; 0.90 is the checklist's")
    if model.attention.kind is AttentionKind.DSA and (plan.engine.max_num_batched_tokens or 0) > 16384:
        warnings.append("sparse attention allocates its logits at run time: above 16384 batched tokens servers ran out")
    return warnings


def _hardware_warnings(plan: Plan, model: ModelSpec, gpu: GpuSpec) -> list[str]:
    warnings = []
    if plan.layout.gpus > 1 and gpu.interconnect in ("pcie", "nvlink-bridge"):
        warnings.append(f"{gpu.name} talks over PCIe: benchmark before production, prefer SXM from 4 GPUs on")
    if model.precision == "FP8" and "fp8" not in gpu.tflops and gpu.device == "cuda":
        warnings.append(f"{gpu.name} has no FP8 tensor cores: Marlin saves memory, computing stays BF16")
    if model.precision == "NVFP4" and gpu.compute_capability[0] < 10:
        warnings.append(f"{gpu.name} has no FP4 tensor cores: Marlin saves memory, computing stays BF16")
    if plan.engine.kv_cache_dtype.startswith("fp8") and gpu.compute_capability < (8, 9):
        warnings.append(f"FP8 KV cache on {gpu.name} saves memory only and needs the FlashInfer backend")
    if model.precision == "MXFP4":
        warnings.append("MXFP4 kernels pad each GPU's experts differently; weights may be some 15 % more than computed")
    if plan.engine.engine == "sglang":
        warnings.append(
            "the cache is computed by vLLM's accounting; SGLang divides its memory by --mem-fraction-static"
        )
    if plan.layout.nodes > 1:
        warnings.append("several nodes: start all ranks together; a lost node stops the replica")
    return warnings
