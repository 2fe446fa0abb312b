"""How a checkpoint stores its weights: the quantization schemes that vLLM loads, in bytes a parameter.

Storage formulas: the safetensors layouts of each method (packed integers, one scale a group or block).
"""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from moestro.errors import InvalidInput
from moestro.planning.fields import Fields, UnknownArchitecture

METHODS = "fp8, compressed-tensors, modelopt, awq, gptq, mxfp4"
WHERE = "config.json: quantization_config"
_LARGEST_GROUP = 1 << 20
_COMPRESSED = "compressed-tensors"


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
        targets: patterns of the modules that it is of; none are all.
        kv_cache: the cache's dtype that the checkpoint declares, which vLLM takes where nobody chooses one.
    """

    method: str = ""
    scheme: str = "bf16"
    group_size: int = 0
    block: tuple[int, int] = (0, 0)
    ignored: tuple[str, ...] = ()
    zero_points: bool = False
    targets: tuple[str, ...] = ()
    kv_cache: str = ""

    @property
    def bytes_per_parameter(self) -> float:
        """Bytes of one quantized weight with its share of scales and zero points."""
        if self.scheme == "fp8-block":
            return 1 + 4 / (self.block[0] * self.block[1])
        if self.scheme in ("int4", "int8"):
            width = 0.5 if self.scheme == "int4" else 1.0
            return width + (2.0 + width * self.zero_points) / (self.group_size or 1 << 30)
        if self.scheme in ("nvfp4", "mxfp4"):
            return 0.5 + 1 / self.group_size
        return 2.0 if self.scheme == "bf16" else 1.0

    @property
    def dtype(self) -> str:
        """The short name for people: BF16, FP8, INT8, INT4, NVFP4 or MXFP4."""
        return self.scheme.split("-")[0].upper()

    def covers(self, module: str) -> bool:
        """Whether ``module`` (such as ``model.layers.3.mlp.experts.0.up_proj``) is quantized."""
        if self.scheme == "bf16" or (self.scheme == "mxfp4" and ".experts." not in f".{module}."):
            return False  # vLLM's MXFP4 is of experts alone (``quantization/mxfp4.py``)
        if self.targets and not any(_names(pattern, module) for pattern in self.targets):
            return False
        return not any(_names(pattern, module) for pattern in self.ignored)


BF16 = Quantization()


@lru_cache(maxsize=65536)
def _names(pattern: str, module: str) -> bool:
    if pattern.startswith("re:"):
        return _compiled(pattern[3:]).match(module) is not None
    if "*" in pattern:
        return fnmatch.fnmatchcase(module, pattern) or fnmatch.fnmatchcase(module, pattern + ".*")
    return module == pattern or module.startswith(pattern + ".") or f".{pattern}." in f".{module}."


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InvalidInput(f"{WHERE}: pattern {pattern!r} is no regular expression ({error})") from None


def parse(config: Mapping[str, Any]) -> Quantization:
    """The scheme of a ``config.json`` (``quantization_config``, or modelopt's ``quantization``).

    Raises:
        InvalidInput: a method or scheme that is not understood, with its name.
    """
    raw = config.get("quantization_config") or config.get("compression_config")
    if not raw:
        return BF16
    own = _object(raw, WHERE)
    producer = own.get("producer")
    method = str(own.get("quant_method") or (producer.get("name") if isinstance(producer, Mapping) else "") or "")
    parsers = {"fp8": _fp8, _COMPRESSED: _compressed, "modelopt": _modelopt, "modelopt_fp4": _modelopt}
    parsers |= {"awq": _int4, "gptq": _int4, "mxfp4": _mxfp4}
    if method not in parsers:
        raise UnknownArchitecture("quantization_config.quant_method", method, known=METHODS)
    return parsers[method](method, Fields(own, WHERE))


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{where} is {value!r}, not an object: take config.json from the repository")
    return value


def _patterns(fields: Fields, *names: str) -> tuple[str, ...]:
    return tuple(str(pattern) for name in names for pattern in fields.items(name))


def _block(fields: Fields, name: str) -> tuple[int, int] | None:
    """Rows and columns that share a scale."""
    sizes = fields.items(name)
    if not sizes:
        return None
    if len(sizes) != 2 or not all(isinstance(size, int) and 0 < size <= _LARGEST_GROUP for size in sizes):
        raise InvalidInput(f"{WHERE}: {name} is {sizes!r}, not two sizes such as [128, 128]")
    return sizes[0], sizes[1]


def _fp8(method: str, fields: Fields) -> Quantization:
    ignored = _patterns(fields, "modules_to_not_convert", "ignored_layers")
    block = _block(fields, "weight_block_size")
    return Quantization(method, "fp8-block" if block else "fp8-tensor", 0, block or (0, 0), ignored)


def _compressed(_: str, fields: Fields) -> Quantization:
    where = f"{WHERE}.config_groups"
    groups = [_object(group, where) for group in _object(fields.raw.get("config_groups"), where).values()]
    schemes = {_weights(Fields(_object(group.get("weights") or {}, f"{where}.weights"), WHERE)) for group in groups}
    if len(schemes) != 1:
        raise UnknownArchitecture("quantization_config.config_groups", f"{len(schemes)} kinds of weights")
    targets = {target for group in groups for target in _patterns(Fields(group, where), "targets")}
    return replace(
        schemes.pop(),
        ignored=_patterns(fields, "ignore"),
        targets=() if "Linear" in targets else tuple(sorted(targets)),
        kv_cache=_kv_cache(fields.raw.get("kv_cache_scheme")),
    )


def _weights(weights: Fields) -> Quantization:
    """The scheme of one of compressed-tensors' groups."""
    bits, kind, strategy = weights.raw.get("num_bits"), weights.text("type"), weights.text("strategy")
    group = weights.integer("group_size", default=0, least=-1, most=_LARGEST_GROUP)
    if kind == "float" and bits == 8:
        block = _block(weights, "block_structure") if strategy == "block" else None
        scheme = "fp8-block" if block else "fp8-tensor" if strategy == "tensor" else "fp8-channel"
        return Quantization(_COMPRESSED, scheme, 0, block or (0, 0))
    if kind == "float" and bits == 4:
        return Quantization(_COMPRESSED, "nvfp4", max(group, 0) or 16)
    if kind == "int" and bits in (4, 8):
        zero_points = weights.raw.get("symmetric") is False
        return Quantization(_COMPRESSED, f"int{bits}", max(group, 0), zero_points=zero_points)
    raise UnknownArchitecture("quantization_config.config_groups", f"{bits} bits of type '{kind}'")


def _kv_cache(declared: Any) -> str:
    """What vLLM makes of a checkpoint's word on the cache; what it does not know is the model's own dtype."""
    if isinstance(declared, Mapping):
        eight = declared.get("num_bits") == 8 and declared.get("type") == "float"
        return "fp8" if eight else ""
    return "fp8" if isinstance(declared, str) and declared.lower() == "fp8" else ""


def _modelopt(_: str, fields: Fields) -> Quantization:
    inner = fields.raw.get("quantization")
    own = fields if inner is None else Fields(_object(inner, f"{WHERE}.quantization"), WHERE)
    algorithm = own.text("quant_algo")
    ignored = _patterns(own, "exclude_modules", "ignore")
    cache = _kv_cache(own.raw.get("kv_cache_scheme") or own.raw.get("kv_cache_quant_algo"))
    if algorithm == "NVFP4":
        group = own.integer("group_size", default=16, most=_LARGEST_GROUP)
        return Quantization("modelopt", "nvfp4", group, ignored=ignored, kv_cache=cache)
    if algorithm == "FP8":
        return Quantization("modelopt", "fp8-tensor", ignored=ignored, kv_cache=cache)
    raise UnknownArchitecture("quantization_config.quant_algo", algorithm, known="FP8, NVFP4")


def _int4(method: str, fields: Fields) -> Quantization:
    bits = fields.raw.get("bits", 4)
    if bits not in (4, 8):
        raise UnknownArchitecture("quantization_config.bits", bits, known="4, 8")
    group = fields.integer("group_size", "q_group_size", default=128, least=-1, most=_LARGEST_GROUP)
    ignored = (*_patterns(fields, "modules_to_not_convert"), "lm_head")
    return Quantization(method, f"int{bits}", max(group, 0), (0, 0), ignored, True)


def _mxfp4(method: str, fields: Fields) -> Quantization:
    return Quantization(method, "mxfp4", 32, ignored=_patterns(fields, "modules_to_not_convert"))
