import time

from provider.status import Display, throttled
from tests.unit.provider.harness import FakeEngine


class TestThrottled:
    def test_shows_a_line_at_most_once_in_a_while_and_never_twice(self) -> None:
        now = 0.0
        shown: list[str] = []
        report = throttled(shown.append, seconds=1.0, monotonic=lambda: now)
        for at, line in [(0.0, "a"), (0.5, "b"), (1.0, "b"), (2.5, "b"), (3.0, "c")]:
            now = at
            report(line)
        assert shown == ["a", "b", "c"]


class TestDisplay:
    def test_a_display_that_cannot_be_reached_fails_nothing(self) -> None:
        started = time.monotonic()
        Display("127.0.0.1:1").warn("urn", "unseen")
        assert time.monotonic() - started < 5

    def test_without_an_engine_nothing_is_shown(self) -> None:
        Display(None).status("urn", "unseen")

    def test_follows_the_engine_that_attaches(self, fake_engine: tuple[FakeEngine, str]) -> None:
        display = Display(None)
        display.attach(fake_engine[1])
        display.status("urn:x", "copying")
        assert [(it.urn, it.message, it.ephemeral) for it in fake_engine[0].shown] == [("urn:x", "copying", True)]
