import pytest
from hypothesis import given
from hypothesis import strategies as st

from moestro.clouds.spheron.limits import Window
from moestro.errors import Cancelled, RateLimited
from tests.unit.clouds.clock import Clock


class TestWindow:
    def test_a_burst_passes_and_the_next_waits_for_the_first_to_leave_the_window(self) -> None:
        clock, window = Clock(), Window(3, 60.0)
        for _ in range(3):
            window.take(clock.wait())
            clock.now += 10
        assert clock.slept == []
        window.take(clock.wait())
        assert clock.slept == [30.0]
        assert "rate limit" in clock.said[0]

    def test_no_room_before_the_deadline_is_said_at_once(self) -> None:
        clock, window = Clock(), Window(1, 60.0)
        window.take(clock.wait())
        with pytest.raises(RateLimited, match="next is free in 60 s"):
            window.take(clock.wait(59.0))
        assert clock.slept == []
        window.take(clock.wait(61.0))  # the refused one took no place
        assert clock.slept == [60.0]

    def test_a_stop_ends_the_waiting(self) -> None:
        clock, window = Clock(), Window(1, 60.0)
        window.take(clock.wait())
        clock.cancel.set()
        with pytest.raises(Cancelled):
            window.take(clock.wait())

    @given(st.integers(1, 5), st.lists(st.floats(0, 40), max_size=40))
    def test_no_window_ever_holds_more(self, most: int, gaps: list[float]) -> None:
        clock, window = Clock(now=0.0), Window(most, 60.0)
        sent: list[float] = []
        for gap in gaps:
            clock.now += gap
            window.take(clock.wait())
            sent.append(clock.now)
        for start in sent:
            assert sum(start <= moment < start + 59.999 for moment in sent) <= most
