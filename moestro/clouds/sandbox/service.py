"""What the sandbox does with each request, apart from HTTP."""

import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from moestro.clouds.sandbox import offers
from moestro.clouds.sandbox.faults import FaultKind, Faults
from moestro.clouds.sandbox.home import Home
from moestro.clouds.sandbox.hosts import SSH_PORT, USER, DockerHosts, Hosts, PaperHosts, Presence, Sight
from moestro.clouds.sandbox.orders import OrderBody
from moestro.clouds.sandbox.store import Deployment, Store, StoredKey
from moestro.errors import CloudError

Reply = dict[str, object]


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, body: Reply) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted order and how its answer goes out."""

    reply: Reply
    delay_seconds: float = 0.0
    fails: bool = False
    drops: bool = False


class Sandbox:
    """One home's cloud. Safe to share between threads; any number of processes may each have their own.

    Args:
        home: whose cloud.
        hosts: what stands behind its machines; by default what the home's settings say.
        now: the clock, in seconds since the epoch.
    """

    def __init__(self, home: Home, hosts: Hosts | None = None, now: Callable[[], float] = time.time) -> None:
        self._store = Store(home)
        self._faults = Faults(home)
        self._docker = DockerHosts(home)
        self._given = hosts
        self._now = now

    def order(self, order: OrderBody) -> Accepted:
        """Accept an order for a machine, or refuse it."""
        self._meet(FaultKind.RATE_LIMITED, order.name)
        self._meet(FaultKind.POST_5XX_BEFORE_ACCEPT, order.name)
        if self._faults.take(FaultKind.NO_STOCK, order.name):
            raise _bad(f"Not Enough Stock of {order.gpu_type}. Unable to launch virtual-machines.")
        problem = order.problem()
        if problem:
            raise _bad(problem)
        deployment = self._accept(order, self._key_of(order))
        slow = self._faults.take(FaultKind.SLOW_POST, order.name)
        return Accepted(
            reply=self._shown(deployment, self._hosts.look(deployment)),
            delay_seconds=slow.seconds if slow else 0.0,
            fails=self._faults.take(FaultKind.POST_5XX_AFTER_ACCEPT, order.name) is not None,
            drops=self._faults.take(FaultKind.DROPPED_CONNECTION, order.name) is not None,
        )

    def find(self, status: str | None) -> list[Reply]:
        """Every machine in a state; ``active`` and ``inactive`` are sets of states."""
        self._meet(FaultKind.RATE_LIMITED)
        self._meet(FaultKind.LIST_FAILURE)
        shown = [self._read(row) for row in self._store.deployments() if row.listed_at <= self._now()]
        return [reply for reply in shown if _has_status(str(reply["status"]), status)]

    def get(self, deployment_id: str) -> Reply:
        """One machine."""
        deployment = self._known(deployment_id)
        self._meet(FaultKind.RATE_LIMITED, deployment.name)
        self._meet(FaultKind.GET_FAILURE, deployment.name)
        return self._read(deployment)

    def rename(self, deployment_id: str, name: str) -> Reply:
        """Change a machine's name."""
        deployment = self._known(deployment_id)
        self._meet(FaultKind.RATE_LIMITED, deployment.name)
        return self._read(self._store.change_deployment(deployment, name=name))

    def terminate(self, deployment_id: str) -> Reply:
        """End a machine, or say why not yet."""
        deployment = self._known(deployment_id)
        self._meet(FaultKind.RATE_LIMITED, deployment.name)
        self._meet(FaultKind.DELETE_FAILURE, deployment.name)
        deployment, _ = self._advance(deployment)
        if deployment.ended:
            raise Refusal(400, _already_ended(deployment))
        early = self._faults.take(FaultKind.EARLY_DELETE, deployment.name)
        left = early.seconds if early else self._seconds_left(deployment)
        if left > 0:
            raise Refusal(400, self._too_early(left))
        deployment = self._end(deployment, "terminated")
        ended = {"id": deployment.id, "status": deployment.status, "stoppedAt": _moment(deployment.stopped_at)}
        return {"message": "Instance destruction initiated", "deployment": ended}

    def can_terminate(self, deployment_id: str) -> Reply:
        """Whether a machine may be ended now. Minutes, as the contract has them."""
        deployment = self._known(deployment_id)
        left = self._seconds_left(deployment)
        reply: Reply = {
            "canTerminate": left <= 0,
            "runtime": int((self._now() - deployment.created_at) // 60),
            "timeRemaining": math.floor(left / 60),
            "minimumRuntime": self._store.settings().minimum_runtime_minutes,
        }
        return reply if left <= 0 else reply | {"reason": "Minimum runtime not met"}

    def balance(self) -> Reply:
        """The account's one team and its money."""
        self._meet(FaultKind.RATE_LIMITED)
        team = {
            "teamId": offers.TEAM_ID,
            "teamName": offers.TEAM_NAME,
            "balance": self._store.settings().balance_usd,
            "isCurrentTeam": True,
            "role": "owner",
        }
        return {"teams": [team], "currency": "USD"}

    def keys(self) -> list[Reply]:
        """Registered keys."""
        self._meet(FaultKind.RATE_LIMITED)
        return [_key(key) for key in self._store.ssh_keys()]

    def key(self, key_id: str) -> Reply:
        """One registered key."""
        for key in self._store.ssh_keys():
            if key.id == key_id:
                return _key(key)
        raise Refusal(404, {"error": "SSH key not found"})

    def add_key(self, name: str, public_key: str) -> Reply:
        """Register a key. As on the real cloud, the comment is not kept and nothing stops doubles."""
        parts = public_key.split()
        if len(parts) < 2:
            raise _bad("publicKey is not an OpenSSH public key")
        key = StoredKey(uuid.uuid4().hex, name, " ".join(parts[:2]), self._now())
        self._store.add_key(key)
        return _key(key)

    def remove_key(self, key_id: str) -> Reply:
        """Forget a key."""
        if not self._store.remove_key(key_id):
            raise Refusal(404, {"error": "SSH key not found"})
        return {"success": True}

    @property
    def _hosts(self) -> Hosts:
        if self._given is not None:
            return self._given
        return PaperHosts() if self._store.settings().contract_only else self._docker

    def _meet(self, kind: FaultKind, name: str = "") -> None:
        fault = self._faults.take(kind, name)
        if fault is None:
            return
        if kind is FaultKind.RATE_LIMITED:
            body: Reply = {"error": "Too many requests", "code": "RATE_LIMIT_EXCEEDED", "retryAfter": fault.seconds}
            raise Refusal(429, body)
        raise Refusal(500, {"error": "Internal server error", "message": f"armed fault: {kind}"})

    def _key_of(self, order: OrderBody) -> str:
        if order.ssh_public_key:
            return order.ssh_public_key
        for key in self._store.ssh_keys():
            if key.id == order.ssh_key_id:
                return key.public_key
        raise _bad("SSH key not found: pass sshKeyId of a registered key, or ssh_public_key")

    def _accept(self, order: OrderBody, public_key: str) -> Deployment:
        try:
            self._hosts.check()
        except CloudError as error:
            raise _bad(str(error)) from None
        late_ssh = self._faults.take(FaultKind.LATE_SSH, order.name)
        late_listing = self._faults.take(FaultKind.LATE_LISTING, order.name)
        accepted = Deployment(
            id=uuid.uuid4().hex,
            name=order.name,
            terms=order.terms(),
            public_key=public_key,
            status="deploying",
            created_at=self._now(),
            late_ssh=late_ssh.seconds if late_ssh else 0.0,
            listed_at=self._now() + (late_listing.seconds if late_listing else 0.0),
        )
        deployment, failure = self._start(self._store.add_deployment(accepted))
        if failure:
            raise _bad(f"Unable to launch virtual-machines: {failure}")
        return deployment

    def _start(self, deployment: Deployment) -> tuple[Deployment, CloudError | None]:
        try:
            if not self._hosts.start(deployment):
                return deployment, None
        except CloudError as error:
            return self._end(deployment, "failed"), error
        deployment = self._store.change_deployment(deployment, rented=True)
        if deployment.ended:  # terminated while it was being started
            self._hosts.remove(deployment)
        return deployment, None

    def _end(self, deployment: Deployment, status: str) -> Deployment:
        self._hosts.remove(deployment)
        return self._store.change_deployment(deployment, status=status, stopped_at=self._now())

    def _known(self, deployment_id: str) -> Deployment:
        deployment = self._store.deployment(deployment_id)
        if deployment is None:
            raise Refusal(404, {"error": "Deployment not found"})
        return deployment

    def _read(self, deployment: Deployment) -> Reply:
        deployment, sight = self._advance(deployment)
        reply = self._shown(deployment, sight)
        if not deployment.ended and self._faults.take(FaultKind.UNKNOWN_STATE, deployment.name):
            return reply | {"status": "migrating"}
        return reply

    def _advance(self, deployment: Deployment) -> tuple[Deployment, Sight]:
        """Bring what is remembered up to what is there. Whoever reads does this; there is no daemon that would."""
        if deployment.status == "running":
            deployment = self._strike(deployment)
        if deployment.ended:
            return deployment, Sight(Presence.MISSING)
        sight = self._hosts.look(deployment)
        if sight.presence is Presence.MISSING:
            if deployment.rented:
                return self._end(deployment, "terminated-provider"), sight
            return self._start(deployment)[0], sight  # whoever accepted the order died before starting its host
        if deployment.status == "deploying" and self._is_up(deployment, sight):
            running = {"status": "running", "started_at": self._now(), "rented": True}
            deployment = self._store.change_deployment(deployment, **running)
        return deployment, sight

    def _strike(self, deployment: Deployment) -> Deployment:
        if self._faults.take(FaultKind.PREEMPTION, deployment.name):
            return self._end(deployment, "terminated-provider")
        if self._faults.take(FaultKind.CHANGED_HOST_KEY, deployment.name):
            self._hosts.change_host_keys(deployment)
        return deployment

    def _is_up(self, deployment: Deployment, sight: Sight) -> bool:
        settled = self._now() - deployment.created_at >= self._store.settings().deploy_seconds
        # A real cloud does not wait for a slow sshd either.
        return settled and (sight.presence is Presence.REACHABLE or deployment.late_ssh > 0)

    def _seconds_left(self, deployment: Deployment) -> float:
        least = 60.0 * self._store.settings().minimum_runtime_minutes
        return max(0.0, deployment.created_at + least - self._now())

    def _too_early(self, seconds: float) -> Reply:
        minutes = math.floor(seconds / 60)
        least = self._store.settings().minimum_runtime_minutes
        return {
            "error": "Minimum runtime not met",
            "message": f"Instance must run for at least {least} minutes. Time remaining: {minutes} minutes.",
            "canTerminate": False,
            "timeRemaining": minutes,
            "minimumRuntime": least,
        }

    def _shown(self, deployment: Deployment, sight: Sight) -> Reply:
        paused = deployment.status == "running" and sight.presence is Presence.STOPPED
        return {
            **deployment.terms,
            "id": deployment.id,
            "name": deployment.name,
            "providerId": deployment.terms["provider"],
            "ipAddress": sight.address,
            "user": USER,
            "status": "stopped" if paused else deployment.status,
            "createdAt": _moment(deployment.created_at),
            "startedAt": _moment(deployment.started_at),
            "stoppedAt": _moment(deployment.stopped_at),
            "hourlyRate": 0.0,
            "totalCost": 0.0,
            **offers.machine(),
            "sshCommand": f"ssh {USER}@{sight.address}" if sight.address else None,
            "sshPort": SSH_PORT if sight.address else None,
            "volumeIds": [],
        }


def _has_status(status: str, wanted: str | None) -> bool:
    active = {"deploying", "running", "stopped"}
    if wanted == "active":
        return status not in {"failed", "terminated", "terminated-provider"}
    if wanted == "inactive":
        return status not in active
    return wanted is None or status == wanted


def _already_ended(deployment: Deployment) -> Reply:
    return {
        "error": "Cannot terminate instance",
        "message": "Instance has already been terminated.",
        "currentStatus": deployment.status,
        "canTerminate": False,
    }


def _bad(message: str) -> Refusal:
    return Refusal(400, {"error": "Bad request", "message": message})


def _key(key: StoredKey) -> Reply:
    # The real cloud's fingerprint is the same for all keys of one algorithm, and so of no use: ours is none either.
    algorithm = key.public_key.split()[0]
    return {
        "id": key.id,
        "name": key.name,
        "publicKey": key.public_key,
        "fingerprint": f"of {algorithm}",
        "createdAt": _moment(key.created_at),
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
