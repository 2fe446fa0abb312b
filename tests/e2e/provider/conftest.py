from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.provider.paper import PaperStack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[PaperStack]:
    """A stack with two machines on paper; none of its processes outlives the test."""
    made = PaperStack(tmp_path)
    yield made
    made.kill("pulumi", "provider")
