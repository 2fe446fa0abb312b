"""What the seed document says (2026-04-02), table by table, and why a figure of ours differs where it does.

Figures are the seed's; ``why`` texts are shown beside a difference that is more than rounding.
"""

from dataclasses import dataclass

ROUNDING = 0.015  # the seed rounds to two or three digits; a smaller difference needs no words

MTP_WHY = "685 B counts the multi-token-prediction layer of the checkpoint, which the engine does not load"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model of the seed: parameters in billions; weights in GB by dtype; GPU configurations as ``(count, type)``.

    ``checkpoints`` are catalog names by dtype, for the weights as they are really stored.
    """

    title: str
    name: str  # the catalog's, of the FP8 checkpoint
    parameters: float | None = None
    active: float | None = None
    experts: int | None = None
    top_k: int | None = None
    attention: str = ""
    weights: tuple[tuple[str, float], ...] = ()
    checkpoints: tuple[tuple[str, str], ...] = ()
    smallest: tuple[int, str] | None = None
    configurations: tuple[tuple[str, int, str], ...] = ()
    why_parameters: str = ""
    why_active: str = ""


MODELS = (
    ModelRow(
        "DeepSeek V3.2 Speciale",
        "deepseek-v3.2-speciale",
        685,
        37,
        256,
        8,
        "DSA",
        (("BF16", 1370), ("FP8", 685), ("INT4", 343)),
        (("FP8", "deepseek-v3.2-speciale"), ("INT4", "deepseek-v3.2-int4")),
        (8, "H200_SXM5"),
        (("min", 8, "H200_SXM5"), ("recommended", 8, "H200_SXM5"), ("optimal", 8, "B200_SXM6")),
        MTP_WHY,
        "ours counts embedding, output head and the sparse indexer too, which every token passes or could",
    ),
    ModelRow(
        "Llama 4 Maverick",
        "llama-4-maverick-fp8",
        400,
        17,
        128,
        1,
        "",
        (("BF16", 800), ("FP8", 400), ("INT4", 200)),
        (("BF16", "llama-4-maverick"), ("FP8", "llama-4-maverick-fp8"), ("INT4", "llama-4-maverick-int4")),
        (6, "H100_SXM5"),
        (("min", 6, "H100_SXM5"), ("recommended", 8, "H100_SXM5"), ("optimal", 4, "H200_SXM5")),
        "",
        "ours counts the embedding and output head of 202,048 tokens (2.1 B) that 17 B leaves out in part",
    ),
    ModelRow(
        "Kimi K2",
        "kimi-k2",
        1000,
        32,
        384,
        8,
        "",
        (("BF16", 2000), ("FP8", 1000), ("INT4", 500)),
        (("FP8", "kimi-k2"), ("INT4", "kimi-k2-int4")),
        (16, "H100_SXM5"),
        (("min", 16, "H100_SXM5"), ("recommended", 16, "H200_SXM5"), ("optimal", 8, "B200_SXM6")),
        "1T is rounded: the configuration gives 1,026 B",
        "~32 B leaves out part of embedding and output head",
    ),
    ModelRow(
        "Mixtral 8x22B",
        "mixtral-8x22b-fp8",
        141,
        39,
        8,
        2,
        "",
        (("BF16", 282), ("FP8", 141), ("INT4", 70)),
        (("BF16", "mixtral-8x22b"), ("FP8", "mixtral-8x22b-fp8"), ("INT4", "mixtral-8x22b-int4")),
        (3, "H100_SXM5"),
        (("min", 3, "H100_SXM5"), ("recommended", 4, "H100_SXM5"), ("optimal", 4, "H100_SXM5")),
    ),
    ModelRow(
        "Qwen2-57B-A14B",
        "qwen2-57b-a14b-fp8",
        57,
        14,
        64,
        8,
        "",
        (("BF16", 114), ("FP8", 57), ("INT4", 28)),
        (("BF16", "qwen2-57b-a14b"), ("FP8", "qwen2-57b-a14b-fp8"), ("INT4", "qwen2-57b-a14b-int4")),
        (1, "H100_SXM5"),
        (("min", 1, "H100_SXM5"), ("recommended", 2, "H100_SXM5"), ("optimal", 2, "H200_SXM5")),
        "",
        "14 B is rounded",
    ),
    ModelRow(
        "Mixtral 8x7B",
        "mixtral-8x7b-fp8",
        configurations=(("min", 1, "H100_SXM5"), ("recommended", 2, "H100_SXM5"), ("optimal", 2, "H100_SXM5")),
    ),
)

BYTES = (("BF16", 2.0), ("FP8", 1.0), ("INT8", 1.0), ("INT4", 0.5))
WHY_STORED = {
    "BF16": "",
    "FP8": "the checkpoint keeps embedding, output head, router and norms in BF16 and adds scales",
    "INT4": "the checkpoint adds scales of every group and keeps tensors in BF16 that 0.5 B a parameter leaves out",
}


@dataclass(frozen=True, slots=True)
class CostRow:
    """One row of the seed's cost comparison. USD an hour of the whole setup; tokens a second are illustrative."""

    title: str
    name: str
    gpu: str
    count: int
    on_demand: float
    spot: float | None
    tokens_per_second: float
    per_million: float
    purchase: str


COSTS = (
    CostRow("Llama 3 70B dense, 1x H100 PCIe", "llama-3-70b", "H100_PCIE", 1, 2.01, None, 2500, 0.223, "on-demand"),
    CostRow(
        "Mixtral 8x22B, 4x A100 PCIe", "mixtral-8x22b-fp8", "A100_80G_PCIE", 4, 4.28, 4.56, 4000, 0.297, "on-demand"
    ),
    CostRow("DeepSeek V3.2, 8x B200 SXM6", "deepseek-v3.2", "B200_SXM6", 8, 59.44, 13.36, 8000, 0.464, "spot"),
)

# GPU, on-demand, spot, saving in percent
PRICES = (
    ("H100_PCIE", 2.01, None, None),
    ("A100_80G_PCIE", 1.07, 1.14, -6.5),
    ("B200_SXM6", 7.43, 1.67, 78.0),
)

BATCH = ("B200_SXM6", 8, 10.0, 594.40, 133.60, 460.80, 13824.0)

# What the seed watches, and where today's engine shows it.
METRICS = (
    ("GPU utilization per GPU", "80-95%", "DCGM exporter (nvidia-smi); the engine has no metric of it"),
    (
        "Expert load balance",
        "uniform ±20%",
        "no metric of vLLM: with EPLB it logs balancedness; SGLang has a metric",
    ),
    ("All-to-all communication", "<5 ms a pass", "NCCL profiler; no metric of the engine"),
    ("Tokens/sec per GPU", "model-dependent", "rate of vllm:generation_tokens_total over the GPUs"),
    ("VRAM used", "85-92%", "DCGM exporter; fixed by --gpu-memory-utilization at start"),
    ("KV cache hit rate", ">40% for chat", "vllm:prefix_cache_hits_total / vllm:prefix_cache_queries_total"),
)
