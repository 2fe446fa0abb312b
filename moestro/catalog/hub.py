"""A repository on Hugging Face: its config.json and the headers of its safetensors files, never the weights."""

import json
import logging
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of whichever client it uses
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    NotASafetensorsRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from moestro.catalog import models
from moestro.errors import InvalidInput
from moestro.planning.model import ModelSpec
from moestro.planning.spec import spec_from_config
from moestro.planning.tensors import Tensor

_WEIGHTS = (".bin", ".pt", ".pth", ".gguf")
ANSWER_SECONDS = 5.0  # a hub that says nothing for so long is taken as out of reach
_UNREADABLE = (HTTPError, OSError, ValueError, SafetensorsParsingError)


def load_repository(repo: str, revision: str | None = None) -> ModelSpec:
    """The model of ``owner/name``; the token, if any, is huggingface_hub's own (``HF_TOKEN``).

    Raises:
        InvalidInput: no such repository, a gated one, one without config.json, or no connection.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else it tells its retries beside our one line
    disable_progress_bars()
    try:
        within_reach = _answers(repo, revision)
        config = _config(repo, revision, within_reach)
        tensors = _tensors(repo, revision) if within_reach else None
        total_bytes = _file_sizes(repo, revision) if within_reach and tensors is None else None
    except GatedRepoError:
        raise InvalidInput(
            f"repository '{repo}' is gated: accept its licence at https://huggingface.co/{repo} and set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise InvalidInput(f"repository '{repo}' does not exist or is private (set HF_TOKEN){_near(repo)}") from None
    except RevisionNotFoundError:
        raise InvalidInput(f"repository '{repo}' has no revision '{revision}'") from None
    except LocalEntryNotFoundError:
        raise InvalidInput(
            f"repository '{repo}' cannot be reached: go online or give a directory{_near(repo)}"
        ) from None
    except EntryNotFoundError:
        raise InvalidInput(f"repository '{repo}' has no config.json: it is no transformers checkpoint") from None
    except _UNREADABLE as error:
        raise InvalidInput(f"repository '{repo}' cannot be read: {_one_line(error)}") from None
    return spec_from_config(
        config, repo, tensors, total_bytes, repo=repo, revision=revision, source=f"https://huggingface.co/{repo}"
    )


def _near(repo: str) -> str:
    """The catalog's model that a repository's name looks like, as a question."""
    close = models.near(repo.rpartition("/")[2])
    return f"; did you mean '{close[0]}'?" if close else ""


def _answers(repo: str, revision: str | None) -> bool:
    """Whether the hub answers, asked once: a download would try for half a minute. What it refuses is raised."""
    url = hf_hub_url(repo, "config.json", revision=revision)
    try:
        get_hf_file_metadata(url, timeout=ANSWER_SECONDS)
    except HfHubHTTPError:
        raise
    except (HTTPError, OSError):
        return False
    return True


def _config(repo: str, revision: str | None, within_reach: bool) -> dict[str, Any]:
    config = _json(repo, "config.json", revision, within_reach)
    if config.get("quantization_config"):
        return config
    try:
        quantization = _json(repo, "hf_quant_config.json", revision, within_reach)
    except EntryNotFoundError:
        return config
    return {**config, "quantization_config": {"quant_method": "modelopt", **quantization}}


def _json(repo: str, name: str, revision: str | None, within_reach: bool) -> dict[str, Any]:
    """A file of the repository; out of reach, what an earlier download left in the cache."""
    path = hf_hub_download(repo, name, revision=revision, local_files_only=not within_reach)
    loaded = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise ValueError(f"{name} is no JSON object")
    return loaded


def _tensors(repo: str, revision: str | None) -> list[Tensor] | None:
    try:
        metadata = HfApi().get_safetensors_metadata(repo, revision=revision)
    except NotASafetensorsRepoError:
        return None
    return [
        Tensor(name, one.dtype, tuple(one.shape), one.data_offsets[1] - one.data_offsets[0])
        for file in metadata.files_metadata.values()
        for name, one in file.tensors.items()
    ]


def _file_sizes(repo: str, revision: str | None) -> int | None:
    """Bytes of the weight files of a repository without safetensors."""
    files = HfApi().model_info(repo, revision=revision, files_metadata=True).siblings or ()
    return sum(file.size or 0 for file in files if file.rfilename.endswith(_WEIGHTS)) or None


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
