# ruff: noqa: ARG002, ARG005 - fakes take what the real ones take
import dataclasses
import threading
from typing import Any

import pytest

from moestro.clouds.base import InstanceState
from moestro.clouds.order_log import FORGETFUL
from moestro.errors import (
    AmbiguousOutcome,
    Cancelled,
    CloudError,
    HostUnreachable,
    NoCapacity,
    NotAuthorized,
    NotYetTerminable,
)
from moestro.waiting import Wait
from provider.instance import Instance, unique_name
from tests.unit.provider.conftest import Serve
from tests.unit.provider.fakes import FakeCloud
from tests.unit.provider.harness import UNKNOWN, Client, Failed, FakeEngine

INPUTS: dict[str, Any] = {
    "cloud": "fake",
    "name": "stack-replica-0",
    "gpuType": "H100",
    "gpuCount": 8,
    "purchase": "on-demand",
    "sshKeyId": "k1",
    "publicKey": "ssh-ed25519 AAAA",
}
NAME = unique_name(INPUTS)
HOST_KEY = "ssh-ed25519 HOSTKEY"
STATE: dict[str, Any] = {
    "name": NAME,
    "state": "running",
    "address": "192.0.2.7",
    "sshPort": 22,
    "sshUser": "ubuntu",
    "hostKey": HOST_KEY,
    "region": "north",
    "provider": "acme",
    "image": "ubuntu",
    "usdPerHour": 2.5,
    "createdAt": "2026-11-24T10:00:00Z",
}


class World:
    """A cloud, the host keys that its machines present, and the provider's instance over both."""

    def __init__(self) -> None:
        self.cloud = FakeCloud()
        self.learned: list[str] = []
        self.ssh_error: Exception | None = None

    def instance(self) -> Instance:
        return Instance(lambda name: self.cloud, self.learn, lambda: FORGETFUL)

    def learn(self, address: str, port: int, wait: Wait) -> str:
        wait.check()
        self.learned.append(address)
        if self.ssh_error:
            raise self.ssh_error
        return HOST_KEY

    def double(self, of: str, id: str, **changes: Any) -> None:
        """Another machine like ``of``, of the same name."""
        self.cloud.machines[id] = dataclasses.replace(self.cloud.machines[of], id=id, **changes)

    def fail(self, at: str, error: Exception, times: int = 1) -> None:
        """Raise ``error`` the next ``times`` times that the cloud does ``at``."""
        left = [times]

        def fault(operation: str) -> None:
            if operation == at and left[0] > 0:
                left[0] -= 1
                raise error

        self.cloud.fault = fault


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(serve: Serve, world: World) -> Client:
    return serve(world.instance())


class TestCreate:
    def test_rents_under_a_unique_name_and_pins_the_host_key(self, client: Client, world: World) -> None:
        assert client.create(INPUTS) == ("m1", STATE)
        [order] = world.cloud.orders
        assert (order.name, order.ssh_key_id) == (NAME, "k1")

    def test_killed_after_the_order_it_finds_the_machine_again(self, serve: Serve, world: World) -> None:
        serve(world.instance()).create(INPUTS)
        assert serve(world.instance()).create(INPUTS)[0] == "m1"
        assert len(world.cloud.orders) == 1

    def test_without_capacity_nothing_is_kept(self, client: Client, world: World) -> None:
        world.fail("create_instance", NoCapacity("sold out"))
        with pytest.raises(Failed, match="has stock") as failed:
            client.create(INPUTS)
        assert not failed.value.kept

    def test_waits_while_the_machine_is_pending(self, client: Client, world: World) -> None:
        world.cloud.new_state = InstanceState.PENDING
        looks = iter(range(100))

        def fault(operation: str) -> None:
            if operation == "get_instance" and next(looks) == 3:
                world.cloud.change("m1", state=InstanceState.RUNNING)

        world.cloud.fault = fault
        assert client.create(INPUTS)[1]["state"] == "running"


