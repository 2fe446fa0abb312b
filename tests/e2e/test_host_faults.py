"""Faults on real hosts under the real Pulumi engine; everything but the model server is as in the real program."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import httpx
import pytest

from moestro.clouds.sandbox.faults import Faults
from moestro.clouds.sandbox.home import Home
from tests.containers import run_inside
from tests.e2e.stack import CHECKOUT, LOCAL, Stack, kill_group

pytestmark = [pytest.mark.docker, pytest.mark.pulumi]

PROGRAM = CHECKOUT / "tests" / "e2e" / "programs" / "hosts.py"
UP = ("up", "--yes", "--skip-preview")
HOLD_LOCK = """python3 -c '
import fcntl, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
time.sleep(15)
' > /dev/null 2>&1 &"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Stack]:
    """Two machines with runtime, weights and nginx, not yet up."""
    stack = Stack(tmp_path, LOCAL, PROGRAM)
    try:
        yield stack
    finally:
        stack.wipe()


def faults(stack: Stack) -> Faults:
    return Faults(Home(stack.sandbox))


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for something another process does."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.05)


def settled(stack: Stack, machines: int = 2) -> None:
    """So many machines are in the state, so many run, the gateway answers, and another up has nothing to do."""
    instances = [one for one in stack.resources() if one["type"] == "moestro:cloud:Instance"]
    assert len(instances) == machines
    assert not any(one.get("initErrors") for one in stack.resources())
    assert len(stack.containers()) == machines
    assert httpx.get(f"{stack.outputs()['endpoint']}/v1/models", timeout=10).status_code == 401
    assert stack.preview("--expect-no-changes").code == 0


class TestKilled:
    """``kill -9`` of the CLI and of everything it started, at ten moments drawn over the length of an ``up``."""

    @pytest.mark.parametrize("seed", range(10))
    def test_then_up(self, hosts: Stack, seed: int) -> None:
        moment = random.Random(seed).uniform(0.3, 12.0)
        running = hosts.start(*UP)
        time.sleep(moment)
        kill_group(running)
        hosts.unlock()
        assert hosts.up().code == 0
        settled(hosts)
        hosts.destroy()
        assert hosts.containers() == []

    def test_the_endpoint_stays(self, hosts: Stack) -> None:
        hosts.up()
        endpoint, machines = hosts.outputs()["endpoint"], hosts.containers()
        running = hosts.start(*UP)
        time.sleep(1.5)
        kill_group(running)
        hosts.unlock()
        hosts.up()
        assert (hosts.outputs()["endpoint"], hosts.containers()) == (endpoint, machines)


class TestOrder:
    @pytest.mark.parametrize("kind", ["slow_post", "post_5xx_after_accept", "dropped_connection"])
    def test_accepted_without_a_timely_answer(self, hosts: Stack, kind: str) -> None:
        faults(hosts).arm(kind, times=1, name="host-1-*", seconds=20)
        hosts.up()
        settled(hosts)


class TestDestroy:
    def test_a_cloud_that_cannot_list_or_tell_fails_loudly(self, hosts: Stack) -> None:
        hosts.up()
        for kind in ("list_failure", "get_failure", "delete_failure"):
            faults(hosts).arm(kind, times=None)
        failed = hosts.destroy(check=False)
        assert failed.code != 0
        assert "error" in failed.output
        instances = [one for one in hosts.resources() if one["type"] == "moestro:cloud:Instance"]
        assert len(instances) == len(hosts.containers()) == 2
        faults(hosts).disarm()
        hosts.destroy()
        assert hosts.containers() == []
        assert hosts.destroy().code == 0


class TestBehindPulumi:
    def test_a_removed_machine_is_replaced_after_a_refresh(self, hosts: Stack) -> None:
        hosts.up()
        [name, kept] = hosts.containers()
        docker.from_env().containers.get(name).remove(force=True)
        hosts.refresh()
        hosts.up()
        settled(hosts)
        assert kept in hosts.containers()
        assert name not in hosts.containers()

    def test_a_changed_host_key_stops_everything(self, hosts: Stack) -> None:
        hosts.up()
        faults(hosts).arm("changed_host_key", times=1, name="host-1-*")
        hosts.pulumi("refresh", "--yes", "--skip-preview", check=False)
        refused = hosts.pulumi("refresh", "--yes", "--skip-preview", check=False)
        assert refused.code != 0
        assert "host key" in refused.output.lower()
        assert len([one for one in hosts.resources() if one["type"] == "moestro:host:Weights"]) == 2


class TestSsh:
    def test_late_by_a_minute(self, hosts: Stack) -> None:
        faults(hosts).arm("late_ssh", times=1, name="host-0-*", seconds=60)
        assert hosts.up().seconds > 60
        settled(hosts)

    def test_cut_in_the_middle_of_a_long_step(self, hosts: Stack) -> None:
        hosts.configure(LOCAL | {"moe:replicas": 1, "moe:packages": ["apt:sl"]})
        running = hosts.start(*UP)
        until(lambda: hosts.containers() != [], "the rent")
        [host] = [docker.from_env().containers.get(name) for name in hosts.containers()]
        until(lambda: run_inside(host, HOLD_LOCK)[0] == 0, "the lock")  # apt waits: the step takes long
        until(lambda: "packages" in run_inside(host, "ls /var/lib/moestro/jobs")[1], "the step")
        for _ in range(3):
            run_inside(host, "pkill -KILL -f '^sshd: ubuntu'")  # ends every session, as a broken network would
            time.sleep(2)
        assert running.wait(timeout=300) == 0, hosts.log()
        settled(hosts, machines=1)
        assert run_inside(host, "dpkg -s sl")[0] == 0
        _, runs = run_inside(host, "journalctl --no-pager -o cat -u 'moestro-job-packages-*'")
        assert runs.count("Started") == 1


class TestCtrlC:
    def test_during_a_long_create_then_up_continues(self, hosts: Stack) -> None:
        faults(hosts).arm("late_ssh", times=2, seconds=25)
        running = hosts.start(*UP)
        until(lambda: len(hosts.containers()) == 2, "the rent")
        machines = hosts.containers()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) != 0
        hosts.up()
        settled(hosts)
        assert hosts.containers() == machines
