import getpass
import grp
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest

from moestro.errors import Cancelled, CommandFailed, ConnectionLost, DeadlineExceeded, HostError, HostKeyChanged
from moestro.hosts import exchange, pool, ssh
from moestro.hosts.connection import HostConnection
from moestro.hosts.pool import close_links, link_to
from moestro.hosts.ssh import Host, connect
from moestro.waiting import Wait
from tests.unit.hosts.ssh_server import SshServer, new_key, public_line

OWNER = f"{getpass.getuser()}:{grp.getgrgid(os.getgid()).gr_name}"


@pytest.fixture
def server() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server
        close_links()


@pytest.fixture
def host(server: SshServer) -> Host:
    return connect(server.connection(), Wait.of(30))


class TestRun:
    def test_returns_both_streams_and_the_exit_code(self, host: Host) -> None:
        completed = host.run("echo out; echo err >&2; exit 3", check=False)
        assert (completed.exit_code, completed.stdout, completed.stderr) == (3, "out\n", "err\n")
        assert not completed.ok

    def test_is_bash(self, host: Host) -> None:
        assert host.run("set -o pipefail; x=(a b); echo ${#x[@]}").stdout == "2\n"

    def test_feeds_large_input_to_a_command_that_answers_as_much(self, host: Host) -> None:
        data = os.urandom(5_000_000)
        assert host.run("sha256sum", input=data).stdout.split()[0] == hashlib.sha256(data).hexdigest()
        assert len(host.run("cat", input=b"x" * 5_000_000).stdout) == exchange.OUTPUT_LIMIT_BYTES

    def test_survives_a_command_that_does_not_read_its_input(self, host: Host) -> None:
        assert host.run("exec 0<&-; echo done", input=b"x" * 8_000_000).stdout == "done\n"

    def test_keeps_the_end_of_much_output(self, host: Host) -> None:
        assert host.run("seq 1000000").stdout.endswith("999999\n1000000\n")

    def test_raises_with_the_command_and_what_it_said(self, host: Host) -> None:
        with pytest.raises(CommandFailed, match=r"failed with exit code 7: .*exit 7.*: nothing works") as caught:
            host.run("echo nothing works >&2; exit 7")
        assert caught.value.exit_code == 7
        assert caught.value.output == "nothing works"

    def test_ends_a_command_on_the_host_when_its_time_is_up(self, host: Host, tmp_path: Path) -> None:
        marker = tmp_path / "alive"
        with pytest.raises(CommandFailed, match="did not end within 1 s") as caught:
            host.run(f"echo $$ > {marker}; sleep 60; echo no", timeout=1)
        assert caught.value.exit_code == ssh.TIMED_OUT
        assert not Path(f"/proc/{marker.read_text().strip()}").exists()

    def test_does_not_wait_for_a_child_that_stays_behind(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "_LINGER_SECONDS", 0.3)
        started = time.monotonic()
        host.run("sleep 20 & echo started")
        assert time.monotonic() - started < 5

    def test_gives_up_on_a_host_that_stops_answering(self, server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ssh, "_ANSWER_GRACE_SECONDS", 0.2)
        server.stall = True
        with pytest.raises(ConnectionLost, match="no answer within"):
            connect(server.connection(), Wait.of(30)).run("true", timeout=0.2)

    def test_goes_through_sudo_for_other_users_than_root(self, server: SshServer) -> None:
        host = connect(server.connection(user="ubuntu"), Wait.of(30))
        host.run("id", check=False)
        host.run("id", sudo=False)
        connect(server.connection(), Wait.of(30)).run("id")
        starts = [command.split()[0] for command in server.commands]
        assert starts == ["sudo", "env", "env"]
        assert server.commands[0].startswith("sudo -n -- ")

    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            ("sudo: a password is required", "user 'root' needs sudo without a password"),
            (
                "sudo: unable to resolve host gpu-7\nsudo: a terminal is required to read the password",
                "needs sudo without",
            ),
            ("Sorry, user ann is not allowed to execute '/usr/bin/env' as root", "needs sudo without"),
            ("sudo: unable to resolve host gpu-7: Name or service not known\nno space left", "failed with exit code 1"),
        ],
    )
    def test_tells_a_refusal_of_sudo_from_its_remarks(self, host: Host, said: str, meant: str) -> None:
        with pytest.raises(CommandFailed, match=meant):
            host.run("cat >&2; exit 1", input=said)

    def test_keeps_input_out_of_the_command_and_of_errors(self, server: SshServer, host: Host) -> None:
        with pytest.raises(CommandFailed) as caught:
            host.run("cat > /dev/null; exit 1", input="hunter2")
        assert "hunter2" not in str(caught.value)
        assert not any("hunter2" in command for command in server.commands)

    def test_stops_waiting_when_cancelled(self, server: SshServer) -> None:
        wait = Wait.of(60)
        host = connect(server.connection(), wait)
        threading.Timer(0.2, wait.cancel.set).start()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            host.run("sleep 3")
        assert time.monotonic() - started < 2

    def test_keeps_the_deadline_of_its_wait(self, server: SshServer) -> None:
        host = connect(server.connection(), Wait.of(30))
        with pytest.raises(DeadlineExceeded):
            host.within(Wait.of(0.3)).run("sleep 3")


