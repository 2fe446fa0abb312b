"""A host over SSH: run a command, write a file, read a file. Everything ends in bounded time.

    with connect(connection, wait) as host:
        host.run("systemctl is-active nginx", check=False).exit_code

Commands are Bash lines and run as root (``sudo -n`` for other users). They are visible in process lists and errors:
secrets travel through ``input`` or :meth:`Host.write` alone.
"""

import re
import shlex
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from moestro.errors import CommandFailed, ConnectionLost, HostError
from moestro.hosts.connection import HostConnection
from moestro.hosts.exchange import OUTPUT_LIMIT_BYTES, Outcome, exchange
from moestro.hosts.pool import Link, link_to
from moestro.hosts.transport import learn_host_key
from moestro.waiting import Wait

__all__ = ["Completed", "Host", "connect", "learn_host_key"]

READ_LIMIT_BYTES = 16 * 2**20
TIMED_OUT = 124  # the exit status of coreutils' timeout

_KILL_AFTER_SECONDS = 5
_ANSWER_GRACE_SECONDS = 15.0  # the host itself ends the command; this much later it counts as not answering
_NO_SUCH_FILE = 66
# Not any line of sudo's: "unable to resolve host" is printed beside whatever the command itself said.
_SUDO_REFUSES = re.compile(
    r"^sudo: (a password is required|a terminal is required|no tty present|sorry, )|is not in the sudoers file"
    r"|^Sorry, user ",
    re.MULTILINE,
)
_SHOWN_COMMAND = 160
_SHOWN_OUTPUT = 2000


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended. Output is UTF-8 text, at most the last MiB of each stream.

    ``exit_code`` is that of the command, 124 where its time limit ended it, and -1 where a signal did.
    """

    exit_code: int
    stdout: str
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.exit_code == 0


def connect(connection: HostConnection, wait: Wait) -> "Host":
    """A host whose key was verified and whose login succeeded; waits while sshd is coming up.

    The connection is shared by the whole process and stays open for the next caller; leaving the ``with`` block
    costs nothing. Several threads may use hosts on one connection at once.

    Raises:
        HostKeyChanged: another key than the pinned one was presented; nothing was sent to the host.
        HostLoginRefused: our key is not accepted, also not after a minute's grace.
        HostUnreachable: no connection before the wait's deadline (ten minutes without one).
    """
    link = link_to(connection)
    link.ensure_open(wait)
    return Host(link, wait)


class Host:
    """A host to work on, on behalf of one :class:`~moestro.waiting.Wait`."""

    def __init__(self, link: Link, wait: Wait) -> None:
        self.link = link
        self.wait = wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def __repr__(self) -> str:
        return str(self.connection)

    @property
    def connection(self) -> HostConnection:
        """How the host is reached."""
        return self.link.connection

    def within(self, wait: Wait) -> "Host":
        """The same host, working on behalf of another wait."""
        return Host(self.link, wait)

    def run(
        self,
        command: str,
        *,
        timeout: float = 60,
        sudo: bool = True,
        input: str | bytes | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a Bash command line to its end.

        Args:
            command: what to run; must hold no secret, and at most about 100 kB (longer scripts go through ``input``).
            timeout: seconds after which the host ends the command (SIGTERM, five seconds later SIGKILL).
            sudo: run as root; for the user root it makes no difference.
            input: standard input; the place for secrets.
            check: raise where the command fails.

        Raises:
            CommandFailed: with ``check``, a failure or an expired time limit.
            ConnectionLost: the connection dropped; whether the command ran to its end is unknown.
            HostUnreachable: no connection could be made again before the wait's deadline.
            Cancelled, DeadlineExceeded: from the wait; the command is left to its own time limit.
        """
        outcome = self._exchange(command, timeout, sudo, _as_bytes(input), OUTPUT_LIMIT_BYTES)
        completed = Completed(
            -1 if outcome.exit_code is None else outcome.exit_code,
            outcome.stdout.decode(errors="replace"),
            outcome.stderr.decode(errors="replace"),
        )
        if check and not completed.ok:
            raise self._failure(command, completed, timeout)
        return completed

    def write(self, path: str, content: str | bytes, mode: int = 0o644, owner: str = "root:root") -> bool:
        """Put a file in place atomically; readers see the old one or the new one, never a part.

        Missing directories are made. The content travels on standard input and is never readable by others than its
        final owner and mode allow.

        Returns:
            Whether anything changed (content, mode or owner).
        """
        data = _as_bytes(content)
        line = _write_script(path, len(data), mode, owner)
        return self.run(line, input=data, timeout=_transfer_seconds(len(data))).stdout.strip() == "changed"

    def read(self, path: str, limit: int = READ_LIMIT_BYTES) -> bytes | None:
        """A file's content; None where there is no such file.

        Raises:
            HostError: the file is larger than ``limit`` bytes.
        """
        name = shlex.quote(path)
        line = f"[ -f {name} ] || exit {_NO_SUCH_FILE}; exec cat -- {name}"
        outcome = self._exchange(line, _transfer_seconds(limit), True, b"", limit)
        if outcome.exit_code == _NO_SUCH_FILE:
            return None
        if outcome.exit_code != 0:
            completed = Completed(outcome.exit_code or -1, "", outcome.stderr.decode(errors="replace"))
            raise self._failure(line, completed, 60)
        if outcome.dropped:
            raise HostError(f"{self}: {path} is larger than the {limit} bytes that are read at most")
        return outcome.stdout

    def disconnect(self) -> None:
        """Close the connection, for everybody; the next use opens a new one."""
        self.link.close()

    def _exchange(self, command: str, timeout: float, sudo: bool, stdin: bytes, limit: int) -> Outcome:
        line = _shell_line(command, timeout, sudo and self.connection.user != "root")
        try:
            with self.link.channel(self.wait) as channel:
                return exchange(channel, line, stdin, timeout + _ANSWER_GRACE_SECONDS, self.wait, limit)
        except ConnectionLost as error:
            raise ConnectionLost(f"{self}: {error}, while running: {_shown(command)}") from None

    def _failure(self, command: str, completed: Completed, timeout: float) -> CommandFailed:
        output = (completed.stderr.strip() or completed.stdout.strip())[-_SHOWN_OUTPUT:]
        if completed.exit_code == TIMED_OUT:
            reason = f"did not end within {timeout:.0f} s"
        elif completed.exit_code == 1 and _SUDO_REFUSES.search(output):
            reason = f"user {self.connection.user!r} needs sudo without a password"
        else:
            reason = f"failed with exit code {completed.exit_code}"
        said = f": {output}" if output else ""
        return CommandFailed(f"{self}: {reason}: {_shown(command)}{said}", completed.exit_code, output)


