"""A sandbox on a clock of its own, with hosts that are only remembered."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moestro.clouds.sandbox import Home, Settings, configure, offers
from moestro.clouds.sandbox.faults import Faults
from moestro.clouds.sandbox.hosts import Presence, Sight
from moestro.clouds.sandbox.orders import OrderBody
from moestro.clouds.sandbox.service import Sandbox
from moestro.clouds.sandbox.store import Deployment
from moestro.errors import CloudError


@dataclass
class RememberedHosts:
    """Hosts that are where a test puts them."""

    there: dict[str, Presence] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    missing: str | None = None
    failing: str | None = None
    busy: bool = False
    boots_as: Presence = Presence.REACHABLE

    def check(self) -> None:
        if self.missing:
            raise CloudError(self.missing)

    def start(self, deployment: Deployment) -> bool:
        if self.failing:
            raise CloudError(self.failing)
        if self.busy:
            return False
        self.log.append(f"start {deployment.name}")
        self.there.setdefault(deployment.id, self.boots_as)
        return True

    def look(self, deployment: Deployment) -> Sight:
        presence = self.there.get(deployment.id, Presence.MISSING)
        return Sight(presence, None if presence is Presence.MISSING else f"192.0.2.{deployment.number}")

    def remove(self, deployment: Deployment) -> None:
        self.log.append(f"remove {deployment.name}")
        self.there.pop(deployment.id, None)

    def change_host_keys(self, deployment: Deployment) -> None:
        self.log.append(f"new host keys {deployment.name}")


class Stage:
    """One sandbox and everything a test turns on it."""

    def __init__(self, directory: Path, settings: Settings | None = None) -> None:
        self.home = Home(directory)
        self.now = 1_800_000_000.0
        self.hosts = RememberedHosts()
        self.faults = Faults(self.home)
        configure(self.home, settings or Settings())
        self.sandbox = self.another_process()

    def another_process(self) -> Sandbox:
        """What a second process would have."""
        return Sandbox(self.home, self.hosts, now=lambda: self.now)

    def order(self, name: str = "web-0", **changes: Any) -> str:
        """Order a machine and return its id."""
        return str(self.sandbox.order(self.body(name, **changes)).reply["id"])

    def body(self, name: str = "web-0", **changes: object) -> OrderBody:
        """An order for the first offer."""
        offer = offers.offers()[0]
        terms = {field: offer[field] for field in ("provider", "offerId", "gpuCount", "instanceType")} | {
            "gpuType": "CPU",
            "region": "local-1",
            "operatingSystem": offers.IMAGE,
            "ssh_public_key": "ssh-ed25519 AAA",
            "teamId": offers.TEAM_ID,
            "name": name,
        }
        return OrderBody.model_validate(terms | changes)

    def status(self, deployment_id: str) -> str:
        """What a read says."""
        return str(self.sandbox.get(deployment_id)["status"])
