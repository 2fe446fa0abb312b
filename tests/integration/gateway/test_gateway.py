"""What the rendered configuration does in a real nginx. The backends are stand-ins (see backends.py)."""

import json
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from moestro.serving.names import engine_name
from moestro.serving.nginx import Tls, Upstream
from tests.integration.gateway.backends import EVENTS, StandIn
from tests.integration.gateway.conftest import ALICE, BOB, ENGINE_KEY, Scene
from tests.integration.gateway.nginx import free_port
from tests.integration.gateway.pki import Authority

Start = Callable[..., Scene]
BODY = {"model": "tiny", "prompt": "hello"}


def complete(scene: Scene, key: str | None = ALICE, **body: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{scene.nginx.url}/v1/completions", json=BODY | body, headers=headers, timeout=20)


def raw(scene: Scene, text: str) -> tuple[str, str]:
    """Head and body of the answer to exactly this text."""
    with socket.create_connection(("127.0.0.1", scene.nginx.spec.listen_port), timeout=5) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return head, body


def stream(scene: Scene, told: Callable[[], None] = lambda: None) -> list[str]:
    """The events of one streamed completion; tells of each as it comes."""
    events = []
    headers = {"Authorization": f"Bearer {ALICE}"}
    with httpx.stream(
        "POST", f"{scene.nginx.url}/v1/completions", json=BODY | {"stream": True}, headers=headers
    ) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if line:
                events.append(line)
                told()
    return events


class TestKeys:
    @pytest.mark.parametrize(
        ("authorization", "code"),
        [
            (None, "missing_api_key"),
            ("Bearer wrong-key-0123456789", "invalid_api_key"),
            (f"Bearer {ALICE.upper()}", "invalid_api_key"),
            (f"Bearer {ALICE}x", "invalid_api_key"),
            (f"Bearer x{ALICE}", "invalid_api_key"),
            (f"Bearer {ALICE.replace('.', 'x')}", "invalid_api_key"),
            (f"Basic {ALICE}", "invalid_api_key"),
            (f"Bearer {ENGINE_KEY}", "invalid_api_key"),
            ("Bearer", "invalid_api_key"),
        ],
    )
    def test_only_a_users_exact_key_is_let_in(self, gateway: Start, authorization: str | None, code: str) -> None:
        scene = gateway()
        headers = {"Authorization": authorization} if authorization else {}

        reply = httpx.post(f"{scene.nginx.url}/v1/completions", json=BODY, headers=headers)

        assert reply.status_code == 401
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.json()["error"]["code"] == code
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
        assert all(not each.requests for each in scene.backends)

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
    def test_the_scheme_is_read_as_http_reads_it(self, gateway: Start, scheme: str) -> None:
        scene = gateway()

        reply = httpx.get(f"{scene.nginx.url}/v1/models", headers={"authorization": f"{scheme} {ALICE}"})

        assert reply.status_code == 200

    def test_the_engine_gets_its_own_key_and_never_the_users(self, gateway: Start) -> None:
        scene = gateway()

        assert complete(scene, ALICE).status_code == 200
        assert complete(scene, BOB).status_code == 200

        asked = [headers for each in scene.backends for _, _, headers, _ in each.requests]
        assert [headers["Authorization"] for headers in asked] == [f"Bearer {ENGINE_KEY}"] * 2
        assert ALICE not in str(asked)
        assert BOB not in str(asked)

    def test_keys_are_in_files_of_mode_0600_alone(self, gateway: Start) -> None:
        scene = gateway()

        for path in scene.nginx.configuration.rglob("*"):
            text = path.read_text() if path.is_file() else ""
            if "-0123456789" in text or "PRIVATE KEY" in text:
                assert path.stat().st_mode & 0o777 == 0o600, path


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/metrics",
            "/health",
            "/v1",
            "/v1x/models",
            "/tokenize",
            "/sleep",
            "/load_lora_adapter",
            "/v1/load_lora_adapter",
            "/v1/unload_lora_adapter",
            "/v1/loads",
            "/v1/%6coads",
            "/v1/../metrics",
            "/v1/%2e%2e/metrics",
            "/v1/%2E%2E%2Fmetrics",
            "//v1/../metrics",
            "/docs",
            "/openapi.json",
            "/moestro-error",
            "/status",
            "/digest",
        ],
    )
    def test_nothing_but_the_api_is_reachable_even_with_a_key(self, gateway: Start, path: str) -> None:
        scene = gateway()

        # curl, because httpx would tidy the path up itself.
        command = ["curl", "-s", "--path-as-is", "-w", "%{http_code}", "-H", f"Authorization: Bearer {ALICE}"]
        done = subprocess.run([*command, f"{scene.nginx.url}{path}"], capture_output=True, text=True, check=True)

        assert done.stdout.endswith("404")
        assert json.loads(done.stdout.removesuffix("404"))["error"]["code"] == "not_found"
        assert all(not each.requests for each in scene.backends)

    def test_the_engine_sees_the_tidied_path(self, gateway: Start) -> None:
        scene = gateway()

        url = f"{scene.nginx.url}/metrics/../v1/a%20b/./models?x=1"
        subprocess.run(["curl", "-s", "--path-as-is", "-H", f"Authorization: Bearer {ALICE}", url], check=True)

        assert [path for each in scene.backends for _, path, _, _ in each.requests] == ["/v1/a%20b/models?x=1"]

    def test_an_engines_redirect_leads_back_to_the_gateway(self, gateway: Start) -> None:
        scene = gateway()
        for each in scene.backends:
            each.location = "https://127.0.0.1/v1/models"

        reply = httpx.get(f"{scene.nginx.url}/v1/models/", headers={"Authorization": f"Bearer {ALICE}"})

        assert (reply.status_code, reply.headers["location"]) == (307, "/v1/models")


