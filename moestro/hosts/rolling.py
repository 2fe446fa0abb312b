"""At most so many replicas of a service down at once, among everything that this process does."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from moestro.waiting import Wait


class Turns:
    """Who may take a replica down; one instance for the process is :data:`TURNS`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._down: Counter[str] = Counter()

    @contextmanager
    def turn(self, service: str, max_unavailable: int, wait: Wait, already_down: bool = False) -> Iterator[None]:
        """Hold one of the service's ``max_unavailable`` places; waits until one is free.

        Args:
            already_down: the replica serves nobody now: it does not wait itself, but others wait for it.

        Raises:
            Cancelled, DeadlineExceeded: from the wait.
        """
        self._enter_patiently(service, max_unavailable, wait, already_down)
        try:
            yield
        finally:
            with self._lock:
                self._down[service] -= 1

    def _enter_patiently(self, service: str, most: int, wait: Wait, already_down: bool) -> None:
        for attempt in wait.backoff(first=0.1, most=2.0):
            if self._enter(service, most, already_down):
                return
            if attempt == 1:
                wait.report(f"waiting: {most} replica(s) of {service} at most may be down at once")

    def _enter(self, service: str, most: int, already_down: bool) -> bool:
        with self._lock:
            if self._down[service] >= most and not already_down:
                return False
            self._down[service] += 1
            return True


TURNS = Turns()
