import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from moestro.errors import CommandFailed, ConnectionLost, HostKeyChanged, HostLoginRefused
from moestro.hosts import transport
from moestro.hosts.facts import Engine, gather
from moestro.hosts.pool import close_links
from moestro.hosts.ssh import Host, connect, learn_host_key
from moestro.waiting import Wait
from tests.integration.hosts.conftest import Machine
from tests.unit.hosts.ssh_server import new_key

pytestmark = pytest.mark.docker

HOLD_LOCK = (
    "import fcntl, os, time\n"
    "lock = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(lock, fcntl.LOCK_EX)\n"
    "open('/tmp/held', 'w').close()\n"
    "while os.path.exists('/tmp/held'): time.sleep(0.05)"
)


def test_commands_run_as_root_through_sudo_unless_told_otherwise(host: Host) -> None:
    assert host.run("id -un").stdout == "root\n"
    assert host.run("id -un", sudo=False).stdout == "ubuntu\n"


def test_a_user_without_sudo_is_told_so(machine: Machine) -> None:
    machine.inside("useradd -m nosudo; cp -r /home/ubuntu/.ssh /home/nosudo/; chown -R nosudo: /home/nosudo/.ssh")
    host = connect(machine.connection("nosudo"), Wait.of(30))
    assert host.run("id -un", sudo=False).stdout == "nosudo\n"
    with pytest.raises(CommandFailed, match="user 'nosudo' needs sudo without a password"):
        host.run("true")


def test_a_secret_file_belongs_to_root_alone(machine: Machine, host: Host) -> None:
    assert host.write("/etc/moestro/chat/engine.env", "VLLM_API_KEY=k\n", 0o600)
    assert (
        machine.inside("stat -c '%a %U:%G' /etc/moestro/chat/engine.env /etc/moestro/chat")
        == "600 root:root\n755 root:root"
    )
    with pytest.raises(CommandFailed, match="Permission denied"):
        host.run("cat /etc/moestro/chat/engine.env", sudo=False)
    assert host.read("/etc/moestro/chat/engine.env") == b"VLLM_API_KEY=k\n"


def test_input_is_in_no_process_list(machine: Machine, host: Host) -> None:
    seen = host.run(
        "cat > /dev/null; tr '\\0' ' ' < /proc/*/cmdline 2>/dev/null; cat /proc/[0-9]*/cmdline", input="hunter2"
    )
    assert "hunter2" not in seen.stdout + machine.inside("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_an_expired_command_leaves_no_process(machine: Machine, host: Host) -> None:
    with pytest.raises(CommandFailed, match="did not end within 1 s"):
        host.run("sleep 4321 | sleep 4321", timeout=1)
    assert machine.inside("pgrep -f 'sleep 4321$' || true") == ""


def test_a_command_that_leaves_a_child_behind_ends(host: Host) -> None:
    started = time.monotonic()
    assert host.run("sleep 30 & echo started").stdout == "started\n"
    assert time.monotonic() - started < 10


def test_a_connection_that_is_cut_in_the_middle_of_a_command(machine: Machine, host: Host) -> None:
    with pytest.raises(ConnectionLost, match="dropped"):
        host.run("echo once >> /tmp/once; pkill -KILL -f '^sshd: ubuntu'; sleep 5")
    assert machine.inside("cat /tmp/once") == "once"
    assert host.run("echo back").stdout == "back\n"


def test_a_slow_sshd_is_waited_for(rent: Callable[..., list[Machine]]) -> None:
    started = time.monotonic()
    (machine,) = rent(late_ssh=6)
    told: list[str] = []
    address = machine.address
    assert learn_host_key(address, 22, Wait.of(90, told.append)).startswith("ssh-ed25519 ")
    assert time.monotonic() - started > 5
    assert told[:1] == [f"{address}:22: connection refused (sshd is not running yet); trying again"]


def test_our_key_is_refused_and_the_grace_ends(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LOGIN_GRACE_SECONDS", 1.0)
    stranger = replace(machine.connection(), private_key=new_key()[0])
    with pytest.raises(HostLoginRefused, match="the host refuses our key for user 'ubuntu'"):
        connect(stranger, Wait.of(60))


def test_a_key_that_cloud_init_writes_late_is_accepted_in_the_end(rent: Callable[..., list[Machine]]) -> None:
    (machine,) = rent()
    connection = machine.connection()
    machine.inside(
        "cd /home/ubuntu/.ssh; mv authorized_keys late; (sleep 4; mv late authorized_keys) > /dev/null 2>&1 &"
    )
    assert connect(connection, Wait.of(60)).run("true").ok


def test_a_changed_host_key_stops_everything_before_the_login(rent: Callable[..., list[Machine]]) -> None:
    (machine,) = rent()
    pinned = machine.connection()
    connect(pinned, Wait.of(60)).run("true")
    close_links()
    machine.inside(
        "rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh; sleep 1; journalctl --rotate --vacuum-time=1s"
    )
    with pytest.raises(HostKeyChanged, match="nothing was sent to the host"):
        connect(pinned, Wait.of(30))
    time.sleep(1)
    log = machine.inside("journalctl -u ssh --no-pager")
    assert "Accepted publickey" not in log
    assert "userauth" not in log


class TestFacts:
    def test_are_those_of_the_host(self, machine: Machine, host: Host) -> None:
        facts = gather(host)
        assert (facts.os_id, facts.os_version, facts.virtualization) == ("debian", "12", "docker")
        assert facts.cpus == int(machine.inside("nproc"))
        assert facts.memory_gib * 2**20 == int(machine.inside("awk '/MemTotal/ {print $2}' /proc/meminfo"))
        assert [(engine.root, engine.name, engine.ours) for engine in facts.engines] == [("/opt/vllm", "vllm", False)]
        assert facts.engines[0].version.endswith("+cpu")
        assert facts.packages["openssh-server"]
        assert not facts.apt_locked

    def test_see_the_lock_of_apt(self, machine: Machine, host: Host) -> None:
        machine.container.exec_run(["python3", "-c", HOLD_LOCK], detach=True)
        machine.inside("until [ -e /tmp/held ]; do sleep 0.1; done")
        assert gather(host).apt_locked
        machine.inside("rm /tmp/held; while pgrep -f '[f]cntl.lockf'; do sleep 0.1; done")
        assert not gather(host).apt_locked

    def test_see_our_units(self, host: Host) -> None:
        host.run(
            "systemd-run -q --unit=moestro-engine-chat sleep 60; "
            "systemd-run -q --service-type=oneshot --unit=moestro-engine-bad false || true"
        )
        units = {unit.name: unit.active for unit in gather(host).units}
        assert units == {"moestro-engine-chat.service": "active", "moestro-engine-bad.service": "failed"}
        host.run("systemctl stop moestro-engine-chat; systemctl reset-failed")

    def test_see_an_engine_of_ours_and_its_link(self, machine: Machine, host: Host) -> None:
        root = "/opt/moestro/engines/vllm-9.9.9"
        machine.inside(
            f"mkdir -p {root}/bin {root}/lib/python3.12/site-packages/vllm-9.9.9.dist-info; "
            f"touch {root}/.moestro.json; ln -s /usr/bin/python3 {root}/bin/python; ln -s {root} /opt/moestro/engine"
        )
        facts = gather(host)
        assert Engine(root, "vllm", "9.9.9", ours=True) in facts.engines
        assert facts.engine_link == root
        machine.inside("rm -rf /opt/moestro")
