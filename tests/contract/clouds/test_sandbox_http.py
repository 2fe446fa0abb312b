"""The sandbox's own promises over HTTP: served by a real server, and in one process with its client."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from moestro.clouds import open_cloud
from moestro.clouds.base import OfferQuery
from moestro.clouds.ordering import ensure_ssh_key, rent
from moestro.clouds.sandbox import Home, Settings, configure
from moestro.clouds.sandbox.app import create_app
from moestro.clouds.sandbox.cloud import in_process
from moestro.clouds.sandbox.faults import Faults
from moestro.clouds.sandbox.service import Sandbox
from moestro.errors import NotAuthorized
from moestro.waiting import Wait
from tests.contract.clouds.stages import KEY


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    monkeypatch.setenv("MOESTRO_SANDBOX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MOESTRO_SANDBOX_URL", raising=False)
    monkeypatch.delenv("MOESTRO_SANDBOX_TOKEN", raising=False)
    configure(Home.current(), Settings(contract_only=True))
    return Home.current()


@pytest.fixture
def served(home: Home) -> Iterator[str]:
    """The address of the sandbox behind a real server."""
    config = uvicorn.Config(create_app(Sandbox(home), home.token), log_level="critical")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(params=["in process", "served"])
def cloud_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    if request.param == "in process":
        return None
    url: str = request.getfixturevalue("served")
    monkeypatch.setenv("MOESTRO_SANDBOX_URL", url)
    return url


@pytest.mark.usefixtures("home", "cloud_url")
class TestBothWays:
    @pytest.mark.parametrize("fault", ["post_5xx_after_accept", "dropped_connection"])
    def test_one_machine_though_the_answer_is_lost(self, home: Home, fault: str) -> None:
        cloud, wait = open_cloud("sandbox"), Wait.of(30)
        key = ensure_ssh_key(cloud, "laptop", KEY, wait)
        Faults(home).arm(fault)
        rented = rent(cloud, OfferQuery("CPU", 1), "web-0", key.id, wait)
        assert [machine.id for machine in cloud.list_instances(wait)] == [rented.id]
        assert Faults(home).armed() == []

    def test_somebody_elses_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MOESTRO_SANDBOX_TOKEN", "sandbox_guessed")
        with pytest.raises(NotAuthorized):
            open_cloud("sandbox").list_instances(Wait.of(10))


class TestHttp:
    @pytest.fixture
    def http(self, home: Home) -> httpx.Client:
        headers = {"Authorization": f"Bearer {home.token()}"}
        return httpx.Client(base_url="http://sandbox", transport=in_process(home), headers=headers)

    @pytest.fixture
    def order(self, http: httpx.Client) -> dict[str, object]:
        offer = http.get("/api/gpu-offers").json()["data"][0]["offers"][0]
        system = offer["os_options"][0]
        terms = {"gpuType": "CPU", "region": "local-1", "operatingSystem": system, "teamId": "sandbox-team"}
        chosen = {field: offer[field] for field in ("provider", "offerId", "gpuCount", "instanceType")}
        return chosen | terms | {"name": "web-0", "ssh_public_key": KEY}

    def test_an_order_that_is_answered_late_is_there_meanwhile(
        self, home: Home, http: httpx.Client, order: dict[str, object]
    ) -> None:
        Faults(home).arm("slow_post", seconds=5)
        started = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            http.post("/api/deployments", json=order, timeout=0.5)
        assert time.monotonic() - started < 3
        assert [machine["name"] for machine in http.get("/api/deployments").json()] == ["web-0"]

    def test_a_connection_that_breaks_looks_like_one(
        self, home: Home, http: httpx.Client, order: dict[str, object]
    ) -> None:
        Faults(home).arm("dropped_connection")
        with pytest.raises(httpx.RemoteProtocolError):
            http.post("/api/deployments", json=order)
        assert [machine["name"] for machine in http.get("/api/deployments").json()] == ["web-0"]

    def test_a_body_that_is_no_order(self, http: httpx.Client) -> None:
        answer = http.post("/api/deployments", json={"provider": "sandbox"})
        assert answer.status_code == 400
        assert answer.json() == {"error": "Validation failed", "message": "body.offerId: Field required"}

    def test_an_unexpected_failure_is_a_500_with_its_reason(self, home: Home, http: httpx.Client) -> None:
        home.database.write_text("not a database, and long enough to be taken for a broken one" * 100)
        answer = http.get("/api/deployments")
        assert answer.status_code == 500
        assert "DatabaseError" in answer.json()["message"]

    def test_the_catalogue_needs_no_key(self, http: httpx.Client) -> None:
        http.headers.clear()
        assert http.get("/api/providers").json() == ["sandbox", "sandbox-annex"]
        assert http.get("/api/gpu-offers").json()["totalPages"] == 1
        assert http.get("/api/deployments").status_code == 401

    def test_pages(self, http: httpx.Client) -> None:
        assert http.get("/api/gpu-offers", params={"page": 2}).json()["data"] == []
        assert http.get("/api/gpu-offers", params={"instanceType": "CLUSTER"}).json()["data"] == []

    def test_offers_say_what_they_are(self, http: httpx.Client) -> None:
        [group] = http.get("/api/gpu-offers").json()["data"]
        assert (group["gpuType"], group["gpuModel"]) == ("CPU", "none")
        assert {(offer["gpu_memory"], offer["price"]) for offer in group["offers"]} == {(0, 0.0)}
