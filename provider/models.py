"""How a resource says what it takes and what it gives: pydantic models whose fields carry marks.

Names are snake_case in Python and camelCase on the wire. Types are strict: a text is no number.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from moestro.hosts.connection import HostConnection
from provider.wire import UNKNOWN, Path


class Mark(Enum):
    """What a field means to Pulumi, besides its type."""

    SECRET = "secret"  # encrypted in the state, never shown
    REPLACES = "replaces"  # a change makes a new resource
    QUIET = "quiet"  # steers how operations run; a change is recorded and asks for no update
    VOLATILE = "volatile"  # an output that an update may change


Secret = Annotated[str, Field(repr=False), Mark.SECRET]


class Model(BaseModel):
    """A value that travels between the engine and the provider."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
    )

    def wire(self) -> dict[str, Any]:
        """The plain values under their wire names, without those that are not set."""
        return self.model_dump(by_alias=True, exclude_none=True)


class Stored(Model):
    """Outputs, as kept in a state."""

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """From a state that an earlier version may have written: what is new is ``None``, what is old is left out."""
        usual = defaults(cls)
        wires = {name: wire_name(name, info) for name, info in cls.model_fields.items()}
        return cls.model_construct(**{name: values.get(wire, usual.get(wire)) for name, wire in wires.items()})


class Host(Model):
    """How to reach a host over SSH."""

    address: str = Field(description="IP address or name.", min_length=1)
    port: int = Field(description="TCP port of its SSH server.", ge=1, le=65535)
    user: str = Field(description="Login name; other than root it needs passwordless sudo.", min_length=1)
    private_key: Secret = Field(description="OpenSSH private key that the host accepts.", min_length=1)
    host_key: str = Field(description='The key that the host must present, "algorithm base64".', min_length=1)

    def connection(self) -> HostConnection:
        """The same for :mod:`moestro.hosts`."""
        return HostConnection(self.address, self.port, self.user, self.private_key, self.host_key)


def wire_name(name: str, info: FieldInfo) -> str:
    """The camelCase name of a field."""
    return info.alias or to_camel(name)


def marked(model: type[Model], mark: Mark) -> frozenset[str]:
    """Wire names of the fields of ``model`` that carry ``mark``."""
    return frozenset(wire_name(name, info) for name, info in model.model_fields.items() if mark in info.metadata)


def secret_paths(model: type[Model]) -> frozenset[Path]:
    """Where the secrets of ``model`` are, by wire names, through nested objects."""
    return frozenset(_secret_paths(model))


def nested(annotation: Any) -> type[Model] | None:
    """The model inside a field's type (``Host``, ``Host | None``, ``list[Upstream]``), if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next((found for part in get_args(annotation) if (found := nested(part))), None)


def defaults(model: type[Model]) -> dict[str, Any]:
    """What the optional fields of ``model`` mean when they are left out, under their wire names."""
    optional = ((name, info) for name, info in model.model_fields.items() if not info.is_required())
    return {wire_name(name, info): _plain(info.get_default(call_default_factory=True)) for name, info in optional}


def mistakes(model: type[Model], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each (property, what is wrong and how to mend it) of ``values``; parts that are not known yet pass."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        return [
            (_property(detail["loc"]), _reason(model, detail))
            for detail in cast(list[dict[str, Any]], error.errors(include_url=False, include_input=False))
            if not _not_known(values, detail["loc"])
        ]
    return []


def _secret_paths(model: type[Model]) -> Iterator[Path]:
    for name, info in model.model_fields.items():
        wire = wire_name(name, info)
        if Mark.SECRET in info.metadata:
            yield (wire,)
        elif inner := nested(info.annotation):
            yield from ((wire, *rest) for rest in _secret_paths(inner))


def _plain(value: Any) -> Any:
    return value.wire() if isinstance(value, Model) else value


def _not_known(values: Any, path: tuple[int | str, ...]) -> bool:
    for key in path:
        if values is UNKNOWN:
            return True
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return False
    return values is UNKNOWN


def _property(path: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _reason(model: type[Model], detail: Mapping[str, Any]) -> str:
    kind, last = detail["type"], detail["loc"][-1] if detail["loc"] else ""
    if kind == "extra_forbidden":
        owner = _owner(model, detail["loc"])
        known = ", ".join(wire_name(name, info) for name, info in owner.model_fields.items())
        return f"unknown property {last!r}: remove it or use one of {known}"
    if kind == "missing":
        return "is required: set it"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _owner(model: type[Model], path: tuple[int | str, ...]) -> type[Model]:
    for part in path[:-1]:
        info = next((info for name, info in model.model_fields.items() if wire_name(name, info) == part), None)
        model = (info and nested(info.annotation)) or model
    return model
