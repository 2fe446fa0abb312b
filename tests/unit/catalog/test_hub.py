"""Repositories on Hugging Face, with huggingface_hub's answers in place of the network."""

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    NotASafetensorsRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from moestro.catalog import hub, load_model
from moestro.errors import InvalidInput
from moestro.planning.fields import UnknownArchitecture
from tests.unit.planning.models import TINY_CONFIG

RESPONSE = httpx.Response(404, request=httpx.Request("GET", "https://example.invalid"))


def _other_files(api: object, repo: str, revision: str | None = None, files_metadata: bool = False) -> Any:
    del api, repo, revision
    assert files_metadata
    sizes = {"pytorch_model.bin": 1 << 31, "tokenizer.json": 99, "old.bin": None}
    return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()])


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Puts files and tensor headers, or an error, behind every repository."""

    def put(files: dict[str, Any] | Exception, tensors: dict[str, tuple[str, list[int]]] | None = None) -> None:
        def answers(url: str, timeout: float) -> None:
            assert url.endswith("config.json")
            assert timeout < 10
            if isinstance(files, Exception):
                raise files

        def download(repo: str, name: str, revision: str | None = None, local_files_only: bool = False) -> str:
            del repo, revision
            if local_files_only:
                raise LocalEntryNotFoundError(name)
            if isinstance(files, Exception):
                raise files
            if name not in files:
                raise EntryNotFoundError(name)
            path = tmp_path / name
            path.write_text(files[name] if isinstance(files[name], str) else json.dumps(files[name]))
            return str(path)

        def metadata(self: object, repo: str, revision: str | None = None) -> Any:
            del self, repo, revision
            if tensors is None:
                raise NotASafetensorsRepoError("no safetensors")
            found = {
                name: SimpleNamespace(dtype=dtype, shape=shape, data_offsets=(0, 2 * prod(shape)))
                for name, (dtype, shape) in tensors.items()
            }
            return SimpleNamespace(files_metadata={"model.safetensors": SimpleNamespace(tensors=found)})

        monkeypatch.setattr(hub, "get_hf_file_metadata", answers)
        monkeypatch.setattr(hub, "hf_hub_download", download)

        monkeypatch.setattr(hub.HfApi, "get_safetensors_metadata", metadata)
        monkeypatch.setattr(hub.HfApi, "model_info", _other_files)

    return put


class TestRepository:
    def test_headers_make_it_exact(self, repository: Callable[..., None]) -> None:
        repository({"config.json": TINY_CONFIG}, {"lm_head.weight": ("BF16", [259, 256])})
        model = load_model("someone/tiny")
        assert (model.repo, model.exact) == ("someone/tiny", True)
        assert model.file_gib * 2**30 == 259 * 256 * 2

    def test_without_safetensors_the_configuration_counts(self, repository: Callable[..., None]) -> None:
        repository({"config.json": TINY_CONFIG})
        assert not load_model("someone/tiny").exact

    def test_files_of_other_kinds_bound_what_is_not_understood(self, repository: Callable[..., None]) -> None:
        repository({"config.json": {"model_type": "mamba9"}})
        with pytest.raises(UnknownArchitecture, match=r"from 2.0/N GiB"):
            load_model("someone/mamba")

    def test_modelopts_own_file(self, repository: Callable[..., None]) -> None:
        extra = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}
        repository({"config.json": TINY_CONFIG, "hf_quant_config.json": extra})
        assert load_model("someone/tiny").precision == "NVFP4"

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (GatedRepoError("gated", response=RESPONSE), "is gated: accept its licence at https://huggingface.co/some"),
            (RepositoryNotFoundError("none", response=RESPONSE), "does not exist or is private"),
            (RevisionNotFoundError("none", response=RESPONSE), "has no revision"),
            (EntryNotFoundError("none"), "has no config.json"),
            (OSError("no route\nto host"), "cannot be reached: go online"),
            (HTTPError("no answer"), "cannot be reached: go online"),
            (HfHubHTTPError("503\nbusy", response=RESPONSE), "cannot be read: 503"),
        ],
    )
    def test_failures_are_one_line(self, repository: Callable[..., None], error: Exception, message: str) -> None:
        repository(error)
        with pytest.raises(InvalidInput, match=message) as caught:
            load_model("someone/tiny")
        assert "\n" not in str(caught.value)

    def test_out_of_reach_the_cache_answers(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def silent(url: str, timeout: float) -> None:
            del url, timeout
            raise HTTPError("no answer")

        def cached(repo: str, name: str, revision: str | None = None, local_files_only: bool = False) -> str:
            del repo, revision
            assert local_files_only
            if name != "config.json":
                raise LocalEntryNotFoundError(name)
            (tmp_path / name).write_text(json.dumps(TINY_CONFIG))
            return str(tmp_path / name)

        monkeypatch.setattr(hub, "get_hf_file_metadata", silent)
        monkeypatch.setattr(hub, "hf_hub_download", cached)
        model = load_model("someone/tiny")
        assert (model.layers, model.exact) == (2, False)

    def test_near_names_are_suggested(self, repository: Callable[..., None]) -> None:
        repository(RepositoryNotFoundError("none", response=RESPONSE))
        with pytest.raises(InvalidInput, match="did you mean"):
            load_model("someone/mixtral-8x7b")

    def test_near_names_are_suggested_out_of_reach_too(self, repository: Callable[..., None]) -> None:
        repository(OSError("no route to host"))
        with pytest.raises(InvalidInput, match=r"cannot be reached: .*; did you mean 'mixtral-8x7b"):
            load_model("someone/mixtral-8x7b-instruct")

    def test_a_configuration_that_is_no_object(self, repository: Callable[..., None]) -> None:
        repository({"config.json": "[]"})
        with pytest.raises(InvalidInput, match="no JSON object"):
            load_model("someone/tiny")
