"""The engine's unit on a real host. The engine is a stand-in (see stand_in_engine.py); a real one is in ../engine."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from moestro.errors import Cancelled, NotReady
from moestro.hosts.engine import EngineSpec, ensure_engine, read_engine, remove_engine
from moestro.hosts.gateway import GatewaySpec, Upstream, drain, ensure_gateway, read_gateway
from moestro.serving.names import engine_name
from moestro.waiting import Wait
from tests.integration.gateway.pki import Authority
from tests.integration.hosts.conftest import Machine

pytestmark = pytest.mark.docker

ENGINE_KEY = "engine-key-0123456789"
USER_KEY = "alice-key-0123456789"
UNIT = "moestro-engine-chat"
DIRECTORY = "/etc/moestro/chat"
AWKWARD = ("a b", 'say "hi"', "it's", "$HOME ${HOME} $$", "100% %n %%", "back\\slash\\", "", ";", "line\nbreak", "ü")


@dataclass
class Scene:
    """Two hosts with an engine each, and a gateway beside the first."""

    machines: list[Machine]
    specs: list[EngineSpec]
    gateway: GatewaySpec

    @property
    def url(self) -> str:
        return f"http://{self.machines[0].address}:8080/v1/completions"

    def ensure(self, number: int, spec: EngineSpec | None = None, wait: Wait | None = None) -> float:
        connection = self.machines[number].connection()
        return ensure_engine(connection, spec or self.specs[number], wait or Wait.of(120)).ready_seconds

    def complete(self) -> httpx.Response:
        headers = {"Authorization": f"Bearer {USER_KEY}"}
        return httpx.post(self.url, json={"model": "tiny", "prompt": "x"}, headers=headers, timeout=30)

    def stream(self, started: threading.Event) -> tuple[str, list[str]]:
        headers, body = {"Authorization": f"Bearer {USER_KEY}"}, {"model": "tiny", "prompt": "x", "stream": True}
        events = []
        with httpx.stream("POST", self.url, json=body, headers=headers, timeout=30) as reply:
            for line in reply.iter_lines():
                started.set()
                events += [line] if line else []
        return reply.headers["X-Moestro-Replica"], events


def engine_spec(authority: Authority, replica: str) -> EngineSpec:
    leaf = authority.issue(replica, engine_name("chat"))
    argv = ("/opt/stand-in", "--port", "8000", "--ssl-certfile", f"{DIRECTORY}/engine.crt")
    argv += ("--ssl-keyfile", f"{DIRECTORY}/engine.key", "--ssl-ca-certs", f"{DIRECTORY}/authority.crt")
    return EngineSpec(
        service="chat",
        served_name="tiny",
        argv=argv,
        env={"AWKWARD": 'a "b" $c %d'},
        api_key=ENGINE_KEY,
        certificate_pem=leaf.certificate,
        private_key_pem=leaf.key,
        authority_pem=authority.certificate,
        port=8000,
        version="1",
        replica=replica,
        ready_timeout_seconds=30,
        shutdown_timeout_seconds=20,
    )


@pytest.fixture(scope="module")
def scene(rent: Callable[..., list[Machine]]) -> Scene:
    machines = rent(2)
    program = Path(__file__).with_name("stand_in_engine.py").read_text()
    authority = Authority()
    names = ["replica-0", "replica-1"]
    for machine in machines:
        machine.host().write("/opt/stand-in", program, 0o755)
    client = authority.issue("gateway")
    gateway = GatewaySpec(
        service="chat",
        served_name="tiny",
        upstreams=tuple(Upstream(name, machine.address, 8000) for name, machine in zip(names, machines, strict=True)),
        api_keys={"alice": USER_KEY},
        engine_api_key=ENGINE_KEY,
        certificate_pem=client.certificate,
        private_key_pem=client.key,
        authority_pem=authority.certificate,
        listen_port=8080,
    )
    ensure_gateway(machines[0].connection(), gateway, Wait.of(300))
    host = machines[0].connection()
    specs = [replace(engine_spec(authority, name), gateway=host) for name in names]
    return Scene(machines, specs, gateway)


@pytest.fixture
def served(scene: Scene) -> Scene:
    """Both engines ready, as specified."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(scene.ensure, range(2)))
    return scene


def process(machine: Machine) -> str:
    return machine.inside(f"systemctl show -p MainPID --value {UNIT}")


def cancelled_when(words: str) -> Wait:
    """A wait that is cancelled as soon as these words are reported."""
    wait = Wait.of(60)
    return wait.reporting(lambda line: wait.cancel.set() if words in line else None)


