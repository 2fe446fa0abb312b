"""The engine of one replica: a systemd unit with its secrets on a host, proven ready by a real completion."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import pairwise

from moestro.errors import ConnectionLost, DeadlineExceeded, HostError, NotReady
from moestro.hosts import gateway, layout
from moestro.hosts.activity import await_idle, computes
from moestro.hosts.connection import HostConnection
from moestro.hosts.converge import carry_out
from moestro.hosts.facts import Facts, gather
from moestro.hosts.probe import Door, Sighting, probe
from moestro.hosts.rolling import TURNS
from moestro.hosts.scripts import script
from moestro.hosts.ssh import Host, connect
from moestro.hosts.steps.firewall import ACTIVE, keep_out, let_in
from moestro.hosts.steps.packages import install_packages
from moestro.hosts.steps.unit import (
    Action,
    EngineLook,
    Phase,
    Record,
    decide,
    digest_of,
    digests,
    hopeless,
    is_completion,
    parse_look,
    readable,
)
from moestro.serving import engines
from moestro.serving.launch import Launch
from moestro.serving.names import engine_name
from moestro.serving.systemd import ENGINE_USER, EngineUnit, engine_unit, tail_file
from moestro.waiting import Wait

KEPT_SECONDS = 180.0  # a running engine that gives us no completion for so long, nor others tokens, is restarted
TAIL_LINES = 40

_GATEWAY_SECONDS = 60.0
_SECRET = (".env", ".key", ".yaml")  # of mode 0600
_READ_BY_THE_ENGINE = (".key", ".yaml")
_EVERYWHERE = ("0.0.0.0", "::", "[::]", "")


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What one engine is to be.

    Attributes:
        argv: the launch line; argv[0] is the program. Certificates are expected where :func:`engine_files` puts them.
        env: environment without secrets.
        api_key: what the engine demands of the gateway.
        certificate_pem: server certificate with the name ``engine_name(service)``; also used as client for our probes.
        version: the engine's; another one restarts it.
        ready_timeout_seconds: from the start to the first completion.
        shutdown_timeout_seconds: how long running requests may take to finish after SIGTERM.
        engine: "vllm" or "sglang"; says how it gets the key, whom it lets in, and how it ends.
        gateway: where nginx of the service runs; the replica is drained there before it is restarted.
        replica: the replica's name in the gateway's upstreams.
        max_unavailable: replicas of the service that may be down at once.
    """

    service: str
    served_name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    api_key: str = field(repr=False)
    certificate_pem: str = field(repr=False)
    private_key_pem: str = field(repr=False)
    authority_pem: str = field(repr=False)
    port: int
    version: str
    replica: str
    ready_timeout_seconds: float = 1800.0
    shutdown_timeout_seconds: int = 120
    engine: str = "vllm"
    gateway: HostConnection | None = None
    max_unavailable: int = 1


@dataclass(frozen=True, slots=True)
class EngineState:
    """How an engine is.

    ``state`` is "ready" (as wanted, and it has answered), "starting", "changed" (its files are not as wanted), or what
    systemd says of a unit that does not run ("failed", "inactive", "activating").
    """

    unit: str
    url: str
    state: str
    ready_seconds: float


def ensure_engine(connection: HostConnection, spec: EngineSpec, wait: Wait) -> EngineState:
    """Bring the engine to the spec and prove it by a completion. Nothing is restarted where nothing changed.

    A running engine is drained at the gateway, restarted, proven and put back. A replica that serves nobody is simply
    started. An engine that does not get ready stays as it is; the next call repairs it.

    Raises:
        InvalidInput: an argument, variable or key that the engine's files cannot hold, or an unknown engine.
        NotReady: no completion in time, or the unit failed; the message ends with the log's tail.
        HostError: the host, or the gateway's, could not be worked on.
        Cancelled, DeadlineExceeded: from the wait.
    """
    return _Engine(connect(connection, wait), spec, wait).ensure()


def read_engine(connection: HostConnection, spec: EngineSpec, wait: Wait) -> EngineState | None:
    """How the engine is now; None where its unit is not there."""
    engine = _Engine(connect(connection, wait), spec, wait)
    look = engine.look()
    if not look.exists:
        return None
    return engine.state(_named(look, engine_files(spec, look.user)), look.record.ready_seconds)


def remove_engine(connection: HostConnection, spec: EngineSpec, wait: Wait) -> None:
    """Take the replica out of the gateway, let it finish, stop it and remove its files. Quiet where there is none."""
    _Engine(connect(connection, wait), spec, wait).remove()


