"""What Moestro relies on, on both clouds: the replies of the real one as they are known, and the sandbox.

Every request and reply on the way is held against the contract's OpenAPI extract.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from moestro.clouds.base import Balance, InstanceState, Order, Purchase
from moestro.clouds.ordering import await_running, ensure_ssh_key, rent, terminate
from moestro.errors import AmbiguousOutcome, CloudError, NoCapacity, NotAuthorized, NotFound, NotYetTerminable
from tests.contract.clouds.stages import KEY, Replayed, SandboxStage, Stage
from tests.unit.clouds.clock import Clock


@pytest.fixture(params=["replayed", "sandbox"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    return Replayed() if request.param == "replayed" else SandboxStage(tmp_path / "home")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def order(stage: Stage, clock: Clock) -> Order:
    key = ensure_ssh_key(stage.cloud, "laptop", KEY, clock.wait())
    return Order("web-0", stage.cloud.list_offers(stage.query, clock.wait())[0], key.id)


class TestOffers:
    def test_a_dedicated_query_brings_dedicated_offers_only(self, stage: Stage, clock: Clock) -> None:
        found = stage.cloud.list_offers(stage.query, clock.wait())
        assert len(found) == 3
        assert {offer.purchase for offer in found} == {Purchase.ON_DEMAND}
        assert len({(offer.provider, offer.region) for offer in found}) == 3
        assert [offer.usd_per_hour for offer in found] == sorted(offer.usd_per_hour for offer in found)

    def test_a_spot_query_brings_spot_offers_only(self, stage: Stage, clock: Clock) -> None:
        found = stage.cloud.list_offers(replace(stage.query, purchase=Purchase.SPOT), clock.wait())
        assert found
        assert {offer.purchase for offer in found} == {Purchase.SPOT}

    def test_nothing_of_an_unknown_type(self, stage: Stage, clock: Clock) -> None:
        assert stage.cloud.list_offers(replace(stage.query, gpu_type="A100_80G_SXM4"), clock.wait()) == []


class TestAccount:
    def test_the_balance(self, stage: Stage, clock: Clock) -> None:
        assert stage.cloud.balance(clock.wait()) == Balance(42.5, 3.0)

    def test_an_unknown_key(self, stage: Stage, clock: Clock) -> None:
        with pytest.raises(NotAuthorized, match="answered 401"):
            stage.without_key().balance(clock.wait())

    def test_ssh_keys_come_and_go(self, stage: Stage, clock: Clock) -> None:
        made = ensure_ssh_key(stage.cloud, "laptop", f"{KEY} me@laptop", clock.wait())
        assert made.public_key == KEY
        assert ensure_ssh_key(stage.cloud, "laptop", f"{KEY} me@elsewhere", clock.wait()) == made
        stage.cloud.delete_ssh_key(made.id, clock.wait())
        stage.cloud.delete_ssh_key(made.id, clock.wait())
        assert stage.cloud.list_ssh_keys(clock.wait()) == []

    def test_too_many_requests(self, stage: Stage, clock: Clock) -> None:
        stage.given("rate_limited")
        assert stage.cloud.balance(clock.wait()) is not None
        assert clock.slept == [12.0]


class TestOrders:
    def test_a_machine_has_its_address_before_it_runs(self, stage: Stage, clock: Clock) -> None:
        made = stage.cloud.create_instance(order(stage, clock), clock.wait())
        assert made.state is InstanceState.PENDING
        assert made.address
        assert (made.name, made.ssh_port, made.ssh_user) == ("web-0", 22, "ubuntu")
        assert await_running(stage.cloud, made.id, clock.wait()).state is InstanceState.RUNNING

    def test_no_stock(self, stage: Stage, clock: Clock) -> None:
        wanted = order(stage, clock)
        stage.given("no_stock")
        with pytest.raises(NoCapacity, match="Not Enough Stock"):
            stage.cloud.create_instance(wanted, clock.wait())

    def test_an_unclear_order_is_found_by_its_name(self, stage: Stage, clock: Clock) -> None:
        wanted = order(stage, clock)
        stage.given("unclear")
        with pytest.raises(AmbiguousOutcome, match="answered 502"):
            stage.cloud.create_instance(wanted, clock.wait())
        assert len(stage.cloud.find_instances("web-0", clock.wait())) == 1

    def test_from_nothing_and_back(self, stage: Stage, clock: Clock) -> None:
        key = ensure_ssh_key(stage.cloud, "laptop", KEY, clock.wait())
        made = rent(stage.cloud, stage.query, "web-0", key.id, clock.wait())
        assert rent(stage.cloud, stage.query, "web-0", key.id, clock.wait()).id == made.id
        await_running(stage.cloud, made.id, clock.wait())
        terminate(stage.cloud, made.id, clock.wait())
        terminate(stage.cloud, made.id, clock.wait())
        assert stage.cloud.get_instance(made.id, clock.wait()).state is InstanceState.GONE


class TestMachines:
    def test_tells_the_key_it_was_ordered_with(self, stage: Stage, clock: Clock) -> None:
        machine = stage.rented()
        assert machine.ssh_key_id
        [listed] = stage.cloud.list_instances(clock.wait())
        assert listed.ssh_key_id == machine.ssh_key_id

    def test_listing_and_finding(self, stage: Stage, clock: Clock) -> None:
        machine = stage.rented()
        assert [found.id for found in stage.cloud.list_instances(clock.wait())] == [machine.id]
        assert [found.id for found in stage.cloud.find_instances("web-0", clock.wait())] == [machine.id]
        assert stage.cloud.find_instances("web", clock.wait()) == []

    def test_renaming(self, stage: Stage, clock: Clock) -> None:
        machine = stage.rented()
        assert stage.cloud.rename_instance(machine.id, "web-1", clock.wait()).name == "web-1"

    def test_unknown_machines(self, stage: Stage, clock: Clock) -> None:
        with pytest.raises(NotFound):
            stage.cloud.get_instance("nobody", clock.wait())
        stage.cloud.delete_instance("nobody", clock.wait())

    def test_preemption(self, stage: Stage, clock: Clock) -> None:
        machine = stage.rented()
        stage.given("preemption")
        assert stage.cloud.get_instance(machine.id, clock.wait()).state is InstanceState.PREEMPTED
        assert stage.cloud.find_instances("web-0", clock.wait()) == []

    def test_terminating_too_early(self, stage: Stage, clock: Clock) -> None:
        machine = stage.rented()
        stage.given("early_delete")
        with pytest.raises(NotYetTerminable, match="Minimum runtime not met") as caught:
            stage.cloud.delete_instance(machine.id, clock.wait())
        assert caught.value.wait_seconds == 180.0

    def test_a_list_that_fails_is_not_an_empty_one(self, stage: Stage, clock: Clock) -> None:
        stage.rented()
        stage.given("list_failure")
        for ask in (stage.cloud.list_instances, lambda wait: stage.cloud.find_instances("web-0", wait)):
            with pytest.raises(CloudError, match="answered 500"):
                ask(clock.wait())

    def test_a_termination_that_fails_is_not_done(self, stage: Stage, clock: Clock) -> None:
        machine = stage.rented()
        stage.given("delete_failure")
        with pytest.raises(CloudError, match="answered 500"):
            terminate(stage.cloud, machine.id, clock.wait())
        assert stage.cloud.find_instances("web-0", clock.wait()) != []
