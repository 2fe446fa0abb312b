import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moestro.clouds.base import Balance, InstanceState, OfferQuery, SshKey
from moestro.clouds.order_log import OrderLog
from moestro.clouds.ordering import await_running, end_doubles, ensure_ssh_key, machines_with_key, rent, terminate
from moestro.errors import (
    AmbiguousOutcome,
    Cancelled,
    CloudError,
    DeadlineExceeded,
    InsufficientFunds,
    InvalidInput,
    MoestroError,
    NoCapacity,
    NotYetTerminable,
)
from tests.unit.clouds.clock import Clock
from tests.unit.clouds.fake_cloud import FakeCloud, offer

QUERY = OfferQuery("H100_PCIE", 2)


class TestRent:
    def test_the_first_offer_with_our_name_and_key(self) -> None:
        cloud, clock = FakeCloud(), Clock()
        assert rent(cloud, QUERY, "web-0", "key-1", clock.wait()).name == "web-0"
        [order] = cloud.orders
        assert (order.name, order.ssh_key_id, order.offer.region) == ("web-0", "key-1", "r1")
        assert clock.slept == []

    def test_a_machine_of_this_name_is_adopted_whatever_the_balance(self) -> None:
        cloud = FakeCloud(money=Balance(0.0, 3.0))
        there = cloud.add("web-0")
        assert rent(cloud, QUERY, "web-0", "key-1", Clock().wait()).id == there.id
        assert cloud.orders == []

    def test_an_ended_machine_of_this_name_is_not(self) -> None:
        cloud = FakeCloud()
        cloud.add("web-0", state=InstanceState.PREEMPTED)
        assert rent(cloud, QUERY, "web-0", "key-1", Clock().wait()).id == "m1"

    def test_of_several_machines_of_this_name_the_oldest(self) -> None:
        cloud = FakeCloud()
        for hour in (12, 11, 13):
            cloud.add("web-0", created_at=f"2026-11-24T{hour}:00:00Z")
        assert rent(cloud, QUERY, "web-0", "key-1", Clock().wait()).id == "m1"
        assert cloud.orders == []

    def test_no_stock_goes_on_to_the_next_offer(self) -> None:
        cloud = FakeCloud(outcomes=["no_stock", "no_stock"])
        rent(cloud, QUERY, "web-0", "key-1", Clock().wait())
        assert [order.offer.region for order in cloud.orders] == ["r1", "r2", "r3"]

    def test_no_stock_anywhere(self) -> None:
        cloud = FakeCloud(outcomes=["no_stock"] * 3)
        with pytest.raises(NoCapacity, match="none of the 3 offers of 2 x H100_PCIE has stock"):
            rent(cloud, QUERY, "web-0", "key-1", Clock().wait())

    def test_no_offer_at_all_says_what_was_asked_for(self) -> None:
        query = OfferQuery("H100_PCIE", 2, regions=["mars"], image="Ubuntu 24.04", max_usd_per_hour=3.0)
        with pytest.raises(
            NoCapacity, match=r"2 x H100_PCIE on-demand at mars with .* 'Ubuntu 24.04' up to 3.00 USD/h"
        ):
            rent(FakeCloud(), query, "web-0", "key-1", Clock().wait())

    def test_too_little_money_is_not_called_a_lack_of_stock(self) -> None:
        cloud = FakeCloud(money=Balance(2.99, 3.0))
        with pytest.raises(InsufficientFunds, match=r"2\.99 USD .* 3\.00 USD"):
            rent(cloud, QUERY, "web-0", "key-1", Clock().wait())
        assert cloud.orders == []

    def test_a_hidden_balance_is_no_obstacle(self) -> None:
        assert rent(FakeCloud(money=None), QUERY, "web-0", "key-1", Clock().wait()).id == "m0"

    def test_a_refusal_ends_it(self) -> None:
        cloud = FakeCloud(outcomes=["refused"])
        with pytest.raises(CloudError, match="refused"):
            rent(cloud, QUERY, "web-0", "key-1", Clock().wait())
        assert len(cloud.orders) == 1

    def test_an_unclear_order_is_found_by_its_name_though_the_list_lags(self) -> None:
        cloud, clock = FakeCloud(outcomes=["accepted"], list_lag=3), Clock()
        assert rent(cloud, QUERY, "web-0", "key-1", clock.wait()).id == "m0"
        assert len(cloud.orders) == 1
        assert sum(clock.slept) > 0

    def test_an_unclear_order_that_is_not_found_is_never_repeated_in_this_call(self) -> None:
        cloud, clock = FakeCloud(outcomes=["lost"]), Clock()
        with pytest.raises(AmbiguousOutcome, match="No machine called web-0 showed up within 120 s and nothing more"):
            rent(cloud, QUERY, "web-0", "key-1", clock.wait())
        assert len(cloud.orders) == 1
        assert 120 <= sum(clock.slept) <= 140

    def test_a_later_call_after_a_lost_order_orders_again(self) -> None:
        cloud = FakeCloud(outcomes=["lost"])
        with pytest.raises(AmbiguousOutcome):
            rent(cloud, QUERY, "web-0", "key-1", Clock().wait())
        assert rent(cloud, QUERY, "web-0", "key-1", Clock().wait()).id == "m0"

    def test_a_list_that_fails_stops_everything_before_the_order(self) -> None:
        cloud = FakeCloud(on_list=_raise(CloudError("list failed")))
        with pytest.raises(CloudError, match="list failed"):
            rent(cloud, QUERY, "web-0", "key-1", Clock().wait())
        assert cloud.orders == []

    @given(
        st.lists(st.sampled_from(["ok", "no_stock", "lost", "accepted", "refused"]), max_size=8),
        st.integers(0, 5),
        st.integers(1, 3),
    )
    def test_however_often_it_is_called_one_machine_bills(self, outcomes: list[str], lag: int, offers: int) -> None:
        cloud = FakeCloud(list(outcomes), [offer(f"r{number}") for number in range(offers)], list_lag=lag)
        for _ in range(len(outcomes) + 1):
            try:
                rented = rent(cloud, QUERY, "web-0", "key-1", Clock().wait())
            except MoestroError:
                assert len(cloud.billing("web-0")) == 0
                continue
            cloud.settle()
            assert [machine.id for machine in cloud.billing("web-0")] == [rented.id]
        assert len(cloud.billing("web-0")) == 1


