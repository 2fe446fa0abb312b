from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from provider.resource import Resource
from tests.unit.provider.harness import Client, FakeEngine, engine, served

Serve = Callable[[Resource[Any, Any]], Client]


@pytest.fixture(name="fake_engine")
def _fake_engine() -> Iterator[tuple[FakeEngine, str]]:
    with engine() as running:
        yield running


@pytest.fixture
def serve(fake_engine: tuple[FakeEngine, str]) -> Iterator[Serve]:
    """Puts a resource behind gRPC and gives the engine's side of it."""
    with ExitStack() as stack:

        def started(resource: Resource[Any, Any]) -> Client:
            return Client(stack.enter_context(served([resource], fake_engine[1])), resource.token)

        yield started
