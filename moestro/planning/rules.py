"""What the engine refuses: why a layout, a cache dtype or a GPU cannot run a model, in one line each.

Sources: vLLM 0.33 ``config/model.py``, ``config/parallel.py``, the models' own checks, ``fp8_utils.py``,
``oracle/fp8.py`` and the capability checks of its attention backends.
"""

from functools import lru_cache
from math import gcd

from moestro.planning.gpu import GpuSpec, Site
from moestro.planning.kv import KV_DTYPES
from moestro.planning.model import AttentionKind, ModelSpec
from moestro.planning.plan import Layout
from moestro.planning.shape import MLA_TYPES, QWEN_MOE

_BLOCK_REFINED = 32  # the smallest common divisor to which an expert's block may be refined
_NATIVE_SPARSE = (9, 10)
_TP_WITHIN_EXPERTS = (*QWEN_MOE, "minimax_m2")  # vLLM's own check in these models
DEEP_GEMM_MAJORS = (9, 10)


@lru_cache(maxsize=65536)
def layout_violation(model: ModelSpec, layout: Layout) -> str | None:
    """Why the engine would refuse ``layout`` for ``model`` on any GPU, or None."""
    checks = (_heads, _pipeline, _experts, _widths, _quantized_dimensions, _context_parallel)
    return next((reason for check in checks if (reason := check(model, layout))), None)


def _heads(model: ModelSpec, layout: Layout) -> str | None:
    heads, tp = model.attention, layout.tp
    if heads.heads % tp:
        return f"{heads.heads} attention heads do not divide by TP {tp}"
    if heads.mla:
        return None
    kv_heads = heads.kv_heads
    if kv_heads % tp if kv_heads >= tp else tp % kv_heads:
        return f"{kv_heads} KV heads cannot be spread over TP {tp}"
    if tp > kv_heads and model.model_type == "gpt_oss":  # its attention divides them, where others keep one a GPU
        return f"{kv_heads} KV heads are not copied to more GPUs than that by vLLM's gpt-oss, so TP {tp} cannot be"
    return None


def _pipeline(model: ModelSpec, layout: Layout) -> str | None:
    if layout.pp > model.layers:
        return f"PP {layout.pp} is more than the {model.layers} layers"
    return None


def _experts(model: ModelSpec, layout: Layout) -> str | None:
    ranks = layout.tp * layout.dp
    if layout.ep and model.experts is None:
        return "expert parallelism needs experts, and this model is dense"
    if layout.ep and ranks == 1:
        return "expert parallelism needs more than one GPU in a stage"
    if layout.ep and model.experts and ranks > model.experts.count:
        return f"EP {ranks} is more than the {model.experts.count} experts"
    if model.model_type in _TP_WITHIN_EXPERTS and model.experts and layout.tp > model.experts.count:
        return f"TP {layout.tp} is more than the {model.experts.count} experts"
    return None


def _widths(model: ModelSpec, layout: Layout) -> str | None:
    """vLLM cuts a layer into equal parts or not at all; MXFP4 kernels pad them."""
    if model.dense_width % layout.tp:
        return f"dense MLP of width {model.dense_width} does not divide by TP {layout.tp}"
    experts, ranks = model.experts, layout.tp * layout.dp
    if experts is None:
        return None
    if experts.shared_width % layout.tp:
        return f"shared experts of width {experts.shared_width} do not divide by TP {layout.tp}"
    if not layout.ep and experts.width % ranks and model.quantization.scheme != "mxfp4":
        return f"experts of width {experts.width} do not divide by TP x DP {ranks}; expert parallel they need not"
    return None


