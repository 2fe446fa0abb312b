"""A cloud in memory, whose answers are scripted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from moestro.clouds.base import (
    Balance,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
    Order,
    Purchase,
    SshKey,
)
from moestro.errors import AmbiguousOutcome, CloudError, NoCapacity, NotFound
from moestro.waiting import Wait

ENDED = {InstanceState.FAILED, InstanceState.GONE, InstanceState.PREEMPTED}


def offer(region: str = "r1", usd: float = 1.0) -> Offer:
    """An offer of two H100."""
    return Offer(
        "p", f"offer-{region}", "H100_PCIE", 2, region, "Ubuntu 24.04", Purchase.ON_DEMAND, usd, 8, 64, 100, 80
    )


@dataclass
class FakeCloud:
    """Each order takes the next of ``outcomes`` ("ok" when none is left).

    Outcomes: ok, no_stock, lost (not accepted, unclear), accepted (accepted, unclear), refused.
    """

    outcomes: list[str] = field(default_factory=list)
    offers: Sequence[Offer] = (offer("r1"), offer("r2"), offer("r3"))
    money: Balance | None = field(default_factory=lambda: Balance(50.0, 3.0))
    list_lag: int = 0  # how many lists a new machine is missing from
    machines: list[Instance] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    keys: list[SshKey] = field(default_factory=list)
    key_outcomes: list[str] = field(default_factory=list)
    on_list: Callable[[], None] = lambda: None
    on_get: Callable[[str], None] = lambda _: None
    on_delete: Callable[[str], None] = lambda _: None
    name: str = "fake"
    poll_seconds: float = 10.0
    settle_seconds: float = 120.0
    _unlisted: dict[str, int] = field(default_factory=dict)

    def list_offers(self, query: OfferQuery, wait: Wait) -> list[Offer]:
        del wait
        return [offer for offer in self.offers if not query.regions or offer.region in query.regions]

    def balance(self, wait: Wait) -> Balance | None:
        del wait
        return self.money

    def create_instance(self, order: Order, wait: Wait) -> Instance:
        del wait
        self.orders.append(order)
        outcome = self.outcomes.pop(0) if self.outcomes else "ok"
        if outcome == "no_stock":
            raise NoCapacity("not enough stock")
        if outcome == "refused":
            raise CloudError("refused")
        if outcome == "lost":
            raise AmbiguousOutcome("no answer")
        made = self.add(order.name)
        if outcome == "accepted":
            raise AmbiguousOutcome("no answer")
        return made

    def add(self, name: str, **changes: object) -> Instance:
        """A machine that is there."""
        number = len(self.machines)
        made = Instance(
            id=f"m{number}",
            name=name,
            state=InstanceState.PENDING,
            gpu_type="H100_PCIE",
            gpu_count=2,
            region="r1",
            provider="p",
            image="Ubuntu 24.04",
            purchase=Purchase.ON_DEMAND,
            usd_per_hour=1.0,
            address="203.0.113.1",
            created_at=f"2026-11-24T10:00:{number:02}Z",
        )
        made = replace(made, **changes)  # type: ignore[arg-type]
        self.machines.append(made)
        self._unlisted[made.id] = self.list_lag
        return made

    def settle(self) -> None:
        """Let every machine show up in lists."""
        self._unlisted = dict.fromkeys(self._unlisted, 0)

    def become(self, instance_id: str, state: InstanceState) -> None:
        """Change a machine's state."""
        self.machines = [replace(m, state=state) if m.id == instance_id else m for m in self.machines]

    def billing(self, name: str) -> list[Instance]:
        """What the account pays for."""
        return [machine for machine in self.machines if machine.name == name and machine.state not in ENDED]

    def get_instance(self, instance_id: str, wait: Wait) -> Instance:
        del wait
        self.on_get(instance_id)
        for machine in self.machines:
            if machine.id == instance_id:
                return machine
        raise NotFound(f"no {instance_id}")

    def find_instances(self, name: str, wait: Wait) -> list[Instance]:
        del wait
        self.on_list()
        visible = [machine for machine in self.billing(name) if self._unlisted[machine.id] <= 0]
        self._unlisted = {machine: lists - 1 for machine, lists in self._unlisted.items()}
        return visible

    def list_instances(self, wait: Wait) -> list[Instance]:
        del wait
        return [machine for machine in self.machines if machine.state not in ENDED]

    def rename_instance(self, instance_id: str, name: str, wait: Wait) -> Instance:
        del wait
        self.machines = [replace(m, name=name) if m.id == instance_id else m for m in self.machines]
        return next(machine for machine in self.machines if machine.id == instance_id)

    def delete_instance(self, instance_id: str, wait: Wait) -> None:
        del wait
        self.on_delete(instance_id)
        self.become(instance_id, InstanceState.GONE)

    def list_ssh_keys(self, wait: Wait) -> list[SshKey]:
        del wait
        return list(self.keys)

    def create_ssh_key(self, name: str, public_key: str, wait: Wait) -> SshKey:
        del wait
        outcome = self.key_outcomes.pop(0) if self.key_outcomes else "ok"
        made = SshKey(f"k{len(self.keys)}", name, " ".join(public_key.split()[:2]))
        if outcome != "lost":
            self.keys.append(made)
        if outcome != "ok":
            raise AmbiguousOutcome("no answer")
        return made

    def delete_ssh_key(self, key_id: str, wait: Wait) -> None:
        del wait
        self.keys = [key for key in self.keys if key.id != key_id]