class TestStart:
    def test_from_nothing_to_a_completion_with_every_argument_and_variable_intact(self, scene: Scene) -> None:
        machine, spec = scene.machines[0], scene.specs[0]
        connection = machine.connection()
        assert read_engine(connection, spec, Wait.of(60)) is None
        spec = replace(spec, argv=(*spec.argv, "--", *AWKWARD))
        said: list[str] = []

        state = ensure_engine(connection, spec, Wait.of(120, said.append))

        assert state.state == "ready"
        assert state.url == f"https://{machine.address}:8000"
        assert 0 < state.ready_seconds < 30
        assert read_engine(connection, spec, Wait.of(60)) == state
        assert json.loads(machine.inside("cat /var/cache/moestro/chat/engine/argv.json")) == list(spec.argv[1:])
        assert 'AWKWARD=a "b" $c %d' in machine.inside(f"tr '\\0' '\\n' < /proc/{process(machine)}/environ").split("\n")
        assert ENGINE_KEY not in "".join(said)

    def test_it_runs_as_its_own_user_and_its_secrets_are_its_own(self, served: Scene) -> None:
        machine = served.machines[0]

        assert machine.inside(f"ps -o user= -p {process(machine)}") in ("moestro-engine", "moestro+")
        listing = machine.inside(f"stat -c '%a %U %n' {DIRECTORY}/engine.*")
        assert listing.splitlines() == [
            f"644 root {DIRECTORY}/engine.crt",
            f"600 root {DIRECTORY}/engine.env",
            f"600 root {DIRECTORY}/engine.json",
            f"600 moestro-engine {DIRECTORY}/engine.key",
        ]

    def test_a_program_that_others_cannot_read_runs_as_root(self, served: Scene) -> None:
        machine, spec = served.machines[0], served.specs[0]
        machine.inside("install -D /opt/stand-in /root/engine/stand-in")

        served.ensure(0, replace(spec, argv=("/root/engine/stand-in", *spec.argv[1:])))

        assert machine.inside(f"ps -o user= -p {process(machine)}") == "root"

    def test_the_key_is_in_no_argument_list_and_no_unit(self, served: Scene) -> None:
        machine = served.machines[0]

        assert machine.inside(f"grep -l {ENGINE_KEY} -r /etc/systemd || true") == ""
        assert machine.inside(f"grep -la {ENGINE_KEY[:-1]}[9] /proc/[0-9]*/cmdline || true") == ""
        assert machine.inside(f"systemctl show {UNIT} | grep -c {ENGINE_KEY[:-1]}[9] || true") == "0"

    def test_twice_restarts_nothing(self, served: Scene) -> None:
        before = process(served.machines[0])

        assert served.ensure(0) == served.ensure(0)
        assert process(served.machines[0]) == before

    def test_it_comes_back_from_a_kill_and_from_an_end_with_status_0(self, served: Scene) -> None:
        machine, spec = served.machines[1], served.specs[1]
        for command in ("systemctl kill -s KILL {unit}", "kill {process}"):
            before = process(machine)
            machine.inside(command.format(unit=UNIT, process=before))
            time.sleep(1)
            seen = read_engine(machine.connection(), spec, Wait.of(60))
            assert seen
            assert seen.state in ("activating", "starting")

            served.ensure(1)

            assert process(machine) not in ("0", before)


class TestNotReady:
    def test_an_engine_that_dies_is_given_up_soon_with_its_log_and_repaired_later(self, served: Scene) -> None:
        spec = replace(served.specs[1], ready_timeout_seconds=600)
        began = time.monotonic()

        with pytest.raises(NotReady) as failed:
            served.ensure(1, replace(spec, argv=(*spec.argv, "--die", f"no such layer, key {ENGINE_KEY}")))

        assert time.monotonic() - began < 40
        assert "no such layer" in str(failed.value)
        assert "ended 2 times" in str(failed.value)
        assert ENGINE_KEY not in str(failed.value)
        assert {served.complete().headers["X-Moestro-Replica"] for _ in range(4)} == {"replica-0"}

        served.ensure(1)
        assert {served.complete().headers["X-Moestro-Replica"] for _ in range(8)} == {"replica-0", "replica-1"}

    def test_a_launch_line_that_the_program_refuses_fails_at_once(self, served: Scene) -> None:
        spec = replace(served.specs[1], ready_timeout_seconds=600)
        began = time.monotonic()

        with pytest.raises(NotReady, match="has failed") as failed:
            served.ensure(1, replace(spec, argv=(*spec.argv, "--no-such-option")))

        assert time.monotonic() - began < 15
        assert "unrecognized arguments: --no-such-option" in str(failed.value)
        seen = read_engine(served.machines[1].connection(), spec, Wait.of(60))
        assert seen
        assert seen.state == "changed"

    def test_a_program_that_is_not_there_is_given_up_soon(self, served: Scene) -> None:
        spec = replace(served.specs[1], argv=("/opt/nothing", "x"), ready_timeout_seconds=600)

        with pytest.raises(NotReady, match="/opt/nothing"):
            served.ensure(1, spec)

    def test_the_time_limit_ends_a_slow_start_and_the_next_call_starts_anew(self, served: Scene) -> None:
        spec = replace(served.specs[1], ready_timeout_seconds=4)
        slow = replace(spec, argv=(*spec.argv, "--load-seconds", "300"))
        said: list[str] = []

        with pytest.raises(NotReady, match="no completion in time"):
            served.ensure(1, slow, Wait.of(60, said.append))

        assert f"{UNIT}.service: loading 100%" in said, "progress of the log, without colours and earlier states"
        before = process(served.machines[1])
        with pytest.raises(NotReady):
            served.ensure(1, slow)
        assert process(served.machines[1]) != before

    def test_an_interrupted_wait_is_continued_without_another_start(self, served: Scene) -> None:
        spec = served.specs[1]
        slow = replace(spec, argv=(*spec.argv, "--load-seconds", "8"))
        with pytest.raises(Cancelled):
            served.ensure(1, slow, cancelled_when("loading 100%"))
        before = process(served.machines[1])

        served.ensure(1, slow)

        assert process(served.machines[1]) == before