class TestAfterTheOrder:
    """Nothing that may bill is outside the state."""

    @pytest.mark.parametrize(
        "break_it",
        [
            lambda world: world.fail("get_instance", CloudError("500")),
            lambda world: setattr(world, "ssh_error", HostUnreachable("no SSH at 192.0.2.7")),
            lambda world: setattr(world, "ssh_error", Cancelled("stopped")),
        ],
    )
    def test_every_failure_keeps_the_machine_and_the_next_up_finishes(
        self, client: Client, world: World, break_it: Any
    ) -> None:
        break_it(world)
        with pytest.raises(Failed) as failed:
            client.create(INPUTS)
        kept = failed.value
        assert (kept.id, kept.properties["name"]) == ("m1", NAME)
        assert "hostKey" not in kept.properties
        world.ssh_error = None
        assert client.update(kept.id, INPUTS, kept.properties) == STATE
        assert len(world.cloud.orders) == 1

    def test_an_order_of_unknown_outcome_is_kept_by_its_name(self, client: Client, world: World) -> None:
        world.fail("create_instance!", Cancelled("stopped on request"))
        with pytest.raises(Failed) as failed:
            client.create(INPUTS)
        kept = failed.value
        assert (kept.id, kept.properties) == (f"order:{NAME}", {"name": NAME, "state": "pending"})
        assert client.update(kept.id, INPUTS, kept.properties) == STATE
        assert client.read(kept.id, INPUTS, STATE)[1] == STATE
        client.delete(kept.id, INPUTS, STATE)
        assert (world.cloud.machines, len(world.cloud.orders)) == ({}, 1)

    def test_an_accepted_order_without_an_answer_is_found(self, client: Client, world: World) -> None:
        world.fail("create_instance!", AmbiguousOutcome("no answer"))
        assert client.create(INPUTS) == ("m1", STATE)
        assert len(world.cloud.orders) == 1

    def test_a_placeholder_whose_order_never_arrived_is_ordered_by_the_next_up(
        self, client: Client, world: World
    ) -> None:
        world.fail("create_instance", Cancelled("stopped on request"))
        with pytest.raises(Failed) as failed:
            client.create(INPUTS)
        client.delete(failed.value.id, INPUTS, failed.value.properties)
        assert client.update(failed.value.id, INPUTS, failed.value.properties) == STATE

    def test_an_order_that_shows_up_late_is_still_terminated(self, client: Client, world: World) -> None:
        world.fail("create_instance!", Cancelled("stopped on request"))
        with pytest.raises(Failed) as failed:
            client.create(INPUTS)
        hidden, looks = dict(world.cloud.machines), iter(range(9))
        world.cloud.machines.clear()

        def fault(operation: str) -> None:
            if operation == "find_instances" and next(looks) == 1:
                world.cloud.machines.update(hidden)

        world.cloud.fault = fault
        client.delete(failed.value.id, INPUTS, failed.value.properties)
        assert world.cloud.machines == {}
        assert next(looks) >= 2

    @pytest.mark.parametrize("hidden_until", ["get_instance", "list_offers"])
    def test_a_double_that_an_unseen_order_left_is_ended(
        self, client: Client, world: World, fake_engine: tuple[FakeEngine, str], hidden_until: str
    ) -> None:
        client.create(INPUTS)
        double = world.cloud.machines.pop("m1")

        def fault(operation: str) -> None:
            if operation == hidden_until:
                world.cloud.machines["m1"] = double

        world.cloud.fault = fault
        assert client.create(INPUTS)[0] == "m2"
        assert list(world.cloud.machines) == ["m2"]
        assert [shown for shown in fake_engine[0].shown if "m1, a second machine" in shown.message]

    def test_of_doubles_the_oldest_is_kept(self, client: Client, world: World) -> None:
        client.create(INPUTS)
        world.double("m1", "m0", created_at="2026-11-24T09:00:00Z")
        assert client.create(INPUTS)[0] == "m0"
        assert list(world.cloud.machines) == ["m0"]

    def test_a_double_within_its_minimum_runtime_is_ended_by_a_later_up(self, client: Client, world: World) -> None:
        client.create(INPUTS)
        world.double("m1", "m9", created_at="2026-11-24T11:00:00Z")
        world.fail("delete_instance", NotYetTerminable("too early", 600.0))
        with pytest.raises(Failed, match=r"m9 is a second machine .* in 10 min") as failed:
            client.create(INPUTS)
        assert failed.value.id == "m1"
        assert client.update("m1", INPUTS, failed.value.properties) == STATE
        assert list(world.cloud.machines) == ["m1"]

    def test_time_that_ran_out_is_told_with_its_price(self, client: Client, world: World) -> None:
        world.cloud.new_state = InstanceState.PENDING
        with pytest.raises(Failed, match=r"is pending and not usable .* may bill 2\.50 USD/h: `pulumi up`") as failed:
            dataclasses.replace(client, timeout=0.2).create(INPUTS)
        assert failed.value.id == "m1"

    def test_cancel_while_it_is_pending(self, client: Client, world: World) -> None:
        world.cloud.new_state = InstanceState.PENDING
        asked = threading.Event()
        world.cloud.fault = lambda operation: asked.set() if operation == "get_instance" else None
        failures: list[Failed] = []

        def create() -> None:
            try:
                client.create(INPUTS)
            except Failed as failed:
                failures.append(failed)

        thread = threading.Thread(target=create)
        thread.start()
        assert asked.wait(10)
        client.cancel()
        thread.join(10)
        assert [failed.id for failed in failures] == ["m1"]

    def test_a_machine_that_ended_while_it_started_is_replaced(self, client: Client, world: World) -> None:
        world.cloud.new_state = InstanceState.FAILED
        with pytest.raises(Failed) as failed:
            client.create(INPUTS)
        kept = failed.value
        assert kept.properties["state"] == "failed"
        assert list(client.diff(INPUTS, INPUTS, kept.properties).replaces) == ["state"]


