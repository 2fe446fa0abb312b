"""Where a model comes from: the catalog, a directory on this machine, or a repository on Hugging Face."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moestro.catalog import models
from moestro.catalog.weight_files import weight_files
from moestro.errors import InvalidInput
from moestro.planning.model import ModelSpec
from moestro.planning.spec import spec_from_config

_HUB = "https://huggingface.co/"


def load_model(name: str) -> ModelSpec:
    """The model of a catalog name or alias, a local directory with ``config.json``, or a repository id ``owner/name``.

    Raises:
        InvalidInput: nothing of that name; the nearest catalog name is suggested.
        UnknownArchitecture: the configuration is not understood; bounds come from the file sizes.
    """
    if not name.strip():
        raise InvalidInput("the model's name is empty: name a catalog name (`moestro models`), repository or directory")
    name = name.removeprefix(_HUB)  # as copied from a browser
    found = models.find(name)
    if found is not None:
        return found
    directory = Path(name)
    if _is(directory.is_dir):
        return _from_directory(directory)
    if _is(directory.is_file):
        raise InvalidInput(f"model '{name}' is a file: point to its directory, which needs a config.json")
    if "/" in name and not name.startswith((".", "/", "~")):
        from moestro.catalog.hub import load_repository  # huggingface_hub takes long to import

        return load_repository(name)
    close = models.near(name)
    hint = f"did you mean '{close[0]}'?" if close else "`moestro models` lists what there is"
    raise InvalidInput(f"model '{name}' is neither in the catalog nor a directory nor a repository id; {hint}")


def _is(there: Callable[[], bool]) -> bool:
    """Whether there is such a path; one that no file system could have is not there."""
    try:
        return there()
    except (OSError, ValueError):
        return False


def _from_directory(directory: Path) -> ModelSpec:
    config = _json(directory / "config.json")
    extra = directory / "hf_quant_config.json"
    if extra.is_file() and not config.get("quantization_config"):
        config = {**config, "quantization_config": {"quant_method": "modelopt", **_json(extra)}}
    tensors, total_bytes, notes = weight_files(directory)
    name, source = directory.resolve().name, str(directory)
    return spec_from_config(config, name, tensors, total_bytes, notes=notes, source=source)


def _json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"{path.parent} has no {path.name}: point to a checkpoint's directory") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} cannot be read as JSON ({error}): copy it again from the repository") from None
    if not isinstance(loaded, dict):
        raise InvalidInput(f"{path} is no JSON object: copy it again from the repository")
    return loaded
