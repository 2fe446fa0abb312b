"""A clock that only moves when somebody waits."""

from collections.abc import Callable
from dataclasses import dataclass, field

from moestro.waiting import Wait


@dataclass
class FakeClock:
    """``slept`` records every pause."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def wait(self, seconds: float | None = None, report: Callable[[str], None] = lambda _: None) -> Wait:
        """A wait on this clock that ends ``seconds`` from now."""
        return Wait(report=report, monotonic=lambda: self.now, pause=self._pause).limited(seconds)

    def _pause(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
