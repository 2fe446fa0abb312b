from typing import Any

import pytest

from moestro.clouds.base import InstanceState, OfferQuery, Order
from moestro.clouds.base import SshKey as RegisteredKey
from moestro.clouds.order_log import FORGETFUL
from moestro.errors import CloudError
from moestro.waiting import Wait
from provider.ssh_key import SshKey
from tests.unit.provider.conftest import Serve
from tests.unit.provider.fakes import FakeCloud
from tests.unit.provider.harness import Client, Failed

INPUTS: dict[str, Any] = {"cloud": "fake", "name": "stack-key", "publicKey": "ssh-ed25519 AAAA comment"}


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
def client(serve: Serve, cloud: FakeCloud) -> Client:
    return serve(SshKey(lambda name: cloud, lambda: FORGETFUL))  # noqa: ARG005 - there is one cloud here


def test_is_registered_once(client: Client, cloud: FakeCloud) -> None:
    first = client.create(INPUTS)
    assert client.create(INPUTS) == first
    assert first == ("k1", {"keyId": "k1", "owned": True})
    assert list(cloud.keys) == ["k1"]


def test_is_gone_when_the_cloud_forgot_it(client: Client, cloud: FakeCloud) -> None:
    id, state = client.create(INPUTS)
    assert client.read(id, INPUTS, state)[0] == id
    cloud.keys.clear()
    assert client.read(id, INPUTS, state)[0] == ""


def test_is_deleted_twice(client: Client, cloud: FakeCloud) -> None:
    id, state = client.create(INPUTS)
    client.delete(id, INPUTS, state)
    assert cloud.keys == {}
    client.delete(id, INPUTS, state)


def test_stays_while_a_machine_outside_the_state_was_ordered_with_it(client: Client, cloud: FakeCloud) -> None:
    id, state = client.create(INPUTS)
    offer = cloud.list_offers(OfferQuery("H100", 8), Wait.of(1))[0]
    machine = cloud.create_instance(Order("web-0", offer, id), Wait.of(1))
    cloud.create_instance(Order("somebody-elses", offer, "k9"), Wait.of(1))
    with pytest.raises(Failed, match=r"bill: web-0 \(m\d, 2\.50 USD/h\); .* Run `pulumi up`"):
        client.delete(id, INPUTS, state)
    assert list(cloud.keys) == [id]
    cloud.change(machine.id, state=InstanceState.GONE)
    client.delete(id, INPUTS, state)
    assert cloud.keys == {}


def test_a_key_that_somebody_else_registered_stays(client: Client, cloud: FakeCloud) -> None:
    cloud.keys["theirs"] = RegisteredKey("theirs", "laptop", "ssh-ed25519 AAAA")
    id, state = client.create(INPUTS)
    assert (id, state["owned"]) == ("theirs", False)
    client.delete(id, INPUTS, state)
    assert list(cloud.keys) == ["theirs"]


def test_a_cloud_that_cannot_be_asked_fails_loudly(client: Client, cloud: FakeCloud) -> None:
    id, state = client.create(INPUTS)

    def fault(operation: str) -> None:
        raise CloudError(f"{operation}: 500")

    cloud.fault = fault
    for call in (client.read, client.delete):
        with pytest.raises(Failed, match="500"):
            call(id, INPUTS, state)


def test_only_the_key_and_the_cloud_replace(client: Client) -> None:
    assert list(client.diff(INPUTS, INPUTS | {"name": "new"}).diffs) == []
    changed = INPUTS | {"publicKey": "ssh-ed25519 BBBB", "cloud": "other"}
    assert list(client.diff(INPUTS, changed).replaces) == ["cloud", "publicKey"]
