"""Waiting that can be cancelled, limited, reported and, in tests, done without real time.

Every function that may wait takes a :class:`Wait`. It is the one place where Moestro sleeps or asks for the time.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from moestro.errors import Cancelled, DeadlineExceeded

_NOTHING_SECONDS = 1e-6  # sums of floats miss a deadline by less than this


def _quiet(message: str) -> None:
    del message


@dataclass(frozen=True)
class Wait:
    """How long, and on whose behalf, an operation may wait.

    Attributes:
        deadline: monotonic seconds after which waiting fails; ``None`` waits without limit.
        cancel: set by whoever wants the operation to stop.
        report: receives one line of progress at a time.
        monotonic: the clock, in seconds.
        pause: sleeps for the given seconds or until ``cancel`` is set; ``None`` waits on ``cancel`` itself.
    """

    deadline: float | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    report: Callable[[str], None] = _quiet
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] | None = None

    @classmethod
    def of(cls, seconds: float | None = None, report: Callable[[str], None] = _quiet) -> "Wait":
        """A wait that ends ``seconds`` from now."""
        return cls(report=report).limited(seconds)

    def limited(self, seconds: float | None) -> "Wait":
        """The same wait, ending at most ``seconds`` from now."""
        if seconds is None:
            return self
        deadline = self.monotonic() + seconds
        return replace(self, deadline=deadline if self.deadline is None else min(deadline, self.deadline))

    def reporting(self, report: Callable[[str], None]) -> "Wait":
        """The same wait, telling its progress to ``report``."""
        return replace(self, report=report)

    def remaining(self) -> float | None:
        """Seconds left, never negative; ``None`` without limit."""
        if self.deadline is None:
            return None
        left = self.deadline - self.monotonic()
        return left if left > _NOTHING_SECONDS else 0.0

    def check(self) -> None:
        """Raise :class:`Cancelled` or :class:`DeadlineExceeded` where that is due."""
        if self.cancel.is_set():
            raise Cancelled("stopped on request; run the same command again to continue")
        if self.remaining() == 0.0:
            raise DeadlineExceeded("the time limit of this operation has passed")

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` (less where the deadline is nearer), then :meth:`check`."""
        self.check()
        left = self.remaining()
        span = seconds if left is None else min(seconds, left)
        if self.pause is not None:
            self.pause(span)
        else:
            self.cancel.wait(span)
        self.check()

    def backoff(self, first: float, factor: float = 1.5, most: float = 15.0) -> Iterator[int]:
        """Yield attempt numbers from 1, sleeping between them, until the caller breaks or time is up."""
        attempt, delay = 1, first
        while True:
            self.check()
            yield attempt
            self.sleep(delay)
            attempt, delay = attempt + 1, min(most, delay * factor)
