"""What changed between two declarations of a resource, and what each change asks for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from provider.models import Host, Mark, Model, defaults, marked, nested, wire_name
from provider.wire import UNKNOWN

DRIFT: Final = "drift"
"""The input that only Read sets: in what the real thing differs. No program sets it, so the next Diff sees it go."""

_MISSING: Final = object()
_IDENTITY: Final = ("address", "port", "hostKey")


@dataclass(frozen=True)
class Difference:
    """One changed property. ``path`` is in Pulumi's notation; ``key`` is the top-level property it belongs to."""

    key: str
    path: str
    kind: str  # "ADD", "DELETE" or "UPDATE"
    replaces: bool


def differences(model: type[Model], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Every change from ``old`` to ``new`` inputs that asks for an update or a replacement.

    A left-out input equals its default. A host is the same host while address, port and host key are: the login and
    its key may rotate without touching what runs there. Fields marked quiet ask for nothing.
    """
    usual, replacing, quiet = defaults(model), marked(model, Mark.REPLACES), marked(model, Mark.QUIET)
    found = [Difference(DRIFT, DRIFT, "DELETE", False)] if DRIFT in old else []
    for name, info in model.model_fields.items():
        key = wire_name(name, info)
        if key in quiet:
            continue
        before, after = (_comparable(info.annotation, side.get(key, usual.get(key))) for side in (old, new))
        changes = _changes(key, before, after)
        found += [Difference(key, path, kind, key in replacing) for path, kind in changes]
    return found


def _comparable(annotation: Any, value: Any) -> Any:
    if nested(annotation) is Host and isinstance(value, Mapping):
        return {part: value[part] for part in _IDENTITY if part in value}
    return _MISSING if value is None else value


def _changes(path: str, old: Any, new: Any) -> Iterator[tuple[str, str]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _changes(_member(path, key), old.get(key, _MISSING), new.get(key, _MISSING))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from _changes(f"{path}[{index}]", _item(old, index), _item(new, index))
    elif old is _MISSING and new is not _MISSING:
        yield path, "ADD"
    elif new is _MISSING and old is not _MISSING:
        yield path, "DELETE"
    elif new is UNKNOWN or old != new:
        yield path, "UPDATE"


def _member(path: str, key: str) -> str:
    return f"{path}.{key}" if key.isidentifier() else f'{path}["{key}"]'


def _item(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else _MISSING
