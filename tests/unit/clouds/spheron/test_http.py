import httpx
import pytest

from moestro import __version__
from moestro.clouds.base import OfferQuery
from moestro.clouds.spheron import key_from_environment
from moestro.clouds.spheron.http import Limits
from moestro.clouds.spheron.limits import Window
from moestro.errors import AmbiguousOutcome, CloudError, DeadlineExceeded, NotAuthorized, NotFound, RateLimited
from tests.unit.clouds.clock import Clock
from tests.unit.clouds.spheron.server import BALANCE, KEY, ORDER, Server, catalogue, deployment, reply

ONE = "/api/deployments/dep-1"


class TestWhoWeAre:
    def test_every_request_names_us_and_carries_the_key(self) -> None:
        server = Server().on("GET", ONE, reply(deployment()))
        server.client().get_instance("dep-1", Clock().wait())
        headers = server.requests[0].headers
        assert headers["User-Agent"] == f"moestro/{__version__}"
        assert headers["Authorization"] == f"Bearer {KEY}"

    def test_the_key_is_read_when_it_is_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = Server().on("GET", ONE, reply(deployment()))
        client = server.client(key=key_from_environment)
        for key in ("sai_pk_first", "sai_pk_second"):
            monkeypatch.setenv("SPHERON_API_KEY", key)
            client.get_instance("dep-1", Clock().wait())
            assert server.requests[-1].headers["Authorization"] == f"Bearer {key}"

    @pytest.mark.parametrize("value", [None, "", "  "])
    def test_a_missing_key_is_said_before_anything_is_sent(
        self, monkeypatch: pytest.MonkeyPatch, value: str | None
    ) -> None:
        monkeypatch.delenv("SPHERON_API_KEY", raising=False)
        if value is not None:
            monkeypatch.setenv("SPHERON_API_KEY", value)
        server = Server()
        with pytest.raises(NotAuthorized, match="SPHERON_API_KEY is not set"):
            server.client(key=key_from_environment).get_instance("dep-1", Clock().wait())
        assert server.requests == []

    def test_offers_need_no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SPHERON_API_KEY", raising=False)
        server = Server().on("GET", "/api/gpu-offers", reply(catalogue()))
        assert server.client(key=key_from_environment).list_offers(OfferQuery("H100_PCIE", 1), Clock().wait()) == []
        assert "Authorization" not in server.requests[0].headers

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refused_key_is_not_in_the_error(self, status: int) -> None:
        server = Server().on("GET", ONE, reply({"error": f"bad key {KEY}"}, status))
        with pytest.raises(NotAuthorized, match=f"answered {status}: bad key") as caught:
            server.client().get_instance("dep-1", Clock().wait())
        assert KEY not in str(caught.value)

    @pytest.mark.parametrize("key", ["sai_pk_a\nb", "sai pk", "sai_pk_ö"])
    def test_a_mangled_key_is_refused_without_being_shown(self, key: str) -> None:
        with pytest.raises(NotAuthorized) as caught:
            Server().client(key=lambda: key).get_instance("dep-1", Clock().wait())
        assert key not in str(caught.value)


class TestAskingAgain:
    @pytest.mark.parametrize(
        "failure",
        [reply({}, 500), reply({}, 503), httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.DecodingError("x")],
    )
    def test_a_question_survives_a_failure(self, failure: httpx.Response | Exception) -> None:
        clock, server = Clock(), Server().on("GET", ONE, failure, failure, reply(deployment()))
        assert server.client().get_instance("dep-1", clock.wait()).id == "dep-1"
        assert clock.slept == [1.0, 1.5]

    def test_it_gives_up_and_says_what_was_said(self) -> None:
        server = Server().on("GET", ONE, reply({"error": "Internal", "message": "database is\n down"}, 500))
        with pytest.raises(CloudError, match="answered 500: Internal: database is down; gave up after 5 attempts"):
            server.client().get_instance("dep-1", Clock().wait())
        assert len(server.requests) == 5

    def test_the_deadline_ends_it_sooner(self) -> None:
        server = Server().on("GET", ONE, httpx.ConnectError("x"))
        with pytest.raises(DeadlineExceeded):
            server.client().get_instance("dep-1", Clock().wait(2.0))

    def test_a_refusal_is_not_asked_again(self) -> None:
        server = Server().on("GET", ONE, reply({"error": "Deployment not found"}, 404))
        with pytest.raises(NotFound, match="GET /api/deployments/dep-1 answered 404: Deployment not found"):
            server.client().get_instance("dep-1", Clock().wait())
        assert len(server.requests) == 1

    def test_an_error_page_is_shown_in_one_line(self) -> None:
        server = Server().on("GET", ONE, httpx.Response(418, text="<html>\n  teapot\n</html>"))
        with pytest.raises(CloudError, match="answered 418: <html> teapot </html>"):
            server.client().get_instance("dep-1", Clock().wait())

    def test_ids_are_quoted_in_paths(self) -> None:
        server = Server().on("GET", "/api/deployments/a/../b", reply(deployment()))
        server.client().get_instance("a/../b", Clock().wait())
        assert server.requests[0].url.raw_path == b"/api/deployments/a%2F..%2Fb"


