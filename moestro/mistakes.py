"""What is wrong with a declaration, in words: the key, the value, and the fix, one line for each mistake."""

import difflib
import json
from collections.abc import Iterable
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretStr
from pydantic_core import ErrorDetails

_SECRETS: Final = frozenset({"apiKeys", "tls"})
_SHORTER: Final = {
    "tuple_type": "should be a list",
    "string_type": "should be text",
    "bool_type": "should be a boolean",
}


def described(mistake: ErrorDetails, model: type[BaseModel], namespace: str) -> str:
    """One mistake that pydantic found in what was given for ``model``; its key is under ``namespace``."""
    path = ".".join(str(part) for part in mistake["loc"] if part != "[key]")
    return f"{namespace}:{path}: {_reason(mistake, model)}" if path else _reason(mistake, model)


def _reason(mistake: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value = mistake["type"], mistake["input"]
    if kind == "extra_forbidden":
        return f"is not a key that Moestro knows{_nearest(mistake, model)}"
    if kind == "missing":
        return "is missing; add it to stacks/Pulumi.<stack>.yaml"
    if value is None:
        return "has no value; give it one or leave the key out"
    if kind in {"model_type", "dict_type"}:
        return f"{_shown(mistake)} should be a section{_keys(mistake, model)}"
    message = _SHORTER.get(kind, mistake["msg"].removeprefix("Value error, ").removeprefix("Input "))
    return message if isinstance(value, dict | SecretStr) else f"{_shown(mistake)} {message}"


def _shown(mistake: ErrorDetails) -> str:
    value, path = mistake["input"], {str(part) for part in mistake["loc"]}
    if "[key]" not in path and (_SECRETS & path or "PRIVATE KEY" in str(value)):
        return "(secret)"
    return repr(value) if isinstance(value, str) else json.dumps(value, default=str)


def _keys(mistake: ErrorDetails, model: type[BaseModel]) -> str:
    section = _section(model, mistake["loc"])
    return "" if section is None else f" with the keys {', '.join(_names(section))}"


def _nearest(mistake: ErrorDetails, model: type[BaseModel]) -> str:
    section = _section(model, mistake["loc"][:-1])
    if section is None:
        return "; remove it"
    names = _names(section)
    near = difflib.get_close_matches(str(mistake["loc"][-1]), names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(names)}"


def _names(section: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


def _section(model: type[BaseModel], path: Iterable[object]) -> type[BaseModel] | None:
    section: type[BaseModel] | None = model
    for key in path:
        section = None if section is None else _inner(section, str(key))
    return section


def _inner(section: type[BaseModel], key: str) -> type[BaseModel] | None:
    found: Any = next((f.annotation for n, f in section.model_fields.items() if key in (n, f.alias)), None)
    choices = (found, *get_args(found))
    return next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)
