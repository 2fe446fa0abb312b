"""The same situations on two clouds: replies as the real one is known to give them, and the sandbox."""

from pathlib import Path
from typing import Any, Protocol

import httpx
import yaml

from moestro.clouds.base import Instance, OfferQuery, Order
from moestro.clouds.sandbox import Home, Settings, configure
from moestro.clouds.sandbox.cloud import in_process
from moestro.clouds.sandbox.faults import Faults
from moestro.clouds.spheron.client import Spheron
from moestro.clouds.spheron.http import Api, Limits
from tests.contract.clouds.validation import Validated
from tests.unit.clouds.clock import Clock

REPLIES = Path(__file__).parents[2] / "fixtures" / "spheron" / "replies.yaml"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEbVJzZ1"


class Stage(Protocol):
    """A cloud in a situation. ``query`` is what it can fulfil."""

    query: OfferQuery
    cloud: Spheron

    def given(self, situation: str) -> None:
        """Bring the situation about."""

    def rented(self) -> Instance:
        """A running machine called web-0."""

    def without_key(self) -> Spheron:
        """A client whose key the cloud does not know."""


class Replayed:
    """Replies from the fixture."""

    query = OfferQuery("H100_PCIE", 1)

    def __init__(self) -> None:
        self.given("usual")
        self.cloud = _client(Validated(httpx.MockTransport(self._answer)))

    def given(self, situation: str) -> None:
        usual, changed = (_replies()["situations"][name] for name in ("usual", situation))
        self._answers = {request: list(answers) for request, answers in (usual | changed).items()}

    def rented(self) -> Instance:
        del self._answers["GET /api/deployments"][:1]
        return self.cloud.get_instance("6f0e5a7c", Clock().wait())

    def without_key(self) -> Spheron:
        self.given("unauthorized")
        return self.cloud

    def _answer(self, request: httpx.Request) -> httpx.Response:
        answers = self._answers[f"{request.method} {request.url.path}"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return httpx.Response(answer.get("status", 200), json=answer["body"])


class SandboxStage:
    """The sandbox, without hosts."""

    query = OfferQuery("CPU", 1)

    def __init__(self, directory: Path) -> None:
        self._home = Home(directory)
        configure(self._home, Settings(contract_only=True, balance_usd=42.5))
        self._transport = Validated(in_process(self._home))
        self.cloud = _client(self._transport, self._home.token())

    def given(self, situation: str) -> None:
        seconds = {"early_delete": 180.0, "rate_limited": 12.0}
        lasting = {"list_failure", "delete_failure"}
        kind = {"unclear": "post_5xx_after_accept"}.get(situation, situation)
        Faults(self._home).arm(kind, None if situation in lasting else 1, seconds=seconds.get(situation, 0.0))

    def rented(self) -> Instance:
        wait = Clock().wait()
        key = self.cloud.create_ssh_key("laptop", KEY, wait)
        offer = self.cloud.list_offers(self.query, wait)[0]
        made = self.cloud.create_instance(Order("web-0", offer, key.id), wait)
        return self.cloud.get_instance(made.id, wait)

    def without_key(self) -> Spheron:
        return _client(self._transport, "sandbox_somebody_elses")


def _client(transport: httpx.BaseTransport, key: str = "sai_pk_0123456789") -> Spheron:
    http = httpx.Client(base_url="http://localhost", transport=transport)
    return Spheron(Api(http, lambda: key, Limits(), "cloud"), minimum_usd=3.0)


def _replies() -> Any:
    return yaml.safe_load(REPLIES.read_text())
