"""Reading a checkpoint's tensor headers: which class and layer each tensor belongs to, and how many bytes it is."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from moestro.planning import weights as w
from moestro.planning.model import Place, Sharding, WeightClass
from moestro.planning.plan import Label

OTHER = "other tensors"
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}
DTYPE_BYTES |= {"I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}
_NOT_LOADED = re.compile(r"(?:^|\.)mtp[._]")  # multi-token prediction outside the numbered layers
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
# The first pattern that is found decides; the order matters.
_CLASSES = (
    (r"vision|multi_modal|visual|image_newline", w.VISION),
    (r"embed_tokens|\.wte\.", w.EMBEDDING),
    (r"(^|\.)lm_head\.", w.HEAD),
    (r"shared_expert", w.SHARED),
    (r"\.experts?\.", w.EXPERTS),
    (r"\.indexer\.", w.INDEXER),
    (r"\.(gate|router)\.|e_score_correction_bias", w.ROUTER),
    (r"layernorm|[._]norm\.|(^|\.)norm\.", w.NORMS),
    (r"q_a_proj|kv_a_proj", w.ATTENTION_LOW),
    (r"\.(k_proj|v_proj)\.", w.ATTENTION_KV),
    (r"self_attn\.|\.attn\.", w.ATTENTION),
    (r"\.(gate_proj|up_proj|down_proj|gate_up_proj|w1|w2|w3)\.", w.DENSE),
)
_PATTERNS = tuple((re.compile(pattern), name) for pattern, name in _CLASSES)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a safetensors header; ``size`` is its bytes in the file, where its offsets are known."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int | None = None

    @property
    def bytes(self) -> int:
        """Its size in the file; without offsets a dtype that is not known counts one byte an element."""
        return prod(self.shape) * DTYPE_BYTES.get(self.dtype, 1) if self.size is None else self.size

    @property
    def loaded_bytes(self) -> int:
        """Its size once loaded: the engine keeps weights of 32 bits in the model's dtype, scales and routers not."""
        wide = self.dtype in ("F32", "F64") and self.name.endswith((".weight", ".bias"))
        return prod(self.shape) * w.WORD if wide and class_of(self.name) != w.ROUTER else self.bytes


def class_of(name: str) -> str:
    """The weight class that a tensor's name says."""
    return next((found for pattern, found in _PATTERNS if pattern.search(name)), OTHER)


def layer_of(name: str) -> int | None:
    """The layer's number in a tensor's name, outside vision towers."""
    found = _LAYER.search(name)
    return int(found.group(1)) if found and not _PATTERNS[0][0].search(name) else None


def exact_classes(computed: Iterable[WeightClass], tensors: Iterable[Tensor], layers: int) -> tuple[WeightClass, ...]:
    """The computed classes with the bytes of the headers in their place.

    Layers from ``layers`` on are multi-token prediction, which is not loaded. A class that the headers do not have
    keeps what was computed only where the engine makes it itself.
    """
    found = _bytes_by_class(tensors, layers)
    classes = [_exact(one, found, layers) for one in computed]
    known = {one.name for one in classes}
    for name in sorted({name for name, _ in found} - known):
        classes.append(_unexpected(name, found))
    return tuple(one for one in classes if one.total_bytes > 0)


def _bytes_by_class(tensors: Iterable[Tensor], layers: int) -> dict[tuple[str, int | None], float]:
    found: dict[tuple[str, int | None], float] = {}
    for tensor in tensors:
        layer, name = layer_of(tensor.name), class_of(tensor.name)
        if (layer is not None and layer >= layers) or _NOT_LOADED.search(tensor.name):
            continue
        key = (name, layer if name not in (w.EMBEDDING, w.HEAD) else None)
        found[key] = found.get(key, 0.0) + tensor.loaded_bytes
    return found


def _exact(one: WeightClass, found: Mapping[tuple[str, int | None], float], layers: int) -> WeightClass:
    if one.runtime:
        return one
    if one.place is Place.LAYERS:
        sizes = tuple(found.get((one.name, layer), 0.0) for layer in range(layers))
        sizes = (*sizes[:-1], sizes[-1] + found.get((one.name, None), 0.0))  # the final norm goes with the last layer
    else:
        sizes = (sum(size for (name, _), size in found.items() if name == one.name),)
    return replace(one, layer_bytes=sizes, label=Label.MEASURED)


def _unexpected(name: str, found: Mapping[tuple[str, int | None], float]) -> WeightClass:
    """A class that the shape did not foresee lies whole on every GPU: more can be said of none."""
    size = sum(size for (other, _), size in found.items() if other == name)
    sharding = w.SHARDING.get(name, Sharding.REPLICATED)
    return WeightClass(name, sharding, Place.FIRST, (size,), label=Label.MEASURED)