class TestOrderLog:
    """A run was killed after its order was accepted, and the cloud does not list the machine yet."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def log(self, tmp_path: Path, clock: Clock) -> OrderLog:
        return OrderLog(tmp_path / "orders", lambda: clock.now)

    def test_the_next_run_looks_for_the_machine_before_it_orders(self, log: OrderLog, clock: Clock) -> None:
        cloud = FakeCloud(list_lag=4)
        lost = cloud.add("web-0")
        log.sent("web-0")
        clock.now += 5
        assert rent(cloud, QUERY, "web-0", "key-1", clock.wait(), log).id == lost.id
        assert cloud.orders == []
        assert "web-0 was ordered 5 s ago by a run that saw no answer; looking for it" in clock.said
        assert log.age("web-0") is None

    def test_looks_no_longer_than_lists_may_lag(self, log: OrderLog, clock: Clock) -> None:
        log.sent("web-0")
        clock.now += 100
        assert rent(FakeCloud(), QUERY, "web-0", "key-1", clock.wait(), log).id == "m0"
        assert 20 <= sum(clock.slept) <= 40

    @pytest.mark.parametrize("age", [None, 120])
    def test_orders_at_once_where_nothing_can_be_on_its_way(
        self, log: OrderLog, clock: Clock, age: float | None
    ) -> None:
        if age is not None:
            log.sent("web-0")
            clock.now += age
        rent(FakeCloud(), QUERY, "web-0", "key-1", clock.wait(), log)
        assert clock.slept == []

    @pytest.mark.parametrize("outcomes", [["ok"], ["no_stock"] * 3, ["refused"], ["accepted"]])
    def test_a_known_outcome_is_forgotten(self, log: OrderLog, clock: Clock, outcomes: list[str]) -> None:
        with contextlib.suppress(CloudError):
            rent(FakeCloud(outcomes), QUERY, "web-0", "key-1", clock.wait(), log)
        assert log.age("web-0") is None

    def test_what_ends_while_it_waits_for_the_answer_is_remembered(self, log: OrderLog, clock: Clock) -> None:
        cloud = FakeCloud(["lost"])
        with pytest.raises(DeadlineExceeded):
            rent(cloud, QUERY, "web-0", "key-1", clock.wait(30), log)
        assert log.age("web-0") == 30

    def test_nothing_is_ordered_that_cannot_be_remembered(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file")
        cloud = FakeCloud()
        with pytest.raises(InvalidInput, match="set MOESTRO_CACHE to a directory that can"):
            rent(cloud, QUERY, "web-0", "key", Clock().wait(60), OrderLog(tmp_path / "cache" / "orders"))
        assert cloud.orders == []

    def test_a_damaged_record_says_nothing(self, log: OrderLog, tmp_path: Path) -> None:
        log.sent("web-0")
        (tmp_path / "orders" / "web-0").write_text("")
        assert log.age("web-0") is None


class TestMachinesWithKey:
    def test_what_has_just_ended_is_not_among_them(self) -> None:
        cloud = FakeCloud()
        ended, kept, other = (cloud.add(f"web-{n}", ssh_key_id=key) for n, key in enumerate(["k1", "k1", "k2"]))
        listed = cloud.list_instances(Clock().wait())
        cloud.become(ended.id, InstanceState.GONE)
        cloud.list_instances = lambda _: listed  # type: ignore[method-assign]
        found = machines_with_key(cloud, "k1", Clock().wait())
        assert [machine.id for machine in found] == [kept.id]
        assert other not in found

    @pytest.mark.parametrize(("age", "found"), [(5.0, 1), (119.0, 0)])
    def test_what_a_killed_run_ordered_is_waited_for(self, tmp_path: Path, age: float, found: int) -> None:
        cloud, clock = FakeCloud(), Clock()
        log = OrderLog(tmp_path, lambda: clock.now)
        log.sent("web-0")
        clock.now += age
        late = cloud.add("web-0", ssh_key_id="k1")
        cloud.list_instances = lambda _: [late] if clock.now > 1050 + age else []  # type: ignore[method-assign]
        assert len(machines_with_key(cloud, "k1", clock.wait(), log)) == found
        assert sum(clock.slept) < 80


class TestEndDoubles:
    def test_every_other_machine_of_the_name_goes(self) -> None:
        cloud = FakeCloud()
        kept, double, other = cloud.add("web-0"), cloud.add("web-0"), cloud.add("web-1")
        assert [ended.id for ended in end_doubles(cloud, kept, Clock().wait())] == [double.id]
        assert [machine.id for machine in cloud.list_instances(Clock().wait())] == [kept.id, other.id]
        assert end_doubles(cloud, kept, Clock().wait()) == []

    def test_a_minimum_runtime_is_told_with_its_price(self) -> None:
        cloud = FakeCloud(on_delete=_raise(NotYetTerminable("too early", 600.0)))
        kept = cloud.add("web-0")
        cloud.add("web-0", usd_per_hour=30.0)
        with pytest.raises(NotYetTerminable, match=r"m1 is a second machine .* bills 30\.00 USD/h; .* in 10 min"):
            end_doubles(cloud, kept, Clock().wait())


class TestAwaitRunning:
    def test_an_address_is_not_enough(self) -> None:
        cloud, clock = FakeCloud(), Clock()
        machine = cloud.add("web-0")
        cloud.on_get = lambda _: cloud.become(machine.id, InstanceState.RUNNING) if clock.now > 1100 else None
        assert await_running(cloud, machine.id, clock.wait(), poll_seconds=20).state is InstanceState.RUNNING
        assert clock.now > 1100
        assert "web-0 is pending in r1" in clock.said

    def test_running_without_an_address_is_not_enough_either(self) -> None:
        cloud = FakeCloud()
        machine = cloud.add("web-0", state=InstanceState.RUNNING, address=None)
        with pytest.raises(DeadlineExceeded):
            await_running(cloud, machine.id, Clock().wait(100))

    @pytest.mark.parametrize("state", ["failed", "preempted", "gone", "stopped"])
    def test_what_will_never_run_is_said(self, state: str) -> None:
        cloud = FakeCloud()
        machine = cloud.add("web-0", state=InstanceState(state))
        with pytest.raises(CloudError, match=rf"web-0 \(m0\) is {state}, not running"):
            await_running(cloud, machine.id, Clock().wait())

    def test_a_waiter_looks_as_rarely_as_the_cloud_asks_and_then_more_rarely(self) -> None:
        cloud, clock = FakeCloud(poll_seconds=20), Clock()
        machine = cloud.add("web-0")
        with pytest.raises(DeadlineExceeded):
            await_running(cloud, machine.id, clock.wait(900), poll_seconds=1)
        assert clock.slept[0] == 20
        assert max(clock.slept) == 60
        assert len(clock.slept) <= 20

    def test_a_stop_ends_it(self) -> None:
        cloud, clock = FakeCloud(), Clock()
        machine = cloud.add("web-0")
        cloud.on_get = lambda _: clock.cancel.set()
        with pytest.raises(Cancelled):
            await_running(cloud, machine.id, clock.wait())


class TestTerminate:
    def test_gone_is_seen(self) -> None:
        cloud = FakeCloud()
        machine = cloud.add("web-0")
        terminate(cloud, machine.id, Clock().wait())
        assert cloud.billing("web-0") == []

    def test_a_machine_nobody_knows_is_gone(self) -> None:
        terminate(FakeCloud(), "m7", Clock().wait())

    def test_the_minimum_runtime_is_waited_out(self) -> None:
        cloud, clock = FakeCloud(), Clock()
        machine = cloud.add("web-0")
        refusals = [NotYetTerminable("7 min left", 420.0), NotYetTerminable("0 min left", 5.0)]
        cloud.on_delete = lambda _: _raise(refusals.pop(0))() if refusals else None
        terminate(cloud, machine.id, clock.wait(1800))
        assert clock.slept == [420.0, 5.0]
        assert "7 min of its minimum runtime left" in clock.said[0]

    def test_a_minimum_runtime_beyond_the_time_limit_is_said_at_once(self) -> None:
        cloud, clock = FakeCloud(), Clock()
        machine = cloud.add("web-0")
        cloud.on_delete = _raise(NotYetTerminable("19 min left", 1140.0))
        with pytest.raises(NotYetTerminable, match="19 min left"):
            terminate(cloud, machine.id, clock.wait(600))
        assert clock.slept == []

    def test_a_cloud_that_cannot_be_asked_is_loud(self) -> None:
        cloud = FakeCloud(on_delete=_raise(CloudError("500")))
        with pytest.raises(CloudError, match="500"):
            terminate(cloud, cloud.add("web-0").id, Clock().wait())

    def test_an_accepted_termination_that_cannot_be_verified_is_loud(self) -> None:
        cloud = FakeCloud(on_get=_raise(CloudError("500")))
        with pytest.raises(CloudError, match="500"):
            terminate(cloud, cloud.add("web-0").id, Clock().wait())

    def test_a_slow_termination_is_followed(self) -> None:
        cloud, clock = FakeCloud(), Clock()
        machine = cloud.add("web-0")
        state = [InstanceState.RUNNING, InstanceState.RUNNING, InstanceState.GONE]
        cloud.on_get = lambda _: cloud.become(machine.id, state.pop(0))
        terminate(cloud, machine.id, clock.wait(), poll_seconds=10)
        assert clock.slept == [10.0, 10.0]

    def test_a_termination_that_never_shows_is_loud(self) -> None:
        cloud = FakeCloud()
        machine = cloud.add("web-0")
        cloud.on_get = lambda _: cloud.become(machine.id, InstanceState.RUNNING)
        with pytest.raises(CloudError, match=r"accepted the termination of web-0 \(m0\) 5 min ago .* running"):
            terminate(cloud, machine.id, Clock().wait())

    def test_twice(self) -> None:
        cloud = FakeCloud()
        machine = cloud.add("web-0")
        terminate(cloud, machine.id, Clock().wait())
        terminate(cloud, machine.id, Clock().wait())


class TestEnsureSshKey:
    def test_a_key_is_known_by_its_body_not_by_its_comment(self) -> None:
        cloud = FakeCloud(keys=[SshKey("k9", "old", "ssh-ed25519 AAA")])
        assert ensure_ssh_key(cloud, "new", "ssh-ed25519 AAA me@home", Clock().wait()).id == "k9"

    def test_another_algorithm_or_body_is_another_key(self) -> None:
        cloud = FakeCloud(keys=[SshKey("k9", "old", "ssh-rsa AAA"), SshKey("k8", "unreadable", "")])
        assert ensure_ssh_key(cloud, "new", "ssh-ed25519 AAA", Clock().wait()).name == "new"

    def test_an_unclear_registration_is_looked_up(self) -> None:
        cloud = FakeCloud(key_outcomes=["accepted"])
        assert ensure_ssh_key(cloud, "new", "ssh-ed25519 AAA", Clock().wait()).name == "new"
        assert len(cloud.keys) == 1

    def test_a_lost_registration_is_loud(self) -> None:
        with pytest.raises(AmbiguousOutcome):
            ensure_ssh_key(FakeCloud(key_outcomes=["lost"]), "new", "ssh-ed25519 AAA", Clock().wait())


def _raise(error: Exception):  # type: ignore[no-untyped-def]
    def action(*_: object) -> None:
        raise error

    return action
