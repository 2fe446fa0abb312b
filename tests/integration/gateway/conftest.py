"""A gateway in front of three stand-in backends."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moestro.serving.names import engine_name
from moestro.serving.nginx import GatewaySpec, Upstream
from tests.integration.gateway.backends import StandIn
from tests.integration.gateway.nginx import Nginx
from tests.integration.gateway.pki import Authority

ALICE = "alice-key-0123456789.abc+DEF"
BOB = "bob-key-0123456789-abcdef"
ENGINE_KEY = "engine-key-0123456789-abcdef"


@dataclass
class Scene:
    nginx: Nginx
    backends: list[StandIn]
    authority: Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not tmp_path: nginx's workers are another user and must be able to enter.
    path = Path(tempfile.mkdtemp(prefix="moestro-gateway-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def backends(directory: Path, authority: Authority) -> Iterator[list[StandIn]]:
    folder = directory / "backends"
    folder.mkdir()
    names = [f"replica-{number}" for number in range(3)]
    leaves = {name: authority.issue(name, engine_name("chat")) for name in names}
    made = [StandIn(name, folder, leaves[name], authority) for name in names]
    yield made
    for each in made:
        each.close()


@pytest.fixture
def gateway(directory: Path, authority: Authority, backends: list[StandIn]) -> Iterator[Callable[..., Scene]]:
    """Start the gateway; keyword arguments change its spec."""
    client = authority.issue("gateway")
    running: list[Nginx] = []

    def start(**changes: Any) -> Scene:
        values: dict[str, Any] = {
            "service": "chat",
            "served_name": "tiny",
            "upstreams": tuple(Upstream(each.name, "127.0.0.1", each.port) for each in backends),
            "api_keys": {"alice": ALICE, "bob": BOB},
            "engine_api_key": ENGINE_KEY,
            "certificate_pem": client.certificate,
            "private_key_pem": client.key,
            "authority_pem": authority.certificate,
            "listen_port": 1,
        }
        nginx = Nginx(directory, GatewaySpec(**(values | changes)))
        running.append(nginx)
        nginx.start()
        return Scene(nginx, backends, authority)

    yield start
    for nginx in running:
        nginx.close()
