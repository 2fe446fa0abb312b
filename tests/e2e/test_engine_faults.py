"""Faults of a real vLLM on real hosts under the real Pulumi engine, and an upgrade that no client notices."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from tests.containers import run_inside
from tests.e2e.conftest import stack_of
from tests.e2e.stack import LOCAL, Stack, kill_group

pytestmark = [pytest.mark.docker, pytest.mark.pulumi, pytest.mark.vllm]

UP = ("up", "--yes", "--skip-preview")
GATEWAY_LOG = "cd /var/log/moestro/local/gateway && cat error.log && grep -v '\"status\":200' access.log"
PROMPT = {"model": "tiny-mixtral", "prompt": "Mixture of Experts means", "max_tokens": 8}


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Stack]:
    """One replica with nginx beside it."""
    yield from stack_of(tmp_path, replicas=1)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Stack]:
    """Two replicas, as in the local stack."""
    yield from stack_of(tmp_path)


def answer(stack: Stack) -> httpx.Response:
    outputs = stack.outputs()
    return _ask(outputs["endpoint"], outputs["apiKey"])


class TestKilled:
    """``kill -9`` of the CLI and the plugin while vLLM is on its way."""

    @pytest.mark.parametrize("seed", range(2))
    def test_then_up(self, single: Stack, seed: int) -> None:
        running = single.start(*UP)
        time.sleep(random.Random(seed).uniform(8.0, 25.0))
        machines = single.containers()
        kill_group(running)
        single.unlock()
        single.up()
        assert answer(single).status_code == 200
        assert single.containers() == machines
        single.destroy()
        assert single.containers() == []


class TestNeverReady:
    def test_the_error_shows_the_log_the_other_serves_and_up_repairs(self, pair: Stack) -> None:
        running = pair.start(*UP)
        broken = _host(pair, "local-1")
        _start_in(broken, "moestro-port-taken", "python3 -m http.server 8000")
        assert running.wait(timeout=400) != 0
        shown = pair.log()
        assert "is not ready" in shown
        assert "address already in use" in shown.lower()
        reply = answer(pair)
        assert reply.status_code == 200
        assert reply.headers["X-Moestro-Replica"] == "local-0"
        run_inside(broken, "systemctl stop moestro-port-taken")
        pair.up()
        served = Counter(answer(pair).headers["X-Moestro-Replica"] for _ in range(6))
        assert set(served) == {"local-0", "local-1"}


class TestUpgrade:
    def test_no_request_fails(self, pair: Stack) -> None:
        pair.up()
        outputs = pair.outputs()
        with _Load(outputs["endpoint"], outputs["apiKey"]) as load:
            pair.configure(LOCAL | {"moe:engine": LOCAL["moe:engine"] | {"maxNumSeqs": 7}})
            pair.up()
        _, told = run_inside(_host(pair, "local-0"), GATEWAY_LOG)
        assert load.statuses
        assert set(load.statuses) == {200}, f"{load.statuses} {load.refused}\n{told}"
        assert load.cut_streams == 0
        for name in ("local-0", "local-1"):
            _, unit = run_inside(_host(pair, name), "systemctl show -p ExecStart moestro-engine-local.service")
            assert "--max-num-seqs 7" in unit


class _Load:
    """Two clients that ask again and again, every other time as a stream, until the block ends."""

    def __init__(self, endpoint: str, key: str) -> None:
        self._client = httpx.Client(base_url=endpoint, headers={"Authorization": f"Bearer {key}"}, timeout=120)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(2)]
        self.statuses: Counter[int] = Counter()
        self.refused: list[str] = []
        self.cut_streams = 0

    def __enter__(self) -> "_Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=130)
        self._client.close()

    def _ask(self) -> None:
        while not self._over.is_set():
            reply = self._client.post("/v1/completions", json=PROMPT)
            self._count(reply, reply.text)
            self._stream()
            time.sleep(1.0)  # vLLM loads on the same two cores

    def _count(self, reply: httpx.Response, body: str) -> None:
        self.statuses[reply.status_code] += 1
        if reply.status_code != 200:
            self.refused.append(f"{time.ctime()} {dict(reply.headers)} {body}")

    def _stream(self) -> None:
        body = PROMPT | {"stream": True, "max_tokens": 64}
        with self._client.stream("POST", "/v1/completions", json=body) as reply:
            lines = [line for line in reply.iter_lines() if line]
        self._count(reply, "".join(lines))
        reasons = [_reason(line) for line in lines if line.startswith("data: {")]
        if not lines or lines[-1] != "data: [DONE]" or "abort" in reasons:
            self.cut_streams += 1


def _ask(endpoint: str, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{endpoint}/v1/completions", json=PROMPT, headers=headers, timeout=120)


def _reason(line: str) -> str | None:
    choices: list[dict[str, Any]] = json.loads(line.removeprefix("data: "))["choices"]
    return choices[0]["finish_reason"] if choices else None


def _host(stack: Stack, name: str) -> Any:
    """The container of a replica, as soon as it boots."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        for found in docker.from_env().containers.list(filters={"label": f"moestro.sandbox={stack.sandbox_id()}"}):
            if str(found.labels.get("moestro.sandbox.name", "")).startswith(f"{name}-"):
                return found
        time.sleep(0.1)
    raise AssertionError(f"no host of {name} was rented")


def _start_in(host: Any, unit: str, command: str) -> None:
    """Run a command on the host as a unit, once its systemd takes orders."""
    for _ in range(100):
        if run_inside(host, f"systemd-run --unit {unit} {command}")[0] == 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"{unit} did not start")
