"""The Spheron contract as a :class:`moestro.clouds.base.Cloud`.

The contract as known in November 2026: https://docs.spheron.ai/api-reference, and what public clients measured.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from moestro.clouds.base import Balance, Instance, InstanceState, Offer, OfferQuery, Order, Purchase, SshKey
from moestro.clouds.spheron import wire as w
from moestro.clouds.spheron.http import Answer, Api
from moestro.clouds.spheron.offers import INSTANCE_TYPES, candidates
from moestro.errors import (
    AmbiguousOutcome,
    CloudError,
    InsufficientFunds,
    NoCapacity,
    NotAuthorized,
    NotFound,
    NotYetTerminable,
)
from moestro.waiting import Wait

PAGE = 100
STATES = {
    "deploying": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "stopped": InstanceState.STOPPED,
    "failed": InstanceState.FAILED,
    "terminated": InstanceState.GONE,
    "terminated-provider": InstanceState.PREEMPTED,
}
ENDED = frozenset({InstanceState.FAILED, InstanceState.GONE, InstanceState.PREEMPTED})
SETTLE_SECONDS = 120.0  # an order is carried out while it is asked for, 20 to 40 s and more, whoever still listens
SHORTEST_WAIT_SECONDS = 5.0  # the cloud counts in whole minutes and says 0 during the last one

_NO_STOCK = re.compile(
    r"not enough stock|out of stock|sold out|insufficient (stock|capacity)|no (stock|capacity)", re.I
)
_NO_FUNDS = re.compile(r"(not enough|insufficient) (balance|funds|credits?)", re.I)


class Spheron:
    """A client of one account. Safe to share between threads.

    Args:
        api: how to ask.
        minimum_usd: what the cloud wants in the account before it rents anything.
        poll_seconds: the least pause between two looks at the same machine that it asks for.
        settle_seconds: how long an ordered machine may be missing from its lists.
    """

    def __init__(
        self, api: Api, minimum_usd: float, poll_seconds: float = 0.0, settle_seconds: float = SETTLE_SECONDS
    ) -> None:
        self.name = api.cloud
        self.poll_seconds = poll_seconds
        self.settle_seconds = settle_seconds
        self._api = api
        self._minimum_usd = minimum_usd
        self._team: str | None = None
        self._team_lock = threading.Lock()

    def list_offers(self, query: OfferQuery, wait: Wait) -> list[Offer]:
        """Offers that satisfy the query now, cheapest first."""
        offers: list[Offer] = []
        for group in self._groups(INSTANCE_TYPES[query.purchase], wait):
            if group.gpu_type == query.gpu_type:
                wires = [w.parse(w.OfferWire, raw, f"{self.name}: GET /api/gpu-offers") for raw in group.offers]
                offers += candidates(group.gpu_type, wires, query)
        return sorted(offers, key=lambda offer: offer.usd_per_hour)

    def balance(self, wait: Wait) -> Balance | None:
        """The current team's money, or ``None`` where the cloud hides it."""
        team = self._current_team(wait)
        return None if team is None else Balance(usd=team.balance, minimum_usd=self._minimum_usd)

    def create_instance(self, order: Order, wait: Wait) -> Instance:
        """Order one machine, once."""
        body = _order_body(order) | {"teamId": self._team_id(wait)}
        answer = self._api.once("/api/deployments", wait, body, order=True)
        if not answer.ok:
            raise _order_refused(answer)
        try:
            return _instance(w.parse(w.DeploymentWire, answer.body, answer.source))
        except CloudError as error:
            raise AmbiguousOutcome(f"the order of {order.name} was accepted, but {error}") from error

    def get_instance(self, instance_id: str, wait: Wait) -> Instance:
        """One machine; raises ``NotFound``."""
        return _instance(self._deployment(self._fulfilled("GET", f"/api/deployments/{_quoted(instance_id)}", wait)))

    def find_instances(self, name: str, wait: Wait) -> list[Instance]:
        """Every machine of exactly this name that is not gone, failed or preempted."""
        return [
            instance
            for deployment in self._deployments(wait)
            if deployment.name == name and (instance := _instance(deployment)).state not in ENDED
        ]

    def list_instances(self, wait: Wait) -> list[Instance]:
        """Every machine of the account that may still bill."""
        found = map(_instance, self._deployments(wait))
        return [instance for instance in found if instance.state not in ENDED]

    def rename_instance(self, instance_id: str, name: str, wait: Wait) -> Instance:
        """Change the machine's name, the only mutable field."""
        answer = self._fulfilled("PATCH", f"/api/deployments/{_quoted(instance_id)}", wait, payload={"name": name})
        return _instance(self._deployment(answer))

    def delete_instance(self, instance_id: str, wait: Wait) -> None:
        """Ask once for termination."""
        answer = self._api.repeatable("DELETE", f"/api/deployments/{_quoted(instance_id)}", wait)
        if answer.ok or _already_gone(answer):
            return
        said = w.refusal(answer.body)
        minutes = said.time_remaining
        if minutes is None and "minimum runtime" in str(answer).lower():
            minutes = self._minutes_to_wait(instance_id, wait)
        if answer.status != 400 or minutes is None:
            raise _refused(answer)
        raise NotYetTerminable(str(answer), max(SHORTEST_WAIT_SECONDS, 60.0 * minutes))

    def list_ssh_keys(self, wait: Wait) -> list[SshKey]:
        """Every key registered with the account."""
        answer = self._fulfilled("GET", "/api/ssh-keys", wait)
        listed = w.parse(
            list[w.SshKeyWire], w.rows(answer.body, answer.source, "sshKeys", "keys", "data"), answer.source
        )
        return [_ssh_key(key if key.public_key else self._key_details(key, wait)) for key in listed]

    def create_ssh_key(self, name: str, public_key: str, wait: Wait) -> SshKey:
        """Register a key."""
        body = {"name": name, "publicKey": public_key, "teamId": self._team_id(wait)}
        answer = self._api.once("/api/ssh-keys", wait, body)
        if not answer.ok:
            raise _refused(answer)
        made = w.parse(w.SshKeyWire, answer.body, answer.source)
        return SshKey(made.id, made.name or name, algorithm_and_body(public_key))

    def delete_ssh_key(self, key_id: str, wait: Wait) -> None:
        """Remove a key; quiet when it is already gone."""
        answer = self._api.repeatable("DELETE", f"/api/ssh-keys/{_quoted(key_id)}", wait)
        if not answer.ok and answer.status != 404:
            raise _refused(answer)

    def _groups(self, instance_type: str, wait: Wait) -> Iterator[w.GroupWire]:
        page = 1
        while True:
            params = {"page": page, "limit": PAGE, "instanceType": instance_type}
            answer = _require(self._api.repeatable("GET", "/api/gpu-offers", wait, params=params, public=True))
            reply = w.parse(w.OfferPageWire, answer.body, answer.source)
            yield from reply.data
            if _is_last(page, len(reply.data), reply.limit, reply.total_pages):
                return
            page += 1

    def _deployments(self, wait: Wait) -> Iterator[w.DeploymentWire]:
        seen: set[str] = set()
        page = 1
        while True:
            params = {"status": "active", "page": page, "limit": PAGE}
            answer = self._fulfilled("GET", "/api/deployments", wait, params=params)
            listed = w.parse(
                list[w.DeploymentWire], w.rows(answer.body, answer.source, "deployments", "data"), answer.source
            )
            fresh = [deployment for deployment in listed if deployment.id not in seen]
            yield from fresh
            seen.update(deployment.id for deployment in fresh)
            envelope = answer.body if isinstance(answer.body, dict) else {}
            # A cloud that ignores `page` sends the same machines again: nothing fresh, nothing further.
            if not fresh or _is_last(page, len(listed), envelope.get("limit"), envelope.get("totalPages")):
                return
            page += 1

    def _current_team(self, wait: Wait) -> w.TeamBalanceWire | None:
        answer = self._api.repeatable("GET", "/api/balance", wait)
        if answer.status == 404:
            return None
        teams = w.parse(w.BalanceWire, _require(answer).body, answer.source).teams
        return next((team for team in teams if team.is_current_team), None)

    def _team_id(self, wait: Wait) -> str:
        with self._team_lock:
            if self._team is None:
                current = self._current_team(wait)
                self._team = current.team_id if current else self._first_team(wait)
            return self._team

    def _first_team(self, wait: Wait) -> str:
        answer = self._fulfilled("GET", "/api/teams", wait)
        teams = w.parse(list[w.TeamWire], w.rows(answer.body, answer.source, "teams", "data"), answer.source)
        if not teams:
            raise CloudError(f"{self.name}: this account has no team, and orders need one: make one in its web console")
        return teams[0].id

    def _key_details(self, key: w.SshKeyWire, wait: Wait) -> w.SshKeyWire:
        answer = self._api.repeatable("GET", f"/api/ssh-keys/{_quoted(key.id)}", wait)
        if answer.status == 404:
            return key
        return w.parse(w.SshKeyWire, _require(answer).body, answer.source)

    def _minutes_to_wait(self, instance_id: str, wait: Wait) -> float:
        answer = self._fulfilled("GET", f"/api/deployments/{_quoted(instance_id)}/can-terminate", wait)
        return w.parse(w.CanTerminateWire, answer.body, answer.source).time_remaining

    def _deployment(self, answer: Answer) -> w.DeploymentWire:
        return w.parse(w.DeploymentWire, answer.body, answer.source)

    def _fulfilled(
        self, method: str, path: str, wait: Wait, *, params: Mapping[str, object] | None = None, payload: object = None
    ) -> Answer:
        return _require(self._api.repeatable(method, path, wait, params=params, payload=payload))


