"""One SSH connection per host and process, shared by everything that works on that host at the same time.

A key exchange and login cost far more than a command, and Runtime, Weights and Engine follow each other on one host.
"""

import atexit
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko

from moestro.errors import ConnectionLost
from moestro.hosts.connection import HostConnection
from moestro.hosts.exchange import close_quietly
from moestro.hosts.transport import open_transport
from moestro.waiting import Wait

CHANNELS_PER_CONNECTION = 8  # sshd's MaxSessions is 10 by default
CHANNEL_TIMEOUT_SECONDS = 15.0
BUSY_SECONDS = 120.0  # how long to wait for a session where a host's MaxSessions is lower still
MOST_LINKS = 128

_POLL_SECONDS = 0.2


class Link:
    """A verified connection to one host, safe to share between threads, reopened after a drop."""

    def __init__(self, connection: HostConnection) -> None:
        self.connection = connection
        self._transport: paramiko.Transport | None = None
        self._opening = threading.BoundedSemaphore(1)
        self._slots = threading.BoundedSemaphore(CHANNELS_PER_CONNECTION)
        self._counting = threading.Lock()
        self._in_use = 0

    def ensure_open(self, wait: Wait) -> paramiko.Transport:
        """The live transport; opens one where there is none. Raises what ``open_transport`` raises."""
        _acquire(self._opening, wait)
        try:
            if self._transport is None or not self._transport.is_active():
                self._transport = open_transport(self.connection, wait)
            return self._transport
        finally:
            self._opening.release()

    @contextmanager
    def channel(self, wait: Wait) -> Iterator[paramiko.Channel]:
        """A session channel on which nothing has been started yet."""
        _acquire(self._slots, wait)
        self._count(1)
        try:
            channel = self._open_channel(wait)
            try:
                yield channel
            finally:
                close_quietly(channel)
        finally:
            self._count(-1)
            self._slots.release()

    @property
    def idle(self) -> bool:
        """Whether nobody has a channel open."""
        return self._in_use == 0

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _count(self, change: int) -> None:
        with self._counting:
            self._in_use += change

    def _open_channel(self, wait: Wait) -> paramiko.Channel:
        patience = wait.monotonic() + BUSY_SECONDS
        reopened = False
        while True:
            transport = self.ensure_open(wait)
            try:
                return transport.open_session(timeout=CHANNEL_TIMEOUT_SECONDS)
            except (paramiko.SSHException, EOFError, OSError) as error:
                cause = ConnectionLost(f"{self.connection}: the host opens no session ({error})")
                dead = not transport.is_active() or "timeout" in str(error).lower()
            if (dead and reopened) or wait.monotonic() > patience:
                raise cause
            if dead:
                # A connection that went stale while idle shows here, before anything was started: reopening is safe.
                transport.close()
                reopened = True
            else:
                # The host allows fewer sessions than we open: others on this connection must end theirs first.
                wait.sleep(_POLL_SECONDS)


_links: OrderedDict[HostConnection, Link] = OrderedDict()
_guard = threading.Lock()


def link_to(connection: HostConnection) -> Link:
    """The process's link to this host. The longest unused idle links are closed beyond :data:`MOST_LINKS`."""
    with _guard:
        link = _links.setdefault(connection, Link(connection))
        _links.move_to_end(connection)
        surplus = [key for key, other in _links.items() if other.idle and other is not link]
        closing = [_links.pop(key) for key in surplus[: max(0, len(_links) - MOST_LINKS)]]
    for old in closing:
        old.close()
    return link


@atexit.register
def close_links() -> None:
    """Close every connection of this process."""
    with _guard:
        closing = list(_links.values())
        _links.clear()
    for link in closing:
        link.close()


def _acquire(slot: threading.BoundedSemaphore, wait: Wait) -> None:
    while not slot.acquire(timeout=_POLL_SECONDS):
        wait.check()
