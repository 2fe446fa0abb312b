"""Real hosts for these tests: containers of the sandbox's image with systemd, sshd and the user ubuntu."""

import io
import os
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import docker
import pytest
from docker.models.containers import Container

from moestro.clouds.sandbox.hosts import booting
from moestro.clouds.sandbox.image import reference
from moestro.hosts.connection import HostConnection
from moestro.hosts.pool import close_links
from moestro.hosts.ssh import Host, connect, learn_host_key
from moestro.waiting import Wait
from tests.containers import run_inside
from tests.unit.hosts.ssh_server import new_key, public_line

UBUNTU = 1000


@dataclass
class Machine:
    """A running container and how to reach it."""

    container: Container
    private_key: str = field(repr=False)
    lines: list[str] = field(default_factory=list)  # what was reported to the wait of ``host()``

    @property
    def address(self) -> str:
        self.container.reload()
        return str(self.container.attrs["NetworkSettings"]["IPAddress"])

    def connection(self, user: str = "ubuntu") -> HostConnection:
        wait = Wait.of(90)
        return HostConnection(self.address, 22, user, self.private_key, learn_host_key(self.address, 22, wait))

    def host(self, seconds: float = 120) -> Host:
        return connect(self.connection(), Wait.of(seconds, self.lines.append))

    def when(self, condition: str, then: Callable[[], object] | str) -> None:
        """Do something, or run something inside, as soon as a condition holds inside; does not wait for that."""

        def act() -> None:
            self.inside(f"for i in $(seq 600); do {condition} && exit; sleep 0.05; done; exit 1")
            self.inside(then) if isinstance(then, str) else then()

        threading.Thread(target=act).start()

    def inside(self, command: str) -> str:
        """Run something behind SSH's back."""
        code, output = run_inside(self.container, command)
        assert code == 0, f"{command}: {output}"
        return output.strip()


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    return docker.from_env()


@pytest.fixture(scope="module")
def rent(engine: docker.DockerClient) -> Iterator[Callable[..., list[Machine]]]:
    """Start hosts side by side; all of them are removed when the module is done."""
    rented: list[Container] = []
    text, key = new_key()

    def start(_: int, late_ssh: int = 0) -> Machine:
        container = engine.containers.create(
            reference(),
            name=f"moestro-hosts-test-{os.getpid()}-{uuid.uuid4().hex[:8]}",
            **booting(engine),
        )
        rented.append(container)
        container.put_archive("/", first_files(public_line(key), late_ssh))
        container.start()
        return Machine(container, text)

    def rent(count: int = 1, late_ssh: int = 0) -> list[Machine]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda number: start(number, late_ssh), range(count)))

    yield rent
    close_links()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda container: container.remove(force=True, v=True), rented))


@pytest.fixture(scope="module")
def machine(rent: Callable[..., list[Machine]]) -> Machine:
    return rent()[0]


@pytest.fixture
def host(machine: Machine) -> Host:
    machine.lines.clear()
    return machine.host()


def first_files(public_key: str, late_ssh: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "home/ubuntu/.ssh/authorized_keys", public_key + "\n", 0o600, UBUNTU)
        if late_ssh:
            unit = f"[Service]\nTimeoutStartSec=infinity\nExecStartPre=/bin/sleep {late_ssh}\n"
            _add(archive, "etc/systemd/system/ssh.service.d/late.conf", unit, 0o644, 0)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, path: str, text: str, mode: int, owner: int) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = len(content), mode, owner, owner, time.time()
    archive.addfile(entry, io.BytesIO(content))
