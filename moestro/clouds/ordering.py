"""Renting, awaiting and giving back machines so that nothing bills unnoticed: the same for every cloud."""

from collections.abc import Sequence

from moestro.clouds.base import Cloud, Instance, InstanceState, Offer, OfferQuery, Order, SshKey
from moestro.errors import AmbiguousOutcome, CloudError, InsufficientFunds, NoCapacity, NotFound, NotYetTerminable
from moestro.waiting import Wait

LOOK_SECONDS = 120.0  # how long an order of unknown outcome is looked for: lists lag behind orders
GONE_SECONDS = 300.0  # how long an accepted termination may take to show
ENDED = frozenset({InstanceState.FAILED, InstanceState.GONE, InstanceState.PREEMPTED})


class DuplicateMachines(CloudError):
    """More than one machine carries our unique name. Nothing was ordered and nothing was terminated.

    Attributes:
        oldest: the machine to keep.
        others: the machines that bill beside it.
    """

    def __init__(self, message: str, oldest: Instance, others: Sequence[Instance]) -> None:
        super().__init__(message)
        self.oldest = oldest
        self.others = tuple(others)


def rent(cloud: Cloud, query: OfferQuery, name: str, ssh_key_id: str, wait: Wait) -> Instance:
    """The one machine called ``name``: found if it was ordered before, else ordered now, at most once a candidate.

    Returns as soon as the cloud has named the machine; it may not run yet (:func:`await_running`).

    Raises:
        DuplicateMachines: several machines have this name; it names the oldest, to keep, and the others.
        InsufficientFunds: the balance is below the cloud's minimum.
        NoCapacity: no offer satisfies the query, or none has stock.
        AmbiguousOutcome: an order got no clear answer and no such machine showed up. Nothing more was ordered; a
            later call looks for the name first and so never pays twice.
    """
    found = find_one(cloud, name, wait)
    if found is not None:
        wait.report(f"found {name} as {found.id}: an earlier run ordered it")
        return found
    _check_balance(cloud, wait)
    offers = cloud.list_offers(query, wait)
    if not offers:
        raise NoCapacity(f"{cloud.name} has no offer of {_described(query)}: allow more regions, providers or USD/hour")
    return _order_first_in_stock(cloud, offers, name, ssh_key_id, wait)


def find_one(cloud: Cloud, name: str, wait: Wait) -> Instance | None:
    """The machine called ``name`` or ``None``; raises :class:`DuplicateMachines` when there are several."""
    found = sorted(cloud.find_instances(name, wait), key=lambda instance: (instance.created_at or "", instance.id))
    if len(found) > 1:
        others = ", ".join(instance.id for instance in found[1:])
        message = (
            f"{cloud.name} has {len(found)} machines called {name} and all of them bill: the oldest, {found[0].id}, is "
            f"kept; terminate the others in the cloud's console: {others}"
        )
        raise DuplicateMachines(message, found[0], found[1:])
    return found[0] if found else None


def await_running(cloud: Cloud, instance_id: str, wait: Wait, poll_seconds: float = 0.0) -> Instance:
    """Wait until the machine runs and has an address.

    Args:
        cloud: whose machine.
        instance_id: which machine.
        wait: how long at most; marketplaces take 25 minutes and more.
        poll_seconds: the first pause, or what the cloud asks for where that is more; later ones grow to three times
            as much, to stay below the cloud's rate limit where many machines are awaited side by side.

    Raises:
        CloudError: it ended instead, or was stopped.
    """
    pause = max(poll_seconds, cloud.poll_seconds)
    for _ in wait.backoff(pause, factor=1.2, most=3 * pause):
        instance = cloud.get_instance(instance_id, wait)
        if instance.state is InstanceState.RUNNING and instance.address:
            return instance
        if instance.state not in {InstanceState.PENDING, InstanceState.RUNNING}:
            raise CloudError(f"{cloud.name}: machine {instance.name} ({instance.id}) is {instance.state}, not running")
        wait.report(f"{instance.name} is {instance.state} in {instance.region}")
    raise AssertionError("backoff only ends by raising")


