"""Repositories, asked of a stand-in for the Hugging Face Hub on this machine that answers as the real one does."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.unit.cli.running import MIXTRAL, Outcome

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """``good/model`` has a config.json, ``gated/model`` wants a licence accepted, everything else does not exist."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Keep the tests' output quiet."""

    def _answer(self) -> None:
        if "gated/model" in self.path:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
        elif self.path.endswith("good/model/resolve/main/config.json"):
            body = json.dumps(MIXTRAL).encode()
            self._send(200, body, {"ETag": '"1"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(body))})
        elif self.path.startswith("/api/models/good/model"):
            listed = {"id": "good/model", "sha": COMMIT, "siblings": [{"rfilename": "config.json"}]}
            self._send(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
        elif "good/model" in self.path:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = str(tmp_path_factory.mktemp("hub"))
    yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": home, "HF_HUB_DISABLE_TELEMETRY": "1"}
    server.shutdown()
    server.server_close()


def ask(hub: dict[str, str], repository: str) -> Outcome:
    command = [sys.executable, "-m", "moestro.cli", "plan", repository, "--gpu", "H100", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | hub, check=False, timeout=60)
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_configuration_alone_is_enough(hub: dict[str, str]) -> None:
    outcome = ask(hub, "good/model")
    assert outcome.err == ""
    assert outcome.code == 0
    assert json.loads(outcome.out)["launch"]["argv"][2] == "good/model"


@pytest.mark.parametrize(
    ("repository", "message"),
    [
        ("nobody/nothing", "repository 'nobody/nothing' does not exist or is private"),
        ("gated/model", "repository 'gated/model' is gated: accept its licence"),
    ],
)
def test_refused_in_one_line(hub: dict[str, str], repository: str, message: str) -> None:
    outcome = ask(hub, repository)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_hub_out_of_reach_is_told_in_seconds(hub: dict[str, str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        begun = time.monotonic()
        outcome = ask(hub | {"HF_ENDPOINT": f"http://127.0.0.1:{unused.getsockname()[1]}"}, "good/other")
    assert time.monotonic() - begun < 10
    assert outcome.code == 2
    assert outcome.err == "moestro: repository 'good/other' cannot be reached: go online or give a directory\n"