def _quantized_dimensions(model: ModelSpec, layout: Layout) -> str | None:
    scheme = model.quantization.scheme
    if scheme == "fp8-block":
        unit = model.quantization.block[0]
    elif scheme == "int4" and model.quantization.group_size:
        unit = model.quantization.group_size
    else:
        return None
    if scheme == "fp8-block" and (narrow := _kv_width(model, layout.tp)) % unit:
        return f"keys and values of width {narrow} a GPU at TP {layout.tp} are no multiple of the {scheme} unit {unit}"
    for name, width in sharded_widths(model):
        if width % layout.tp or (width // layout.tp) % unit:
            return f"{name} {width} over TP {layout.tp} is no multiple of the {scheme} unit {unit}"
    return _expert_dimensions(model, layout, unit)


def _kv_width(model: ModelSpec, tp: int) -> int:
    """Width of the key projection on one GPU; 0 where it is not quantized or there is none (MLA)."""
    heads = model.attention
    if heads.mla or not _covered(model, "self_attn.k_proj"):
        return 0
    return max(1, heads.kv_heads // tp) * heads.head_dim


def _expert_dimensions(model: ModelSpec, layout: Layout, unit: int) -> str | None:
    experts, ranks = model.experts, layout.tp * layout.dp
    if experts is None or layout.ep or not _covered(model, "experts.0.up_proj"):
        return None
    smallest = _BLOCK_REFINED if model.quantization.scheme == "fp8-block" else unit
    if experts.width % ranks or gcd(experts.width // ranks, unit) < smallest:
        return f"experts of width {experts.width} over TP x DP {ranks} break the quantization's unit {unit}"
    return None


@lru_cache(maxsize=4096)
def sharded_widths(model: ModelSpec) -> tuple[tuple[str, int], ...]:
    """The dimensions of quantized layers that tensor parallelism cuts."""
    heads, widths = model.attention, []
    if _covered(model, "self_attn.o_proj"):
        inner = heads.heads * (heads.value or heads.head_dim)
        widths.append(("attention output of width", inner))
    if model.dense_width and _covered(model, "mlp.gate_proj"):
        widths.append(("dense MLP of width", model.dense_width))
    if model.experts and model.experts.shared_width and _covered(model, "shared_experts.gate_proj"):
        widths.append(("shared experts of width", model.experts.shared_width))
    return tuple(widths)


@lru_cache(maxsize=4096)
def _covered(model: ModelSpec, module: str) -> bool:
    """Whether a kind of module is quantized in some layer."""
    names = {module, module.replace("mlp.", "feed_forward."), module.replace("shared_experts", "shared_expert")}
    sampled = (0, model.layers // 2, model.layers - 1)
    parents = ("model.layers.{i}.", "model.layers.{i}.mlp.", "language_model.model.layers.{i}.feed_forward.")
    full = [parent.format(i=i) + name for parent in parents for i in sampled for name in names]
    return model.quantization.scheme != "bf16" and all(model.quantization.covers(name) for name in full)


def _context_parallel(model: ModelSpec, layout: Layout) -> str | None:
    dcp, tp, heads = layout.dcp, layout.tp, model.attention
    if dcp == 1:
        return None
    if tp % dcp:
        return f"TP {tp} does not divide by DCP {dcp}"
    if heads.kind is AttentionKind.DSA:
        return "context parallel decoding is not verified for sparse attention (DSA)"
    if heads.kind is AttentionKind.SLIDING:
        return "vLLM has no context parallel decoding for sliding windows"
    if not heads.mla and (tp <= heads.kv_heads or dcp > tp // heads.kv_heads):
        return f"DCP {dcp} needs at least {dcp} TP ranks for each of the {heads.kv_heads} KV heads"
    return None


def placement_violation(site: Site, layout: Layout) -> str | None:
    """Why a layout does not lie on these machines, or None."""
    if layout.gpus % layout.nodes:
        return f"{layout.gpus} GPUs do not divide over {layout.nodes} nodes"
    per_node = layout.gpus // layout.nodes
    if per_node > site.gpus_per_node:
        return f"{per_node} GPUs a node are more than the {site.gpus_per_node} that a machine has"
    if site.device == "cpu" and (layout.ep or layout.pp > 1 or layout.dp > 1):
        return "vLLM's CPU build dies at the first completion with EP, PP or DP; only TP works"
    return None


def gpu_violation(model: ModelSpec, gpu: GpuSpec, kv_dtype: str) -> str | None:
    """Why this GPU runs the model under no layout, or None."""
    if gpu.device == "cpu":
        plain = model.quantization.scheme == "bf16" and model.attention.kind is not AttentionKind.DSA
        return (
            None if plain else "the CPU device of the sandbox serves unquantized models without sparse attention only"
        )
    major = gpu.compute_capability[0]
    if model.attention.kind is AttentionKind.DSA and major not in _NATIVE_SPARSE:
        return f"DeepSeek sparse attention needs Hopper or data-center Blackwell, not {gpu.name} ({_capability(gpu)})"
    return _cache_violation(model, gpu, kv_dtype)


def _cache_violation(model: ModelSpec, gpu: GpuSpec, kv_dtype: str) -> str | None:
    if kv_dtype not in KV_DTYPES:
        return f"KV cache dtype '{kv_dtype}' is not known: choose one of {', '.join(KV_DTYPES)}"
    if kv_dtype in ("bfloat16", "float16") and kv_dtype != model.dtype:
        return f"KV cache dtype '{kv_dtype}' must be the model's own, {model.dtype}: leave it 'auto'"
    if kv_dtype.endswith("_ds_mla") and model.attention.kind is not AttentionKind.DSA:
        return f"KV cache dtype '{kv_dtype}' is DeepSeek sparse attention's own"
    if kv_dtype == "nvfp4_ds_mla" and gpu.compute_capability[0] != 10:
        return f"KV cache dtype '{kv_dtype}' needs Blackwell (10.0), not {gpu.name} ({_capability(gpu)})"
    if kv_dtype.startswith("fp8") and model.model_type in MLA_TYPES and gpu.compute_capability[0] < 9:
        return f"FP8 KV cache with MLA needs Hopper or Blackwell, not {gpu.name} ({_capability(gpu)})"
    return None


def _capability(gpu: GpuSpec) -> str:
    return "compute capability {}.{}".format(*gpu.compute_capability)


def deep_gemm_runs(model: ModelSpec, gpu: GpuSpec, layout: Layout) -> bool:
    """Whether DeepGEMM's MoE kernel takes this model: 128x128 block FP8 on Hopper or data-center Blackwell.

    Forced anywhere else, vLLM stops at start (``experts/deep_gemm_moe.py``: shapes, scheme and capability).
    """
    experts = model.experts
    if experts is None or model.quantization.scheme != "fp8-block" or model.quantization.block != (128, 128):
        return False
    width = experts.width if layout.ep else experts.width // (layout.tp * layout.dp)
    return gpu.compute_capability[0] in DEEP_GEMM_MAJORS and width % 128 == 0 and model.hidden % 128 == 0
