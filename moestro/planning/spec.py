"""From a ``config.json`` (and, where they are known, the tensor headers) to a :class:`ModelSpec`."""

from collections.abc import Mapping, Sequence
from typing import Any

from moestro.errors import InvalidInput
from moestro.planning import shape as shapes
from moestro.planning.fields import Fields, UnknownArchitecture
from moestro.planning.model import AttentionKind, ModelSpec, WeightClass
from moestro.planning.quantization import Quantization
from moestro.planning.quantization import parse as parse_quantization
from moestro.planning.tensors import OTHER, Tensor, exact_classes
from moestro.planning.units import GIB
from moestro.planning.weights import EXPERTS, weight_classes

_USUAL_DIFFERENCE = 0.1  # of what is stored from what is computed: scales, ignored layers, a vision tower
_DTYPES = ("bfloat16", "float16", "float32", "auto")
# what a ModelSpec takes over from its Shape
_SHARED = ("model_type", "layers", "hidden", "vocabulary", "max_context", "attention", "experts", "dense_width")


def spec_from_config(
    config: Mapping[str, Any],
    name: str,
    tensors: Sequence[Tensor] | None = None,
    total_bytes: int | None = None,
    **facts: Any,
) -> ModelSpec:
    """The model that a Hugging Face configuration describes.

    Args:
        config: the parsed ``config.json``; a multimodal model's ``text_config`` is found by itself.
        name: what to call it.
        tensors: the checkpoint's tensor headers; with them the bytes are exact.
        total_bytes: of its weight files, which bound what is not understood.
        facts: what the configuration does not say, by the names of ModelSpec's fields (``repo``, ``source``, ...).

    Raises:
        UnknownArchitecture: what the model is cannot be told; the error bounds its memory by the files' sizes.
        InvalidInput: a missing or absurd field, by name.
    """
    if not isinstance(config, Mapping):
        raise InvalidInput(f"config.json of {name} is no JSON object; take it from the model's own repository")
    text = text_config(config)
    shape, quantization = _understood(config, total_bytes or sum(tensor.bytes for tensor in tensors or ()))
    computed = classes = weight_classes(shape, quantization, vision_parameters(config))
    parameters = sum(one.parameters for one in computed)
    if tensors:
        classes = exact_classes(computed, tensors, shape.layers)
    facts["notes"] = (*facts.get("notes", ()), *_notes(classes, config), *_mismatch(computed, classes))
    facts.setdefault("tokenizer_mode", _tokenizer_mode(shape))
    return ModelSpec(
        name=name,
        architecture=_architecture(text, config),
        weights=classes,
        quantization=quantization,
        dtype=_dtype(text, config),
        parameters=parameters,
        active_parameters=_active(shape, parameters, computed),
        mtp_layers=mtp_layers(text),
        exact=bool(tensors),
        **{field: getattr(shape, field) for field in _SHARED},
        **facts,
    )


def _architecture(text: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    named = Fields(config).items("architectures") or Fields(text).items("architectures")
    return str(next(iter(named), "?"))


def _understood(config: Mapping[str, Any], total_bytes: int) -> tuple[shapes.Shape, Quantization]:
    """The shape and the quantization; what is not understood is told with the bounds that the files' sizes give."""
    text = text_config(config)
    try:
        return shapes.parse(Fields(text)), parse_quantization({**text, **config})
    except UnknownArchitecture as error:
        raise UnknownArchitecture(error.field, error.value, total_bytes or None, error.known) from None


def _dtype(text: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The dtype of what is not quantized; the engine loads all of these in two bytes (float32 as float16)."""
    given = text.get("torch_dtype") or text.get("dtype") or config.get("torch_dtype") or config.get("dtype")
    name = str(given or "bfloat16").removeprefix("torch.")
    if name not in _DTYPES:
        raise InvalidInput(f"config.json: torch_dtype is {given!r}, not one of {', '.join(_DTYPES)}")
    return name


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that describes the language model."""
    nested = config.get("text_config") or config.get("language_config") or config.get("llm_config")
    if not isinstance(nested, Mapping):
        return config
    return nested if nested.get("model_type") else {**nested, "model_type": config.get("model_type")}


def mtp_layers(text: Mapping[str, Any]) -> int:
    """Multi-token-prediction layers, which vLLM loads only for speculative decoding."""
    fields = Fields(text)
    per_module = fields.integer("mtp_transformer_layers", default=1, least=0)
    modules = fields.integer("num_mtp_modules", default=0, least=0) if fields.flag("use_mtp", True) else 0
    return fields.integer("num_nextn_predict_layers", default=0, least=0) or modules * per_module


def vision_parameters(config: Mapping[str, Any]) -> int:
    """Parameters of a vision tower and its projector, from ``vision_config``; 0 where there is none."""
    raw = config.get("vision_config")
    if not isinstance(raw, Mapping):
        return 0
    fields = Fields(raw, "config.json: vision_config")
    hidden, width = fields.integer("hidden_size"), fields.integer("intermediate_size")
    layers = fields.integer("num_hidden_layers", "depth")
    patch, channels = fields.integer("patch_size", default=14), fields.integer("num_channels", default=3)
    patches = (fields.integer("image_size", default=336) // patch) ** 2 + 1
    tower = layers * (4 * hidden * (hidden + 1) + 2 * hidden * width + hidden + width + 4 * hidden)
    tower += hidden * (patch * patch * channels + patches)
    return tower + _projector(fields, config)


def _projector(fields: Fields, config: Mapping[str, Any]) -> int:
    inner = fields.integer("projector_input_dim", default=0, least=0)
    outer = fields.integer("projector_output_dim", default=inner, least=0)
    text = Fields(text_config(config))
    # Llama 4: the shuffled patches enter at the tower's own width times four, halved twice (``pixel_shuffle_ratio``).
    adapter = fields.integer("intermediate_size") * inner + inner * outer
    return adapter + (outer or fields.integer("hidden_size")) * text.integer("hidden_size")


def _active(shape: shapes.Shape, parameters: int, classes: Sequence[WeightClass]) -> int:
    if shape.experts is None:
        return parameters
    routed = sum(one.parameters for one in classes if one.name == EXPERTS)
    return parameters - routed + routed * shape.experts.top_k // shape.experts.count


def _tokenizer_mode(shape: shapes.Shape) -> str | None:
    return "deepseek_v32" if shape.attention.kind is AttentionKind.DSA else None


def _notes(classes: Sequence[WeightClass], config: Mapping[str, Any]) -> list[str]:
    notes = []
    if any(one.name == OTHER for one in classes):
        notes.append("some tensors have names that are not understood; they are counted as replicated on every GPU")
    if not (config.get("architectures") or text_config(config).get("architectures")):
        notes.append("config.json names no architectures, without which the engine does not know what to start")
    if mtp := mtp_layers(text_config(config)):
        notes.append(f"{mtp} multi-token-prediction layer(s) are in the checkpoint and are not loaded")
    return notes


def _mismatch(computed: Sequence[WeightClass], found: Sequence[WeightClass]) -> list[str]:
    """Weight files that are not of this configuration, or not all of them, would make the plan a wrong one."""
    described, held = (sum(one.total_bytes for one in these if not one.runtime) / GIB for these in (computed, found))
    if abs(held / described - 1) <= _USUAL_DIFFERENCE:
        return []
    return [f"the weight files hold {held:.3g} GiB where config.json describes {described:.3g}: are they of one model?"]