class TestDrift:
    @pytest.mark.parametrize(
        ("damage", "state"),
        [
            (f"sed -i s/65535/1024/ /etc/systemd/system/{UNIT}.service", "changed"),
            (f"echo VLLM_API_KEY=other > {DIRECTORY}/engine.env", "changed"),
            (f"rm {DIRECTORY}/engine.key", "changed"),
            (f"systemctl stop {UNIT}", "inactive"),
        ],
    )
    def test_it_is_seen_and_repaired(self, served: Scene, damage: str, state: str) -> None:
        machine, spec = served.machines[1], served.specs[1]
        machine.inside(damage)

        seen = read_engine(machine.connection(), spec, Wait.of(60))
        served.ensure(1)
        repaired = read_engine(machine.connection(), spec, Wait.of(60))

        assert seen
        assert repaired
        assert (seen.state, repaired.state) == (state, "ready")


class TestRolling:
    def test_a_change_under_load_loses_no_request_and_cuts_no_stream(self, served: Scene) -> None:
        over = threading.Event()
        codes: list[int] = []

        def ask() -> None:
            while not over.is_set():
                reply = served.complete()
                codes.append(reply.status_code if reply.json()["choices"][0]["finish_reason"] == "length" else -1)

        started = [threading.Event() for _ in range(4)]
        with ThreadPoolExecutor(12) as pool:
            streams = [pool.submit(served.stream, each) for each in started]
            asking = [pool.submit(ask) for _ in range(3)]
            assert all(each.wait(10) for each in started)
            changed = [replace(spec, argv=(*spec.argv, "--text", "changed")) for spec in served.specs]
            updates = [pool.submit(served.ensure, number, spec) for number, spec in enumerate(changed)]
            for update in updates:
                update.result()
            over.set()
            for each in asking:
                each.result()
            results = [each.result() for each in streams]

        assert set(codes) == {200}
        assert len(codes) > 50
        assert {replica for replica, _ in results} == {"replica-0", "replica-1"}
        assert [len(events) for _, events in results] == [20] * 4
        assert served.complete().json()["choices"][0]["text"] == "changed"
        state = read_gateway(served.machines[0].connection(), served.gateway, Wait.of(60))
        assert state
        assert state.drained == ()

    def test_a_stop_while_draining_puts_the_replica_back(self, served: Scene) -> None:
        started = threading.Event()
        drain(served.machines[0].connection(), "chat", "replica-0", Wait.of(60))
        with ThreadPoolExecutor(1) as pool:
            stream = pool.submit(served.stream, started)
            assert started.wait(10)
            with pytest.raises(Cancelled):
                served.ensure(1, replace(served.specs[1], version="2"), cancelled_when("in flight"))
            assert len(stream.result()[1]) == 20

        state = read_gateway(served.machines[0].connection(), served.gateway, Wait.of(60))
        assert state
        assert state.drained == ("replica-0",)


class TestRemove:
    def test_it_drains_and_leaves_nothing(self, served: Scene) -> None:
        machine, spec = served.machines[1], served.specs[1]
        for _ in range(2):
            remove_engine(machine.connection(), spec, Wait.of(60))

        assert read_engine(machine.connection(), spec, Wait.of(60)) is None
        assert {served.complete().headers["X-Moestro-Replica"] for _ in range(4)} == {"replica-0"}
        left = machine.inside("find / -xdev -path '*moestro*chat*' -not -path '/proc/*' -not -path '/sys/*'")
        assert left == ""
