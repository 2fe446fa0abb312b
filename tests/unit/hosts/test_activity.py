"""What an engine's metrics say of its clients' requests, and how long they are waited for."""

import pytest

from moestro.errors import CommandFailed
from moestro.hosts.activity import Activity, await_idle, computes, observe, parse_activity
from moestro.hosts.probe import Door
from moestro.hosts.ssh import Completed
from tests.unit.hosts.clock import FakeClock
from tests.unit.hosts.fake_host import FakeHost

DOOR = Door("chat.engine.moestro.internal", "127.0.0.1", 8000, "/etc/moestro/chat", "engine-key-0123456789")
Look = tuple[int, int] | None  # in flight, tokens


class TestParse:
    def test_running_and_waiting_of_all_ranks_are_summed(self) -> None:
        metrics = (
            'vllm:num_requests_running{engine="0",model_name="a"} 2.0\n'
            'vllm:num_requests_running{engine="1",model_name="a"} 1.0\n'
            'vllm:num_requests_waiting{engine="0",model_name="a"} 4.0\n'
            'vllm:num_requests_waiting_by_reason{engine="0",model_name="a",reason="capacity"} 4.0\n'
            'vllm:prompt_tokens_total{engine="0",model_name="a"} 100.0\n'
            'vllm:generation_tokens_total{engine="1",model_name="a"} 11.0\n'
        )

        assert parse_activity(metrics) == Activity(7, 111.0)

    def test_sglang_has_its_own_names(self) -> None:
        metrics = (
            'sglang:num_running_reqs{tp_rank="0"} 2\nsglang:num_queue_reqs{tp_rank="0"} 3\n'
            'sglang:num_grammar_queue_reqs{tp_rank="0"} 1\n'
            'sglang:realtime_tokens_total{mode="prefill_compute"} 50\nsglang:realtime_tokens_total{mode="decode"} 8\n'
        )

        assert parse_activity(metrics) == Activity(6, 58.0)

    def test_an_idle_engine_has_none(self) -> None:
        assert parse_activity('vllm:num_requests_running{engine="0"} 0.0\n') == Activity(0, 0.0)


def host_with(looks: list[Look]) -> FakeHost:
    """A host whose engine shows one look after the other, and the last one for ever."""

    def answer(command: str) -> str | Completed | Exception:
        assert "engine-key" not in command
        look = looks.pop(0) if len(looks) > 1 else looks[0]
        if look is None:
            return CommandFailed("curl", 7, "")
        return f"sglang:num_running_reqs {look[0]}\nsglang:realtime_tokens_total {look[1]}\n"

    return FakeHost(answer)


def test_an_engine_that_cannot_be_asked_shows_nothing() -> None:
    assert observe(host_with([None]), DOOR) is None
    assert observe(host_with([(2, 30)]), DOOR) == Activity(2, 30.0)


class TestIdle:
    @pytest.mark.parametrize(
        ("looks", "number"),
        [
            ([(0, 5)], 3),
            ([(1, 5), (0, 6), (0, 6)], 5),
            ([None], 1),
        ],
        ids=["idle", "in flight", "gone"],
    )
    def test_takes_three_quiet_looks_in_a_row(self, looks: list[Look], number: int) -> None:
        host = host_with(list(looks))

        await_idle(host, DOOR, "replica-0", FakeClock().wait(100))

        assert len(host.commands) == number

    def test_a_request_that_the_count_does_not_show_yet_is_seen_by_its_tokens(self) -> None:
        host = host_with([(0, 5), (0, 9), (0, 14), (0, 14), (0, 14), (0, 14)])

        await_idle(host, DOOR, "replica-0", FakeClock().wait(100))

        assert len(host.commands) == 6

    def test_does_not_wait_longer_than_it_may(self) -> None:
        clock = FakeClock()

        await_idle(host_with([(1, 5)]), DOOR, "replica-0", clock.wait(20))

        assert sum(clock.slept) == pytest.approx(20)

    def test_tells_how_many_are_left_where_that_changed(self) -> None:
        said: list[str] = []

        await_idle(host_with([(2, 1), (2, 2), (1, 3), (0, 3)]), DOOR, "r", FakeClock().wait(100, said.append))

        assert said == ["r: 2 request(s) in flight", "r: 1 request(s) in flight"]


class TestComputes:
    @pytest.mark.parametrize(
        ("looks", "found"),
        [
            ([(9, 100), (8, 140)], Activity(8, 140)),
            ([None, (9, 100), None, (9, 100), (9, 101)], Activity(9, 101)),
            ([(0, 100), (9, 140)], None),
            ([(9, 100)], None),
            ([None], None),
        ],
        ids=["getting on", "slow to say so", "nothing to do", "stuck", "not to be asked"],
    )
    def test_means_tokens_for_requests_in_flight(self, looks: list[Look], found: Activity | None) -> None:
        assert computes(host_with(list(looks)), DOOR, FakeClock().wait(1000)) == found

    def test_a_stuck_engine_is_found_out_in_half_a_minute(self) -> None:
        clock = FakeClock()

        computes(host_with([(9, 100)]), DOOR, clock.wait(1000))

        assert sum(clock.slept) == pytest.approx(30)
