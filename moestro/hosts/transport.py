"""Opening an SSH connection: patient while sshd comes up, and silent towards a host whose key is not the pinned one."""

import base64
import hashlib
import io
import logging
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from moestro.errors import DeadlineExceeded, HostKeyChanged, HostLoginRefused, HostUnreachable, InvalidInput
from moestro.hosts.connection import HostConnection
from moestro.waiting import Wait

CONNECT_LIMIT_SECONDS = 600.0  # where the caller's Wait has no deadline of its own
TCP_TIMEOUT_SECONDS = 10.0
BANNER_TIMEOUT_SECONDS = 15.0
HANDSHAKE_TIMEOUT_SECONDS = 20.0
AUTH_TIMEOUT_SECONDS = 30.0
KEEPALIVE_SECONDS = 15
DEAD_PEER_SECONDS = 45  # without an acknowledgement for this long, the connection counts as dropped
LOGIN_GRACE_SECONDS = 60.0  # cloud-init may write authorized_keys some time after sshd answers

_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")
_PRIVATE_KEYS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)

# Paramiko logs every failed attempt with a traceback; the retry below reports each cause in one line instead.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

T = TypeVar("T")


class _NotYet(Exception):
    """An attempt failed for a reason that may pass; the text is the cause as the user reads it."""


class _LoginRefused(_NotYet):
    pass


def learn_host_key(address: str, port: int, wait: Wait) -> str:
    """The host's key as "algorithm base64", ed25519 where the host has one, else ecdsa, else rsa.

    This is the one moment of trust: it is called right after a machine was created, and what it returns is pinned.
    Everything later goes through :func:`open_transport`, which accepts that key and no other. No login is tried.

    Raises:
        HostUnreachable: no key within the wait's deadline (:data:`CONNECT_LIMIT_SECONDS` without one).
    """

    def attempt() -> str:
        transport = _negotiated(address, port, _KEY_TYPES, wait)
        try:
            key = transport.get_remote_server_key()
            return f"{key.get_name()} {key.get_base64()}"
        finally:
            transport.close()

    return _Patience(f"{address}:{port}", wait).until_up(attempt)


def open_transport(connection: HostConnection, wait: Wait) -> paramiko.Transport:
    """A logged-in transport to the host, whose key was verified before the login began.

    Raises:
        HostKeyChanged: the host presented another key than the pinned one; nothing was sent to it.
        HostLoginRefused: the host kept refusing our key for :data:`LOGIN_GRACE_SECONDS`.
        HostUnreachable: no connection within the wait's deadline (:data:`CONNECT_LIMIT_SECONDS` without one).
        InvalidInput: the private key or the pinned host key cannot be read.
    """
    private_key = _private_key(connection)
    pinned_type = _pinned_blob(connection)[0]

    def attempt() -> paramiko.Transport:
        transport = _negotiated(connection.address, connection.port, (pinned_type,), wait, connection)
        try:
            _verify(connection, transport.get_remote_server_key())
            _log_in(connection, transport, private_key)
        except BaseException:
            transport.close()
            raise
        transport.set_keepalive(KEEPALIVE_SECONDS)
        return transport

    return _Patience(str(connection), wait).until_up(attempt)


