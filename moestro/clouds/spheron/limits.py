"""Keeping below a cloud's rate limit instead of running into it."""

import threading
from collections import deque

from moestro.errors import RateLimited
from moestro.waiting import Wait


class Window:
    """At most ``most`` requests in any ``seconds``: a sliding window, shared by the threads of a process.

    A window rather than a refilled bucket, because a full bucket that refills allows almost twice the limit in the
    span after a burst. Each caller reserves its moment first and then sleeps until it, so waiting is fair.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._seconds = seconds
        self._moments: deque[float] = deque(maxlen=most)
        self._lock = threading.Lock()

    def take(self, wait: Wait) -> None:
        """Return when one more request is allowed; raises :class:`RateLimited` when that is beyond the deadline."""
        delay = self._reserve(wait.monotonic(), wait.remaining())
        if delay <= 0:
            return
        wait.report(f"waiting {delay:.0f} s for the cloud's rate limit")
        wait.sleep(delay)

    def _reserve(self, now: float, remaining: float | None) -> float:
        with self._lock:
            full = len(self._moments) == self._moments.maxlen
            moment = max(now, self._moments[0] + self._seconds) if full else now
            if remaining is not None and moment - now > remaining:
                raise RateLimited(
                    f"the cloud allows {self._moments.maxlen} such requests in {self._seconds / 60:.0f} minutes and "
                    f"the next is free in {moment - now:.0f} s, beyond this operation's time limit: run again later"
                )
            self._moments.append(moment)
            return moment - now
