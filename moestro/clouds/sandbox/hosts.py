"""The sandbox's hosts: Docker containers that run systemd and sshd, each with its own address and host keys."""

import io
import ipaddress
import json
import socket
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Protocol

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from moestro.clouds.sandbox.home import Home
from moestro.clouds.sandbox.store import Deployment
from moestro.errors import CloudError

LABEL = "moestro.sandbox"
USER = "ubuntu"
USER_ID = 1000
SSH_PORT = 22
DOCKER_SECONDS = 180  # twenty hosts that start at once keep Docker busy
PROBE_SECONDS = 0.5
RESERVED_SECONDS = 60.0  # how long a name may be taken by a container that is not there yet
RESERVED_POLL_SECONDS = 0.2
PAPER_NETWORK = ipaddress.ip_network("198.18.0.0/15")
REBOOTS: Any = {"Name": "unless-stopped"}  # a host that shuts itself down to reboot comes up again


class Presence(Enum):
    """Whether a host is there."""

    MISSING = "missing"
    STOPPED = "stopped"
    UP = "up"
    REACHABLE = "reachable"  # its sshd listens


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a host."""

    presence: Presence
    address: str | None = None


class Hosts(Protocol):
    """What stands behind the sandbox's machines."""

    def check(self) -> None:
        """Raise :class:`CloudError` where nothing can be rented at all."""

    def start(self, deployment: Deployment) -> bool:
        """Bring the host up; returns whether it is, which it is not yet where somebody else is about it."""

    def look(self, deployment: Deployment) -> Sight:
        """How the host is now."""

    def remove(self, deployment: Deployment) -> None:
        """Take the host away; quiet when it is not there."""

    def change_host_keys(self, deployment: Deployment) -> None:
        """Let the host make itself new host keys."""


class PaperHosts:
    """No hosts at all: machines that exist in the contract only."""

    def check(self) -> None:
        """Paper is always there."""

    def start(self, deployment: Deployment) -> bool:
        """Nothing has to start."""
        del deployment
        return True

    def look(self, deployment: Deployment) -> Sight:
        """Always reachable, at an address that is reserved for benchmarks and routed nowhere (RFC 2544)."""
        return Sight(Presence.REACHABLE, str(PAPER_NETWORK[deployment.number]))

    def remove(self, deployment: Deployment) -> None:
        """Nothing is removed."""

    def change_host_keys(self, deployment: Deployment) -> None:
        """There are none."""