class TestDrops:
    def test_a_drop_in_the_middle_is_told_and_the_command_is_not_repeated(self, server: SshServer) -> None:
        server.drop_during_command = 1
        host = connect(server.connection(), Wait.of(30))
        with pytest.raises(ConnectionLost, match="while running: date"):
            host.run("date")
        assert len(server.commands) == 1

    def test_a_drop_while_idle_is_repaired_unseen(self, server: SshServer, host: Host) -> None:
        host.run("true")
        server.drop_all()
        assert host.run("echo again").stdout == "again\n"
        assert server.connections == 2

    def test_a_connection_that_dies_while_a_channel_closes_hides_no_result(
        self, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def dying(_: paramiko.Channel) -> None:
            raise EOFError

        monkeypatch.setattr(paramiko.Channel, "close", dying)
        assert host.run("echo result").stdout == "result\n"

    def test_a_changed_key_after_a_drop_stops_everything(self, server: SshServer, host: Host) -> None:
        host.run("true")
        server.host_key = new_key()[1]
        server.drop_all()
        with pytest.raises(HostKeyChanged):
            host.run("echo secret")
        assert len(server.commands) == 1


class TestSharing:
    def test_one_connection_serves_everybody(self, server: SshServer) -> None:
        def work(number: int) -> str:
            with connect(server.connection(), Wait.of(30)) as host:
                return host.run(f"echo {number}").stdout.strip()

        with ThreadPoolExecutor(20) as threads:
            assert list(threads.map(work, range(20))) == [str(number) for number in range(20)]
        assert server.connections == 1

    def test_a_host_that_allows_few_sessions_is_not_overrun(self, server: SshServer) -> None:
        server.most_sessions = 2
        with ThreadPoolExecutor(6) as threads:
            hosts = [connect(server.connection(), Wait.of(30)) for _ in range(6)]
            assert all(threads.map(lambda host: host.run("sleep 0.1").ok, hosts))
        assert server.connections == 1

    def test_idle_links_beyond_the_limit_are_closed(self, server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "MOST_LINKS", 2)
        first = connect(server.connection(user="a"), Wait.of(30))
        first.run("true", sudo=False)
        for user in "bc":
            connect(server.connection(user=user), Wait.of(30))
        assert link_to(server.connection(user="a")) is not first.link
        assert first.run("echo still works", sudo=False).ok

    def test_different_pinned_keys_never_share(self, server: SshServer, host: Host) -> None:
        host.run("true")
        with pytest.raises(HostKeyChanged):
            connect(server.connection(host_key=public_line(new_key()[1])), Wait.of(30))


class TestFiles:
    def test_write_then_read(self, host: Host, tmp_path: Path) -> None:
        path = tmp_path / "new directory" / "it's.conf"
        content = bytes(range(256)) * 100
        assert host.write(str(path), content, 0o640, OWNER)
        assert host.read(str(path)) == content
        assert path.stat().st_mode & 0o777 == 0o640
        assert [entry.name for entry in path.parent.iterdir()] == [path.name], "no temporary file stays"

    def test_write_says_whether_anything_changed(self, host: Host, tmp_path: Path) -> None:
        path = str(tmp_path / "file")
        assert host.write(path, "one", 0o600, OWNER) is True
        assert host.write(path, "one", 0o600, OWNER) is False
        assert host.write(path, "one", 0o644, OWNER) is True
        assert host.write(path, "two", 0o644, OWNER) is True

    def test_a_part_never_takes_the_place_of_the_whole(
        self, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "file"
        path.write_text("old")
        # A dropped connection looks to the host like the end of the input: here, five bytes too early.
        write_script = ssh._write_script
        monkeypatch.setattr(ssh, "_write_script", lambda path, size, *rest: write_script(path, size + 5, *rest))
        with pytest.raises(CommandFailed, match="only a part arrived"):
            host.write(str(path), "new content", 0o644, OWNER)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_secret_is_never_readable_by_others(self, server: SshServer, host: Host, tmp_path: Path) -> None:
        host.write(str(tmp_path / "key"), "hunter2", 0o600, OWNER)
        assert "umask 077" in server.commands[-1]
        assert "hunter2" not in server.commands[-1]

    def test_reading_what_is_not_there(self, host: Host, tmp_path: Path) -> None:
        assert host.read(str(tmp_path / "nothing")) is None

    def test_reading_an_empty_file(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        assert host.read(str(tmp_path / "empty")) == b""

    def test_reading_too_much_is_refused(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "large").write_bytes(b"x" * 5000)
        with pytest.raises(HostError, match="larger than the 1000 bytes"):
            host.read(str(tmp_path / "large"), limit=1000)


def test_a_connection_shows_no_secret() -> None:
    text = new_key()[0]
    assert repr(HostConnection("192.0.2.1", 22, "ubuntu", text, "ssh-ed25519 AAAA")) == "ubuntu@192.0.2.1:22"
