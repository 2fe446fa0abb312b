"""A cloud in memory, and a resource whose work is whatever a test says."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

import dataclasses
import itertools
import threading
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from moestro.clouds.base import Balance, Instance, InstanceState, Offer, OfferQuery, Order, SshKey
from moestro.errors import NotFound
from moestro.waiting import Wait
from provider.models import Host, Mark, Model, Secret, Stored
from provider.resource import Context, Found, Resource, Timeouts


def no_fault(operation: str) -> None:
    del operation


class FakeCloud:
    """Rents at once. ``fault`` is called with an operation's name before it and with ``operation!`` after it."""

    name = "fake"
    poll_seconds = 0.01
    settle_seconds = 2.0

    def __init__(self) -> None:
        self.machines: dict[str, Instance] = {}
        self.keys: dict[str, SshKey] = {}
        self.orders: list[Order] = []
        self.new_state = InstanceState.RUNNING
        self.fault: Callable[[str], None] = no_fault
        self._ids = itertools.count(1)

    def list_offers(self, query: OfferQuery, wait: Wait) -> list[Offer]:
        self._meet("list_offers", wait)
        return [
            Offer(
                provider="acme",
                offer_id="offer",
                gpu_type=query.gpu_type,
                gpu_count=query.gpu_count,
                region="north",
                image=query.image or "ubuntu",
                purchase=query.purchase,
                usd_per_hour=2.5,
                vcpus=8,
                memory_gb=64,
                storage_gb=100,
                gpu_memory_gb=80,
            )
        ]

    def balance(self, wait: Wait) -> Balance | None:
        return None

    def create_instance(self, order: Order, wait: Wait) -> Instance:
        self._meet("create_instance", wait)
        self.orders.append(order)
        machine = Instance(
            id=f"m{next(self._ids)}",
            name=order.name,
            state=self.new_state,
            gpu_type=order.offer.gpu_type,
            gpu_count=order.offer.gpu_count,
            region=order.offer.region,
            provider=order.offer.provider,
            image=order.offer.image,
            purchase=order.offer.purchase,
            usd_per_hour=order.offer.usd_per_hour,
            address="192.0.2.7",
            created_at="2026-11-24T10:00:00Z",
            ssh_key_id=order.ssh_key_id,
        )
        self.machines[machine.id] = machine
        self._meet("create_instance!", wait)
        return machine

    def get_instance(self, instance_id: str, wait: Wait) -> Instance:
        self._meet("get_instance", wait)
        if instance_id not in self.machines:
            raise NotFound(f"no machine {instance_id}")
        return self.machines[instance_id]

    def find_instances(self, name: str, wait: Wait) -> list[Instance]:
        self._meet("find_instances", wait)
        live = {InstanceState.PENDING, InstanceState.RUNNING, InstanceState.STOPPED}
        return [machine for machine in self.machines.values() if machine.name == name and machine.state in live]

    def list_instances(self, wait: Wait) -> list[Instance]:
        self._meet("list_instances", wait)
        return list(self.machines.values())

    def rename_instance(self, instance_id: str, name: str, wait: Wait) -> Instance:
        self._meet("rename_instance", wait)
        return self.change(instance_id, name=name)

    def delete_instance(self, instance_id: str, wait: Wait) -> None:
        self._meet("delete_instance", wait)
        self.machines.pop(instance_id, None)

    def list_ssh_keys(self, wait: Wait) -> list[SshKey]:
        self._meet("list_ssh_keys", wait)
        return list(self.keys.values())

    def create_ssh_key(self, name: str, public_key: str, wait: Wait) -> SshKey:
        self._meet("create_ssh_key", wait)
        key = SshKey(f"k{next(self._ids)}", name, " ".join(public_key.split()[:2]))
        self.keys[key.id] = key
        return key

    def delete_ssh_key(self, key_id: str, wait: Wait) -> None:
        self._meet("delete_ssh_key", wait)
        self.keys.pop(key_id, None)

    def change(self, instance_id: str, **changes: Any) -> Instance:
        self.machines[instance_id] = dataclasses.replace(self.machines[instance_id], **changes)
        return self.machines[instance_id]

    def _meet(self, operation: str, wait: Wait) -> None:
        wait.check()
        self.fault(operation)


class Limits(Model):
    """Nested values."""

    per_user: int = Field(description="Requests.", ge=1)
    secret_word: Secret = Field(description="A secret inside an object.")


class ThingInputs(Model):
    """Every mark and every shape once."""

    host: Annotated[Host, Mark.REPLACES] = Field(description="Where.")
    size: int = Field(description="How many.", ge=1)
    place: Annotated[str, Mark.REPLACES] = Field(default="north", description="Where it is.")
    env: dict[str, str] = Field(default={}, description="Settings.")
    parts: list[Limits] = Field(default=[], description="Parts.")
    limits: Limits | None = Field(default=None, description="Limits.")
    password: Secret = Field(default="", description="Secret.")
    patience: Annotated[int, Mark.QUIET] = Field(default=5, description="Seconds to wait.")


class ThingOutputs(Stored):
    """Every mark of outputs once."""

    path: str = Field(description="Follows from the inputs.")
    key: Secret = Field(description="A secret.")
    mood: Annotated[str, Mark.VOLATILE] = Field(default="fine", description="May change.")


class Thing(Resource[ThingInputs, ThingOutputs]):
    """A thing whose work is ``work``."""

    token = "moestro:test:Thing"
    inputs = ThingInputs
    outputs = ThingOutputs
    timeouts = Timeouts(create=30.0, update=30.0, read=30.0, delete=30.0)

    def __init__(self, work: Callable[[str, Context, ThingInputs], None] = lambda *_: None) -> None:
        self.work = work
        self.drift: str | None = None
        self.gone = False
        self.old: str | None = None
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def create(self, context: Context, inputs: ThingInputs) -> tuple[str, ThingOutputs]:
        self._do("create", context, inputs)
        return "id-1", thing_outputs(inputs)

    def update(self, context: Context, resource_id: str, inputs: ThingInputs, state: ThingOutputs) -> ThingOutputs:
        self._do("update", context, inputs)
        return thing_outputs(inputs)

    def read(
        self, context: Context, resource_id: str, inputs: ThingInputs, state: ThingOutputs
    ) -> Found[ThingOutputs] | None:
        self._do("read", context, inputs)
        return None if self.gone else Found(state, self.drift)

    def delete(self, context: Context, resource_id: str, inputs: ThingInputs, state: ThingOutputs) -> None:
        self._do("delete", context, inputs)

    def foresee(self, inputs: ThingInputs, state: ThingOutputs | None) -> dict[str, Any]:
        return {"path": f"/{inputs.place}/{inputs.size}"}

    def stale(self, state: ThingOutputs) -> str | None:
        return self.old

    def _do(self, call: str, context: Context, inputs: ThingInputs) -> None:
        with self._lock:
            self.calls.append(call)
        self.work(call, context, inputs)


def thing_outputs(inputs: ThingInputs) -> ThingOutputs:
    return ThingOutputs(path=f"/{inputs.place}/{inputs.size}", key="key-of-the-thing")


HOST = {
    "address": "192.0.2.1",
    "port": 22,
    "user": "ubuntu",
    "privateKey": "PRIVATE-KEY",
    "hostKey": "ssh-ed25519 AAAA",
}
