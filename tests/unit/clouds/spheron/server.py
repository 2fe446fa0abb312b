"""A scripted server behind httpx.MockTransport, and a client of it."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from moestro.clouds.base import Offer, Order, Purchase
from moestro.clouds.spheron.client import Spheron
from moestro.clouds.spheron.http import Api, Limits

KEY = "sai_pk_0123456789abcdef"
Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers each (method, path) with the next of its scripted answers; the last one stays."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: dict[tuple[str, str], list[Answer]] = {}

    def on(self, method: str, path: str, *answers: Answer) -> "Server":
        """Script the answers to one kind of request."""
        self._answers[method, path] = list(answers)
        return self

    def client(self, limits: Limits | None = None, key: Callable[[], str] = lambda: KEY) -> Spheron:
        """A Spheron client of this server."""
        http = httpx.Client(base_url="http://cloud.test", transport=httpx.MockTransport(self._handle))
        return Spheron(Api(http, key, limits or Limits(), "spheron"), minimum_usd=3.0)

    def paths(self, method: str) -> list[str]:
        """The paths that were asked with this method, in order."""
        return [request.url.path for request in self.requests if request.method == method]

    def bodies(self, method: str) -> list[Any]:
        """The JSON bodies that were sent with this method, in order."""
        return [json.loads(request.content) for request in self.requests if request.method == method]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answers = self._answers[request.method, request.url.path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A response can be read once only; scripted ones may be given several times.
        return (
            answer(request)
            if callable(answer)
            else httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        )


def reply(body: object, status: int = 200, **headers: str) -> httpx.Response:
    """A JSON answer."""
    return httpx.Response(status, json=body, headers=headers)


BALANCE = {
    "teams": [
        {"teamId": "team-old", "teamName": "Old", "balance": 1.0, "isCurrentTeam": False, "role": "member"},
        {"teamId": "team-now", "teamName": "Now", "balance": 42.5, "isCurrentTeam": True, "role": "owner"},
    ],
    "currency": "USD",
}


def deployment(**changes: object) -> dict[str, object]:
    """A deployment as the cloud shows it, with changes."""
    return {
        "id": "dep-1",
        "name": "web-0",
        "providerId": "massed-compute",
        "provider": "massed-compute",
        "gpuType": "H100_PCIE",
        "gpuCount": 2,
        "region": "us-central-2",
        "operatingSystem": "Ubuntu Server 22.04",
        "instanceType": "DEDICATED",
        "ipAddress": "203.0.113.7",
        "user": "ubuntu",
        "status": "running",
        "sshCommand": "ssh -p 2222 ubuntu@203.0.113.7",
        "sshPort": 2222,
        "hourlyRate": 4.5,
        "totalCost": 1.25,
        "createdAt": "2026-11-24T10:00:00Z",
    } | changes


def offer(**changes: object) -> dict[str, object]:
    """An offer as the catalogue shows it, with changes."""
    return {
        "provider": "massed-compute",
        "offerId": "US Central 1::h100::2gpu",
        "vcpus": 32,
        "memory": 256,
        "storage": 1000,
        "gpuCount": 2,
        "gpu_memory": 80,
        "price": 4.5,
        "available": True,
        "maintenance": False,
        "clusters": ["us-central-2"],
        "os_options": ["Ubuntu Server 22.04"],
        "instanceType": "DEDICATED",
    } | changes


def catalogue(*offers: dict[str, object], gpu_type: str = "H100_PCIE", **envelope: object) -> dict[str, object]:
    """A catalogue page with one group."""
    return {
        "data": [{"gpuType": gpu_type, "offers": list(offers)}],
        "page": 1,
        "limit": 100,
        "totalPages": 1,
    } | envelope


ORDER = Order(
    name="web-0",
    ssh_key_id="key-1",
    offer=Offer(
        provider="massed-compute",
        offer_id="US Central 1::h100::2gpu",
        gpu_type="H100_PCIE",
        gpu_count=2,
        region="us-central-2",
        image="Ubuntu Server 22.04",
        purchase=Purchase.SPOT,
        usd_per_hour=4.5,
        vcpus=32,
        memory_gb=256,
        storage_gb=1000,
        gpu_memory_gb=80,
    ),
)
