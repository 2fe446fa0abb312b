"""Long steps, detached: they run on the host under systemd, and we only look on.

A job is known by its name and the digest of its script. Whoever runs it again while it runs, or after it succeeded,
finds that run instead of starting another; a failed one is run anew. A dropped connection, a cancelled wait or a
killed Moestro leaves it running.
"""

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from moestro.errors import Cancelled, CommandFailed, ConnectionLost, DeadlineExceeded, InvalidInput
from moestro.hosts import layout
from moestro.hosts.scripts import script
from moestro.hosts.ssh import TIMED_OUT, Host
from moestro.waiting import Wait

LINES_PER_REPORT = 4  # a chatty step must not flood the display: about so many lines a second
TAIL_LINES = 25

_LOOK_SECONDS = 5  # how long the host holds back its answer while nothing happens
_LOG_CHUNK = 64 * 1024
_LINE_LENGTH = 500
_START_SECONDS = 60.0
_AFTER_LIMIT_SECONDS = 120.0  # for stopping, beyond the job's own limit

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """A long step.

    Attributes:
        name: a-z, 0-9 and -, short; part of the unit's name.
        script: Bash, run by root with ``set -eu -o pipefail``; its digest is the job's identity. Holds no secret.
        timeout: seconds after which systemd stops it.
        secrets: environment variables handed over in a file that only root can read and that is gone once the
            script has started; masked in what is reported. Not part of the identity.
    """

    name: str
    script: str
    timeout: float
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the script, in hex."""
        return hashlib.sha256(self.script.encode()).hexdigest()

    @property
    def unit(self) -> str:
        """Its systemd unit, without the suffix."""
        return layout.job_name(self.name, self.digest)

    @property
    def directory(self) -> str:
        """Where its script, log and exit status are."""
        return layout.job_directory(self.name, self.digest)


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job that succeeded. ``log`` is its log's tail; ``found`` tells that it had succeeded before we came."""

    log: str
    found: bool = False


def run_job(host: Host, job: Job, wait: Wait) -> JobResult:
    """Start the job or find it, follow it to its end, report its log as it grows.

    A record of success stays until :func:`forget_job`; call that once the effect was verified, so that the same step
    can be run again when the host has lost the effect.

    Raises:
        CommandFailed: the job failed, ran into its time limit or was killed; the message ends with the log's tail.
        Cancelled, DeadlineExceeded: from the wait; the job goes on, and the next call finds it.
        HostUnreachable: the host could not be reached again before the wait's deadline.
    """
    limited = wait if wait.deadline is not None else wait.limited(job.timeout + _AFTER_LIMIT_SECONDS)
    return _Following(host, job, limited).to_the_end()


def forget_job(host: Host, job: Job) -> None:
    """Let the next :func:`run_job` run the job anew. Its log stays. Quiet where there is no such job."""
    host.run(f"rm -f {shlex.quote(job.directory)}/exit")


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a job: its state (running, ended, gone), how long its log is, and what is new in it."""

    state: str
    size: int
    record: str
    log: str


def parse_look(answer: str) -> Look:
    """Read what the host answers to one look."""
    head, _, log = answer.partition("\n")
    state, size, record = head.split(" ", 2)
    return Look(state, int(size), record, log)


class _Following:
    def __init__(self, host: Host, job: Job, wait: Wait) -> None:
        self.host, self.job, self.wait = host.within(wait), job, wait
        self.offset = 0
        self.partial = ""
        self.lines: list[str] = []

    def to_the_end(self) -> JobResult:
        try:
            found = self._reconnecting(self._start) == "finished"
            while True:
                look = self._reconnecting(self._look)
                self._take(look, tell=not found)
                if look.state != "running":
                    return self._result(look, found)
        except (Cancelled, DeadlineExceeded) as error:
            raise type(error)(
                f"{self.host}: {error}; step {self.job.name} goes on, and the next run finds it"
            ) from None

    def _reconnecting(self, ask: Callable[[], T]) -> T:
        while True:
            try:
                return ask()
            except ConnectionLost:
                self.wait.report(f"{self.job.name}: the connection dropped; the step goes on, connecting again")
                self.wait.sleep(0.5)

    def _start(self) -> str:
        job, script_bytes, secrets = self.job, self.job.script.encode(), _exports(self.job.secrets)
        line = script("job_start", job.directory, job.unit, int(job.timeout), len(script_bytes), len(secrets))
        return self.host.run(line, input=script_bytes + secrets, timeout=_START_SECONDS).stdout.strip()

    def _look(self) -> Look:
        job = self.job
        line = script("job_look", job.directory, job.unit, self.offset, _LOG_CHUNK, _LOOK_SECONDS)
        return parse_look(self.host.run(line, timeout=_LOOK_SECONDS + 20).stdout)

    def _take(self, look: Look, tell: bool) -> None:
        self.offset = look.size
        text = self.partial + look.log
        if look.state == "running":
            text, _, self.partial = text.rpartition("\n")
        fresh = [line for raw in text.split("\n") if (line := self._readable(raw))]
        self.lines = (self.lines + fresh)[-TAIL_LINES:]
        for line in fresh[-LINES_PER_REPORT:] if tell else ():
            self.wait.report(f"{self.job.name}: {line}")

    def _readable(self, raw: str) -> str:
        line = _ESCAPES.sub("", raw.rstrip("\r").rpartition("\r")[2]).strip()
        for secret in self.job.secrets.values():
            line = line.replace(secret, "***") if secret else line
        return line[:_LINE_LENGTH]

    def _result(self, look: Look, found: bool) -> JobResult:
        log = "\n".join(self.lines)
        exit_code, reason = verdict(look.state, look.record, self.job.timeout)
        if exit_code == 0:
            return JobResult(log, found)
        raise CommandFailed(
            f"{self.host}: step {self.job.name} {reason}; the end of {self.job.directory}/log:\n{log}", exit_code, log
        )


def verdict(state: str, record: str, timeout: float) -> tuple[int, str]:
    """Exit code and reason from systemd's record "EXIT_CODE EXIT_STATUS SERVICE_RESULT" of a job that is over."""
    if state == "gone" or not record.strip():
        return -1, "left no result (was the host restarted, or is its disk full?); run it again"
    how, status, result = (record.split() + ["unknown"] * 3)[:3]
    if (how, status, result) == ("exited", "0", "success"):
        return 0, "succeeded"
    if result == "timeout":
        return TIMED_OUT, f"did not end within {timeout:.0f} s"
    if result == "oom-kill":
        return 137, "was killed because the host ran out of memory"
    if how == "exited" and status.isdigit() and status != "0":
        return int(status), f"failed with exit code {status}"
    return -1, f"was ended by signal {status}"


def _exports(secrets: Mapping[str, str]) -> bytes:
    for name in secrets:
        if not _VARIABLE.fullmatch(name):
            raise InvalidInput(f"{name!r} is no name of an environment variable")
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in secrets.items()).encode()
