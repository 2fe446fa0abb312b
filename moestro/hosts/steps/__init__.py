"""What to do on a host, decided from its facts and from nothing else: pure functions, facts in, a step out.

A step says either which commands bring the host to the wanted state, or why there is nothing to do.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a step has nothing to do."""

    PRESENT = "already there"
    NOT_ASKED = "not asked for"
    NOT_APPLICABLE = "does not apply to this host"


@dataclass(frozen=True, slots=True)
class Noop:
    """Nothing to do: why, and the fact that says so."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


@dataclass(frozen=True, slots=True)
class Command:
    """One Bash script for root. ``timeout`` in seconds; ``detached`` for everything that may take a minute."""

    script: str
    why: str
    timeout: float = 60
    detached: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A named step: commands in order, and whether the host must be restarted after them; or a no-op."""

    name: str
    commands: tuple[Command, ...] = ()
    reboot: bool = False
    noop: Noop | None = None

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.commands) or self.reboot


def nothing(name: str, reason: Reason, detail: str = "") -> Step:
    """The step that has nothing to do."""
    return Step(name, noop=Noop(reason, detail))
