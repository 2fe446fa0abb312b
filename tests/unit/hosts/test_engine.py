"""Bringing an engine to its spec: in which order things happen, and what is left alone. The host is simulated."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from moestro.errors import Cancelled, CommandFailed, ConnectionLost, InvalidInput, NotReady
from moestro.hosts import engine as module
from moestro.hosts.connection import HostConnection
from moestro.hosts.engine import EngineSpec, engine_files, ensure_engine, read_engine
from moestro.hosts.ssh import Completed
from moestro.hosts.steps.unit import Phase, Record, digest_of, digests
from moestro.waiting import Wait
from tests.unit.hosts.clock import FakeClock
from tests.unit.hosts.fake_host import CONNECTION, FakeHost

GATEWAY = HostConnection("192.0.2.9", 22, "root", "key", "ssh-ed25519 AAAA")
SPEC = EngineSpec(
    service="chat",
    served_name="tiny",
    argv=("/opt/vllm/bin/vllm", "serve", "/models/tiny"),
    env={},
    api_key="engine-key-0123456789",
    certificate_pem="CERTIFICATE",
    private_key_pem="-----BEGIN PRIVATE KEY-----\nMIGHAgEA0123456789\n-----END PRIVATE KEY-----\n",
    authority_pem="AUTHORITY",
    port=8000,
    version="0.32.0",
    replica="replica-0",
    ready_timeout_seconds=100,
    shutdown_timeout_seconds=20,
    gateway=GATEWAY,
)
COMPLETION = json.dumps({"choices": [{"text": "x", "finish_reason": "length"}]})


@dataclass
class Simulation:
    """A host whose unit and files follow what is done to it. ``events`` is the story; a start takes ``load`` looks."""

    files: dict[str, str] = field(default_factory=dict)
    record: str = ""
    active: str = "inactive"
    run: int = 0
    left: int = 0
    restarts: int = 0
    load: int = 2
    in_flight: list[int | None] = field(default_factory=list)
    speed: int = 0  # tokens from one look at the metrics to the next
    tokens: int = 0
    after_start: dict[str, Any] = field(default_factory=dict)
    log: str = "loading"
    firewall: str | None = "ufw"
    lost: int = 0
    events: list[str] = field(default_factory=list)

    def answer(self, command: str) -> str | Completed | Exception:
        if "engine that nobody can run" in command:
            return f"{self._shown()}User=moestro-engine\nRecord={self.record}\n==files==\n{self._listing()}"
        if "One look at a starting engine" in command:
            return self._probed()
        if "Starts the unit" in command:
            self.events.append("start")
            self.active, self.run, self.left = "active", self.run + 1, self.load
            vars(self).update(self.after_start)
            return ""
        if "curl --config - | grep" in command:
            return self._metrics()
        if command.startswith("rm -f -- "):
            self.events.append(command)
            for path in command.split()[3:]:
                del self.files[path]
        return ""

    def write(self, path: str, content: str | bytes, mode: int = 0o644, owner: str = "root:root") -> bool:
        del mode, owner
        text = content if isinstance(content, str) else content.decode()
        if path.endswith("engine.json"):
            self.record = text
            self.events.append(f"note {json.loads(text)['phase']}")
        else:
            self.files[path] = text
            self.events.append(f"write {path.rpartition('/')[2]}")
        return True

    def _shown(self) -> str:
        state = "loaded" if self.files else "not-found"
        return (
            f"LoadState={state}\nActiveState={self.active}\nSubState=x\nResult=exit-code\nNRestarts={self.restarts}\n"
            f"InvocationID=run-{self.run}\nExecMainStatus=2\n"
        )

    def _listing(self) -> str:
        return "".join(f"{digest}  {path}\n" for path, digest in digests(self.files).items())

    def _probed(self) -> str | Exception:
        self.events.append("probe")
        if self.lost:
            self.lost -= 1
            return ConnectionLost("the line is cut")
        self.left = self.left - 1
        answer = f"{COMPLETION}\n200\n" if self.active == "active" and self.left <= 0 else ""
        return f"{self._shown()}==log==\n{self.log}\n==http==\n{answer}"

    def _metrics(self) -> str | Completed:
        number = self.in_flight.pop(0) if self.in_flight else 0
        self.events.append(f"in flight {number}")
        if number is None:
            raise CommandFailed("curl", 7, "")
        self.tokens += self.speed
        return f"vllm:num_requests_running {number}\nvllm:generation_tokens_total {self.tokens}\n"


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    simulated = Simulation()

    def connect(connection: HostConnection, wait: Wait) -> FakeHost:
        assert connection == CONNECTION
        host = FakeHost(simulated.answer, wait)
        monkeypatch.setattr(host, "write", simulated.write, raising=False)
        return host

    def mark(word: str) -> Callable[..., bool]:
        def marked(connection: HostConnection, service: str, replica: str, wait: Wait) -> bool:
            del wait
            assert (connection, service, replica) == (GATEWAY, "chat", "replica-0")
            simulated.events.append(word)
            return True

        return marked

    monkeypatch.setattr(module, "connect", connect)
    monkeypatch.setattr(module, "gather", lambda _: simulated)
    monkeypatch.setattr(module, "let_in", lambda _, unit, port, sources: f"open {port} to {sources} for {unit}")
    monkeypatch.setattr(module, "keep_out", lambda _, unit: f"close {unit}")
    monkeypatch.setattr(module, "carry_out", lambda _, step, __: simulated.events.append(step))
    monkeypatch.setattr(module.gateway, "drain", mark("drain"))
    monkeypatch.setattr(module.gateway, "restore", mark("restore"))
    return simulated


def ensure(spec: EngineSpec = SPEC, seconds: float = 1000, said: list[str] | None = None) -> float:
    wait = FakeClock().wait(seconds, (said if said is not None else []).append)
    return ensure_engine(CONNECTION, spec, wait).ready_seconds


def serving(simulation: Simulation, spec: EngineSpec = SPEC) -> None:
    """As after a start of ``spec`` that went well."""
    simulation.files = dict(engine_files(spec, "moestro-engine"))
    simulation.active, simulation.run = "active", 1
    simulation.record = Record(Phase.READY, digest_of(simulation.files), "run-0", "run-1", 42.0).text()


OPEN = "open 8000 to ['192.0.2.9'] for moestro-engine-chat.service"
WRITES = [
    "write moestro-engine-chat.service",
    "write engine.env",
    "write engine.crt",
    "write engine.key",
    "write authority.crt",
]


def test_the_first_start_drains_nothing(simulation: Simulation) -> None:
    ensure()

    assert simulation.events == [
        OPEN,
        *WRITES,
        "note starting",
        "start",
        "probe",
        "probe",
        "note ready",
        "restore",
    ]


def test_an_unchanged_engine_is_only_asked(simulation: Simulation) -> None:
    serving(simulation)

    assert ensure() == 42.0
    # The firewall is told all the same: the gateway may have moved to another address.
    assert simulation.events == [OPEN, "probe", "restore"]


def test_a_changed_engine_is_drained_then_idle_then_restarted_then_put_back(simulation: Simulation) -> None:
    serving(simulation)
    simulation.in_flight = [2, 0, 1, 0, 0, 0]
    said: list[str] = []

    ensure(replace(SPEC, version="0.33.0"), said=said)

    story = [event for event in simulation.events if event not in WRITES]
    assert story == [
        "drain",
        *(f"in flight {number}" for number in (2, 0, 1, 0, 0, 0)),
        OPEN,
        "note starting",
        "start",
        "probe",
        "probe",
        "note ready",
        "restore",
    ]
    assert "replica-0: 2 request(s) in flight" in said


def test_requests_that_do_not_end_hold_the_update_up_for_the_shutdown_timeout_alone(simulation: Simulation) -> None:
    serving(simulation)
    simulation.in_flight = [1] * 1000

    ensure(replace(SPEC, version="0.33.0"))

    assert simulation.events.count("in flight 1") == 20
    assert simulation.events[-1] == "restore"


def test_an_engine_that_cannot_be_asked_is_not_waited_for(simulation: Simulation) -> None:
    serving(simulation)
    simulation.in_flight = [None]

    ensure(replace(SPEC, version="0.33.0"))

    assert simulation.events.count("in flight None") == 1


def test_without_a_gateway_it_is_restarted_once_idle(simulation: Simulation) -> None:
    spec = replace(SPEC, gateway=None)
    serving(simulation, spec)

    ensure(replace(spec, version="0.33.0"))

    assert not {"drain", "restore"} & set(simulation.events)
    assert simulation.events.index("in flight 0") < simulation.events.index("start")
    assert OPEN.replace("'192.0.2.9'", "") in simulation.events


def test_a_stop_while_it_drains_puts_it_back_untouched(simulation: Simulation) -> None:
    serving(simulation)
    simulation.in_flight = [1] * 1000
    clock = FakeClock()
    wait = clock.wait(1000)
    stopping = replace(wait, pause=lambda _: wait.cancel.set())

    with pytest.raises(Cancelled):
        ensure_engine(CONNECTION, replace(SPEC, version="0.33.0"), stopping)

    assert simulation.events == ["drain", "in flight 1", "restore"]


def test_a_start_that_was_interrupted_is_waited_for_and_not_repeated(simulation: Simulation) -> None:
    serving(simulation)
    simulation.record = Record(Phase.STARTING, digest_of(simulation.files), "run-0").text()

    ensure()

    assert simulation.events == [OPEN, "probe", "note ready", "restore"]


def test_a_failed_unit_ends_the_wait_at_once_with_the_log_and_without_secrets(simulation: Simulation) -> None:
    simulation.after_start = {"active": "failed"}
    simulation.log = f"line\nkey {SPEC.api_key} and MIGHAgEA0123456789\nValueError: no such layer"

    with pytest.raises(NotReady) as failed:
        ensure()

    assert "has failed (exit-code, exit status 2)" in str(failed.value)
    assert str(failed.value).endswith("ValueError: no such layer")
    assert SPEC.api_key not in str(failed.value)
    assert "MIGHAgEA" not in str(failed.value)
    assert simulation.events[-3:] == ["start", "probe", "note failed"]


def test_after_a_failure_the_next_call_starts_anew(simulation: Simulation) -> None:
    serving(simulation)
    simulation.record = Record(Phase.FAILED, digest_of(simulation.files), "run-0").text()

    ensure()

    assert "start" in simulation.events


def test_the_time_limit_is_the_specs(simulation: Simulation) -> None:
    simulation.load = 10_000
    clock = FakeClock()

    with pytest.raises(NotReady, match="no completion in time"):
        ensure_engine(CONNECTION, SPEC, clock.wait(10_000))

    assert 95 <= sum(clock.slept) <= 105


def test_a_running_engine_that_stopped_answering_is_restarted(simulation: Simulation) -> None:
    serving(simulation)
    simulation.left = 1000

    ensure()

    assert "note failed" in simulation.events
    assert simulation.events.index("drain") < simulation.events.index("start")
    assert simulation.events[-2:] == ["note ready", "restore"]


class TestAKeptEngineWithoutRoomForOurQuestion:
    """It gave us no token within KEPT_SECONDS; what it does for others decides."""

    @pytest.fixture
    def crowded(self, simulation: Simulation) -> Simulation:
        serving(simulation)
        simulation.left, simulation.in_flight = 1000, [64] * 100
        return simulation

    def test_is_left_alone_while_it_computes_for_others(self, crowded: Simulation) -> None:
        crowded.speed = 5
        said: list[str] = []

        assert ensure(said=said) == 42.0

        assert not {"start", "drain", "note failed"} & set(crowded.events)
        assert crowded.events[-1] == "restore"
        assert "moestro-engine-chat.service: kept: it has no room for a question, and computes 64 request(s)" in said

    def test_may_be_slow_to_say_so(self, crowded: Simulation) -> None:
        crowded.speed, crowded.in_flight = 5, [None, 64, None, 64]

        ensure()

        assert "start" not in crowded.events

    def test_is_restarted_where_it_computes_nothing(self, crowded: Simulation) -> None:
        ensure()

        assert crowded.events.index("note failed") < crowded.events.index("start")

    def test_is_restarted_where_it_cannot_be_asked_at_all(self, crowded: Simulation) -> None:
        crowded.in_flight = [None] * 100

        ensure()

        assert "start" in crowded.events

    def test_is_waited_for_all_the_same_where_it_answers_late(self, crowded: Simulation) -> None:
        crowded.left = 20

        ensure()

        assert set(crowded.events) == {OPEN, "probe", "restore"}


SGLANG = replace(SPEC, engine="sglang", argv=("/opt/moestro/engine/bin/sglang", "serve", "--port", "8000"), version="1")


class TestSglang:
    def test_its_key_is_in_a_file_of_its_own_alone(self) -> None:
        files = engine_files(SGLANG, "moestro-engine")

        assert [path for path, text in files.items() if SPEC.api_key in text] == ["/etc/moestro/chat/engine.yaml"]
        unit = files["/etc/systemd/system/moestro-engine-chat.service"]
        assert "--config /etc/moestro/chat/engine.yaml\n" in unit
        assert "EnvironmentFile" not in unit
        assert "TimeoutStopSec=110\n" in unit  # 20 s for requests, 90 s for SGLang's own end

    def test_the_file_is_for_its_user_alone(self, simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
        modes: dict[str, tuple[int, str]] = {}
        write = simulation.write

        def noted(path: str, content: str | bytes, mode: int = 0o644, owner: str = "root:root") -> bool:
            modes[path.rpartition("/")[2]] = mode, owner
            return write(path, content, mode, owner)

        monkeypatch.setattr(simulation, "write", noted)
        ensure(SGLANG)

        assert modes["engine.yaml"] == (0o600, "moestro-engine:moestro-engine")
        assert modes["logging.json"] == (0o644, "root:root")

    def test_taking_vllms_place_leaves_no_key_behind(self, simulation: Simulation) -> None:
        serving(simulation)

        ensure(SGLANG)

        assert "rm -f -- /etc/moestro/chat/engine.env" in simulation.events
        assert sorted(simulation.files) == sorted(engine_files(SGLANG, "moestro-engine"))
        read = read_engine(CONNECTION, SGLANG, Wait())
        assert read
        assert read.state == "ready"

    def test_its_port_opens_for_the_gateway_alone(self, simulation: Simulation) -> None:
        said: list[str] = []

        ensure(SGLANG, said=said)

        assert OPEN in simulation.events
        assert not [line for line in said if "8000" in line]

    def test_its_port_stays_closed_where_nobody_is_known(self, simulation: Simulation) -> None:
        said: list[str] = []

        ensure(replace(SGLANG, gateway=None), said=said)

        assert not [event for event in simulation.events if event.startswith("open")]
        assert "close moestro-engine-chat.service" in simulation.events
        assert any("ufw keeps port 8000 closed" in line for line in said)

    def test_a_host_without_firewall_is_told(self, simulation: Simulation) -> None:
        simulation.firewall = None
        said: list[str] = []

        ensure(SGLANG, said=said)

        assert any("TLS and the API key alone guard port 8000" in line for line in said)

    def test_an_unknown_engine_is_refused(self, simulation: Simulation) -> None:
        with pytest.raises(InvalidInput, match="engine 'tgi' is unknown: use vllm or sglang"):
            ensure(replace(SPEC, engine="tgi"))
        assert simulation.events == []


def test_a_cut_connection_while_waiting_is_no_failure(simulation: Simulation) -> None:
    simulation.lost = 3
    said: list[str] = []

    ensure(said=said)

    assert sum("the line is cut" in line for line in said) == 3
    assert simulation.events.count("start") == 1


def test_the_log_is_told_as_it_goes_and_only_where_it_moves(simulation: Simulation) -> None:
    simulation.load = 5
    said: list[str] = []

    ensure(said=said)

    assert said == ["moestro-engine-chat.service: starting", "moestro-engine-chat.service: loading"]


class TestRead:
    def test_nothing_there(self, simulation: Simulation) -> None:
        del simulation
        assert read_engine(CONNECTION, SPEC, Wait()) is None

    @pytest.mark.parametrize(
        ("changes", "state"),
        [({}, "ready"), ({"active": "failed"}, "failed"), ({"run": 2}, "starting"), ({"record": ""}, "changed")],
    )
    def test_its_state(self, simulation: Simulation, changes: dict[str, Any], state: str) -> None:
        serving(simulation)
        vars(simulation).update(changes)

        read = read_engine(CONNECTION, SPEC, Wait())

        assert read
        assert read.state == state
        assert simulation.events == []

    @pytest.mark.parametrize(
        "change",
        [
            {"argv": (*SPEC.argv, "--x")},
            {"env": {"A": "1"}},
            {"api_key": "other"},
            {"private_key_pem": "other"},
            {"authority_pem": "other"},
            {"version": "2"},
            {"shutdown_timeout_seconds": 21},
            {"engine": "sglang"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_every_input_of_the_process_is_drift(self, simulation: Simulation, change: dict[str, Any]) -> None:
        serving(simulation)

        read = read_engine(CONNECTION, replace(SPEC, **change), Wait())

        assert read
        assert read.state == "changed"


def test_no_secret_is_in_a_repr() -> None:
    assert "engine-key" not in repr(SPEC)
    assert "PRIVATE" not in repr(SPEC)
