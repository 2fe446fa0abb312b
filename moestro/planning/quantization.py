"""How a checkpoint stores its weights: the quantization schemes that vLLM loads, in bytes a parameter.

Storage formulas: the safetensors layouts of each method (packed integers, one scale a group or block).
"""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from moestro.errors import InvalidInput

METHODS = "fp8, compressed-tensors, modelopt, awq, gptq, mxfp4"


@dataclass(frozen=True, slots=True)
class Quantization:
    """One scheme and the modules it leaves alone.

    Attributes:
        method: what the checkpoint calls it (``quant_method``), which is what the engine checks.
        scheme: ``bf16``, ``fp8-block``, ``fp8-channel``, ``fp8-tensor``, ``int8``, ``int4``, ``nvfp4`` or ``mxfp4``.
        group_size: weights that share a scale; 0 where that is a channel or a tensor.
        block: rows and columns that share a scale in ``fp8-block``.
        ignored: patterns of modules that stay in the model's own dtype.
        zero_points: whether each group also stores one.
    """

    method: str = ""
    scheme: str = "bf16"
    group_size: int = 0
    block: tuple[int, int] = (0, 0)
    ignored: tuple[str, ...] = ()
    zero_points: bool = False

    @property
    def bytes_per_parameter(self) -> float:
        """Bytes of one quantized weight with its share of scales and zero points."""
        if self.scheme == "fp8-block":
            return 1 + 4 / (self.block[0] * self.block[1])
        if self.scheme == "int4":
            return 0.5 + (2.0 + (0.5 if self.zero_points else 0.0)) / (self.group_size or 1 << 30)
        return {"bf16": 2.0, "nvfp4": 0.5 + 1 / 16, "mxfp4": 0.5 + 1 / 32}.get(self.scheme, 1.0)

    @property
    def dtype(self) -> str:
        """The short name for people: BF16, FP8, INT8, INT4, NVFP4 or MXFP4."""
        return self.scheme.split("-")[0].upper()

    def covers(self, module: str) -> bool:
        """Whether ``module`` (such as ``model.layers.3.mlp.experts.0.up_proj``) is quantized."""
        return self.scheme != "bf16" and not any(_names(pattern, module) for pattern in self.ignored)


BF16 = Quantization()


@lru_cache(maxsize=65536)
def _names(pattern: str, module: str) -> bool:
    if pattern.startswith("re:"):
        return re.match(pattern[3:], module) is not None
    if "*" in pattern:
        return fnmatch.fnmatchcase(module, pattern)
    return module == pattern or module.startswith(pattern + ".") or f".{pattern}." in f".{module}."


def parse(config: Mapping[str, Any]) -> Quantization:
    """The scheme of a ``config.json`` (``quantization_config``, or modelopt's ``quantization``).

    Raises:
        InvalidInput: a method or scheme that is not understood, with its name.
    """
    raw = config.get("quantization_config") or config.get("compression_config")
    if not raw:
        return BF16
    if not isinstance(raw, Mapping):
        raise InvalidInput(f"quantization_config {raw!r} is not an object: take config.json from the repository")
    method = str(raw.get("quant_method") or raw.get("producer", {}).get("name") or "")
    parsers = {"fp8": _fp8, "compressed-tensors": _compressed, "modelopt": _modelopt, "modelopt_fp4": _modelopt}
    parsers |= {"awq": _int4, "gptq": _int4, "mxfp4": _mxfp4}
    if method not in parsers:
        raise InvalidInput(f"quantization_config.quant_method '{method}' is not understood: known are {METHODS}")
    return parsers[method](method, raw)


def _patterns(*lists: Any) -> tuple[str, ...]:
    return tuple(str(pattern) for one in lists if isinstance(one, Sequence) for pattern in one)


def _fp8(method: str, raw: Mapping[str, Any]) -> Quantization:
    ignored = _patterns(raw.get("modules_to_not_convert"), raw.get("ignored_layers"))
    block = raw.get("weight_block_size")
    if block:
        return Quantization(method, "fp8-block", 0, (int(block[0]), int(block[1])), ignored)
    return Quantization(method, "fp8-tensor", ignored=ignored)


def _compressed(method: str, raw: Mapping[str, Any]) -> Quantization:
    groups = list((raw.get("config_groups") or {}).values())
    weights = (groups[0].get("weights") or {}) if groups else {}
    bits, kind = weights.get("num_bits"), weights.get("type")
    group = int(weights.get("group_size") or 0)
    ignored = _patterns(raw.get("ignore"))
    if kind == "float" and bits == 8:
        block = weights.get("block_structure")
        if weights.get("strategy") == "block" and block:
            return Quantization(method, "fp8-block", 0, (int(block[0]), int(block[1])), ignored)
        return Quantization(
            method, "fp8-tensor" if weights.get("strategy") == "tensor" else "fp8-channel", 0, (0, 0), ignored
        )
    if kind == "float" and bits == 4:
        return Quantization(method, "nvfp4", group or 16, ignored=ignored)
    if kind == "int" and bits in (4, 8):
        asymmetric = weights.get("symmetric") is False
        return Quantization(method, f"int{bits}", group, (0, 0), ignored, asymmetric)
    raise InvalidInput(f"quantization_config weights of {bits} bits and type '{kind}' are not understood: {METHODS}")


def _modelopt(_: str, raw: Mapping[str, Any]) -> Quantization:
    inner = raw.get("quantization") or raw
    algorithm = str(inner.get("quant_algo", ""))
    ignored = _patterns(inner.get("exclude_modules"), inner.get("ignore"))
    if algorithm == "NVFP4":
        return Quantization("modelopt", "nvfp4", int(inner.get("group_size") or 16), ignored=ignored)
    if algorithm == "FP8":
        return Quantization("modelopt", "fp8-tensor", ignored=ignored)
    raise InvalidInput(f"quantization_config.quant_algo '{algorithm}' is not understood: known are FP8, NVFP4")


def _int4(method: str, raw: Mapping[str, Any]) -> Quantization:
    bits = raw.get("bits", 4)
    if bits not in (4, 8):
        raise InvalidInput(f"quantization_config.bits {bits!r} is not understood: {method} has 4 or 8")
    group = int(raw.get("group_size") or raw.get("q_group_size") or 128)
    ignored = (*_patterns(raw.get("modules_to_not_convert")), "lm_head")
    return Quantization(method, f"int{bits}", max(group, 0), (0, 0), ignored, True)


def _mxfp4(method: str, raw: Mapping[str, Any]) -> Quantization:
    return Quantization(method, "mxfp4", 32, ignored=_patterns(raw.get("modules_to_not_convert")))
