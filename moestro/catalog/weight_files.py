"""The weight files of a checkpoint on this machine: which of them belong to it, what their headers say, their sizes."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from moestro.errors import InvalidInput
from moestro.planning.tensors import Tensor

INDEX = "model.safetensors.index.json"
_LARGEST_HEADER = 100_000_000
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.safetensors$")
_OTHER_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
_LFS_POINTER = b"version https://git-lfs"


class WeightFiles(NamedTuple):
    """What is known of a directory's weights.

    Attributes:
        tensors: of all safetensors files; None where there are none, or not all of them.
        total_bytes: of the weights, for bounds; None where nothing tells.
        notes: what to know of it, one line each.
    """

    tensors: list[Tensor] | None
    total_bytes: int | None
    notes: tuple[str, ...] = ()


def weight_files(directory: Path) -> WeightFiles:
    """The headers of the directory's safetensors files, those of its index where it has one.

    Raises:
        InvalidInput: the index or a file is not what its name says.
    """
    index = _index(directory / INDEX)
    files = sorted(index["weight_map"].values()) if index else _unindexed(directory)
    missing = [name for name in files if not (directory / name).is_file()]
    if missing:
        note = f"{len(missing)} of {len(files)} weight files are missing, such as {missing[0]}: bytes are computed"
        return WeightFiles(None, _declared(index), (note,))
    tensors = [tensor for name in files for tensor in read_header(directory / name)]
    return WeightFiles(tensors or None, sum(one.bytes for one in tensors) or _sizes(directory))


def _index(path: Path) -> dict[str, Any] | None:
    """The index, its ``weight_map`` reduced to each file once."""
    if not path.is_file():
        return None
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        names = set(loaded["weight_map"].values())
        if not all(Path(name).name == name for name in names):
            raise ValueError("a file of another directory")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidInput(f"{path} is no index of weight files: copy it again from the repository") from None
    return {**loaded, "weight_map": {name: name for name in names}}


def _unindexed(directory: Path) -> list[str]:
    """The safetensors files of a directory without an index, with those that the numbering says are missing.

    Mistral's ``consolidated`` files hold the same weights once more.
    """
    found = sorted(path.name for path in directory.glob("*.safetensors"))
    own = [name for name in found if not name.startswith("consolidated")] or found
    return sorted({*own, *_numbered(own)})


def _numbered(names: Iterable[str]) -> list[str]:
    shards = [(name, match) for name in names if (match := _SHARD.search(name)) and int(match[2]) < 10_000]
    return [
        f"{name[: match.start()]}-{number:0{len(match[1])}d}-of-{match[2]}.safetensors"
        for name, match in shards[:1]
        for number in range(1, int(match[2]) + 1)
    ]


def _declared(index: dict[str, Any] | None) -> int | None:
    metadata = (index or {}).get("metadata")
    size = metadata.get("total_size") if isinstance(metadata, dict) else None
    return size if type(size) is int and size > 0 else None


def _sizes(directory: Path) -> int | None:
    return sum(path.stat().st_size for kind in _OTHER_WEIGHTS for path in directory.glob(kind)) or None


def read_header(path: Path) -> list[Tensor]:
    """The tensors that a safetensors file says it holds; the weights are not read.

    Raises:
        InvalidInput: the file cannot be read or is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = int.from_bytes(start, "little")
            if not 2 <= size <= _LARGEST_HEADER:
                raise InvalidInput(f"{path} is no safetensors file: {_instead(start + file.read(64), size)}")
            header = json.loads(file.read(size))
        return [_tensor(name, one) for name, one in header.items() if name != "__metadata__"]
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidInput(f"{path} is no safetensors file: its header describes no tensors") from None


def _instead(start: bytes, size: int) -> str:
    if start.startswith(_LFS_POINTER):
        return "it is Git LFS's pointer to one, `git lfs pull` fetches it"
    return f"its header would be {size} bytes"


def _tensor(name: str, raw: dict[str, Any]) -> Tensor:
    begin, end = map(int, raw["data_offsets"])
    shape = tuple(map(int, raw["shape"]))
    if not 0 <= begin <= end or min(shape, default=0) < 0:
        raise ValueError(f"{name} lies outside its file")
    return Tensor(name, str(raw["dtype"]), shape, end - begin)
