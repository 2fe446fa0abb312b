import base64
import socket
import threading

import paramiko
import pytest

from moestro.errors import Cancelled, HostKeyChanged, HostLoginRefused, HostUnreachable, InvalidInput
from moestro.hosts import transport
from moestro.hosts.connection import HostConnection
from moestro.hosts.transport import fingerprint, learn_host_key, open_transport
from moestro.waiting import Wait
from tests.unit.hosts.clock import FakeClock
from tests.unit.hosts.ssh_server import SshServer, new_key, public_line


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class TestLearnHostKey:
    def test_gives_the_key_that_the_server_has_without_logging_in(self) -> None:
        with SshServer() as server:
            assert learn_host_key("127.0.0.1", server.port, Wait.of(10)) == public_line(server.host_key)
            assert server.logins == []

    def test_prefers_ed25519_over_the_other_keys_of_the_server(self) -> None:
        with SshServer(more_host_keys=[paramiko.ECDSAKey.generate(), paramiko.RSAKey.generate(2048)]) as server:
            assert learn_host_key("127.0.0.1", server.port, Wait.of(10)).startswith("ssh-ed25519 ")

    def test_waits_until_sshd_is_up(self) -> None:
        told: list[str] = []
        with SshServer(dead_connections=2) as server:
            learn_host_key("127.0.0.1", server.port, FakeClock().wait(60, told.append))
            assert server.connections == 3
        assert len(told) == 1, "the same cause is told once"


class TestOpenTransport:
    def test_refuses_another_key_before_anything_is_said(self) -> None:
        other = new_key()[1]
        with SshServer() as server:
            connection = server.connection(host_key=public_line(other))
            with pytest.raises(HostKeyChanged) as caught:
                open_transport(connection, Wait.of(10))
            assert server.logins == []
            assert server.commands == []
        assert fingerprint(other.asbytes()) in str(caught.value)
        assert fingerprint(server.host_key.asbytes()) in str(caught.value)
        assert "nothing was sent" in str(caught.value)

    def test_refuses_a_server_that_lost_the_pinned_type_of_key(self) -> None:
        pinned = public_line(paramiko.ECDSAKey.generate())
        with SshServer() as server, pytest.raises(HostKeyChanged, match="no key of type ecdsa-sha2-nistp256"):
            open_transport(server.connection(host_key=pinned), Wait.of(10))

    def test_accepts_a_pinned_rsa_key(self) -> None:
        rsa = paramiko.RSAKey.generate(2048)
        with SshServer(more_host_keys=[rsa]) as server:
            open_transport(server.connection(host_key=public_line(rsa)), Wait.of(10)).close()

    def test_keeps_the_connection_alive(self) -> None:
        with SshServer() as server:
            opened = open_transport(server.connection(), Wait.of(10))
            assert opened.packetizer._Packetizer__keepalive_interval == transport.KEEPALIVE_SECONDS
            opened.close()

    def test_waits_for_a_late_banner(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "BANNER_TIMEOUT_SECONDS", 0.2)
        told: list[str] = []
        with SshServer(banner_delays=[0.6]) as server:
            open_transport(server.connection(), FakeClock().wait(60, told.append)).close()
        assert "no SSH banner" in told[0]

    def test_tries_again_where_a_key_exchange_never_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "HANDSHAKE_TIMEOUT_SECONDS", 0.3)
        told: list[str] = []
        with SshServer(stalled_exchanges=2) as server:
            learn_host_key("127.0.0.1", server.port, FakeClock().wait(60, told.append))
            monkeypatch.setattr(transport, "HANDSHAKE_TIMEOUT_SECONDS", 20.0)
            open_transport(server.connection(), FakeClock().wait(60)).close()
        assert "the key exchange failed (it did not end within 0 s)" in told[0]

    def test_a_login_that_is_not_answered_is_no_refusal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "AUTH_TIMEOUT_SECONDS", 0.3)
        monkeypatch.setattr(transport, "LOGIN_GRACE_SECONDS", 0.0)
        told: list[str] = []
        with SshServer(unanswered_logins=1) as server:
            open_transport(server.connection(), FakeClock().wait(60, told.append)).close()
            assert server.logins == ["root"] * 2
        assert "the login was not answered" in told[0]

    def test_a_host_that_asks_for_more_than_a_key_is_named(self) -> None:
        with (
            SshServer(asks_besides="password") as server,
            pytest.raises(HostLoginRefused, match=r"more .*password"),
        ):
            open_transport(server.connection(), FakeClock().wait(600))

    def test_gives_a_refused_key_a_grace_because_cloud_init_may_be_late(self) -> None:
        with SshServer(refuse_logins=3) as server:
            open_transport(server.connection(), FakeClock().wait(600)).close()
            assert server.logins == ["root"] * 4

    def test_gives_up_a_refused_key_after_the_grace(self) -> None:
        clock = FakeClock()
        begun = clock.now
        with SshServer(refuse_logins=1000) as server, pytest.raises(HostLoginRefused, match="refuses our key"):
            open_transport(server.connection(), clock.wait(600))
        assert transport.LOGIN_GRACE_SECONDS <= clock.now - begun < transport.LOGIN_GRACE_SECONDS + 10

    def test_names_the_last_cause_when_the_time_is_up(self) -> None:
        with SshServer() as server:
            key = server.user_text
        connection = HostConnection("127.0.0.1", refused_port(), "root", key, public_line(server.host_key))
        with pytest.raises(HostUnreachable, match=r"no SSH connection within \d+ s; last: connection refused"):
            open_transport(connection, FakeClock().wait(30))

    def test_gives_up_after_ten_minutes_without_a_deadline(self) -> None:
        clock = FakeClock()
        with pytest.raises(HostUnreachable, match="600 s"):
            learn_host_key("127.0.0.1", refused_port(), clock.wait())

    def test_knocks_at_irregular_times(self) -> None:
        clocks = [FakeClock(), FakeClock()]
        for clock in clocks:
            with pytest.raises(HostUnreachable):
                learn_host_key("127.0.0.1", refused_port(), clock.wait(30))
        assert clocks[0].slept != clocks[1].slept
        assert max(max(clock.slept) for clock in clocks) < 7

    def test_stops_when_cancelled(self) -> None:
        wait = Wait.of(60)
        threading.Timer(0.1, wait.cancel.set).start()
        with pytest.raises(Cancelled):
            learn_host_key("127.0.0.1", refused_port(), wait)

    @pytest.mark.parametrize("host_key", ["", "ssh-ed25519", "ssh-dss AAAA", "ssh-ed25519 not-base64!"])
    def test_refuses_a_pinned_key_that_is_none(self, host_key: str) -> None:
        connection = HostConnection("127.0.0.1", 22, "root", new_key()[0], host_key)
        with pytest.raises(InvalidInput, match="pinned host key"):
            open_transport(connection, Wait.of(5))

    def test_does_not_show_a_private_key_that_it_cannot_read(self) -> None:
        text = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"
        connection = HostConnection("127.0.0.1", 22, "root", text, public_line(new_key()[1]))
        with pytest.raises(InvalidInput, match="private key cannot be read") as caught:
            open_transport(connection, Wait.of(5))
        assert "c2VjcmV0" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_fingerprint_is_the_one_of_openssh() -> None:
    # ssh-keygen -lf prints this for the key below.
    line = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"  # github.com's published host key
    blob = paramiko.PKey.from_type_string("ssh-ed25519", base64.b64decode(line)).asbytes()
    assert fingerprint(blob) == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