def fingerprint(blob: bytes) -> str:
    """The SHA256 fingerprint of a public key's wire form, as OpenSSH prints it."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


@dataclass
class _Patience:
    """Repeats an attempt, with jitter, until it succeeds, the wait ends, or a refusal has lasted too long."""

    name: str
    wait: Wait
    refused_since: float | None = field(default=None, init=False)

    def until_up(self, attempt: Callable[[], T]) -> T:
        wait = self.wait if self.wait.deadline is not None else self.wait.limited(CONNECT_LIMIT_SECONDS)
        started, delay, told = wait.monotonic(), 0.5, ""
        wait.check()
        while True:
            try:
                return attempt()
            except _NotYet as failure:
                cause = failure
            self._give_up_on_refusal(cause)
            if str(cause) != told:
                told = str(cause)
                wait.report(f"{self.name}: {told}; trying again")
            try:
                # Twenty hosts that boot together must not knock in step.
                wait.sleep(delay * random.uniform(0.7, 1.3))
            except DeadlineExceeded:
                seconds = wait.monotonic() - started
                raise HostUnreachable(f"{self.name}: no SSH connection within {seconds:.0f} s; last: {told}") from None
            delay = min(5.0, delay * 1.5)

    def _give_up_on_refusal(self, cause: _NotYet) -> None:
        if not isinstance(cause, _LoginRefused):
            self.refused_since = None
            return
        now = self.wait.monotonic()
        if self.refused_since is None:
            self.refused_since = now
        if now - self.refused_since >= LOGIN_GRACE_SECONDS:
            raise HostLoginRefused(f"{self.name}: {cause}; check the user name and the key registered with the cloud")


def _negotiated(
    address: str, port: int, key_types: tuple[str, ...], wait: Wait, pinned: HostConnection | None = None
) -> paramiko.Transport:
    """A transport that has exchanged keys and said nothing else."""
    transport = paramiko.Transport(_dial(address, port, wait))
    transport.banner_timeout = BANNER_TIMEOUT_SECONDS
    transport.auth_timeout = AUTH_TIMEOUT_SECONDS
    transport.daemon = True
    supported = transport.get_security_options().key_types
    transport.get_security_options().key_types = tuple(
        name for kind in key_types for name in _signatures_of(kind) if name in supported
    )
    try:
        transport.start_client(timeout=HANDSHAKE_TIMEOUT_SECONDS)
        if not transport.initial_kex_done:  # Paramiko only stops waiting
            raise paramiko.SSHException(f"it did not end within {HANDSHAKE_TIMEOUT_SECONDS:.0f} s")
    except IncompatiblePeer as error:
        transport.close()
        if pinned is None:
            raise HostUnreachable(f"{address}:{port}: no SSH algorithm in common with the host: {error}") from None
        raise _changed(pinned, f"no key of type {key_types[0]}") from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        raise _NotYet(_handshake_cause(error)) from None
    return transport


def _dial(address: str, port: int, wait: Wait) -> socket.socket:
    left = wait.remaining()
    timeout = TCP_TIMEOUT_SECONDS if left is None else max(0.1, min(TCP_TIMEOUT_SECONDS, left))
    try:
        sock = socket.create_connection((address, port), timeout=timeout)
    except ConnectionRefusedError:
        raise _NotYet("connection refused (sshd is not running yet)") from None
    except TimeoutError:
        raise _NotYet("connection timed out (the machine is not up, or a firewall drops the port)") from None
    except socket.gaierror:
        raise _NotYet("the address cannot be resolved") from None
    except OSError as error:
        raise _NotYet(f"no route to the host ({error.strerror or error})") from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_SECONDS * 1000)
    return sock


def _handshake_cause(error: Exception) -> str:
    if "banner" in str(error).lower():
        return "the port is open but no SSH banner came (sshd is starting)"
    if isinstance(error, EOFError | ConnectionError):
        return "the connection was closed before the key exchange (sshd is starting)"
    return f"the key exchange failed ({error})"


def _signatures_of(key_type: str) -> tuple[str, ...]:
    return _RSA_SIGNATURES if key_type == "ssh-rsa" else (key_type,)


def _verify(connection: HostConnection, presented: paramiko.PKey) -> None:
    if presented.asbytes() != _pinned_blob(connection)[1]:
        raise _changed(connection, fingerprint(presented.asbytes()))


def _changed(connection: HostConnection, got: str) -> HostKeyChanged:
    expected = fingerprint(_pinned_blob(connection)[1])
    return HostKeyChanged(
        f"{connection}: the host key changed: expected {expected}, got {got}; nothing was sent to the host. "
        "If the machine was rebuilt on purpose, replace its Instance resource; otherwise do not trust this address"
    )


def _pinned_blob(connection: HostConnection) -> tuple[str, bytes]:
    parts = connection.host_key.split()
    try:
        if len(parts) < 2 or parts[0] not in _KEY_TYPES:
            raise ValueError
        return parts[0], base64.b64decode(parts[1], validate=True)
    except ValueError:
        raise InvalidInput(
            f'{connection}: the pinned host key is not "algorithm base64" with one of {", ".join(_KEY_TYPES)}'
        ) from None


def _private_key(connection: HostConnection) -> paramiko.PKey:
    for kind in _PRIVATE_KEYS:
        try:
            return kind.from_private_key(io.StringIO(connection.private_key))
        except (paramiko.SSHException, ValueError, IndexError):
            continue
    raise InvalidInput(f"{connection}: the private key cannot be read; it must be OpenSSH text without a passphrase")


def _log_in(connection: HostConnection, transport: paramiko.Transport, key: paramiko.PKey) -> None:
    try:
        asked_besides = transport.auth_publickey(connection.user, key)
    except paramiko.AuthenticationException as error:
        if not transport.is_active():
            raise _NotYet("the connection was closed during the login") from None
        if "timeout" in str(error).lower():
            raise _NotYet(f"the login was not answered within {AUTH_TIMEOUT_SECONDS:.0f} s") from None
        raise _LoginRefused(f"the host refuses our key for user {connection.user!r}") from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _NotYet(f"the login was interrupted ({error})") from None
    if asked_besides:
        wanted = ", ".join(asked_besides)
        raise _LoginRefused(f"the host asks user {connection.user!r} for more than a key ({wanted})")
