"""One command over one SSH channel: input in, bounded output back, an end that always comes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import paramiko

from moestro.errors import ConnectionLost
from moestro.waiting import Wait

EXEC_TIMEOUT_SECONDS = 15.0
OUTPUT_LIMIT_BYTES = 2**20

_POLL_SECONDS = 0.2  # how late a cancellation may be noticed
_CHUNK = 32 * 1024
_DYING_SECONDS = 1.0
# Output may come after the exit status; but a child in the background can hold the stream open for ever.
_LINGER_SECONDS = 3.0


@dataclass
class Tail:
    """Keeps the last ``limit`` bytes of a stream."""

    limit: int
    kept: bytearray = field(default_factory=bytearray)
    dropped: int = 0

    def add(self, data: bytes) -> None:
        """Append, dropping the oldest bytes beyond the limit."""
        self.kept += data
        surplus = len(self.kept) - self.limit
        if surplus > 0:
            del self.kept[:surplus]
            self.dropped += surplus


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back. ``exit_code`` is None where a signal ended the command."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    dropped: int  # bytes of stdout beyond the limit, lost from its beginning


def exchange(
    channel: paramiko.Channel, command: str, stdin: bytes, seconds: float, wait: Wait, limit: int = OUTPUT_LIMIT_BYTES
) -> Outcome:
    """Run ``command``, feed it ``stdin``, and collect at most ``limit`` bytes of each stream.

    Raises:
        ConnectionLost: the connection dropped, or nothing ended the command within ``seconds``.
        Cancelled, DeadlineExceeded: from the wait; the command may go on until its own time limit.
    """
    return _Exchange(channel, memoryview(stdin), wait, limit).run(command, seconds)


@contextmanager
def closing_after(channel: paramiko.Channel, seconds: float) -> Iterator[None]:
    """Close the channel when the body takes longer: Paramiko waits for the answer to a request without a limit."""
    watchdog = threading.Timer(seconds, close_quietly, [channel])
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def close_quietly(channel: paramiko.Channel) -> None:
    """Close a channel. On a connection that is just dying Paramiko cannot say goodbye, and raises."""
    with suppress(paramiko.SSHException, EOFError, OSError):
        channel.close()


class _Exchange:
    def __init__(self, channel: paramiko.Channel, stdin: memoryview, wait: Wait, limit: int) -> None:
        self.channel, self.pending, self.wait = channel, stdin, wait
        self.out, self.err = Tail(limit), Tail(limit)
        self.input_open = True

    def run(self, command: str, seconds: float) -> Outcome:
        end = self.wait.monotonic() + seconds
        try:
            with closing_after(self.channel, EXEC_TIMEOUT_SECONDS):
                self.channel.exec_command(command)
            self.channel.settimeout(_POLL_SECONDS)
            while not self._finished():
                self.wait.check()
                if self.wait.monotonic() > end:
                    raise ConnectionLost(f"no answer within {seconds:.0f} s")
                self._feed()
                self._collect()
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ConnectionLost(f"the connection dropped ({str(error) or type(error).__name__})") from None
        return Outcome(self._exit_code(), bytes(self.out.kept), bytes(self.err.kept), self.out.dropped)

    def _feed(self) -> None:
        if not self.input_open:
            return
        try:
            if self.pending:
                self.pending = self.pending[self.channel.send(bytes(self.pending[:_CHUNK])) :]
            if not self.pending:
                self.channel.shutdown_write()
                self.input_open = False
        except TimeoutError:
            return  # the command does not read at the moment; its output is drained in between
        except OSError:
            self.input_open = False  # the command has closed its input or ended; its exit status tells

    def _collect(self) -> None:
        """Move what has arrived into the tails; waits for standard output only while there is nothing else to do."""
        self._drain_stderr()
        if self.pending and self.input_open and not self.channel.recv_ready():
            return
        try:
            data = self.channel.recv(_CHUNK)
        except TimeoutError:
            return
        self.out.add(data)
        if not data:
            self.channel.status_event.wait(_POLL_SECONDS)

    def _drain_stderr(self) -> None:
        while self.channel.recv_stderr_ready():
            self.err.add(self.channel.recv_stderr(_CHUNK))

    def _finished(self) -> bool:
        if not self.channel.exit_status_ready():
            return False
        if not (self.channel.closed or self.channel.eof_received):
            return self._lingered()
        return not (self.channel.recv_ready() or self.channel.recv_stderr_ready())

    def _lingered(self) -> bool:
        self.channel.settimeout(_LINGER_SECONDS)
        try:
            data = self.channel.recv(_CHUNK)
        except TimeoutError:
            self._drain_stderr()
            return True
        self.out.add(data)
        return False

    def _exit_code(self) -> int | None:
        if self.channel.status_event.is_set() and self.channel.exit_status >= 0:
            return self.channel.exit_status
        # Paramiko closes the channels of a dying connection shortly before it marks the connection itself.
        transport = self.channel.get_transport()
        transport.join(_DYING_SECONDS)
        if not transport.is_active():
            raise ConnectionLost("the connection dropped")
        return None