def algorithm_and_body(public_key: str) -> str:
    """An OpenSSH public key without its comment, which clouds may strip: how two keys are compared."""
    return " ".join(public_key.split()[:2])


def _order_body(order: Order) -> dict[str, object]:
    offer = order.offer
    return {
        "provider": offer.provider,
        "offerId": offer.offer_id,
        "gpuType": offer.gpu_type,
        "gpuCount": offer.gpu_count,
        "region": offer.region,
        "operatingSystem": offer.image,
        "instanceType": INSTANCE_TYPES[offer.purchase],
        "sshKeyId": order.ssh_key_id,
        "name": order.name,
    }


def _instance(wire: w.DeploymentWire) -> Instance:
    if wire.status not in STATES:
        raise CloudError(
            f"machine {wire.name or wire.id} is in the state '{wire.status}', which Moestro does not know and will not "
            f"guess about: look at {wire.id} in the cloud's console"
        )
    user, port = _login(wire.ssh_command or "")
    return Instance(
        id=wire.id,
        name=wire.name or "",
        state=STATES[wire.status],
        gpu_type=wire.gpu_type or wire.gpu_model_id or "",
        gpu_count=wire.gpu_count,
        region=wire.region or "",
        provider=wire.provider or wire.provider_id or "",
        image=wire.operating_system or "",
        purchase=Purchase.SPOT if wire.instance_type == "SPOT" else Purchase.ON_DEMAND,
        usd_per_hour=wire.hourly_rate or 0.0,
        address=wire.ip_address,
        ssh_port=wire.ssh_port or port or 22,
        ssh_user=wire.user or user or "ubuntu",
        created_at=wire.created_at,
        total_cost_usd=wire.total_cost,
        ssh_key_id=wire.ssh_key_id,
    )


