"""Which files of a directory count, and what of them."""

import json
from pathlib import Path

import pytest

from moestro.catalog import load_model
from moestro.catalog.weight_files import INDEX, read_header, weight_files
from moestro.errors import InvalidInput
from tests.unit.catalog.safetensors_files import write_safetensors
from tests.unit.planning.models import TINY_CONFIG

NORM = ("BF16", [256], 512)


def index(directory: Path, *files: str, total: object = 4096) -> None:
    weight_map = {f"tensor.{number}": name for number, name in enumerate(files)}
    (directory / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))


def names(directory: Path) -> list[str] | None:
    tensors = weight_files(directory).tensors
    return None if tensors is None else [one.name for one in tensors]


class TestWhichFilesCount:
    def test_all_without_an_index(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "model-00001-of-00002.safetensors", {"a": NORM})
        write_safetensors(tmp_path / "model-00002-of-00002.safetensors", {"b": NORM})
        assert names(tmp_path) == ["a", "b"]

    def test_those_of_the_index(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "one.safetensors", {"a": NORM})
        write_safetensors(tmp_path / "stray.safetensors", {"b": NORM})
        index(tmp_path, "one.safetensors", "one.safetensors")
        assert names(tmp_path) == ["a"]

    def test_mistrals_second_copy_does_not(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "consolidated-00001-of-00001.safetensors", {"layers.0.x": NORM})
        write_safetensors(tmp_path / "model.safetensors", {"a": NORM})
        assert names(tmp_path) == ["a"]

    def test_nothing_there(self, tmp_path: Path) -> None:
        assert weight_files(tmp_path) == (None, None, ())


class TestHalfACheckpoint:
    """The part that is there would be planned as if it were the whole."""

    def test_of_an_index(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "a.safetensors", {"a": NORM})
        index(tmp_path, "a.safetensors", "b.safetensors", total=1 << 31)
        found = weight_files(tmp_path)
        assert (found.tensors, found.total_bytes) == (None, 1 << 31)
        assert found.notes == ("1 of 2 weight files are missing, such as b.safetensors: bytes are computed",)

    def test_of_numbered_files(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "model-00002-of-00003.safetensors", {"a": NORM})
        found = weight_files(tmp_path)
        assert found.tensors is None
        assert "2 of 3 weight files are missing, such as model-00001-of-00003.safetensors" in found.notes[0]

    def test_the_plan_is_computed_and_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(TINY_CONFIG))
        write_safetensors(tmp_path / "model-00001-of-00002.safetensors", {"model.norm.weight": NORM})
        model = load_model(str(tmp_path))
        assert not model.exact
        assert model.file_gib * 2**30 > 10_000_000
        assert "weight files are missing" in model.notes[0]

    def test_headers_of_another_model_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(TINY_CONFIG))
        write_safetensors(tmp_path / "model.safetensors", {"model.norm.weight": NORM})
        assert any("are they of one model?" in note for note in load_model(str(tmp_path)).notes)

    @pytest.mark.parametrize("total", [None, -5, "many", True])
    def test_an_absurd_total_bounds_nothing(self, tmp_path: Path, total: object) -> None:
        index(tmp_path, "b.safetensors", total=total)
        assert weight_files(tmp_path).total_bytes is None


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "../b"}}']
)
def test_an_index_that_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(InvalidInput, match="is no index of weight files"):
        weight_files(tmp_path)


class TestHeaders:
    def test_bytes_are_those_of_the_file(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "m.safetensors", {"a": ("F4", [3, 4], 6), "b": NORM})
        assert [one.bytes for one in read_header(tmp_path / "m.safetensors")] == [6, 512]

    @pytest.mark.parametrize("content", [b"GGUF" * 10, b"", (2).to_bytes(8, "little") + b"[]"])
    def test_another_format(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "m.safetensors").write_bytes(content)
        with pytest.raises(InvalidInput, match="is no safetensors file"):
            read_header(tmp_path / "m.safetensors")

    def test_a_pointer_to_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "m.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
        with pytest.raises(InvalidInput, match="`git lfs pull` fetches it"):
            read_header(tmp_path / "m.safetensors")

    @pytest.mark.parametrize(
        "change", [{"shape": [-4]}, {"data_offsets": [8, 4]}, {"data_offsets": [1]}, {"dtype": None}]
    )
    def test_a_tensor_that_cannot_be(self, change: dict[str, object], tmp_path: Path) -> None:
        entry = {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]} | change
        raw = json.dumps({"a": {key: value for key, value in entry.items() if value is not None}}).encode()
        (tmp_path / "m.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw)
        with pytest.raises(InvalidInput, match="its header describes no tensors"):
            read_header(tmp_path / "m.safetensors")