class TestMalformed:
    @pytest.mark.parametrize(
        ("line", "headers", "status", "code"),
        [
            ("GET /v1/../../metrics HTTP/1.1", "", 400, "bad_request"),
            ("GET /v1/%zz HTTP/1.1", "", 400, "bad_request"),
            ("GET /v1/%00 HTTP/1.1", "", 400, "bad_request"),
            ("nonsense", "", 400, "bad_request"),
            ("GET /v1/models HTTP/1.1", f"X-Long: {'x' * 40_000}\r\n", 400, "bad_request"),
            ("GET /v1/models HTTP/1.1", "Authorization: Bearer another\r\n", 400, "bad_request"),
            ("TRACE /v1/models HTTP/1.1", "", 405, "method_not_allowed"),
            (f"GET /v1/{'x' * 9_000} HTTP/1.1", "", 414, "path_too_long"),
            ("POST /v1/completions HTTP/1.1", "Transfer-Encoding: other\r\n", 501, "not_supported"),
            ("GET /v1/models HTTP/3.0", "", 505, "not_supported"),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_what_nginx_cannot_read_gets_an_openai_error_too(
        self, gateway: Start, line: str, headers: str, status: int, code: str
    ) -> None:
        scene = gateway()

        head, body = raw(scene, f"{line}\r\nHost: x\r\nAuthorization: Bearer {ALICE}\r\n{headers}\r\n")

        assert f"HTTP/1.1 {status} " in head
        assert "Content-Type: application/json" in head
        assert json.loads(body)["error"]["code"] == code
        assert all(not each.requests for each in scene.backends)
        entry = json.loads(scene.nginx.access_log(1)[0])
        assert entry["status"] == status
        assert line.startswith(entry["method"])
        assert "moestro-error" not in entry["path"]


class TestStreaming:
    def test_every_event_arrives_before_the_next_is_sent(self, gateway: Start) -> None:
        scene, received = gateway(), threading.Semaphore(0)
        for each in scene.backends:
            each.received = received

        assert stream(scene, received.release) == [f"data: {number}" for number in range(EVENTS)]

    def test_a_client_that_leaves_ends_the_generation(self, gateway: Start) -> None:
        scene = gateway()
        headers = {"Authorization": f"Bearer {ALICE}"}
        url, body = f"{scene.nginx.url}/v1/completions", BODY | {"stream": True}

        with httpx.stream("POST", url, json=body, headers=headers) as reply:
            next(reply.iter_lines())

        _wait_for(lambda: any(each.left.is_set() for each in scene.backends))
        assert sum(each.completions for each in scene.backends) == 1

    def test_a_stream_that_an_engine_cuts_is_cut_and_not_begun_anew(self, gateway: Start) -> None:
        scene = gateway()
        for each in scene.backends:
            each.cut_streams = True

        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            stream(scene)

        assert sum(each.completions for each in scene.backends) == 1

    def test_connections_to_engines_are_used_again(self, gateway: Start) -> None:
        scene = gateway()

        with httpx.Client(headers={"Authorization": f"Bearer {ALICE}"}) as client:  # one connection: one worker
            assert {client.get(f"{scene.nginx.url}/v1/models").status_code for _ in range(12)} == {200}

        assert sum(len(each.peers) for each in scene.backends) == 12
        assert sum(len(set(each.peers)) for each in scene.backends) == len(scene.backends)

    def test_a_reload_leaves_a_running_stream_alone_and_serves_new_requests_elsewhere(self, gateway: Start) -> None:
        scene = gateway()
        first, *others = scene.backends
        for each in others:
            scene.nginx.set_taking_requests(each.name, False)
        scene.nginx.reload()
        started = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(stream, scene, started.set)
            assert started.wait(5)
            scene.nginx.set_taking_requests(first.name, False)
            scene.nginx.set_taking_requests(others[0].name, True)
            scene.nginx.reload()
            replies = [complete(scene).headers["X-Moestro-Replica"] for _ in range(5)]
            events = running.result()

        assert replies == [others[0].name] * 5
        assert len(events) == EVENTS
        assert first.completions == 1


class TestBalance:
    def test_requests_go_where_the_fewest_are(self, gateway: Start) -> None:
        scene = gateway()
        for each in scene.backends:
            each.hold.clear()
        with ThreadPoolExecutor(12) as pool:
            running = []
            for number in range(12):
                running.append(pool.submit(complete, scene))
                _wait_for(lambda n=number: sum(each.completions for each in scene.backends) == n + 1)
            counts = [each.completions for each in scene.backends]
            for each in scene.backends:
                each.hold.set()
            assert {reply.result().status_code for reply in running} == {200}

        assert counts == [4, 4, 4]

    def test_the_answer_names_the_replica_that_gave_it(self, gateway: Start) -> None:
        scene = gateway()

        replies = [complete(scene) for _ in range(9)]

        assert [reply.headers["X-Moestro-Replica"] for reply in replies] == [
            reply.json()["served_by"] for reply in replies
        ]
        assert Counter(reply.json()["served_by"] for reply in replies).keys() == {each.name for each in scene.backends}

    def test_a_drained_replica_gets_nothing_until_it_is_put_back(self, gateway: Start) -> None:
        scene = gateway()
        drained = scene.backends[1]

        scene.nginx.set_taking_requests(drained.name, False)
        scene.nginx.reload()
        assert {complete(scene).status_code for _ in range(12)} == {200}
        assert drained.completions == 0

        scene.nginx.set_taking_requests(drained.name, True)
        scene.nginx.reload()
        assert {complete(scene).status_code for _ in range(12)} == {200}
        assert drained.completions > 0

    def test_draining_survives_a_new_configuration_and_an_address_change(self, gateway: Start) -> None:
        scene = gateway()
        drained, other = scene.backends[0], scene.backends[1]
        scene.nginx.set_taking_requests(drained.name, False)
        before = scene.nginx.status("digest")

        swapped = (Upstream(other.name, "127.0.0.1", other.port), Upstream(drained.name, "127.0.0.1", free_port()))
        scene.nginx.update(replace(scene.nginx.spec, upstreams=swapped, max_body_mb=1))

        assert scene.nginx.status("digest") != before
        assert {complete(scene).json()["served_by"] for _ in range(6)} == {other.name}

    def test_there_is_room_for_as_many_replicas_as_a_stack_may_have(
        self, gateway: Start, directory: Path, authority: Authority
    ) -> None:
        leaf = authority.issue("replica", engine_name("chat"))
        many = [StandIn(f"many-{number}", directory / "backends", leaf, authority) for number in range(64)]
        try:
            scene = gateway(upstreams=tuple(Upstream(each.name, "127.0.0.1", each.port) for each in many))
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(lambda _: complete(scene).status_code, range(128))) == {200}
        finally:
            for each in many:
                each.close()

        assert all(each.completions for each in many)
        assert "no memory" not in Path(scene.nginx.paths.error_log).read_text()


class TestFailures:
    def test_a_replica_that_refuses_connections_costs_no_request(self, gateway: Start) -> None:
        scene = gateway()
        scene.backends[0].close()

        replies = [complete(scene) for _ in range(8)]

        assert {reply.status_code for reply in replies} == {200}
        assert scene.backends[0].name not in {reply.headers["X-Moestro-Replica"] for reply in replies}

    def test_a_replica_that_answers_503_costs_no_request(self, gateway: Start) -> None:
        scene = gateway()
        scene.backends[0].failure = 503

        assert {complete(scene).status_code for _ in range(8)} == {200}
        assert scene.backends[0].completions > 0, "the failing replica was never asked: this proves nothing"

    @pytest.mark.parametrize("padding", [0, 3_000_000], ids=["kept in memory", "kept in a file"])
    def test_a_replica_that_hangs_up_costs_no_request(self, gateway: Start, padding: int) -> None:
        scene = gateway()
        scene.backends[0].cut_requests = True

        assert {complete(scene, padding="x" * padding).status_code for _ in range(6)} == {200}

        assert scene.backends[0].completions > 0, "the failing replica was never asked: this proves nothing"
        assert len({body for each in scene.backends for *_, body in each.requests}) == 1, "all got the whole body"

    @pytest.mark.parametrize("status", [400, 429, 500])
    def test_other_answers_of_an_engine_pass_unchanged_and_once(self, gateway: Start, status: int) -> None:
        scene = gateway()
        for each in scene.backends:
            each.failure = status

        reply = complete(scene)

        assert (reply.status_code, reply.json()) == (status, {"error": "stand-in"})
        assert sum(each.completions for each in scene.backends) == 1

    def test_a_replica_that_is_silent_for_too_long_is_given_up_and_no_other_begins_anew(self, gateway: Start) -> None:
        scene = gateway(read_timeout_seconds=1)
        for each in scene.backends:
            each.hold.clear()

        reply = complete(scene)

        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "timeout")
        assert sum(each.completions for each in scene.backends) == 1

    def test_without_any_replica_the_gateway_is_up_and_says_so(self, gateway: Start, backends: list[StandIn]) -> None:
        for each in backends:
            each.close()
        scene = gateway()

        reply = complete(scene)

        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "unavailable"
        assert int(reply.headers["Retry-After"]) > 0
        entry = json.loads(scene.nginx.access_log(1)[0])
        assert [entry[name] for name in ("method", "path", "status")] == ["POST", "/v1/completions", 503]
        assert complete(scene, None).status_code == 401

    def test_all_replicas_drained_is_a_503_too(self, gateway: Start) -> None:
        scene = gateway()
        for each in scene.backends:
            scene.nginx.set_taking_requests(each.name, False)
        scene.nginx.reload()

        assert complete(scene).status_code == 503