def engine_files(spec: EngineSpec, user: str | None) -> dict[str, str]:
    """Path -> text of everything that the engine runs with.

    Raises:
        InvalidInput: an argument, variable or key that no unit or file of the engine can hold, or an unknown engine.
    """
    directory, engine = layout.service_directory(spec.service), engines.engine(spec.engine)
    keyed = engine.keyed(Launch(spec.argv, dict(spec.env)), directory, spec.api_key)
    unit = EngineUnit(
        name=layout.unit_name(spec.service),
        service=spec.service,
        version=spec.version,
        launch=keyed.launch,
        environment_file=keyed.environment_file,
        shutdown_timeout_seconds=spec.shutdown_timeout_seconds,
        stop_grace_seconds=engine.stop_grace_seconds,
        user=user,
    )
    return {
        _unit_file(spec.service): engine_unit(unit),
        **keyed.files,
        f"{directory}/engine.crt": spec.certificate_pem,
        f"{directory}/engine.key": spec.private_key_pem,
        f"{directory}/authority.crt": spec.authority_pem,
    }


class _Engine:
    def __init__(self, host: Host, spec: EngineSpec, wait: Wait) -> None:
        self.host, self.spec, self.wait = host, spec, wait
        self.kind = engines.engine(spec.engine)
        self.unit = layout.unit_name(spec.service)
        self.directory = layout.service_directory(spec.service)
        address = _listening_address(spec.argv)
        self.door = Door(engine_name(spec.service), address, spec.port, self.directory, spec.api_key)

    def look(self) -> EngineLook:
        paths = [word for word in self.spec.argv if word.startswith("/")]
        line = script("engine_look", self.unit, self.directory, _unit_file(self.spec.service), ENGINE_USER, *paths)
        return parse_look(self.host.run(line).stdout)

    def state(self, state: str, ready_seconds: float) -> EngineState:
        url = f"https://{self.host.connection.address}:{self.spec.port}"
        return EngineState(self.unit, url, state, ready_seconds)

    def ensure(self) -> EngineState:
        look = self.look()
        files = engine_files(self.spec, look.user)
        action = decide(look, files)
        if action in (Action.KEEP, Action.AWAIT):
            self._let_in(gather(self.host))  # the gateway may have another address than when the engine was started
        if action is Action.KEEP and self._answers(look):
            return self.state("ready", look.record.ready_seconds)
        if action is Action.AWAIT:
            return self._await_ready(replace(look.record, phase=Phase.STARTING), look.restarts)
        with TURNS.turn(self.spec.service, self.spec.max_unavailable, self.wait, already_down=not look.running):
            return self._start_anew(look, files)

    def remove(self) -> None:
        look = self.look()
        if look.running:
            # The gateway may be gone already, with its host: then nobody is sent here any more.
            with suppress(HostError, DeadlineExceeded):
                self._drain(self.wait.limited(_GATEWAY_SECONDS))
            self._await_idle()
        limit = self.spec.shutdown_timeout_seconds + self.kind.stop_grace_seconds
        line = script(
            "engine_remove", self.unit, _unit_file(self.spec.service), self.directory, limit, self.spec.service
        )
        self.host.run(line, timeout=limit + 30)
        carry_out(self.host, keep_out(gather(self.host), self.unit), self.wait)

    def _visitors(self) -> list[str]:
        """Who besides the host itself has business at the engine's port; empty where no address of theirs is known."""
        gateway_host = self.spec.gateway
        return [gateway_host.address] if gateway_host and _is_address(gateway_host.address) else []

    def _start_anew(self, look: EngineLook, files: Mapping[str, str]) -> EngineState:
        if look.running:
            with self._out_of_the_way():
                self._install(look, files)
        else:
            self._install(look, files)
        record = Record(Phase.STARTING, digest_of(files), look.invocation)
        self._note(record)
        self.wait.report(f"{self.unit}: starting")
        self.host.run(script("engine_start", self.unit))
        return self._await_ready(record, restarts_before=0)

    def _install(self, look: EngineLook, files: Mapping[str, str]) -> None:
        facts = gather(self.host)
        if not look.curl:
            carry_out(self.host, install_packages(facts, ["curl"]), self.wait)
        self._let_in(facts)
        if look.user:
            self.host.run(script("engine_user", look.user))
        owner = f"{look.user}:{look.user}" if look.user else "root:root"
        stale = sorted(look.files.keys() - files)  # another engine's, with its key
        if stale:
            self.host.run(f"rm -f -- {shlex.join(stale)}")
        for path, text in files.items():
            mode = 0o600 if path.endswith(_SECRET) else 0o644
            self.host.write(path, text, mode, owner if path.endswith(_READ_BY_THE_ENGINE) else "root:root")

    def _let_in(self, facts: Facts) -> None:
        """Let the gateway in. Where client certificates keep nobody out, nobody else is let in."""
        visitors, port = self._visitors(), self.spec.port
        anybody = visitors or self.kind.client_certificates
        step = let_in(facts, self.unit, port, visitors) if anybody else keep_out(facts, self.unit)
        carry_out(self.host, step, self.wait)
        if self.kind.client_certificates:
            return
        if facts.firewall != ACTIVE:
            self.wait.report(f"{self.unit}: no ufw is active here: TLS and the API key alone guard port {port}")
        elif not visitors:
            self.wait.report(f"{self.unit}: ufw keeps port {port} closed: there is no gateway with an IP address")

    @contextmanager
    def _out_of_the_way(self) -> Iterator[None]:
        """Drained and idle; put back where we are stopped before anything was changed."""
        try:
            self._drain(self.wait)
            self._await_idle()
            yield
        except BaseException:
            with suppress(HostError, DeadlineExceeded):
                self._restore(Wait.of(_GATEWAY_SECONDS))
            raise

    def _drain(self, wait: Wait) -> None:
        if self.spec.gateway and gateway.drain(self.spec.gateway, self.spec.service, self.spec.replica, wait):
            wait.report(f"{self.spec.replica}: the gateway sends it no more requests")

    def _restore(self, wait: Wait) -> None:
        if self.spec.gateway:
            gateway.restore(self.spec.gateway, self.spec.service, self.spec.replica, wait)

    def _await_idle(self) -> None:
        """Until nothing is in flight, or for the shutdown timeout; the engine's own drain takes what is left."""
        await_idle(self.host, self.door, self.spec.replica, self.wait.limited(self.spec.shutdown_timeout_seconds))
        self.wait.check()

    def _answers(self, look: EngineLook) -> bool:
        """Whether a kept engine serves: us with a completion, or, where its queue is long, others with tokens."""
        try:
            self._await_ready(look.record, look.restarts, self.wait.limited(KEPT_SECONDS))
            return True
        except NotReady:
            self.wait.check()
        busy = computes(self.host, self.door, self.wait)
        if busy is None:
            self._note(replace(look.record, phase=Phase.FAILED))
            return False
        self.wait.report(f"{self.unit}: kept: it has no room for a question, and computes {busy.in_flight} request(s)")
        self._restore(self.wait)
        return True

    def _await_ready(self, record: Record, restarts_before: int, limited: Wait | None = None) -> EngineState:
        limited = limited or self.wait.limited(self.spec.ready_timeout_seconds)
        began = self.wait.monotonic()
        following = _Following(self, record, restarts_before, limited)
        try:
            seen = following.until_ready()
        except NotReady:
            if record.phase is Phase.STARTING:
                self._note(replace(record, phase=Phase.FAILED))
            raise
        seconds = record.ready_seconds
        if record.phase is Phase.STARTING:
            seconds = round(self.wait.monotonic() - began, 1)
            record = replace(record, phase=Phase.READY, answered=seen.look.invocation, ready_seconds=seconds)
            self._note(record)
        self._restore(self.wait)
        return self.state("ready", seconds)

    def _note(self, record: Record) -> None:
        self.host.write(f"{self.directory}/engine.json", record.text(), 0o600)