def _quoted(identifier: str) -> str:
    return quote(identifier, safe="")


def _login(command: str) -> tuple[str | None, int | None]:
    """User and port of a command such as ``ssh -p 2222 ubuntu@203.0.113.7``; both may be missing."""
    user = re.search(r"([\w.-]+)@", command)
    port = re.search(r"-p\s*(\d+)", command)
    return user[1] if user else None, int(port[1]) if port else None


def _ssh_key(wire: w.SshKeyWire) -> SshKey:
    return SshKey(wire.id, wire.name, algorithm_and_body(wire.public_key or ""))


def _is_last(page: int, received: int, limit: int | None, total_pages: int | None) -> bool:
    if total_pages is not None:
        return page >= total_pages
    return received < min(PAGE, limit or PAGE)


def _already_gone(answer: Answer) -> bool:
    if answer.status == 404:
        return True
    if answer.status != 400:
        return False
    state = STATES.get(w.refusal(answer.body).current_status or "")
    return state in ENDED or "already been terminated" in str(answer)


def _require(answer: Answer) -> Answer:
    if answer.ok:
        return answer
    raise _refused(answer)


def _refused(answer: Answer) -> CloudError:
    if answer.status in {401, 403}:
        return NotAuthorized(f"{answer}; check the API key and that API access is enabled for the account")
    if answer.status == 404:
        return NotFound(str(answer))
    return CloudError(str(answer))


def _order_refused(answer: Answer) -> CloudError:
    if _NO_STOCK.search(str(answer)):
        return NoCapacity(str(answer))
    if answer.status == 402 or _NO_FUNDS.search(str(answer)):
        return InsufficientFunds(f"{answer}; add credit to the account")
    return _refused(answer)
