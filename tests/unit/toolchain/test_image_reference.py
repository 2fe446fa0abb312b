"""The host image's tag: new whenever what the image is made of is new, and only then."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from moestro.clouds.sandbox import image


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(image, "DIRECTORY", tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "files" / "motd").write_text("welcome\n")
    return tmp_path


def test_names_the_repository_and_a_tag() -> None:
    assert re.fullmatch(r"moestro/sandbox-host:[0-9a-f]{12}", image.reference())


@pytest.mark.parametrize(
    "change",
    [
        lambda directory: (directory / "Dockerfile").write_text("FROM scratch \n"),
        lambda directory: (directory / "files" / "motd").rename(directory / "files" / "issue"),
        lambda directory: (directory / "files" / "motd").chmod(0o755),
        lambda directory: (directory / "new").touch(),
        lambda directory: (directory / "files" / "motd").unlink(),
    ],
    ids=["content", "name", "executable", "added", "removed"],
)
def test_changes_with_every_input(directory: Path, change: Callable[[Path], object]) -> None:
    before = image.reference()
    change(directory)
    assert image.reference() != before


def test_does_not_change_with_python_modules_or_other_permissions(directory: Path) -> None:
    before = image.reference()
    (directory / "__init__.py").touch()
    (directory / "__pycache__").mkdir()
    (directory / "__pycache__" / "x.cpython-311.pyc").touch()
    (directory / "Dockerfile").chmod(0o600)
    assert image.reference() == before