class _Following:
    """Looks at a starting engine until it answers, telling what its log says."""

    def __init__(self, engine: _Engine, record: Record, restarts_before: int, limited: Wait) -> None:
        self.engine, self.limited = engine, limited
        self.replaced, self.restarts_before = record.replaced, restarts_before
        spec = engine.spec
        self.secrets = (spec.api_key, spec.private_key_pem, *spec.private_key_pem.splitlines())
        self.tail: list[str] = []
        self.told = ""

    def until_ready(self) -> Sighting:
        try:
            for _ in self.limited.backoff(first=1.0, factor=1.3, most=4.0):
                seen = self._probe()
                if seen and is_completion(seen.status, seen.body):
                    return seen
                reason = hopeless(seen.look, self.restarts_before) if seen else None
                if reason:
                    raise self._not_ready(reason)
        except DeadlineExceeded:
            pass
        raise self._not_ready("it gave no completion in time")

    def _probe(self) -> Sighting | None:
        engine, spec = self.engine, self.engine.spec
        host = engine.host.within(self.limited)
        try:
            tail = tail_file(spec.service)
            seen = probe(host, engine.unit, tail, engine.door, spec.served_name, self.replaced)
        except ConnectionLost as error:
            self.limited.report(f"{engine.unit}: {error}; the engine goes on, looking again")
            return None
        self.tail = readable(seen.log, self.secrets)[-TAIL_LINES:]
        self._tell()
        return seen

    def _tell(self) -> None:
        newest = self.tail[-1] if self.tail else ""
        if newest != self.told:
            self.told = newest
            self.limited.report(f"{self.engine.unit}: {newest}")

    def _not_ready(self, reason: str) -> NotReady:
        tail = "\n".join(self.tail)
        host = self.engine.host
        return NotReady(f"{host}: {self.engine.unit} is not ready: {reason}; the end of its log:\n{tail}")


def _named(look: EngineLook, files: Mapping[str, str]) -> str:
    if look.files != digests(files) or look.record.digest != digest_of(files):
        return "changed"
    if not look.running:
        return look.active
    return "ready" if decide(look, files) is Action.KEEP else "starting"


def _unit_file(service: str) -> str:
    return f"/etc/systemd/system/{layout.unit_name(service)}"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _listening_address(argv: tuple[str, ...]) -> str:
    """Where the engine listens on its host: the launch line's ``--host``, loopback where that is every address."""
    for name, value in pairwise(argv):
        if name == "--host" and value not in _EVERYWHERE:
            return value
    return "127.0.0.1"
