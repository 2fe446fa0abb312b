"""A real vLLM with the tiny model on one host, behind a gateway on the same host. The tests run in order: a start takes
half a minute, so each one goes on from where the one before left the engine.
"""

import io
import json
import os
import ssl
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import docker
import httpx
import pytest

from moestro import paths
from moestro.clouds.sandbox.hosts import booting
from moestro.clouds.sandbox.image import reference
from moestro.errors import NotReady
from moestro.hosts.engine import EngineSpec, EngineState, ensure_engine, read_engine
from moestro.hosts.gateway import GatewaySpec, Upstream, ensure_gateway, read_gateway
from moestro.hosts.pool import close_links
from moestro.serving.names import engine_name
from moestro.waiting import Wait
from tests.integration.gateway.pki import Authority, Leaf
from tests.integration.hosts.conftest import Machine, first_files
from tests.unit.hosts.ssh_server import new_key, public_line

pytestmark = [pytest.mark.docker, pytest.mark.vllm, pytest.mark.timeout(900)]

ENGINE_KEY = "engine-key-0123456789"
USER_KEY = "alice-key-0123456789"
UNIT = "moestro-engine-chat"
DIRECTORY = "/etc/moestro/chat"
MODEL = "/var/lib/moestro/weights/tiny-mixtral"
LAUNCH = f"""/opt/vllm/bin/vllm serve {MODEL} --served-model-name tiny --host 0.0.0.0 --port 8000
    --dtype bfloat16 --max-model-len 4096 --enforce-eager --shutdown-timeout 30
    --ssl-certfile {DIRECTORY}/engine.crt --ssl-keyfile {DIRECTORY}/engine.key
    --ssl-ca-certs {DIRECTORY}/authority.crt --ssl-cert-reqs 2"""
TOKENS = 1600  # some 8 s: the stream must outlast the way to the engine, which waits for nginx too


@dataclass
class Scene:
    machine: Machine
    spec: EngineSpec
    gateway: GatewaySpec
    client: Leaf
    said: list[str]

    def ensure(self, spec: EngineSpec | None = None) -> EngineState:
        return ensure_engine(self.machine.connection(), spec or self.spec, Wait.of(300, self.said.append))

    def read(self) -> EngineState | None:
        return read_engine(self.machine.connection(), self.spec, Wait.of(60))

    def process(self) -> str:
        return self.machine.inside(f"systemctl show -p MainPID --value {UNIT}")

    def through_the_gateway(self, started: threading.Event, tokens: int = TOKENS) -> list[str]:
        """The data lines of a streamed completion."""
        body = {"model": "tiny", "prompt": "x", "max_tokens": tokens, "ignore_eos": True, "stream": True}
        headers = {"Authorization": f"Bearer {USER_KEY}"}
        url = f"http://{self.machine.address}:8080/v1/completions"
        lines = []
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as reply:
            assert reply.status_code == 200
            assert reply.headers["X-Moestro-Replica"] == "replica-0"
            for line in reply.iter_lines():
                started.set()
                lines += [line.removeprefix("data: ")] if line else []
        return lines

    def at_the_engine(self, key: str | None, certificate: bool, directory: Path) -> httpx.Response:
        context = ssl.create_default_context(cadata=self.spec.authority_pem)
        context.check_hostname = False
        if certificate:
            (directory / "client.pem").write_text(self.client.certificate + self.client.key)
            context.load_cert_chain(directory / "client.pem")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.get(f"https://{self.machine.address}:8000/v1/models", headers=headers, verify=context)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    client = docker.from_env()
    text, key = new_key()
    container = client.containers.create(
        reference(),
        name=f"moestro-engine-test-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        **booting(client),
    )
    try:
        container.put_archive("/", first_files(public_line(key), 0))
        container.put_archive("/", _weights())
        container.start()
        yield Machine(container, text)
    finally:
        close_links()
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def scene(machine: Machine) -> Scene:
    authority = Authority()
    leaf, client = authority.issue("replica-0", engine_name("chat"), machine.address), authority.issue("gateway")
    connection = machine.connection()
    gateway = GatewaySpec(
        service="chat",
        served_name="tiny",
        upstreams=(Upstream("replica-0", machine.address, 8000),),
        api_keys={"alice": USER_KEY},
        engine_api_key=ENGINE_KEY,
        certificate_pem=client.certificate,
        private_key_pem=client.key,
        authority_pem=authority.certificate,
        listen_port=8080,
    )
    ensure_gateway(connection, gateway, Wait.of(300))
    spec = EngineSpec(
        service="chat",
        served_name="tiny",
        argv=tuple(LAUNCH.split()),
        env={"VLLM_CPU_KVCACHE_SPACE": "1", "TORCHDYNAMO_DISABLE": "1"},
        api_key=ENGINE_KEY,
        certificate_pem=leaf.certificate,
        private_key_pem=leaf.key,
        authority_pem=authority.certificate,
        port=8000,
        version="0.32.0",
        replica="replica-0",
        ready_timeout_seconds=240,
        shutdown_timeout_seconds=30,
        gateway=connection,
    )
    return Scene(machine, spec, gateway, client, [])


