"""Where a model comes from: the catalog, a directory on this machine, or a repository on Hugging Face."""

import json
from pathlib import Path
from typing import Any

from moestro.catalog import models
from moestro.errors import InvalidInput
from moestro.planning.model import ModelSpec
from moestro.planning.spec import spec_from_config
from moestro.planning.tensors import Tensor

_LARGEST_HEADER = 100_000_000


def load_model(name: str) -> ModelSpec:
    """The model of a catalog name or alias, a local directory with ``config.json``, or a repository id ``owner/name``.

    Raises:
        InvalidInput: nothing of that name; the nearest catalog name is suggested.
        UnknownArchitecture: the configuration is not understood; bounds come from the file sizes.
    """
    if not name.strip():
        raise InvalidInput("the model's name is empty: name a catalog name (`moestro models`), repository or directory")
    found = models.find(name)
    if found is not None:
        return found
    directory = Path(name)
    if directory.is_dir():
        return _from_directory(directory)
    if "/" in name and not name.startswith((".", "/", "~")):
        from moestro.catalog.hub import load_repository  # huggingface_hub takes long to import

        return load_repository(name)
    close = models.near(name)
    hint = f"did you mean '{close[0]}'?" if close else "`moestro models` lists what there is"
    raise InvalidInput(f"model '{name}' is neither in the catalog nor a directory nor a repository id; {hint}")


def _from_directory(directory: Path) -> ModelSpec:
    config = _json(directory / "config.json")
    extra = directory / "hf_quant_config.json"
    if extra.is_file() and not config.get("quantization_config"):
        config = {**config, "quantization_config": {"quant_method": "modelopt", **_json(extra)}}
    tensors = [t for file in sorted(directory.glob("*.safetensors")) for t in read_header(file)]
    return spec_from_config(config, directory.resolve().name, tensors or None, source=str(directory))


def _json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"{path.parent} has no {path.name}: point to a checkpoint's directory") from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as JSON ({error}): copy it again from the repository") from None
    if not isinstance(loaded, dict):
        raise InvalidInput(f"{path} is no JSON object: copy it again from the repository")
    return loaded


def read_header(path: Path) -> list[Tensor]:
    """The tensors that a safetensors file says it holds; the weights are not read.

    Raises:
        InvalidInput: the file cannot be read or is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= _LARGEST_HEADER:
                raise InvalidInput(f"{path} is no safetensors file: its header would be {size} bytes")
            header = json.loads(file.read(size))
        return [
            Tensor(name, str(one["dtype"]), tuple(map(int, one["shape"])))
            for name, one in header.items()
            if name != "__metadata__"
        ]
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput(f"{path} is no safetensors file: its header describes no tensors") from None
