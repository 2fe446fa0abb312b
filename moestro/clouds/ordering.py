"""Renting, awaiting and giving back machines so that nothing bills unnoticed: the same for every cloud."""

from collections.abc import Sequence

from moestro.clouds.base import Cloud, Instance, InstanceState, Offer, OfferQuery, Order, SshKey
from moestro.clouds.order_log import FORGETFUL, OrderLog
from moestro.errors import AmbiguousOutcome, CloudError, InsufficientFunds, NoCapacity, NotFound, NotYetTerminable
from moestro.waiting import Wait

GONE_SECONDS = 300.0  # how long an accepted termination may take to show
ENDED = frozenset({InstanceState.FAILED, InstanceState.GONE, InstanceState.PREEMPTED})


def rent(
    cloud: Cloud, query: OfferQuery, name: str, ssh_key_id: str, wait: Wait, log: OrderLog = FORGETFUL
) -> Instance:
    """The one machine called ``name``: found if it was ordered before, else ordered now, at most once a candidate.

    Returns as soon as the cloud has named the machine; it may not run yet (:func:`await_running`). Where ``log`` knows
    of an order that nobody saw answered, the name is looked for until the cloud's lists must show it.

    Raises:
        InsufficientFunds: the balance is below the cloud's minimum.
        NoCapacity: no offer satisfies the query, or none has stock.
        AmbiguousOutcome: an order got no clear answer and no such machine showed up. Nothing more was ordered; a
            later call looks for the name first and so never pays twice.
    """
    found = _ordered_before(cloud, name, log, wait)
    if found is not None:
        wait.report(f"found {name} as {found.id}: an earlier run ordered it")
        log.answered(name)
        return found
    _check_balance(cloud, wait)
    offers = cloud.list_offers(query, wait)
    if not offers:
        raise NoCapacity(f"{cloud.name} has no offer of {_described(query)}: allow more regions, providers or USD/hour")
    return _order_first_in_stock(cloud, offers, name, ssh_key_id, log, wait)


def oldest(cloud: Cloud, name: str, wait: Wait) -> Instance | None:
    """The machine called ``name``, or ``None``; the oldest where there are several (:func:`end_doubles`)."""
    found = cloud.find_instances(name, wait)
    return min(found, key=lambda instance: (instance.created_at or "", instance.id), default=None)


def end_doubles(cloud: Cloud, kept: Instance, wait: Wait) -> list[Instance]:
    """Give back every other machine of the unique name of ``kept``, and say which.

    There is one where a run was killed right after its order, and the next one ordered again before the cloud listed
    what it had.

    Raises:
        NotYetTerminable: the minimum runtime of one holds; it still bills.
    """
    doubles = [instance for instance in cloud.find_instances(kept.name, wait) if instance.id != kept.id]
    for double in doubles:
        try:
            cloud.delete_instance(double.id, wait)
        except NotYetTerminable as refusal:
            raise NotYetTerminable(
                f"{cloud.name}: {double.id} is a second machine called {kept.name}, ordered by a run that was killed, "
                f"and bills {double.usd_per_hour:.2f} USD/h; the cloud takes it back in "
                f"{refusal.wait_seconds / 60:.0f} min: run `pulumi up` again then",
                refusal.wait_seconds,
            ) from None
    return doubles


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
            raise CloudError(_never_runs(cloud, instance))
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


def machines_with_key(cloud: Cloud, key_id: str, wait: Wait, log: OrderLog = FORGETFUL) -> list[Instance]:
    """Every machine ordered with the registered key that may still bill.

    Lists may still show what has just ended, and may not show yet what a killed run ordered: where ``log`` knows of
    such an order, the answer waits until they must.
    """
    age = log.youngest()
    until = wait.monotonic() + (0.0 if age is None else cloud.settle_seconds - age)
    for _ in wait.backoff(first=2.0):
        listed = [instance for instance in cloud.list_instances(wait) if instance.ssh_key_id == key_id]
        found = [instance for instance in listed if not _has_ended(cloud, instance.id, wait)]
        if found or wait.monotonic() >= until:
            return found
        wait.report("a run that was killed ordered a machine just now; waiting for the cloud to list it")
    raise AssertionError("backoff only ends by raising")


