import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moestro.errors import HostError
from moestro.hosts.jobs import Job, run_job
from moestro.hosts.runtime import RuntimeSpec, ensure_runtime, read_runtime, remove_runtime
from moestro.hosts.ssh import connect
from moestro.hosts.weights import WeightsSpec, digest_of, ensure_weights
from moestro.waiting import Wait
from tests.integration.hosts.conftest import Machine

pytestmark = pytest.mark.docker

HOLD_LOCKS = (
    "import fcntl, os, time\n"
    "names = {'lists': '/var/lib/apt/lists/lock', 'dpkg': '/var/lib/dpkg/lock-frontend'}\n"
    "locks = {name: open(path, 'w') for name, path in names.items()}\n"
    "for lock in locks.values(): fcntl.lockf(lock, fcntl.LOCK_EX)\n"
    "for name in names: open(f'/tmp/{name}-held', 'w').close()\n"
    "for name, lock in locks.items():\n"
    "    while os.path.exists(f'/tmp/{name}-held'): time.sleep(0.05)\n"
    "    lock.close()\n"
)
TWENTY = 20
WORK_SECONDS = 6


@pytest.fixture(scope="module")
def version(machine: Machine) -> str:
    """The version of the engine in the image, without the local part."""
    return machine.inside("ls -d /opt/vllm/lib/python3*/site-packages/vllm-*.dist-info | sed 's/.*vllm-//; s/+.*//'")


@pytest.fixture(scope="module")
def spec(version: str) -> RuntimeSpec:
    return RuntimeSpec("cpu", "vllm", version)


def test_the_engine_of_the_image_is_used_as_it_is(machine: Machine, spec: RuntimeSpec) -> None:
    connection, wait = machine.connection(), Wait.of(60)
    state = ensure_runtime(connection, spec, wait)
    assert state.engine_path == "/opt/vllm/bin/vllm"
    assert state.engine_version == f"{spec.engine_version}+cpu"
    assert read_runtime(connection, spec, wait) == state
    said: list[str] = []
    assert ensure_runtime(connection, spec, Wait.of(60, said.append)) == state
    assert said == []


def test_another_version_is_refused(machine: Machine) -> None:
    with pytest.raises(HostError, match="found: vllm"):
        ensure_runtime(machine.connection(), RuntimeSpec("cpu", "vllm", "0.1.0"), Wait.of(60))


def test_a_gpu_is_not_made_up(machine: Machine, version: str) -> None:
    with pytest.raises(HostError, match="no NVIDIA GPU"):
        ensure_runtime(machine.connection(), RuntimeSpec("cuda", "vllm", version), Wait.of(60))


def test_removing_leaves_the_engine_of_the_image(machine: Machine, spec: RuntimeSpec) -> None:
    connection, wait = machine.connection(), Wait.of(60)
    machine.inside(
        "mkdir -p /opt/moestro/engines/vllm-9.9.9 && ln -s /opt/moestro/engines/vllm-9.9.9 /opt/moestro/engine"
    )
    for _ in range(2):
        remove_runtime(connection, spec, wait)
    assert machine.inside("ls -d /opt/moestro 2>/dev/null || true") == ""
    assert read_runtime(connection, spec, wait) is not None


def test_packages_are_installed_although_somebody_holds_the_locks(machine: Machine, version: str) -> None:
    spec = RuntimeSpec("cpu", "vllm", version, packages=("apt:tree",))
    connection = machine.connection()
    lines: list[str] = []

    def release_what_is_waited_for(line: str) -> None:
        lines.append(line)
        for sign, lock in {"apt-get update failed": "lists", "dpkg failed": "dpkg"}.items():
            if sign in line:
                machine.inside(f"rm -f /tmp/{lock}-held")

    machine.container.exec_run(["python3", "-c", HOLD_LOCKS], detach=True)
    machine.inside("until [ -e /tmp/dpkg-held ]; do sleep 0.1; done")
    assert read_runtime(connection, spec, Wait.of(60)) is None
    ensure_runtime(connection, spec, Wait.of(300, release_what_is_waited_for))
    assert machine.inside("tree --version").startswith("tree")
    assert "packages: install tree" in lines
    assert sum("its lock may be held" in line for line in lines) >= 2, "first apt's, then dpkg's"
    machine.inside("apt-get -y -q remove tree > /dev/null")
    ensure_runtime(connection, spec, Wait.of(300))
    assert machine.inside("tree --version").startswith("tree"), (
        "drift is repaired although the same step succeeded before"
    )


def test_twenty_hosts_are_prepared_side_by_side(
    rent: Callable[..., list[Machine]], spec: RuntimeSpec, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_bytes(b"x" * 1_000_000)
    weights = WeightsSpec(source=str(tmp_path), digest=digest_of(tmp_path), model="twenty")
    with ThreadPoolExecutor(TWENTY) as threads:
        connections = list(threads.map(lambda machine: machine.connection(), rent(TWENTY)))

    def prepare(number: int) -> float:
        started, connection, wait = time.monotonic(), connections[number], Wait.of(300)
        ensure_runtime(connection, spec, wait)
        ensure_weights(connection, weights, wait)
        run_job(connect(connection, wait), Job("work", f"sleep {WORK_SECONDS}\n", 60), wait)
        return time.monotonic() - started

    started = time.monotonic()
    with ThreadPoolExecutor(TWENTY) as threads:
        each = list(threads.map(prepare, range(TWENTY)))
    whole = time.monotonic() - started
    print(f"\n{TWENTY} hosts in {whole:.1f} s; slowest {max(each):.1f} s, sum {sum(each):.1f} s")
    assert whole < TWENTY * WORK_SECONDS / 2, "the work alone takes longer one after another"
