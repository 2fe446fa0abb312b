"""Bringing a gateway to its spec: what is sent, what is left alone, what an error may say. The host is simulated."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from moestro.errors import CommandFailed, HostError
from moestro.hosts import gateway as module
from moestro.hosts.connection import HostConnection
from moestro.hosts.gateway import GatewaySpec, Upstream, drain, ensure_gateway, read_gateway, restore
from moestro.hosts.ssh import Completed
from moestro.waiting import Wait
from tests.unit.hosts.fake_host import CONNECTION, FakeHost

SPEC = GatewaySpec(
    service="chat",
    served_name="tiny",
    upstreams=(Upstream("replica-0", "10.0.0.1", 8000), Upstream("replica-1", "10.0.0.2", 8000)),
    api_keys={"alice": "alice-key-0123456789.abc"},
    engine_api_key="engine-key-0123456789",
    certificate_pem="CERTIFICATE",
    private_key_pem="PRIVATE",
    authority_pem="AUTHORITY",
    listen_port=8080,
)

OPEN = ("carry out", ("moestro-gateway-chat.service", 8080))


@dataclass
class Simulation:
    """A host that keeps the release that was sent last. ``refusal`` is what nginx says to it."""

    release: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    active: str = "inactive"
    drained: list[str] = field(default_factory=list)
    refusal: str = ""
    marked: str = "done"
    host: FakeHost | None = None
    events: list[object] = field(default_factory=list)

    def answer(self, command: str) -> str | Completed | Exception:
        assert self.host
        if "reads about a gateway" in command:
            return self._look()
        if "Puts a release of a gateway in place" in command:
            self.events.append("apply")
            return self._apply(self.host.inputs[-1])
        if "Takes a replica out of the rotation" in command:
            self.events.append(self.host.inputs[-1].decode())
            return f"{self.marked}\n"
        return ""

    def _apply(self, archive: bytes) -> str | Exception:
        if self.refusal:
            return CommandFailed(f"192.0.2.1: failed: {self.refusal}", 65, self.refusal)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            members = {member.name: member for member in tar.getmembers()}
            self.modes = {name: member.mode for name, member in members.items()}
            files = {name: tar.extractfile(member) for name, member in members.items()}
            self.release = {name: file.read() for name, file in files.items() if file}
        self.active = "active"
        return ""

    def _look(self) -> str:
        if not self.release:
            return "LoadState=not-found\nActiveState=inactive\n==files==\n"
        main = self.release["nginx.conf"].decode()
        served = main.split('return 200 "')[1].split("\\n")[0]
        listing = "".join(
            f"{hashlib.sha256(content).hexdigest()}  {name}\n"
            for name, content in self.release.items()
            if not name.startswith("state/")
        )
        down = "".join(f"Down={name}\n" for name in self.drained)
        head = f"LoadState=loaded\nActiveState={self.active}\nNginx=yes\nUnitInPlace=yes\nServed={served}\n"
        return f"{head}{down}==files==\n{listing}"


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    simulated = Simulation()

    def connect(connection: HostConnection, wait: Wait) -> FakeHost:
        assert connection == CONNECTION
        simulated.host = FakeHost(simulated.answer, wait)
        return simulated.host

    def told(what: str) -> Callable[..., None]:
        return lambda *_: simulated.events.append(what)

    monkeypatch.setattr(module, "connect", connect)
    monkeypatch.setattr(module, "gather", lambda _: None)
    monkeypatch.setattr(module, "let_in", lambda _, unit, port: (unit, port))
    monkeypatch.setattr(module, "carry_out", lambda _, step, __: simulated.events.append(("carry out", step)))
    monkeypatch.setattr(module, "converge", told("install"))
    return simulated


class TestEnsure:
    def test_from_nothing(self, simulation: Simulation) -> None:
        state = ensure_gateway(CONNECTION, SPEC, Wait())

        assert simulation.events == ["install", "apply", OPEN]
        assert state.url == "http://192.0.2.1:8080"
        assert (state.state, len(state.config_digest)) == ("active", 64)

    def test_a_second_time_nothing_is_sent(self, simulation: Simulation) -> None:
        first = ensure_gateway(CONNECTION, SPEC, Wait())
        simulation.events.clear()

        assert ensure_gateway(CONNECTION, SPEC, Wait()) == first
        assert simulation.events == [OPEN], "where the firewall was changed or came later, it is put right"

    def test_every_replica_comes_with_a_first_state_and_secrets_keep_their_mode(self, simulation: Simulation) -> None:
        ensure_gateway(CONNECTION, SPEC, Wait())

        assert simulation.release["state/replica-1.conf"] == b"include servers/replica-1.up.conf;\n"
        secret = {
            name for name, content in simulation.release.items() if b"0123456789" in content or b"PRIVATE" in content
        }
        assert secret == {"keys.conf", "engine-key.conf", "client.key"}
        assert {simulation.modes[name] for name in secret} == {0o600}

    def test_a_refusal_says_what_nginx_said_and_no_key(self, simulation: Simulation) -> None:
        simulation.refusal = (
            'nginx: [emerg] invalid "~^Bearer alice\\-key\\-0123456789\\.abc" beside alice-key-0123456789.abc '
            "and engine-key-0123456789 in keys.conf:1"
        )

        with pytest.raises(HostError, match=r"keys\.conf:1") as refused:
            ensure_gateway(CONNECTION, SPEC, Wait())

        assert OPEN not in simulation.events, "the port of what goes on running stays the open one"
        assert "0123456789" not in str(refused.value)
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__

    def test_no_secret_is_in_a_command(self, simulation: Simulation) -> None:
        ensure_gateway(CONNECTION, SPEC, Wait())

        assert simulation.host
        assert not any("0123456789" in command or "PRIVATE" in command for command in simulation.host.commands)


class TestRead:
    def test_nothing_there(self, simulation: Simulation) -> None:
        del simulation
        assert read_gateway(CONNECTION, SPEC, Wait()) is None

    def test_draining_is_no_drift(self, simulation: Simulation) -> None:
        made = ensure_gateway(CONNECTION, SPEC, Wait())
        simulation.drained = ["replica-1"]

        assert read_gateway(CONNECTION, SPEC, Wait()) == replace(made, drained=("replica-1",))

    @pytest.mark.parametrize("path", ["nginx.conf", "keys.conf", "client.key", "servers/replica-0.up.conf"])
    def test_an_edited_file_is(self, simulation: Simulation, path: str) -> None:
        ensure_gateway(CONNECTION, SPEC, Wait())
        simulation.release[path] += b"# edited\n"

        read = read_gateway(CONNECTION, SPEC, Wait())

        assert read
        assert read.config_digest == "changed"

    def test_a_gateway_that_does_not_run_is(self, simulation: Simulation) -> None:
        ensure_gateway(CONNECTION, SPEC, Wait())
        simulation.active = "failed"

        read = read_gateway(CONNECTION, SPEC, Wait())

        assert read
        assert (read.config_digest, read.state) == ("changed", "failed")


class TestDrain:
    def test_it_sends_the_replicas_state(self, simulation: Simulation) -> None:
        assert drain(CONNECTION, "chat", "replica-1", Wait())
        assert restore(CONNECTION, "chat", "replica-1", Wait())

        assert simulation.events == ["include servers/replica-1.down.conf;\n", "include servers/replica-1.up.conf;\n"]

    def test_a_replica_that_the_gateway_does_not_know(self, simulation: Simulation) -> None:
        simulation.marked = "unknown"

        assert not drain(CONNECTION, "chat", "replica-7", Wait())