def _has_ended(cloud: Cloud, instance_id: str, wait: Wait) -> bool:
    try:
        return cloud.get_instance(instance_id, wait).state in ENDED
    except NotFound:
        return True


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


def _ordered_before(cloud: Cloud, name: str, log: OrderLog, wait: Wait) -> Instance | None:
    found = oldest(cloud, name, wait)
    age = log.age(name)
    if found is not None or age is None or age >= cloud.settle_seconds:
        return found
    wait.report(f"{name} was ordered {age:.0f} s ago by a run that saw no answer; looking for it")
    return _looked_for(cloud, name, cloud.settle_seconds - age, wait)


def _order_first_in_stock(
    cloud: Cloud, offers: Sequence[Offer], name: str, ssh_key_id: str, log: OrderLog, wait: Wait
) -> Instance:
    for offer in offers:
        where = f"{offer.provider} {offer.region}"
        wait.report(f"ordering {offer.gpu_count} x {offer.gpu_type} from {where} at {offer.usd_per_hour:.2f} USD/h")
        machine = _order(cloud, Order(name, offer, ssh_key_id), log, wait)
        if machine is not None:
            return machine
        wait.report(f"{where} has no stock")
    raise NoCapacity(
        f"{cloud.name}: none of the {len(offers)} offers of {offers[0].gpu_count} x {offers[0].gpu_type} has stock: "
        f"allow more regions or providers, or try later"
    )


def _order(cloud: Cloud, order: Order, log: OrderLog, wait: Wait) -> Instance | None:
    """One order; ``None`` where there is no stock. The log forgets it once its outcome is known, whatever it is."""
    log.sent(order.name)
    try:
        machine = cloud.create_instance(order, wait)
    except NoCapacity:
        machine = None
    except AmbiguousOutcome as unclear:
        machine = _look_for_order(cloud, order.name, unclear, wait)
    except CloudError:
        log.answered(order.name)
        raise
    log.answered(order.name)
    return machine


def _look_for_order(cloud: Cloud, name: str, unclear: AmbiguousOutcome, wait: Wait) -> Instance:
    wait.report(f"{unclear}; looking for {name}")
    found = _looked_for(cloud, name, cloud.settle_seconds, wait)
    if found is not None:
        return found
    raise AmbiguousOutcome(
        f"{unclear}. No machine called {name} showed up within {cloud.settle_seconds:.0f} s and nothing more was "
        f"ordered: run again, it looks for that name first"
    ) from unclear


def _looked_for(cloud: Cloud, name: str, seconds: float, wait: Wait) -> Instance | None:
    until = wait.monotonic() + seconds
    for _ in wait.backoff(first=2.0):
        found = oldest(cloud, name, wait)
        if found is not None or wait.monotonic() >= until:
            return found
    raise AssertionError("backoff only ends by raising")


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


def _never_runs(cloud: Cloud, machine: Instance) -> str:
    said = f"{cloud.name}: machine {machine.name} ({machine.id}) is {machine.state}, not running"
    if machine.state is not InstanceState.STOPPED:
        return said
    return f"{said}, and may bill: start it in the cloud's console, or end it there and run `pulumi up --refresh`"


def _described(query: OfferQuery) -> str:
    limit = "" if query.max_usd_per_hour is None else f" up to {query.max_usd_per_hour:.2f} USD/h"
    places = ", ".join([*query.providers, *query.regions])
    image = "" if query.image is None else f" with the image '{query.image}'"
    where = f" at {places}" if places else ""
    return f"{query.gpu_count} x {query.gpu_type} {query.purchase}{where}{image}{limit}"
