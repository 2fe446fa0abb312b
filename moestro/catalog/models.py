"""The models of models.yaml, each built only when it is asked for."""

from functools import cache
from typing import Any, NamedTuple

from moestro.catalog.files import load
from moestro.catalog.names import nearest, plain
from moestro.planning.model import ModelSpec
from moestro.planning.spec import spec_from_config

FILE = "models.yaml"


class Entry(NamedTuple):
    """One checkpoint of the catalog with its family, as the file has them."""

    name: str
    repo: str
    family: str
    title: str
    raw: dict[str, Any]
    parent: dict[str, Any]


@cache
def entries() -> dict[str, Entry]:
    """Every checkpoint by its name, in the file's order."""
    return {
        raw["name"]: Entry(raw["name"], raw["repo"], parent["family"], parent["title"], raw, parent)
        for parent in load(FILE)["families"]
        for raw in parent["checkpoints"]
    }


@cache
def _index() -> dict[str, str]:
    index: dict[str, str] = {}
    for entry in entries().values():
        for name in (*entry.raw.get("aliases", ()), entry.repo, entry.name):
            index[plain(name)] = entry.name
    return index


def canonical(name: str) -> str | None:
    """The catalog's name of a catalog name, alias or repository id, whatever its case; None where there is none."""
    return _index().get(plain(name))


def find(name: str) -> ModelSpec | None:
    """The model of this catalog name, alias or repository id, whatever its case; None where there is none."""
    found = canonical(name)
    return None if found is None else _model(found)


def near(name: str, count: int = 1) -> list[str]:
    """The catalog names that look most like ``name``."""
    return nearest(name, entries(), count)


def family(name: str) -> list[ModelSpec]:
    """All checkpoints of a family, in the file's order."""
    return [_model(entry.name) for entry in entries().values() if entry.family == name]


@cache
def _model(name: str) -> ModelSpec:
    entry = entries()[name]
    file, raw = load(FILE), entry.raw
    config = dict(entry.parent["config"])
    if "max_position_embeddings" in raw:
        config["max_position_embeddings"] = raw["max_position_embeddings"]
    if "quantization" in raw:
        config["quantization_config"] = file["quantizations"][raw["quantization"]]
    return spec_from_config(
        config,
        entry.name,
        repo=entry.repo,
        family=entry.family,
        gated=bool(raw.get("gated")),
        trust_remote_code=bool(raw.get("trust_remote_code")),
        source=f"{entry.parent['source']}, {file['date']}",
        notes=tuple(raw.get("notes", ())),
    )
