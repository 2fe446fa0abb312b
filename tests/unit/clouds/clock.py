"""Time that passes only when somebody sleeps."""

import threading
from dataclasses import dataclass, field

from moestro.waiting import Wait


@dataclass
class Clock:
    """A clock and a log of what was slept and said."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    cancel: threading.Event = field(default_factory=threading.Event)

    def pause(self, seconds: float) -> None:
        """Sleep without sleeping."""
        self.slept.append(seconds)
        self.now += seconds

    def wait(self, seconds: float | None = None) -> Wait:
        """A wait on this clock that ends ``seconds`` from now."""
        wait = Wait(cancel=self.cancel, report=self.said.append, monotonic=lambda: self.now, pause=self.pause)
        return wait.limited(seconds)
