"""A sandbox of its own for each test, with real hosts, removed at its end."""

from collections.abc import Iterator
from pathlib import Path

import docker
import paramiko
import pytest

from moestro.clouds import open_cloud
from moestro.clouds.base import Cloud, SshKey
from moestro.clouds.ordering import ensure_ssh_key
from moestro.clouds.sandbox import Home, destroy
from moestro.waiting import Wait
from tests.unit.hosts.ssh_server import new_key, public_line


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Home]:
    monkeypatch.setenv("MOESTRO_SANDBOX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MOESTRO_SANDBOX_URL", raising=False)
    home = Home.current()
    yield home
    destroy(home)


@pytest.fixture
def cloud(home: Home) -> Cloud:
    assert home == Home.current()
    return open_cloud("sandbox")


@pytest.fixture(scope="session")
def login() -> tuple[str, paramiko.PKey]:
    return new_key()


@pytest.fixture
def key(cloud: Cloud, login: tuple[str, paramiko.PKey]) -> SshKey:
    return ensure_ssh_key(cloud, "laptop", public_line(login[1]), Wait.of(30))


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    return docker.from_env()
