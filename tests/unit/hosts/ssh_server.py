"""A small SSH server on loopback for tests: it runs commands with the local Bash and can misbehave on request."""

import contextlib
import io
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Self

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from moestro.hosts.connection import HostConnection


def new_key() -> tuple[str, paramiko.PKey]:
    """A fresh ed25519 key: its OpenSSH text and Paramiko's form of it."""
    text = (
        ed25519.Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        .decode()
    )
    return text, paramiko.Ed25519Key.from_private_key(io.StringIO(text))


def public_line(key: paramiko.PKey) -> str:
    """ "algorithm base64" of a key."""
    return f"{key.get_name()} {key.get_base64()}"


@dataclass
class SshServer:
    """Use as a context manager. ``commands`` records every command that arrived, ``logins`` every login tried."""

    banner_delays: list[float] = field(default_factory=list)  # seconds, one for each of the next connections
    refuse_logins: int = 0  # how many logins fail before they succeed
    drop_during_command: int = 0  # how many commands are cut off right after they began
    dead_connections: int = 0  # how many connections are closed before the banner
    stalled_exchanges: int = 0  # how many connections begin a key exchange that never ends
    unanswered_logins: int = 0  # how many logins get no answer
    asks_besides: str = ""  # what else than a key is needed to log in
    more_host_keys: list[paramiko.PKey] = field(default_factory=list)
    most_sessions: int = 1000
    sessions: int = 0
    stall: bool = False  # commands begin and nothing ever comes back
    commands: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    connections: int = 0
    transports: list[paramiko.Transport] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.host_text, self.host_key = new_key()
        self.user_text, self.user_key = new_key()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for transport in self.transports:
            transport.close()

    def connection(
        self, user: str = "root", host_key: str | None = None, private_key: str | None = None
    ) -> HostConnection:
        return HostConnection(
            "127.0.0.1", self.port, user, private_key or self.user_text, host_key or public_line(self.host_key)
        )

    def drop_all(self) -> None:
        """Cut every connection at once."""
        for transport in self.transports:
            transport.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._greet, args=(client,), daemon=True).start()

    def _greet(self, client: socket.socket) -> None:
        if self.dead_connections > 0:
            self.dead_connections -= 1
            client.close()
            return
        if self.banner_delays:
            time.sleep(self.banner_delays.pop(0))
        transport = _ServerTransport(client)
        if self.stalled_exchanges > 0:
            self.stalled_exchanges -= 1
            transport.says_only_its_first_message = True
        for key in [self.host_key, *self.more_host_keys]:
            transport.add_server_key(key)
        self.transports.append(transport)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=_Session(self, transport))


class _ServerTransport(paramiko.Transport):
    """Starts a command after it was answered that it will run, as OpenSSH does: it may end at once."""

    says_only_its_first_message = False

    def __init__(self, client: socket.socket) -> None:
        super().__init__(client)
        self.to_start: list[threading.Thread] = []
        self.said = 0

    def _send_message(self, data: paramiko.Message) -> None:
        self.said += 1
        if self.said == 1 or not self.says_only_its_first_message:
            super()._send_message(data)

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)
        while threading.current_thread() is self and self.to_start:
            self.to_start.pop().start()


class _Session(paramiko.ServerInterface):
    def __init__(self, server: SshServer, transport: _ServerTransport) -> None:
        self.server, self.transport = server, transport

    def get_allowed_auths(self, username: str) -> str:
        del username
        return self.server.asks_besides or "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.server.logins.append(username)
        if self.server.unanswered_logins > 0:
            self.server.unanswered_logins -= 1
            self.transport.says_only_its_first_message = True
        if self.server.asks_besides:
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        if self.server.refuse_logins > 0:
            self.server.refuse_logins -= 1
            return paramiko.AUTH_FAILED
        return paramiko.AUTH_SUCCESSFUL if key == self.server.user_key else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del chanid
        if kind != "session" or self.server.sessions >= self.server.most_sessions:
            return paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        self.server.sessions += 1
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.server.commands.append(command.decode())
        work = threading.Thread(target=self._execute, args=(channel, command.decode()), daemon=True)
        self.transport.to_start.append(work)
        return True

    def _execute(self, channel: paramiko.Channel, command: str) -> None:
        if self.server.drop_during_command > 0:
            self.server.drop_during_command -= 1
            time.sleep(0.05)
            self.transport.close()
            return
        if self.server.stall:
            return
        with contextlib.suppress(OSError, EOFError):
            _run_locally(channel, command)
        self.server.sessions -= 1


def _run_locally(channel: paramiko.Channel, command: str) -> None:
    process = subprocess.Popen(
        ["bash", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    streams = [
        threading.Thread(target=_feed, args=(channel, process.stdin), daemon=True),
        threading.Thread(target=_drain, args=(process.stdout, channel.sendall)),
        threading.Thread(target=_drain, args=(process.stderr, channel.sendall_stderr)),
    ]
    for stream in streams:
        stream.start()
    channel.send_exit_status(process.wait())  # as OpenSSH: at once, also while a child still holds the streams
    for stream in streams[1:]:
        stream.join()
    channel.shutdown_write()
    channel.close()


def _feed(channel: paramiko.Channel, pipe) -> None:  # type: ignore[no-untyped-def]
    with contextlib.suppress(OSError, EOFError):
        while data := channel.recv(32768):
            pipe.write(data)
        pipe.close()


def _drain(pipe, send) -> None:  # type: ignore[no-untyped-def]
    with contextlib.suppress(OSError, EOFError):
        while data := pipe.read1(32768):
            send(data)