class TestMutualTls:
    def test_a_backend_of_another_authority_is_refused(
        self, gateway: Start, directory: Path, authority: Authority
    ) -> None:
        stranger = Authority("stranger").issue("replica-9", "chat.engine.moestro.internal")
        impostor = StandIn("replica-9", directory, stranger, authority)
        try:
            scene = gateway(upstreams=(Upstream("replica-9", "127.0.0.1", impostor.port),))

            assert complete(scene).status_code == 503
            assert impostor.requests == []
            assert "certificate verify error" in Path(scene.nginx.paths.error_log).read_text()
        finally:
            impostor.close()

    def test_a_backend_of_another_service_is_refused(
        self, gateway: Start, directory: Path, authority: Authority
    ) -> None:
        other = authority.issue("replica-9", "other.engine.moestro.internal")
        impostor = StandIn("replica-9", directory, other, authority)
        try:
            scene = gateway(upstreams=(Upstream("replica-9", "127.0.0.1", impostor.port),))

            assert complete(scene).status_code == 503
            assert impostor.requests == []
        finally:
            impostor.close()

    def test_a_backend_lets_nobody_in_without_a_certificate(self, backends: list[StandIn]) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

        with pytest.raises(httpx.TransportError):
            httpx.get(f"https://127.0.0.1:{backends[0].port}/v1/models", verify=context)
        assert backends[0].requests == []


