import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import docker
import paramiko
import pytest
import requests
from docker.errors import APIError
from docker.models.containers import Container, ContainerCollection

from moestro.clouds.base import Cloud, Instance, InstanceState, OfferQuery, SshKey
from moestro.clouds.ordering import await_running, rent, terminate
from moestro.clouds.sandbox import Home, Settings, configure, destroy, reset
from moestro.clouds.sandbox.faults import Faults
from moestro.errors import CloudError
from moestro.waiting import Wait

pytestmark = pytest.mark.docker

QUERY = OfferQuery("CPU", 1)
RENT = """
import sys
from moestro.clouds import open_cloud
from moestro.clouds.base import OfferQuery
from moestro.clouds.ordering import rent
from moestro.waiting import Wait
cloud = open_cloud("sandbox")
print("ready", flush=True)
for name in sys.argv[2:]:
    print(rent(cloud, OfferQuery("CPU", 1), name, sys.argv[1], Wait.of(120)).id, flush=True)
"""


@pytest.fixture
def wait() -> Wait:
    return Wait.of(120)


def up(cloud: Cloud, key: SshKey, name: str, wait: Wait) -> Instance:
    """A running machine."""
    return await_running(cloud, rent(cloud, QUERY, name, key.id, wait).id, wait, poll_seconds=0.3)


def containers(engine: docker.DockerClient, home: Home) -> list[Container]:
    return engine.containers.list(all=True, filters={"label": f"moestro.sandbox={home.id}"})


def host_key(address: str) -> str:
    with socket.create_connection((address, 22), timeout=10) as connection:
        transport = paramiko.Transport(connection)
        try:
            transport.start_client(timeout=10)
            return str(transport.get_remote_server_key().get_base64())
        finally:
            transport.close()


def answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            return connection.recv(8).startswith(b"SSH-2.0")
    except OSError:
        return False


class TestHosts:
    def test_a_rented_host_is_a_linux_machine_that_lets_our_key_in(
        self, cloud: Cloud, key: SshKey, login: tuple[str, paramiko.PKey], wait: Wait
    ) -> None:
        machine = up(cloud, key, "web-0", wait)
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(machine.address or "", username=machine.ssh_user, pkey=login[1], timeout=10, allow_agent=False)
        with client:
            checks = "sudo -n systemctl is-system-running --wait; nproc; stat -f -c %b:%S /dev/shm; hostname"
            _, stdout, _ = client.exec_command(checks, timeout=60)
            state, cpus, shared, hostname = stdout.read().decode().split()
        assert state == "running"
        assert int(cpus) == os.cpu_count()
        blocks, size = map(int, shared.split(":"))
        assert blocks * size == 2**30
        assert hostname == f"sandbox-{machine.id[:8]}"

    def test_nothing_of_a_terminated_host_is_left(
        self, cloud: Cloud, key: SshKey, home: Home, engine: docker.DockerClient, wait: Wait
    ) -> None:
        first, second = (up(cloud, key, name, wait) for name in ("web-0", "web-1"))
        terminate(cloud, first.id, wait)
        assert len(containers(engine, home)) == 1
        assert answers(second.address or "")
        terminate(cloud, second.id, wait)
        assert containers(engine, home) == []
        assert engine.networks.list(filters={"label": f"moestro.sandbox={home.id}"}) == []

    def test_every_host_has_keys_of_its_own_and_keeps_them_and_its_address_over_a_reboot(
        self, cloud: Cloud, key: SshKey, home: Home, engine: docker.DockerClient, wait: Wait
    ) -> None:
        first, second = (up(cloud, key, name, wait) for name in ("web-0", "web-1"))
        before = host_key(first.address or "")
        assert before != host_key(second.address or "")
        for container in reversed(
            containers(engine, home)
        ):  # newest last: addresses would swap if they were handed out
            container.stop(timeout=5)
        assert cloud.get_instance(first.id, wait).state is InstanceState.STOPPED
        for container in containers(engine, home):
            container.start()
        again = await_running(cloud, first.id, wait) if not answers(first.address or "") else first
        while not answers(first.address or ""):
            wait.sleep(0.2)
        assert again.address == first.address
        assert host_key(first.address or "") == before

    def test_removed_behind_our_back(
        self, cloud: Cloud, key: SshKey, home: Home, engine: docker.DockerClient, wait: Wait
    ) -> None:
        machine = up(cloud, key, "web-0", wait)
        containers(engine, home)[0].remove(force=True)
        assert cloud.get_instance(machine.id, wait).state is InstanceState.PREEMPTED
        terminate(cloud, machine.id, wait)
        assert rent(cloud, QUERY, "web-0", key.id, wait).id != machine.id

    def test_docker_that_does_not_answer_is_not_a_removed_host(
        self, cloud: Cloud, key: SshKey, wait: Wait, monkeypatch: pytest.MonkeyPatch, home: Home
    ) -> None:
        machine = up(cloud, key, "web-0", wait)
        with monkeypatch.context() as patch:
            patch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
            asked = subprocess.run(
                [sys.executable, "-m", "moestro.clouds.sandbox", "list"], capture_output=True, text=True, timeout=60
            )
        assert asked.returncode != 0
        assert cloud.get_instance(machine.id, wait).state is InstanceState.RUNNING
        del home


