"""Why a figure of ours differs from the seed's; the seed's own figures are data, catalog/checklist.yaml.

The words are shown beside a difference that is more than rounding.
"""

ROUNDING = 0.015  # the seed rounds to two or three digits; a smaller difference needs no words

MTP_WHY = "685 B counts the multi-token-prediction layer of the checkpoint, which the engine does not load"
WHY_PARAMETERS = {  # by family
    "deepseek-v3.2-speciale": MTP_WHY,
    "kimi-k2": "1T is rounded: the configuration gives 1,026 B",
}
WHY_ACTIVE = {
    "deepseek-v3.2-speciale": "ours counts embedding, output head and the sparse indexer too, which every token passes",
    "llama-4-maverick": "ours counts embedding and output head of 202,048 tokens (2.1 B), which 17 B leaves out",
    "kimi-k2": "~32 B leaves out part of embedding and output head",
    "qwen2-57b-a14b": "14 B is rounded",
}
WHY_WEIGHTS = "the seed rounds the parameters"
WHY_STORED = {
    "BF16": "",
    "FP8": "the checkpoint keeps embedding, output head, router and norms in BF16 and adds scales",
    "INT4": "the checkpoint adds scales of every group and keeps tensors in BF16 that 0.5 B a parameter leaves out",
}
STAND_INS = {"deepseek-v3.2-speciale": "deepseek-v3.2"}  # of the same architecture, with more checkpoints