class TestLimits:
    def test_requests_over_the_rate_get_429_and_other_keys_do_not_suffer(self, gateway: Start) -> None:
        scene = gateway(requests_per_second_per_key=2)

        replies = [complete(scene) for _ in range(8)]

        refused = [reply for reply in replies if reply.status_code == 429]
        assert replies[0].status_code == 200
        assert refused
        assert refused[0].json()["error"]["code"] == "rate_limit_exceeded"
        assert refused[0].headers["Retry-After"] == "1"
        assert complete(scene, BOB).status_code == 200

    def test_a_key_has_only_so_many_requests_at_a_time(self, gateway: Start) -> None:
        scene = gateway(connections_per_key=2)
        for each in scene.backends:
            each.hold.clear()
        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(complete, scene) for _ in range(2)]
            _wait_for(lambda: sum(each.completions for each in scene.backends) == 2)
            third = complete(scene)
            for each in scene.backends:
                each.hold.set()
            assert [reply.result().status_code for reply in running] == [200, 200]

        assert third.status_code == 429
        assert complete(scene).status_code == 200

    def test_a_body_over_the_limit_is_refused_and_one_below_arrives_whole(self, gateway: Start) -> None:
        scene = gateway(max_body_mb=2)

        assert complete(scene, padding="x" * 3_000_000).json()["error"]["code"] == "body_too_large"
        assert complete(scene, padding="x" * 1_900_000).status_code == 200
        assert [len(body) > 1_900_000 for each in scene.backends for *_, body in each.requests] == [True]


