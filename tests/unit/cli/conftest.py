import json
from pathlib import Path

import pytest

from tests.unit.cli.running import MIXTRAL, Shell


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A local checkpoint's directory with nothing but its configuration."""
    home = tmp_path / "tiny-mixtral"
    home.mkdir()
    (home / "config.json").write_text(json.dumps(MIXTRAL))
    return home
