"""What Moestro asks of any cloud, in the field's own terms. Clients normalise; nothing above them knows a vendor."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from moestro.waiting import Wait


class Purchase(StrEnum):
    """How a machine is rented."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"


class InstanceState(StrEnum):
    """A machine's state, normalised over clouds."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"  # may still bill for its disk, on some clouds at the full rate
    FAILED = "failed"
    PREEMPTED = "preempted"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class OfferQuery:
    """What an acceptable offer looks like. Empty sequences mean: any."""

    gpu_type: str
    gpu_count: int
    purchase: Purchase = Purchase.ON_DEMAND
    regions: Sequence[str] = ()
    providers: Sequence[str] = ()
    image: str | None = None
    max_usd_per_hour: float | None = None  # of the whole instance


@dataclass(frozen=True, slots=True)
class Offer:
    """One rentable machine type at one place. ``usd_per_hour`` is of the whole instance, all GPUs."""

    provider: str
    offer_id: str
    gpu_type: str
    gpu_count: int
    region: str
    image: str
    purchase: Purchase
    usd_per_hour: float
    vcpus: int
    memory_gb: float
    storage_gb: float
    gpu_memory_gb: float
    interconnect: str | None = None
    minimum_runtime_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order for one machine. ``name`` is unique to us: it is how an order of unknown outcome is found again."""

    name: str
    offer: Offer
    ssh_key_id: str


@dataclass(frozen=True, slots=True)
class Instance:
    """A rented machine as the cloud reports it. ``address`` may be there long before the machine is running."""

    id: str
    name: str
    state: InstanceState
    gpu_type: str
    gpu_count: int
    region: str
    provider: str
    image: str
    purchase: Purchase
    usd_per_hour: float
    address: str | None = None
    ssh_port: int = 22
    ssh_user: str = "ubuntu"
    created_at: str | None = None
    total_cost_usd: float | None = None
    ssh_key_id: str | None = None  # the registered key that it was ordered with, where the cloud says so


@dataclass(frozen=True, slots=True)
class SshKey:
    """A public key that the cloud knows. ``public_key`` is "algorithm body", without comment."""

    id: str
    name: str
    public_key: str


@dataclass(frozen=True, slots=True)
class Balance:
    """The account's money. ``minimum_usd`` is what the cloud asks to be there before it rents anything."""

    usd: float
    minimum_usd: float = field(default=0.0)


class Cloud(Protocol):
    """A cloud client. Every method may raise the errors of :mod:`moestro.errors`.

    ``create_instance`` sends its order at most once: an unclear answer raises ``AmbiguousOutcome`` and the caller
    looks with ``find_instances`` before anything else. ``delete_instance`` raises ``NotYetTerminable`` while the
    minimum runtime holds and returns quietly when the machine is already gone.

    Attributes:
        name: as :func:`moestro.clouds.open_cloud` knows it.
        poll_seconds: the least pause between two looks at the same machine that the cloud asks for.
        settle_seconds: how long an ordered machine may be missing from its lists.
    """

    name: str
    poll_seconds: float
    settle_seconds: float

    def list_offers(self, query: OfferQuery, wait: Wait) -> list[Offer]:
        """Offers that satisfy the query now, cheapest first."""

    def balance(self, wait: Wait) -> Balance | None:
        """The account's money, or ``None`` where the cloud does not say."""

    def create_instance(self, order: Order, wait: Wait) -> Instance:
        """Order one machine, once."""

    def get_instance(self, instance_id: str, wait: Wait) -> Instance:
        """One machine; raises ``NotFound``."""

    def find_instances(self, name: str, wait: Wait) -> list[Instance]:
        """Every machine of exactly this name that is not gone, failed or preempted."""

    def list_instances(self, wait: Wait) -> list[Instance]:
        """Every machine of the account that may still bill."""

    def rename_instance(self, instance_id: str, name: str, wait: Wait) -> Instance:
        """Change the machine's name, the only mutable field."""

    def delete_instance(self, instance_id: str, wait: Wait) -> None:
        """Ask once for termination."""

    def list_ssh_keys(self, wait: Wait) -> list[SshKey]:
        """Every key registered with the account."""

    def create_ssh_key(self, name: str, public_key: str, wait: Wait) -> SshKey:
        """Register a key."""

    def delete_ssh_key(self, key_id: str, wait: Wait) -> None:
        """Remove a key; quiet when it is already gone."""
