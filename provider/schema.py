"""The package's Pulumi schema, made from the resources' models: one source for types, secrets, defaults and words."""

import inspect
import json
from collections.abc import Iterable, Iterator
from importlib import metadata
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from provider.models import Mark, Model, nested, wire_name
from provider.resource import Resource

PACKAGE: Final = "moestro"
_SIMPLE: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}


def _version() -> str:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return "0.1.0"


VERSION: Final = _version()


def schema_text(resources: Iterable[Resource[Any, Any]]) -> str:
    """The schema as JSON."""
    return json.dumps(schema(resources), indent=2)


def schema(resources: Iterable[Resource[Any, Any]]) -> dict[str, Any]:
    """The schema as plain values, after Pulumi's package metaschema."""
    listed = list(resources)
    shared = {model.__name__: model for resource in listed for model in _inner_models(resource.inputs)}
    return {
        "name": PACKAGE,
        "displayName": "Moestro",
        "version": VERSION,
        "description": "Serve Mixture-of-Experts models on rented GPUs.",
        "license": "Apache-2.0",
        "resources": {resource.token: _resource(resource) for resource in listed},
        "types": {type_token(model): _object(model) for _, model in sorted(shared.items())},
        "language": {},
    }


def type_token(model: type[Model]) -> str:
    """The schema's name of a nested object type."""
    return f"{PACKAGE}:index:{model.__name__}"


def _resource(resource: Resource[Any, Any]) -> dict[str, Any]:
    given, taken = _object(resource.outputs), _object(resource.inputs)
    return {
        "description": inspect.getdoc(type(resource)) or "",
        "properties": given["properties"],
        "required": given["required"],
        "inputProperties": taken["properties"],
        "requiredInputs": taken["required"],
    }


def _object(model: type[Model]) -> dict[str, Any]:
    fields = model.model_fields.items()
    return {
        "type": "object",
        "description": inspect.getdoc(model) or "",
        "properties": {wire_name(name, info): _property(info) for name, info in fields},
        "required": sorted(wire_name(name, info) for name, info in fields if info.is_required()),
    }


def _property(info: FieldInfo) -> dict[str, Any]:
    described = _type(info.annotation) | {"description": info.description or ""}
    if Mark.SECRET in info.metadata:
        described["secret"] = True
    if Mark.REPLACES in info.metadata:
        described["willReplaceOnChanges"] = True
    if isinstance(info.default, bool | int | float | str):
        described["default"] = info.default
    return described


def _type(annotation: Any) -> dict[str, Any]:
    if annotation in _SIMPLE:
        return {"type": _SIMPLE[annotation]}
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return {"type": "object", "$ref": f"#/types/{type_token(annotation)}"}
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is list:
        return {"type": "array", "items": _type(parts[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(parts[1])}
    if origin is Literal:
        return {"type": "string"}
    if NoneType in parts:
        return _type(next(part for part in parts if part is not NoneType))
    raise TypeError(f"the schema knows no type for {annotation}")


def _inner_models(model: type[Model]) -> Iterator[type[Model]]:
    for info in model.model_fields.values():
        inner = nested(info.annotation)
        if inner is not None:
            yield inner
            yield from _inner_models(inner)
