"""Pulumi's property values on the wire and as plain Python values.

A value that is not known yet (an output of a resource that a preview only imagines) is :data:`UNKNOWN`. A secret is
wrapped on the wire and plain in Python; which properties are secret is said by the resources' models.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

Path = tuple[str, ...]

_UNKNOWN_ID: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"


class Unknown:
    """The type of :data:`UNKNOWN`."""

    def __repr__(self) -> str:
        return "<not known yet>"


UNKNOWN: Final = Unknown()


def decode(struct: Struct) -> dict[str, Any]:
    """Plain values: secrets unwrapped, unknowns as :data:`UNKNOWN`, nulls left out of the top level."""
    plain = {key: _plain(value) for key, value in MessageToDict(struct).items()}
    return {key: value for key, value in plain.items() if value is not None}


def encode(values: Mapping[str, Any], secrets: Collection[Path] = ()) -> Struct:
    """The wire form of ``values``, wrapped at the paths ``secrets``. ``None`` is left out."""
    return amended(Struct(), values, secrets)


def amended(struct: Struct, extra: Mapping[str, Any], secrets: Collection[Path] = ()) -> Struct:
    """The same properties with ``extra`` set and wrapped at ``secrets``; what is wrapped already stays as it is."""
    wire = MessageToDict(struct) | _wired(extra)
    for path in secrets:
        wire = _wrapped(wire, path)
    result = Struct()
    result.update(wire)
    return result


def has_unknowns(value: Any) -> bool:
    """Whether any part of a plain value is not known yet."""
    if isinstance(value, Mapping):
        return any(has_unknowns(part) for part in value.values())
    if isinstance(value, list | tuple):
        return any(has_unknowns(part) for part in value)
    return value is UNKNOWN


def secret_texts(struct: Struct) -> Iterator[str]:
    """Every text that is wrapped as a secret, line by line: what must appear in no message."""
    yield from _secret_texts(MessageToDict(struct), inside=False)


def _secret_texts(value: Any, inside: bool) -> Iterator[str]:
    if isinstance(value, dict):
        inside = inside or value.get(_SIGNATURE) == _SECRET
        for key, part in value.items():
            if key != _SIGNATURE:
                yield from _secret_texts(part, inside)
    elif isinstance(value, list):
        for part in value:
            yield from _secret_texts(part, inside)
    elif inside and isinstance(value, str):
        yield from value.splitlines()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            return _plain(value.get("value"))
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return UNKNOWN if value == _UNKNOWN_ID else value


def _wired(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _wired(part) for key, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [_wired(part) for part in value]
    return _UNKNOWN_ID if value is UNKNOWN else value


def _wrapped(value: Any, path: Path) -> Any:
    if value is None or (isinstance(value, dict) and value.get(_SIGNATURE) == _SECRET):
        return value
    if not path:
        return {_SIGNATURE: _SECRET, "value": value}
    if not isinstance(value, dict) or path[0] not in value:
        return value
    return value | {path[0]: _wrapped(value[path[0]], path[1:])}