class TestUpdate:
    def test_renames(self, client: Client, world: World) -> None:
        id, state = client.create(INPUTS)
        renamed = INPUTS | {"name": "other"}
        assert client.update(id, renamed, state)["name"] == unique_name(renamed) == world.cloud.machines[id].name

    def test_never_learns_a_known_host_key_again(self, client: Client, world: World) -> None:
        id, state = client.create(INPUTS)
        client.update(id, INPUTS, state)
        assert len(world.learned) == 1

    def test_a_machine_that_is_gone_is_replaced_next_time(self, client: Client, world: World) -> None:
        id, state = client.create(INPUTS)
        world.cloud.machines.clear()
        with pytest.raises(Failed, match="the next `pulumi up` replaces it") as failed:
            client.update(id, INPUTS, state)
        assert list(client.diff(INPUTS, INPUTS, failed.value.properties).replaces) == ["state"]


class TestRead:
    @pytest.mark.parametrize("state", [InstanceState.FAILED, InstanceState.PREEMPTED, InstanceState.GONE])
    def test_an_ended_machine_is_gone(self, client: Client, world: World, state: InstanceState) -> None:
        id, outputs = client.create(INPUTS)
        world.cloud.change(id, state=state)
        assert client.read(id, INPUTS, outputs)[0] == ""

    def test_an_unknown_machine_is_gone(self, client: Client) -> None:
        assert client.read("m9", INPUTS, STATE)[0] == ""

    @pytest.mark.parametrize("error", [CloudError("500"), NotAuthorized("token refused")])
    def test_not_knowing_is_an_error(self, client: Client, world: World, error: Exception) -> None:
        id, outputs = client.create(INPUTS)
        world.fail("get_instance", error)
        with pytest.raises(Failed):
            client.read(id, INPUTS, outputs)

    @pytest.mark.parametrize(
        ("changes", "drift"),
        [({"name": "renamed"}, "it is called renamed"), ({"state": InstanceState.STOPPED}, "it is stopped")],
    )
    def test_drift_asks_for_an_update(self, client: Client, world: World, changes: dict[str, Any], drift: str) -> None:
        id, outputs = client.create(INPUTS)
        world.cloud.change(id, **changes)
        _, _, inputs = client.read(id, INPUTS, outputs)
        assert inputs["drift"] == drift
        assert list(client.diff(inputs, INPUTS, outputs).diffs) == ["drift"]

    def test_a_machine_without_host_key_is_finished_by_the_next_up(self, client: Client, world: World) -> None:
        world.ssh_error = HostUnreachable("late")
        with pytest.raises(Failed) as failed:
            client.create(INPUTS)
        _, _, inputs = client.read(failed.value.id, INPUTS, failed.value.properties)
        assert list(client.diff(inputs, INPUTS, failed.value.properties).diffs) == ["drift"]

    def test_the_market_changes_nothing(self, client: Client, world: World) -> None:
        id, outputs = client.create(INPUTS)
        world.cloud.change(id, usd_per_hour=9.0)
        assert client.read(id, INPUTS, outputs)[2] == INPUTS


