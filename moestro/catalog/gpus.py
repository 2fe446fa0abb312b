"""The GPUs of gpus.yaml."""

from functools import cache

from moestro.catalog.files import load
from moestro.catalog.names import plain, suggestion
from moestro.errors import InvalidInput
from moestro.planning.gpu import GpuSpec

FILE = "gpus.yaml"


@cache
def gpus() -> dict[str, GpuSpec]:
    """Every GPU by its name, in the file's order; ``cpu`` is one of them."""
    return {spec.name: spec for spec in map(_spec, load(FILE)["gpus"])}


def _spec(raw: dict[str, object]) -> GpuSpec:
    given = {key: value for key, value in raw.items() if key not in ("aliases", "memory_label")}
    major, minor = raw["compute_capability"]  # type: ignore[misc]
    return GpuSpec(
        **{**given, "compute_capability": (major, minor), "tokens": tuple(raw.get("aliases", ()))}  # type: ignore[arg-type]
    )


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
        raise InvalidInput(f"GPU '{name}' is not in the catalog; {suggestion(name, gpus())}")
    return found
