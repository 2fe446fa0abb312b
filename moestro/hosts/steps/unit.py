"""What an engine's unit needs, decided from one look at it: pure."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from moestro.serving.systemd import ENGINE_USER

ATTEMPTS = 2  # an engine that ended so often before its first answer is not waited for any longer

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Action(StrEnum):
    """What is to be done with an engine."""

    KEEP = "keep"  # it runs as wanted and was ready
    AWAIT = "await"  # it was started as wanted and has not answered yet
    START = "start"  # it serves nobody
    RESTART = "restart"  # it serves, but not as wanted


class Phase(StrEnum):
    """How far the last start came, as recorded on the host."""

    NONE = "none"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Record:
    """What we noted on the host about the last start.

    Attributes:
        digest: of the files it was started with.
        replaced: systemd's invocation id of the run before; while that one is there, the start has not happened.
        answered: the invocation that gave the first completion.
        ready_seconds: from the start to the first completion.
    """

    phase: Phase = Phase.NONE
    digest: str = ""
    replaced: str = ""
    answered: str = ""
    ready_seconds: float = 0.0

    def text(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class EngineLook:
    """One look at an engine's unit and files. ``files`` maps paths to SHA-256 digests."""

    exists: bool
    active: str  # active, activating, deactivating, inactive, failed
    sub: str
    result: str
    restarts: int
    invocation: str
    exit_status: str
    job: bool = False  # whether systemd still has something to do with it
    user: str | None = None  # whom the engine can run as; None is root
    curl: bool = True
    record: Record = Record()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.active == "active"


def parse_look(report: str) -> EngineLook:
    """Read what ``engine_look.sh`` or the head of ``engine_probe.sh`` printed."""
    head, _, files = report.partition("==files==\n")
    said = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    return EngineLook(
        exists=said.get("LoadState") not in (None, "", "not-found"),
        active=said.get("ActiveState", "inactive"),
        sub=said.get("SubState", "dead"),
        result=said.get("Result", ""),
        restarts=int(said.get("NRestarts") or 0),
        invocation=said.get("InvocationID", ""),
        exit_status=said.get("ExecMainStatus", ""),
        job=said.get("Job", "") not in ("", "0"),
        user=ENGINE_USER if said.get("User") == ENGINE_USER else None,
        curl=said.get("Curl", "yes") == "yes",
        record=_record(said.get("Record", "")),
        files={path: digest for digest, path in (line.split(None, 1) for line in files.splitlines() if line.strip())},
    )


def digests(files: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of each file's text."""
    return {path: hashlib.sha256(text.encode()).hexdigest() for path, text in files.items()}


def digest_of(files: Mapping[str, str]) -> str:
    """One digest of all files. With a private key among them it gives none of them away."""
    return hashlib.sha256(json.dumps(sorted(digests(files).items())).encode()).hexdigest()


def decide(look: EngineLook, files: Mapping[str, str]) -> Action:
    """What to do, given the files that the engine should run with."""
    if not look.running:
        return Action.START
    if look.files != digests(files) or look.record.digest != digest_of(files):
        return Action.RESTART
    if look.record.phase == Phase.READY:
        return Action.KEEP if look.record.answered == look.invocation else Action.AWAIT  # it restarted by itself
    ordered_but_not_done = look.record.replaced == look.invocation
    if look.record.phase == Phase.STARTING and not ordered_but_not_done:
        return Action.AWAIT
    return Action.RESTART


def hopeless(look: EngineLook, restarts_before: int) -> str | None:
    """Why waiting for the engine makes no sense any longer; None while it does."""
    ended = look.restarts - restarts_before
    if look.active == "failed":
        return f"its unit has failed ({look.result}, exit status {look.exit_status})"
    if look.active == "inactive" and not look.job:
        return "its unit was stopped"
    if ended >= ATTEMPTS:
        return f"it ended {ended} times before it answered (last exit status {look.exit_status})"
    return None


def is_completion(status: str, body: str) -> bool:
    """Whether an answer is a real completion. An engine that is shutting down answers 200 with "abort"."""
    if status != "200":
        return False
    try:
        choices = json.loads(body)["choices"]
        return bool(choices) and choices[0]["finish_reason"] in ("length", "stop")
    except (ValueError, KeyError, TypeError, IndexError):
        return False


def readable(log: str, secrets: tuple[str, ...]) -> list[str]:
    """A log's lines without colours, progress bars' earlier states, and secrets."""
    for secret in secrets:
        log = log.replace(secret, "***") if secret else log
    lines = (_ANSI.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip() for line in log.split("\n"))
    return [line for line in lines if line.strip()]


def _record(text: str) -> Record:
    try:
        values = json.loads(text)
        return Record(**(values | {"phase": Phase(values["phase"])}))
    except (ValueError, KeyError, TypeError):
        return Record()