def _shell_line(command: str, timeout: float, through_sudo: bool) -> str:
    # The limit is kept on the host, where it ends the whole process group; closing a channel ends nothing there.
    limited = f"env LC_ALL=C.UTF-8 timeout -k {_KILL_AFTER_SECONDS} {timeout:.3f} bash -c {shlex.quote(command)}"
    return f"sudo -n -- {limited}" if through_sudo else limited


def _write_script(path: str, size: int, mode: int, owner: str) -> str:
    folder, _, base = path.rpartition("/")
    target, parent = shlex.quote(path), shlex.quote(folder or "/")
    template = shlex.quote(f"{folder}/.{base}.XXXXXXXX")
    wanted = shlex.quote(f"{mode:o} {owner}")
    # The size is checked because a connection that drops looks to `cat` like the end of the file.
    return (
        f"set -eu; umask 077; [ -d {parent} ] || (umask 022; mkdir -p {parent}); t=$(mktemp {template}); "
        'trap \'rm -f "$t"\' EXIT; cat > "$t"; '
        f'[ "$(stat -c %s "$t")" = {size} ] || {{ echo "only a part arrived" >&2; exit 1; }}; '
        f'chown {shlex.quote(owner)} "$t"; chmod {mode:o} "$t"; '
        f'if cmp -s "$t" {target} && [ "$(stat -c "%a %U:%G" {target})" = {wanted} ]; '
        f'then echo same; else mv -fT "$t" {target}; echo changed; fi'
    )


def _transfer_seconds(size: int) -> float:
    return 60 + size / 250_000


def _as_bytes(text: str | bytes | None) -> bytes:
    return text.encode() if isinstance(text, str) else text or b""


def _shown(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= _SHOWN_COMMAND else line[:_SHOWN_COMMAND] + " …"
