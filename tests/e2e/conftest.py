"""Real stacks: every one with its own state, sandbox and hosts, all removed at the end whatever happened."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import LOCAL, Stack


def stack_of(home: Path, **changes: object) -> Iterator[Stack]:
    """A stack with the local settings and these changes; afterwards nothing of it is left."""
    stack = Stack(home, LOCAL | {f"moe:{key}": value for key, value in changes.items()})
    try:
        yield stack
    finally:
        stack.wipe()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack of ``scripts/up``: two replicas of the tiny model behind nginx."""
    yield from stack_of(tmp_path_factory.mktemp("local"))
