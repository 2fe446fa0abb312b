"""One declaration to a served model on real hosts, and back to nothing; each test goes on from the one before."""

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.pulumi, pytest.mark.vllm]

PROMPT = {"model": "tiny-mixtral", "prompt": "Mixture of Experts means", "max_tokens": 8}


@pytest.fixture(scope="module")
def up(local: Stack) -> Stack:
    local.up()
    return local


def client_of(stack: Stack) -> httpx.Client:
    outputs = stack.outputs()
    headers = {"Authorization": f"Bearer {outputs['apiKey']}"}
    return httpx.Client(base_url=outputs["endpoint"], headers=headers, timeout=120)


class TestServing:
    def test_both_replicas_answer_through_the_gateway(self, up: Stack) -> None:
        with client_of(up) as client, ThreadPoolExecutor(8) as threads:
            replies = list(threads.map(lambda _: client.post("/v1/completions", json=PROMPT), range(12)))
        assert [reply.status_code for reply in replies] == [200] * 12
        assert all(reply.json()["usage"]["completion_tokens"] == 8 for reply in replies)
        served = Counter(reply.headers["X-Moestro-Replica"] for reply in replies)
        assert set(served) == {"local-0", "local-1"}

    def test_no_one_gets_in_without_a_key(self, up: Stack) -> None:
        endpoint = up.outputs()["endpoint"]
        assert httpx.post(f"{endpoint}/v1/completions", json=PROMPT).status_code == 401
        wrong = {"Authorization": "Bearer sk-wrong"}
        assert httpx.post(f"{endpoint}/v1/completions", json=PROMPT, headers=wrong).status_code == 401

    def test_nothing_but_the_api_is_reachable(self, up: Stack) -> None:
        with client_of(up) as client:
            assert {client.get(path).status_code for path in ("/metrics", "/health", "/version", "/")} == {404}

    def test_engines_refuse_who_has_no_certificate(self, up: Stack) -> None:
        address = up.outputs()["replicas"][0]["address"]
        with pytest.raises(httpx.TransportError):
            httpx.get(f"https://{address}:8000/v1/models", verify=False)

    def test_tokens_stream_one_by_one(self, up: Stack) -> None:
        with client_of(up) as client:
            body = PROMPT | {"stream": True, "max_tokens": 16}
            with client.stream("POST", "/v1/completions", json=body) as reply:
                events = [line for line in reply.iter_lines() if line.startswith("data: {")]
        assert len(events) >= 16

    def test_chat_works_too(self, up: Stack) -> None:
        with client_of(up) as client:
            body = {"model": "tiny-mixtral", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
            reply = client.post("/v1/chat/completions", json=body)
        assert reply.json()["choices"][0]["message"]["role"] == "assistant"


class TestOutputs:
    def test_say_what_a_user_needs(self, up: Stack) -> None:
        outputs = up.outputs()
        assert outputs["usdPerHour"] == 0
        assert [replica["engineState"] for replica in outputs["replicas"]] == ["ready", "ready"]
        assert outputs["plan"]["engine"]["device"] == "cpu"
        assert outputs["curl"].startswith(f"curl -sS {outputs['endpoint']}/v1/completions")

    def test_secrets_are_encrypted_in_the_state(self, up: Stack) -> None:
        key = up.outputs()["apiKey"]
        state = "".join(path.read_text() for path in (up.home / "state").rglob("*.json*"))
        assert key not in state
        assert "PRIVATE KEY" not in state


class TestSteady:
    def test_a_second_up_changes_nothing(self, up: Stack) -> None:
        before = up.containers()
        shown = up.up().output
        summary = shown[shown.index("Resources:") :].split("\n\n")[0].splitlines()
        assert [line.split()[1] for line in summary[1:]] == ["unchanged"], shown
        assert up.containers() == before

    def test_a_refresh_finds_no_drift(self, up: Stack) -> None:
        up.refresh()
        assert up.preview("--expect-no-changes").code == 0


class TestDestroy:
    def test_leaves_nothing(self, up: Stack) -> None:
        assert len(up.containers()) == 2
        up.destroy()
        assert up.containers() == []
        assert up.resources() == []
        assert _keys_of(up) == []

    def test_twice_is_quiet(self, up: Stack) -> None:
        assert up.destroy().code == 0


def _keys_of(stack: Stack) -> list[object]:
    with sqlite3.connect(stack.sandbox / "sandbox.sqlite") as database:
        return database.execute("select * from ssh_keys").fetchall()