def test_it_is_ready_when_it_has_completed_something(scene: Scene) -> None:
    state = scene.ensure()

    assert state.state == "ready"
    assert scene.read() == state
    lines = scene.through_the_gateway(threading.Event(), tokens=16)
    assert lines[-1] == "[DONE]"
    assert any("Starting vLLM" in line or "INFO" in line for line in scene.said), "progress comes from vLLM's own log"
    assert not any(ENGINE_KEY in line for line in scene.said)
    assert ENGINE_KEY not in scene.machine.inside(f"journalctl -u {UNIT} --no-pager; ps -eo args; systemctl cat {UNIT}")
    assert scene.machine.inside(f"stat -c %U /proc/{scene.process()}") == "moestro-engine"


def test_its_port_wants_a_certificate_and_the_key(scene: Scene, tmp_path: Path) -> None:
    assert scene.at_the_engine(ENGINE_KEY, True, tmp_path).json()["data"][0]["id"] == "tiny"
    assert scene.at_the_engine("wrong", True, tmp_path).status_code == 401
    assert scene.at_the_engine(None, True, tmp_path).status_code == 401
    with pytest.raises(httpx.TransportError):
        scene.at_the_engine(ENGINE_KEY, False, tmp_path)


def test_a_killed_engine_process_comes_back_by_itself(scene: Scene) -> None:
    """vLLM ends with status 0 when its engine process dies: Restart=on-failure would leave it down."""
    before = scene.process()
    scene.machine.inside("pkill -KILL -f VLLM::EngineCore")
    _wait_for(lambda: scene.process() not in ("0", before))

    state = scene.ensure()

    assert state.state == "ready"
    # systemd's words for an end with status 0: what on-failure would not have restarted.
    assert "Deactivated successfully" in scene.machine.inside(f"journalctl -u {UNIT} --no-pager -o cat")
    assert scene.machine.inside(f"systemctl show -p NRestarts --value {UNIT}") == "1"


def test_an_edited_unit_is_drift(scene: Scene) -> None:
    file = f"/etc/systemd/system/{UNIT}.service"
    scene.machine.inside(f"cp -p {file} /root/kept; sed -i s/--enforce-eager// {file}")
    seen = scene.read()
    scene.machine.inside(f"cp -p /root/kept {file}")

    assert seen
    assert seen.state == "changed"
    assert scene.read() == replace(seen, state="ready")


def test_a_broken_change_cuts_no_stream_and_fails_at_once_with_the_log(scene: Scene) -> None:
    broken = replace(scene.spec, argv=(*scene.spec.argv, "--no-such-option"), ready_timeout_seconds=600)
    started = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(scene.through_the_gateway, started)
        assert started.wait(30)
        began = time.monotonic()
        with pytest.raises(NotReady, match="has failed") as failed:
            scene.ensure(broken)
        lines = stream.result()

    assert any("1 request(s) in flight" in line for line in scene.said), (
        "the stream was over too soon to prove anything"
    )
    assert lines[-1] == "[DONE]"
    last = json.loads(lines[-2])
    assert last["choices"][0]["finish_reason"] == "length", "not abort: the stream was waited for"
    assert "unrecognized arguments: --no-such-option" in str(failed.value)
    assert time.monotonic() - began < 90
    state = read_gateway(scene.machine.connection(), scene.gateway, Wait.of(60))
    assert state
    assert state.drained == ("replica-0",)


def test_the_next_update_repairs_it(scene: Scene) -> None:
    assert scene.ensure().state == "ready"

    assert scene.through_the_gateway(threading.Event(), tokens=8)[-1] == "[DONE]"


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def _weights() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(paths.cache() / "models" / "tiny-mixtral", arcname=MODEL.lstrip("/"))
    return buffer.getvalue()