def terminate(cloud: Cloud, instance_id: str, wait: Wait, poll_seconds: float = 0.0) -> None:
    """End the machine and see that it is gone, after waiting out the cloud's minimum runtime.

    Already gone counts as success. Whatever keeps us from knowing is raised: silence here would be a bill.

    Raises:
        NotYetTerminable: the minimum runtime ends after our time limit; the machine is still there.
    """
    while True:
        try:
            cloud.delete_instance(instance_id, wait)
            break
        except NotYetTerminable as refusal:
            remaining = wait.remaining()
            if remaining is not None and refusal.wait_seconds > remaining:
                raise  # says how long; waiting for the deadline would only hide it
            wait.report(f"{instance_id} has {refusal.wait_seconds / 60:.0f} min of its minimum runtime left")
            wait.sleep(refusal.wait_seconds)
    _see_it_gone(cloud, instance_id, wait, max(poll_seconds, cloud.poll_seconds))


def ensure_ssh_key(cloud: Cloud, name: str, public_key: str, wait: Wait) -> SshKey:
    """The registered key with this algorithm and body: found, else registered now, at most once.

    Raises:
        AmbiguousOutcome: the registration got no clear answer and the key did not show up.
    """
    found = _find_key(cloud, public_key, wait)
    if found is not None:
        return found
    try:
        return cloud.create_ssh_key(name, public_key, wait)
    except AmbiguousOutcome:
        found = _find_key(cloud, public_key, wait)
        if found is None:
            raise
        return found


def _find_key(cloud: Cloud, public_key: str, wait: Wait) -> SshKey | None:
    wanted = public_key.split()[:2]
    return next((key for key in cloud.list_ssh_keys(wait) if key.public_key.split()[:2] == wanted), None)


def _check_balance(cloud: Cloud, wait: Wait) -> None:
    balance = cloud.balance(wait)
    if balance is not None and balance.usd < balance.minimum_usd:
        raise InsufficientFunds(
            f"{cloud.name}: the balance is {balance.usd:.2f} USD and the cloud rents nothing below "
            f"{balance.minimum_usd:.2f} USD: add credit"
        )


def _order_first_in_stock(cloud: Cloud, offers: Sequence[Offer], name: str, ssh_key_id: str, wait: Wait) -> Instance:
    for offer in offers:
        where = f"{offer.provider} {offer.region}"
        wait.report(f"ordering {offer.gpu_count} x {offer.gpu_type} from {where} at {offer.usd_per_hour:.2f} USD/h")
        try:
            return cloud.create_instance(Order(name, offer, ssh_key_id), wait)
        except NoCapacity:
            wait.report(f"{where} has no stock")
        except AmbiguousOutcome as unclear:
            return _look_for_order(cloud, name, unclear, wait)
    raise NoCapacity(
        f"{cloud.name}: none of the {len(offers)} offers of {offers[0].gpu_count} x {offers[0].gpu_type} has stock: "
        f"allow more regions or providers, or try later"
    )


def _look_for_order(cloud: Cloud, name: str, unclear: AmbiguousOutcome, wait: Wait) -> Instance:
    wait.report(f"{unclear}; looking for {name}")
    until = wait.monotonic() + LOOK_SECONDS
    for _ in wait.backoff(first=2.0):
        found = find_one(cloud, name, wait)
        if found is not None:
            return found
        if wait.monotonic() >= until:
            break
    raise AmbiguousOutcome(
        f"{unclear}. No machine called {name} showed up within {LOOK_SECONDS:.0f} s and nothing more was ordered: run "
        f"again, it looks for that name first"
    ) from unclear


def _see_it_gone(cloud: Cloud, instance_id: str, wait: Wait, poll_seconds: float) -> None:
    until = wait.monotonic() + GONE_SECONDS
    while True:
        try:
            instance = cloud.get_instance(instance_id, wait)
        except NotFound:
            return
        if instance.state in ENDED:
            return
        if wait.monotonic() >= until:
            raise CloudError(
                f"{cloud.name} accepted the termination of {instance.name} ({instance.id}) {GONE_SECONDS / 60:.0f} min "
                f"ago and still calls it {instance.state}: it may bill, look at it in the cloud's console"
            )
        wait.report(f"{instance.name} is still {instance.state}")
        wait.sleep(poll_seconds)


def _described(query: OfferQuery) -> str:
    limit = "" if query.max_usd_per_hour is None else f" up to {query.max_usd_per_hour:.2f} USD/h"
    places = ", ".join([*query.providers, *query.regions])
    image = "" if query.image is None else f" with the image '{query.image}'"
    where = f" at {places}" if places else ""
    return f"{query.gpu_count} x {query.gpu_type} {query.purchase}{where}{image}{limit}"
