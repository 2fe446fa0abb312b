"""Reading the catalog's YAML files, once each. Their schema (moestro.catalog.schema) is checked by the tests and by
`check_all`, not on every start: importing pydantic alone would take a third of the command line's time."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def load(name: str) -> dict[str, Any]:
    """The parsed ``name`` (such as ``gpus.yaml``) of this package."""
    text = (files("moestro.catalog") / name).read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader=_LOADER)
    return loaded