class TestDelete:
    def test_twice(self, serve: Serve, client: Client, world: World) -> None:
        id, state = client.create(INPUTS)
        later = serve(world.instance())
        later.delete(id, INPUTS, state)
        assert world.cloud.machines == {}
        later.delete(id, INPUTS, state)

    def test_takes_doubles_along(self, serve: Serve, client: Client, world: World) -> None:
        id, state = client.create(INPUTS)
        world.double(id, "m9")
        serve(world.instance()).delete(id, INPUTS, state)
        assert world.cloud.machines == {}

    @pytest.mark.parametrize("at", ["get_instance", "delete_instance"])
    def test_a_cloud_that_cannot_be_asked_fails_loudly(
        self, serve: Serve, client: Client, world: World, at: str
    ) -> None:
        id, state = client.create(INPUTS)
        world.fail(at, CloudError("500"))
        with pytest.raises(Failed, match="500"):
            serve(world.instance()).delete(id, INPUTS, state)
        assert list(world.cloud.machines) == [id]

    def test_a_forced_replacement_never_deletes_the_machine_it_adopted(
        self, serve: Serve, client: Client, world: World, fake_engine: tuple[FakeEngine, str]
    ) -> None:
        id, state = client.create(INPUTS)
        forced = serve(world.instance())  # a later run: create first, with the same inputs, then delete
        assert forced.create(INPUTS) == (id, state)
        forced.delete(id, INPUTS, state)
        assert list(world.cloud.machines) == [id]
        assert [shown for shown in fake_engine[0].shown if not shown.ephemeral and "is kept" in shown.message]


class TestDiff:
    @pytest.mark.parametrize(
        "change",
        [
            {"gpuType": "A100"},
            {"gpuCount": 4},
            {"purchase": "spot"},
            {"regions": ["north"]},
            {"providers": ["acme"]},
            {"image": "debian"},
            {"publicKey": "ssh-ed25519 BBBB"},
            {"cloud": "other"},
        ],
    )
    def test_another_machine_has_another_name_and_is_made_before_the_old_one_goes(
        self, client: Client, change: dict[str, Any]
    ) -> None:
        answer = client.diff(INPUTS, INPUTS | change, STATE)
        assert list(answer.replaces) == list(change)
        assert not answer.deleteBeforeReplace
        assert unique_name(INPUTS) != unique_name(INPUTS | change)

    def test_a_name_is_updated(self, client: Client) -> None:
        answer = client.diff(INPUTS, INPUTS | {"name": "new"}, STATE)
        assert (list(answer.diffs), list(answer.replaces)) == (["name"], [])

    @pytest.mark.parametrize("change", [{"maxUsdPerHour": 1.0}, {"sshKeyId": "registered-again"}])
    def test_what_matters_when_renting_only(self, client: Client, change: dict[str, Any]) -> None:
        assert list(client.diff(INPUTS, INPUTS | change, STATE).diffs) == []

    def test_the_same_name_is_deleted_before_it_is_replaced(self, client: Client) -> None:
        assert client.diff(INPUTS, INPUTS, STATE | {"state": "failed"}).deleteBeforeReplace

    def test_spelling_a_default_out_changes_neither_name_nor_machine(self, client: Client) -> None:
        spelled = INPUTS | {"regions": [], "providers": []}
        assert list(client.diff(INPUTS, spelled, STATE).diffs) == []
        assert unique_name(spelled) == NAME


class TestPreview:
    def test_shows_the_name(self, client: Client) -> None:
        outputs = client.create(INPUTS, preview=True)[1]
        assert outputs == dict.fromkeys(STATE, UNKNOWN) | {"name": NAME}

    def test_an_update_keeps_the_address_so_that_nothing_behind_it_is_replaced(self, client: Client) -> None:
        renamed = INPUTS | {"name": "new"}
        outputs = client.update("m1", renamed, STATE, preview=True)
        assert outputs == STATE | {"name": unique_name(renamed), "state": UNKNOWN}


@pytest.mark.parametrize("name", ["Upper", "-x", "x-", "a b", ""])
def test_impossible_names_are_refused(client: Client, name: str) -> None:
    assert [path for path, _ in client.check(INPUTS | {"name": name})[1]] == ["name"]
