"""Waiting: deadlines, cancellation and backoff, on a clock of the test's own."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moestro.errors import Cancelled, DeadlineExceeded
from moestro.waiting import Wait


class Clock:
    """Moves only when somebody sleeps."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, seconds: float | None = None) -> Wait:
        return Wait(monotonic=lambda: self.now, pause=self.pause).limited(seconds)


@given(start=st.floats(0, 1e7), limit=st.floats(0.01, 1e5), first=st.floats(0.01, 100))
def test_a_backoff_always_ends_at_its_deadline(start: float, limit: float, first: float) -> None:
    clock = Clock(start)
    attempts = clock.wait(limit).backoff(first, factor=2.0, most=limit)
    with pytest.raises(DeadlineExceeded):
        list(attempts)
    assert clock.now == pytest.approx(start + limit, abs=1e-3)


def test_a_shorter_limit_wins_over_a_longer_one() -> None:
    clock = Clock()
    assert clock.wait(10).limited(100).remaining() == 10
    assert clock.wait(100).limited(10).remaining() == 10


def test_a_wait_without_limit_has_no_remaining_time() -> None:
    assert Clock().wait().remaining() is None


def test_cancel_ends_a_sleep_at_once() -> None:
    cancel = threading.Event()
    wait = Wait(cancel=cancel)
    threading.Timer(0.05, cancel.set).start()
    with pytest.raises(Cancelled):
        wait.sleep(60)


def test_backoff_grows_to_its_most() -> None:
    clock = Clock()
    moments = []
    for attempt in clock.wait().backoff(1.0, factor=2.0, most=5.0):
        moments.append(clock.now)
        if attempt == 5:
            break
    assert moments == [0, 1, 3, 7, 12]