class TestSlowingDown:
    @pytest.mark.parametrize(
        ("answer", "pause"),
        [
            (reply({"code": "RATE_LIMIT_EXCEEDED", "retryAfter": 7}, 429), 7.0),
            (reply({"error": "slow down"}, 429, **{"Retry-After": "11"}), 11.0),
            (reply({"retryAfter": 0}, 429), 1.0),
            (httpx.Response(429, text="slow down"), 30.0),
            (reply({}, 429, **{"Retry-After": "Wed, 25 Nov 2026 07:28:00 GMT"}), 30.0),
        ],
    )
    def test_it_waits_as_long_as_it_is_asked_to(self, answer: httpx.Response, pause: float) -> None:
        clock, server = Clock(), Server().on("GET", ONE, answer, reply(deployment()))
        assert server.client().get_instance("dep-1", clock.wait(60.0)).id == "dep-1"
        assert clock.slept == [pause]

    def test_no_time_left_to_wait(self) -> None:
        server = Server().on("GET", ONE, reply({"error": "slow", "retryAfter": 600}, 429))
        clock = Clock()
        with pytest.raises(RateLimited, match="answered 429: slow; it asks for 600 s"):
            server.client().get_instance("dep-1", clock.wait(60.0))
        assert clock.slept == []

    def test_an_order_is_sent_again_after_429_only(self) -> None:
        server = _orders(reply({"retryAfter": 5}, 429), reply(deployment(status="deploying"), 201))
        clock = Clock()
        assert server.client().create_instance(ORDER, clock.wait()).id == "dep-1"
        assert clock.slept == [5.0]
        assert len(server.paths("POST")) == 2

    def test_our_own_limits_hold_us_back_before_the_clouds_do(self) -> None:
        limits = Limits(requests=Window(4, 900.0), orders=Window(1, 900.0))
        server = _orders(reply(deployment(), 201)).on("GET", ONE, reply(deployment()))
        client, clock = server.client(limits), Clock()
        client.create_instance(ORDER, clock.wait())  # the team and the order: 2 requests, 1 order
        client.get_instance("dep-1", clock.wait())
        assert clock.slept == []
        client.create_instance(ORDER, clock.wait())  # the second order must wait
        assert clock.slept == [900.0]

    def test_the_published_limits(self) -> None:
        limits, clock = Limits.published(), Clock()
        assert limits.requests is not None
        assert limits.orders is not None
        for _ in range(10):
            limits.orders.take(clock.wait())
        for _ in range(100):
            limits.requests.take(clock.wait())
        assert clock.slept == []
        limits.orders.take(clock.wait())
        assert clock.slept == [900.0]


class TestOrderingOnce:
    @pytest.mark.parametrize(
        "failure",
        [
            reply({"error": "x"}, 500),
            reply({}, 502),
            reply({}, 504),
            reply({}, 408),
            httpx.ReadTimeout("x"),
            httpx.WriteTimeout("x"),
            httpx.ReadError("x"),
            httpx.RemoteProtocolError("x"),
            httpx.DecodingError("x"),
        ],
    )
    def test_an_unclear_answer_is_never_followed_by_a_second_order(self, failure: httpx.Response | Exception) -> None:
        server = _orders(failure)
        with pytest.raises(AmbiguousOutcome, match="may be accepted"):
            server.client().create_instance(ORDER, Clock().wait())
        assert len(server.paths("POST")) == 1

    @pytest.mark.parametrize("body", [b"", b"<html>", b'{"id": 7}', b"[]"])
    def test_an_unreadable_acceptance_is_unclear_too(self, body: bytes) -> None:
        server = _orders(httpx.Response(201, content=body))
        with pytest.raises(AmbiguousOutcome, match="the order of web-0 was accepted, but"):
            server.client().create_instance(ORDER, Clock().wait())
        assert len(server.paths("POST")) == 1

    @pytest.mark.parametrize("failure", [httpx.ConnectError("x"), httpx.ConnectTimeout("x"), httpx.PoolTimeout("x")])
    def test_what_was_never_sent_is_not_unclear(self, failure: Exception) -> None:
        with pytest.raises(CloudError, match="nothing was sent") as caught:
            _orders(failure).client().create_instance(ORDER, Clock().wait())
        assert not isinstance(caught.value, AmbiguousOutcome)

    def test_an_order_may_take_two_minutes_and_more(self) -> None:
        server = _orders(reply(deployment(), 201))
        server.client().create_instance(ORDER, Clock().wait())
        timeouts = {request.method: request.extensions["timeout"]["read"] for request in server.requests}
        assert timeouts["POST"] >= 120
        assert timeouts["GET"] <= 30


def _orders(*answers: httpx.Response | Exception) -> Server:
    return Server().on("GET", "/api/balance", reply(BALANCE)).on("POST", "/api/deployments", *answers)
