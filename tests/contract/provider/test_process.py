"""The plugin's process as an engine sees it: a port on the first line, and an end."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderStub

from provider.schema import VERSION
from tests.unit.provider.harness import engine

PLUGIN = Path(__file__).parents[3] / "provider"


def started(*arguments: str) -> "subprocess.Popen[str]":
    """The plugin, started as a language host does: as a directory, from somewhere else."""
    command = [sys.executable, "-u", str(PLUGIN), *arguments]
    return subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def version_at(port: str) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return str(ResourceProviderStub(channel).GetPluginInfo(Empty(), timeout=10).version)


@pytest.fixture
def plugin() -> Iterator["subprocess.Popen[str]"]:
    process = started()
    yield process
    process.kill()
    process.wait()


def test_serves_at_the_port_that_it_prints_first(plugin: "subprocess.Popen[str]") -> None:
    assert plugin.stdout is not None
    assert version_at(plugin.stdout.readline().strip()) == VERSION


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_quietly_when_told(plugin: "subprocess.Popen[str]", number: signal.Signals) -> None:
    assert plugin.stdout is not None
    assert plugin.stdout.readline()
    plugin.send_signal(number)
    assert plugin.wait(10) == 0
    assert plugin.stdout.read() == ""


def test_ends_with_its_engine_even_when_the_parent_lives_on() -> None:
    with engine() as (_, address):
        process = started("--logtostderr", "-v=9", "--tracing", "http://127.0.0.1:1", address)
        assert process.stdout is not None
        assert version_at(process.stdout.readline().strip()) == VERSION
        time.sleep(0.5)
        assert process.poll() is None
    try:
        assert process.wait(10) == 0
    finally:
        process.kill()