class DockerHosts:
    """Hosts of one home. No port is published: they are reached at their own addresses on the home's bridge."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._network = f"moestro-sandbox-{home.id}"

    def check(self) -> None:
        """Raise :class:`CloudError` where Docker or the host image is missing."""
        try:
            self._docker.images.get(_image())
        except ImageNotFound:
            raise CloudError(f"the sandbox's host image {_image()} is not built: run scripts/setup") from None
        except DockerException as error:
            raise CloudError(f"Docker does not answer: {error}; start it, or run scripts/setup") from None

    def start(self, deployment: Deployment) -> bool:
        """Bring the host up; returns whether it is, which it is not yet where somebody else is about it."""
        with (
            self._home.locked("hosts", shared=True),
            self._home.locked(f"host-{deployment.number}", patient=False) as alone,
        ):
            if not alone:
                return False
            try:
                self._start(deployment)
            except DockerException as error:
                raise CloudError(f"Docker could not start a host: {error}") from error
            return True

    def look(self, deployment: Deployment) -> Sight:
        """How the host is now. Only a clear "not there" from Docker counts as missing."""
        try:
            container = self._docker.containers.get(self._name(deployment))
        except NotFound:
            return Sight(Presence.MISSING)
        if container.status == "created":
            return Sight(Presence.MISSING)
        address = container.attrs["NetworkSettings"]["Networks"].get(self._network, {}).get("IPAddress") or None
        if container.status != "running":
            return Sight(Presence.STOPPED, address)
        return Sight(Presence.REACHABLE if address and _listens(address) else Presence.UP, address)

    def remove(self, deployment: Deployment) -> None:
        """Take the host away, and the network with the last one; quiet when it is not there."""
        with _missing_is_fine():
            self._docker.api.remove_container(self._name(deployment), force=True, v=True)
        with self._home.locked("hosts", patient=False) as alone:
            # Nobody starts a host while we hold this lock alone; where somebody does, the network is needed anyway.
            if alone and not self._containers():
                self._remove_network()

    def change_host_keys(self, deployment: Deployment) -> None:
        """Let the host make itself new host keys and restart its sshd."""
        script = "rm -f /etc/ssh/ssh_host_*_key* && ssh-keygen -A && systemctl restart ssh"
        container = self._docker.containers.get(self._name(deployment))
        result = container.exec_run(["/bin/sh", "-c", script])
        if result.exit_code != 0:
            raise CloudError(f"{deployment.name} could not change its host keys: {result.output!r}")

    def remove_all(self) -> None:
        """Remove every container of this home, known to its file or not, and the network."""
        with self._home.locked("hosts"):
            for container in self._containers():
                with _missing_is_fine():
                    container.remove(force=True, v=True)
            self._remove_network()

    @cached_property
    def _docker(self) -> docker.DockerClient:
        return docker.from_env(timeout=DOCKER_SECONDS)

    @cached_property
    def _booting(self) -> dict[str, Any]:
        return booting(self._docker)

    def _start(self, deployment: Deployment) -> None:
        self._ensure_network()
        container = self._ensure_container(deployment)
        if container.status == "created":
            container.put_archive("/", _files(deployment))
            container.start()

    def _name(self, deployment: Deployment) -> str:
        return f"moestro-{self._home.id}-{deployment.id}"

    def _containers(self) -> list[Container]:
        return self._docker.containers.list(
            all=True, filters={"label": f"{LABEL}={self._home.id}"}, ignore_removed=True
        )

    @retry(
        retry=retry_if_exception(lambda error: type(error) is NotFound),
        wait=wait_fixed(RESERVED_POLL_SECONDS),
        stop=stop_after_delay(RESERVED_SECONDS),
        reraise=True,
    )
    def _ensure_container(self, deployment: Deployment) -> Container:
        try:
            return self._docker.containers.create(
                _image(),
                name=self._name(deployment),
                hostname=f"sandbox-{deployment.id[:8]}",
                labels={
                    LABEL: self._home.id,
                    f"{LABEL}.deployment": deployment.id,
                    f"{LABEL}.name": deployment.name,
                    f"{LABEL}.terms": json.dumps(deployment.terms),
                },
                network=self._network,
                networking_config={self._network: self._endpoint(deployment)},
                restart_policy=REBOOTS,
                **self._booting,
            )
        except APIError as error:
            if error.status_code != 409:
                raise
            # Another process was first. Where it was killed in the middle of its request, Docker goes on with that, or
            # gives it up: until then the name is taken, and no container is there.
            return self._docker.containers.get(self._name(deployment))

    def _endpoint(self, deployment: Deployment) -> Any:
        network = self._docker.networks.get(self._network)
        subnet = ipaddress.ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"])
        return self._docker.api.create_endpoint_config(ipv4_address=str(subnet[deployment.number]))

    def _ensure_network(self) -> None:
        with self._home.locked("network"):
            # Docker's own filter matches parts of names too.
            if any(network.name == self._network for network in self._docker.networks.list(names=[self._network])):
                return
            # Docker finds a free range but allows fixed addresses only in a range that it was given: so give it back.
            draft = self._docker.networks.create(f"{self._network}-draft", labels={LABEL: self._home.id})
            draft.reload()
            subnet = draft.attrs["IPAM"]["Config"][0]["Subnet"]
            draft.remove()
            ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
            self._docker.networks.create(self._network, driver="bridge", ipam=ipam, labels={LABEL: self._home.id})

    def _remove_network(self) -> None:
        for network in self._docker.networks.list(filters={"label": f"{LABEL}={self._home.id}"}):
            with _missing_is_fine():
                network.remove()


def booting(client: docker.DockerClient) -> dict[str, Any]:
    """How a container becomes a host: systemd as its first process, which may make control groups."""
    options: dict[str, Any] = {
        "cap_add": ["SYS_ADMIN"],
        "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
        "tmpfs": {"/run": "", "/run/lock": ""},
        "shm_size": "1g",  # the engine's worker processes share memory; Docker's 64 MB are too little
    }
    if str(client.info().get("CgroupVersion", "1")) == "2":
        writable = "mount -o remount,rw /sys/fs/cgroup && exec /sbin/init"
        return options | {"cgroupns": "private", "command": ["/bin/sh", "-c", writable]}
    groups = {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}}
    return options | {"command": ["/sbin/init"], "volumes": groups}


def _image() -> str:
    from moestro.clouds.sandbox.image import reference

    return reference()


def _files(deployment: Deployment) -> bytes:
    """What a host finds on its disk at its first boot: who may log in and, as a fault, a slow sshd."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add_file(archive, f"home/{USER}/.ssh/authorized_keys", f"{deployment.public_key}\n", 0o600, USER_ID)
        if deployment.late_ssh:
            unit = f"[Service]\nTimeoutStartSec=infinity\nExecStartPre=/bin/sleep {deployment.late_ssh}\n"
            _add_file(archive, "etc/systemd/system/ssh.service.d/late.conf", unit, 0o644, 0)
    return buffer.getvalue()


def _add_file(archive: tarfile.TarFile, path: str, text: str, mode: int, owner: int) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = len(content), mode, owner, owner, time.time()
    archive.addfile(entry, io.BytesIO(content))


def _listens(address: str) -> bool:
    try:
        with socket.create_connection((address, SSH_PORT), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


@contextmanager
def _missing_is_fine() -> Iterator[None]:
    try:
        yield
    except NotFound:
        return
    except APIError as error:
        # 409: another process is removing the same container at this moment.
        if error.status_code != 409:
            raise