class TestTls:
    def test_it_listens_with_the_given_certificate(self, gateway: Start, authority: Authority) -> None:
        leaf = authority.issue("127.0.0.1")
        scene = gateway(tls=Tls(leaf.certificate, leaf.key))
        context = ssl.create_default_context(cadata=authority.certificate)

        headers = {"Authorization": f"Bearer {ALICE}"}
        reply = httpx.post(f"{scene.nginx.url}/v1/completions", json=BODY, headers=headers, verify=context)
        plain = httpx.post(f"http://127.0.0.1:{scene.nginx.spec.listen_port}/v1/completions", json=BODY)

        assert reply.status_code == 200
        assert "Strict-Transport-Security" in reply.headers
        assert (plain.status_code, plain.json()["error"]["code"]) == (400, "tls_required")


class TestObservation:
    def test_the_access_log_is_json_with_times_and_users_and_without_keys(self, gateway: Start) -> None:
        scene = gateway()
        scene.backends[0].close()
        for _ in range(4):
            complete(scene)
        complete(scene, "wrong-key-0123456789")
        httpx.get(f"{scene.nginx.url}/v1/models?key={ALICE}", headers={"Authorization": f"Bearer {BOB}"})

        lines = scene.nginx.access_log(6)
        entries = [json.loads(line) for line in lines]

        assert [entry["user"] for entry in entries] == ["alice"] * 4 + ["", "bob"]
        assert [entry["status"] for entry in entries] == [200] * 4 + [401, 200]
        served = entries[0]
        assert served["replica"] in {"replica-1", "replica-2"}
        assert served["model"] == "tiny"
        assert float(served["upstream_header_seconds"].split(", ")[-1]) >= 0
        assert served["seconds"] < 5
        assert any(", " in entry["upstream"] for entry in entries), "the retried request shows both attempts"
        assert ALICE not in "".join(lines)
        assert "key-0123456789" not in "".join(lines)

    def test_a_request_has_one_id_for_the_client_the_engine_and_the_log(self, gateway: Start) -> None:
        scene = gateway()

        told = complete(scene).headers["X-Request-Id"]

        assert [headers["X-Request-Id"] for each in scene.backends for _, _, headers, _ in each.requests] == [told]
        assert json.loads(scene.nginx.access_log(1)[0])["request_id"] == told

    def test_the_status_port_tells_what_runs(self, gateway: Start) -> None:
        scene = gateway()

        assert scene.nginx.status("status").startswith("Active connections:")
        assert len(scene.nginx.status("digest")) == 64

    def test_errors_never_show_a_key(self, gateway: Start) -> None:
        scene = gateway()
        for each in scene.backends:
            each.close()
        complete(scene)

        assert "key-0123456789" not in Path(scene.nginx.paths.error_log).read_text()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