class TestFaults:
    def test_preemption(self, cloud: Cloud, key: SshKey, home: Home, engine: docker.DockerClient, wait: Wait) -> None:
        machine = up(cloud, key, "web-0", wait)
        Faults(home).arm("preemption", name="web-*")
        assert cloud.get_instance(machine.id, wait).state is InstanceState.PREEMPTED
        assert containers(engine, home) == []

    def test_late_ssh(self, cloud: Cloud, key: SshKey, home: Home, wait: Wait) -> None:
        Faults(home).arm("late_ssh", seconds=4)
        started = time.monotonic()
        machine = up(cloud, key, "web-0", wait)
        assert not answers(machine.address or "")
        while not answers(machine.address or ""):
            wait.sleep(0.2)
        assert time.monotonic() - started > 4

    def test_changed_host_key(self, cloud: Cloud, key: SshKey, home: Home, wait: Wait) -> None:
        machine = up(cloud, key, "web-0", wait)
        before = host_key(machine.address or "")
        Faults(home).arm("changed_host_key")
        cloud.get_instance(machine.id, wait)
        assert host_key(machine.address or "") != before

    def test_a_missing_image_is_said(
        self, cloud: Cloud, key: SshKey, wait: Wait, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("moestro.clouds.sandbox.image.reference", lambda: "moestro/sandbox-host:nowhere")
        with pytest.raises(CloudError, match="host image moestro/sandbox-host:nowhere is not built: run scripts/setup"):
            rent(cloud, QUERY, "web-0", key.id, wait)
        assert cloud.list_instances(wait) == []


class TestManyAtOnce:
    def test_two_processes(
        self, cloud: Cloud, key: SshKey, home: Home, engine: docker.DockerClient, wait: Wait
    ) -> None:
        names = [["a-0", "a-1", "a-2"], ["b-0", "b-1", "b-2"]]
        processes = [
            subprocess.Popen([sys.executable, "-c", RENT, key.id, *half], stdout=subprocess.PIPE, text=True)
            for half in names
        ]
        for process in processes:
            process.communicate(timeout=120)
        assert [process.returncode for process in processes] == [0, 0]
        machines = cloud.list_instances(wait)
        assert sorted(machine.name for machine in machines) == sorted([*names[0], *names[1]])
        assert len({machine.address for machine in machines}) == 6
        assert len(containers(engine, home)) == 6
        assert len(engine.networks.list(filters={"label": f"moestro.sandbox={home.id}"})) == 1

    def test_killed_at_any_moment_an_order_leaves_at_most_one_host(
        self, cloud: Cloud, key: SshKey, home: Home, engine: docker.DockerClient, wait: Wait
    ) -> None:
        moments = random.Random(3)
        for number in range(6):
            name = f"web-{number}"
            process = subprocess.Popen([sys.executable, "-c", RENT, key.id, name], stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=10)
            machine = up(cloud, key, name, wait)
            assert [found.id for found in cloud.find_instances(name, wait)] == [machine.id]
        assert len(containers(engine, home)) == 6

    def test_a_name_that_a_killed_process_has_taken_is_waited_for(
        self,
        cloud: Cloud,
        key: SshKey,
        home: Home,
        engine: docker.DockerClient,
        wait: Wait,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        create, taken = ContainerCollection.create, [True, True]

        def late(collection: ContainerCollection, *arguments: object, **named: object) -> Container:
            if taken:
                taken.pop()
                conflict = requests.Response()
                conflict.status_code = 409
                raise APIError("the container name is already in use", response=conflict)
            return create(collection, *arguments, **named)

        monkeypatch.setattr(ContainerCollection, "create", late)
        machine = up(cloud, key, "web-0", wait)
        assert taken == []
        assert [found.id for found in cloud.list_instances(wait)] == [machine.id]
        assert len(containers(engine, home)) == 1

    def test_twenty_on_paper_side_by_side(self, cloud: Cloud, key: SshKey, home: Home, wait: Wait) -> None:
        configure(home, Settings(contract_only=True))
        with ThreadPoolExecutor(20) as pool:
            machines = list(pool.map(lambda number: up(cloud, key, f"web-{number}", wait), range(20)))
        assert len({machine.id for machine in machines}) == len({machine.address for machine in machines}) == 20
        assert len(cloud.list_instances(wait)) == 20


class TestHomes:
    def test_two_homes_know_nothing_of_each_other(
        self, cloud: Cloud, key: SshKey, home: Home, engine: docker.DockerClient, wait: Wait
    ) -> None:
        machine = up(cloud, key, "web-0", wait)
        other = Home(home.path.with_name("other"))
        destroy(other)
        assert cloud.get_instance(machine.id, wait).state is InstanceState.RUNNING
        assert len(containers(engine, home)) == 1

    def test_reset_and_destroy_remove_what_the_file_does_not_know_too(
        self, cloud: Cloud, key: SshKey, home: Home, engine: docker.DockerClient, wait: Wait
    ) -> None:
        for remove in (reset, destroy):
            registered = cloud.create_ssh_key("laptop", key.public_key, wait)
            up(cloud, registered, "web-0", wait)
            home.database.unlink()
            remove(home)
            assert containers(engine, home) == []
            assert engine.networks.list(filters={"label": f"moestro.sandbox={home.id}"}) == []
        assert not home.path.exists()
