"""At most so many replicas down at once."""

import threading
from dataclasses import replace

import pytest

from moestro.errors import DeadlineExceeded
from moestro.hosts.rolling import Turns
from moestro.waiting import Wait


def test_never_more_than_allowed_are_in_and_everybody_gets_in() -> None:
    turns, now, most, done = Turns(), [], [], []

    def take(number: int) -> None:
        with turns.turn("chat", 2, replace(Wait(), pause=lambda _: threading.Event().wait(0.001))):
            now.append(number)
            most.append(len(now))
            threading.Event().wait(0.005)
            now.remove(number)
            done.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(done) == list(range(10))
    assert max(most) == 2


def waiting_in_vain() -> Wait:
    clock = iter(range(1000))
    return Wait(deadline=10, monotonic=lambda: float(next(clock)), pause=lambda _: None)


def test_a_full_service_makes_others_wait_and_says_so_once() -> None:
    turns, said = Turns(), []
    with turns.turn("chat", 1, Wait()):
        with pytest.raises(DeadlineExceeded), turns.turn("chat", 1, waiting_in_vain().reporting(said.append)):
            pytest.fail("two replicas were down at once")
        with turns.turn("another", 1, waiting_in_vain()):
            pass
    with turns.turn("chat", 1, waiting_in_vain()):
        pass

    assert said == ["waiting: 1 replica(s) of chat at most may be down at once"]


def test_a_replica_that_is_down_does_not_wait_but_counts() -> None:
    turns = Turns()
    with turns.turn("chat", 1, waiting_in_vain(), already_down=True):
        with turns.turn("chat", 1, waiting_in_vain(), already_down=True):
            pass
        with pytest.raises(DeadlineExceeded), turns.turn("chat", 1, waiting_in_vain()):
            pytest.fail("a serving replica was taken down beside a broken one")


def test_a_place_is_given_back_after_a_failure() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="boom"), turns.turn("chat", 1, Wait()):
        raise ValueError("boom")

    with turns.turn("chat", 1, waiting_in_vain()):
        pass
