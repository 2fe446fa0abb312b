"""The GPUs of gpus.yaml."""

from functools import cache
from typing import Any

from moestro.catalog.files import load
from moestro.catalog.names import nearest, plain
from moestro.errors import InvalidInput
from moestro.planning.gpu import GpuSpec
from moestro.planning.plan import Label

FILE = "gpus.yaml"


@cache
def gpus() -> dict[str, GpuSpec]:
    """Every GPU by its name, in the file's order; ``cpu`` is one of them."""
    return {spec.name: spec for spec in map(_spec, load(FILE)["gpus"])}


def _spec(raw: dict[str, Any]) -> GpuSpec:
    given = {key: value for key, value in raw.items() if key != "aliases"}
    given["compute_capability"] = tuple(raw["compute_capability"])
    given["source"] = f"{raw['source']}, {load(FILE)['date']}"
    given["memory_label"] = Label(raw["memory_label"])
    return GpuSpec(**given, tokens=tuple(raw["aliases"]))


@cache
def _index() -> dict[str, GpuSpec]:
    index: dict[str, GpuSpec] = {}
    for spec in gpus().values():
        for name in (*spec.tokens, spec.name, spec.title):
            index[plain(name)] = spec
    return index


def gpu(name: str) -> GpuSpec:
    """The GPU of this name or alias, whatever its case.

    Raises:
        InvalidInput: no such GPU, with the nearest name.
    """
    found = _index().get(plain(name))
    if found is None:
        raise InvalidInput(f"GPU '{name}' is not in the catalog; {_suggestion(name)}")
    return found


def _suggestion(name: str) -> str:
    """The nearest name, compared by short names too: H300 is nearest to H200."""
    close = nearest(name, _index(), cutoff=0.25)  # a short name with two wrong digits is still a guess
    return f"did you mean '{_index()[close[0]].name}'?" if close else f"known are {', '.join(gpus())}"
