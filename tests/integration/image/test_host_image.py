"""The image of the sandbox's hosts: what a freshly booted one is, and what the image itself does not hold."""

import time
import uuid
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container

from moestro.clouds.sandbox.hosts import booting
from moestro.clouds.sandbox.image import reference
from tests.containers import run_inside

pytestmark = pytest.mark.docker

BOOT_SECONDS = 60.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Container]]:
    """Two booted hosts."""
    engine = docker.from_env()
    started = [
        engine.containers.run(
            reference(),
            name=f"moestro-image-test-{uuid.uuid4().hex[:8]}",
            detach=True,
            **booting(engine),
        )
        for _ in range(2)
    ]
    try:
        for host in started:
            wait_for_boot(host)
        yield started
    finally:
        for host in started:
            host.remove(force=True, v=True)


def wait_for_boot(host: Container) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while (state := run(host, "systemctl is-system-running || true")) in {"starting", "initializing"} or "bus" in state:
        assert time.monotonic() < deadline, f"still '{state}' after {BOOT_SECONDS} s"
        time.sleep(0.1)


def run(host: Container, command: str, user: str = "root") -> str:
    code, output = run_inside(host, command, user)
    assert code == 0, f"{command}: {output}"
    return output.strip()


def test_systemd_runs_without_a_failed_unit(hosts: list[Container]) -> None:
    assert run(hosts[0], "systemctl --failed --no-legend --plain") == ""
    assert run(hosts[0], "systemctl is-system-running") == "running"
    assert run(hosts[0], "systemctl is-active ssh") == "active"


@pytest.mark.parametrize("identity", ["/etc/ssh/ssh_host_ed25519_key.pub", "/etc/machine-id"])
def test_every_host_makes_its_own_identity(hosts: list[Container], identity: str) -> None:
    first, second = (run(host, f"cat {identity}") for host in hosts)
    assert first
    assert first != second


def test_image_holds_no_host_key_and_no_authorized_key() -> None:
    look = "find / -xdev -name 'ssh_host_*key*' -o -xdev -name authorized_keys -o -xdev -name machine-id -size +0"
    assert docker.from_env().containers.run(reference(), ["bash", "-c", look], remove=True) == b""


def test_ubuntu_may_become_root_and_root_may_not_log_in(hosts: list[Container]) -> None:
    assert run(hosts[0], "sudo -n id -un", user="ubuntu") == "root"
    effective = run(hosts[0], "sshd -T").splitlines()
    assert {"permitrootlogin no", "passwordauthentication no", "kbdinteractiveauthentication no"} <= set(effective)
    assert run(hosts[0], "stat -c '%a %U' ~ubuntu/.ssh") == "700 ubuntu"


def test_engine_is_vllms_cpu_build_with_its_bytecode(hosts: list[Container]) -> None:
    asked = "from importlib.metadata import version; print(version('vllm'))"
    assert run(hosts[0], f'/opt/vllm/bin/python -c "{asked}"') == "0.32.0+cpu"
    assert run(hosts[0], "ls /opt/vllm/lib/python3*/site-packages/vllm/__pycache__/__init__.*.pyc")


def test_nothing_updates_packages_behind_the_operators_back(hosts: list[Container]) -> None:
    timers = run(hosts[0], "systemctl is-enabled apt-daily.timer apt-daily-upgrade.timer || true")
    assert timers.split() == ["masked", "masked"]
