"""The resources on a host, over operations that a test supplies in place of SSH."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moestro.errors import (
    Cancelled,
    CommandFailed,
    ConnectionLost,
    DeadlineExceeded,
    HostError,
    HostKeyChanged,
    HostUnreachable,
    NotReady,
)
from moestro.hosts.connection import HostConnection
from moestro.hosts.engine import EngineSpec, EngineState
from moestro.hosts.gateway import GatewaySpec, GatewayState, Tls, Upstream
from moestro.hosts.runtime import RuntimeSpec, RuntimeState
from moestro.hosts.weights import WeightsSpec, WeightsState
from moestro.waiting import Wait
from provider.engine import Engine
from provider.gateway import Gateway
from provider.host_resource import Operations
from provider.runtime import Runtime
from provider.weights import Weights
from tests.unit.provider.conftest import Serve
from tests.unit.provider.fakes import HOST
from tests.unit.provider.harness import UNKNOWN, Failed, FakeEngine, secret

ON_HOST: dict[str, Any] = {"host": HOST | {"privateKey": secret("PRIVATE-KEY")}}
CONNECTION = HostConnection("192.0.2.1", 22, "ubuntu", "PRIVATE-KEY", "ssh-ed25519 AAAA")
RUNTIME = ON_HOST | {"device": "cuda", "engine": "vllm", "engineVersion": "0.33.0", "packages": ["ray>=2.50"]}
ENGINE = ON_HOST | {
    "service": "moe",
    "replica": "moe-0",
    "servedName": "tiny",
    "argv": ["/opt/vllm/bin/vllm", "serve", "/weights"],
    "env": {"VLLM_X": "1"},
    "apiKey": secret("engine-key-0123"),
    "certificatePem": "CERTIFICATE",
    "privateKeyPem": secret("ENGINE-PRIVATE"),
    "authorityPem": "AUTHORITY",
    "port": 8000,
    "version": "0.33.0",
    "gateway": HOST | {"privateKey": secret("PRIVATE-KEY")},
}
GATEWAY = ON_HOST | {
    "service": "moe",
    "servedName": "tiny",
    "upstreams": [{"name": "moe-0", "address": "192.0.2.1", "port": 8000}],
    "apiKeys": secret({"default": "sk-user-key"}),
    "engineApiKey": secret("engine-key-0123"),
    "certificatePem": "CERTIFICATE",
    "privateKeyPem": secret("GATEWAY-PRIVATE"),
    "authorityPem": "AUTHORITY",
    "listenPort": 80,
    "tls": {"certificatePem": "USERS", "privateKeyPem": secret("USERS-PRIVATE")},
}


class Host:
    """What one host has, by the operations of :mod:`moestro.hosts`."""

    def __init__(self, state_of: Callable[[Any], Any]) -> None:
        self.state_of = state_of
        self.specs: list[Any] = []
        self.seen: Any = None
        self.removed: list[Any] = []
        self.error: Exception | None = None
        self.drops = 0

    def operations(self) -> Operations[Any, Any]:
        return Operations(self.ensure, self.read, self.remove)

    def ensure(self, connection: HostConnection, spec: Any, wait: Wait) -> Any:
        self._meet(connection)
        self.specs.append(spec)
        wait.check()
        return self.state_of(spec)

    def read(self, connection: HostConnection, spec: Any, wait: Wait) -> Any:
        self._meet(connection)
        wait.check()
        assert spec
        return self.seen

    def remove(self, connection: HostConnection, spec: Any, wait: Wait) -> None:
        self._meet(connection)
        wait.check()
        self.removed.append(spec)

    def _meet(self, connection: HostConnection) -> None:
        assert connection == CONNECTION
        if self.error:
            raise self.error
        if self.drops:
            self.drops -= 1
            raise ConnectionLost("the connection dropped")


def runtime_state(spec: RuntimeSpec) -> RuntimeState:
    return RuntimeState("/opt/vllm/bin/vllm", spec.engine_version, "Debian 12", 8, 62.5, ("H100",), "570.1", "12.8")


def engine_state(spec: EngineSpec, state: str = "ready") -> EngineState:
    return EngineState("moestro-engine-moe.service", f"https://192.0.2.1:{spec.port}", state, 41.5)


def gateway_state(spec: GatewaySpec, digest: str = "d1", state: str = "active") -> GatewayState:
    return GatewayState(f"https://192.0.2.1:{spec.listen_port}", digest, state)


class TestRuntime:
    def test_becomes_what_the_spec_says(self, serve: Serve) -> None:
        host = Host(runtime_state)
        id, outputs = serve(Runtime(host.operations)).create(RUNTIME)
        assert id == "192.0.2.1:22/runtime"
        assert host.specs == [RuntimeSpec("cuda", "vllm", "0.33.0", False, ("ray>=2.50",))]
        assert outputs == {
            "enginePath": "/opt/vllm/bin/vllm",
            "engineVersion": "0.33.0",
            "os": "Debian 12",
            "cpus": 8,
            "memoryGib": 62.5,
            "gpus": ["H100"],
            "driverVersion": "570.1",
            "cudaVersion": "12.8",
        }

    def test_a_version_is_updated_and_a_host_replaced(self, serve: Serve) -> None:
        client = serve(Runtime(Host(runtime_state).operations))
        assert list(client.diff(RUNTIME, RUNTIME | {"engineVersion": "0.34.0"}).replaces) == []
        other = RUNTIME | {"host": HOST | {"address": "192.0.2.2"}}
        assert list(client.diff(RUNTIME, other).replaces) == ["host"]
        rotated = RUNTIME | {"host": HOST | {"privateKey": secret("NEW")}}
        assert list(client.diff(RUNTIME, rotated).diffs) == []

    def test_an_unfinished_step_leaves_nothing_in_the_state(self, serve: Serve) -> None:
        host = Host(runtime_state)
        host.error = CommandFailed("192.0.2.1: apt failed: no space", 100, "no space")
        with pytest.raises(Failed, match="no space") as failed:
            serve(Runtime(host.operations)).create(RUNTIME)
        assert not failed.value.kept

    def test_wrong_words_are_refused(self, serve: Serve) -> None:
        failures = serve(Runtime(Host(runtime_state).operations)).check(RUNTIME | {"device": "tpu"})[1]
        assert failures == [("device", "input should be 'cpu' or 'cuda'")]


class TestRead:
    def test_missing_is_gone(self, serve: Serve) -> None:
        client = serve(Runtime(Host(runtime_state).operations))
        id, state = client.create(RUNTIME)
        assert client.read(id, RUNTIME, state)[0] == ""

    def test_a_host_that_does_not_answer_counts_as_gone_with_a_warning(
        self, serve: Serve, fake_engine: tuple[FakeEngine, str]
    ) -> None:
        host = Host(runtime_state)
        client = serve(Runtime(host.operations))
        id, state = client.create(RUNTIME)
        host.error = HostUnreachable("no SSH at 192.0.2.1:22")
        assert client.read(id, RUNTIME, state)[0] == ""
        assert ["no SSH at 192.0.2.1:22" in shown.message for shown in fake_engine[0].shown] == [True]

    def test_a_changed_host_key_stops_everything(self, serve: Serve) -> None:
        host = Host(runtime_state)
        host.error = HostKeyChanged("192.0.2.1 presents another key")
        with pytest.raises(Failed, match="another key"):
            serve(Runtime(host.operations)).read("id", RUNTIME, {})


class TestDroppedConnection:
    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("provider.host_resource._RETRY_SECONDS", 0.0)

    def test_every_operation_goes_on_where_it_was(self, serve: Serve) -> None:
        host = Host(gateway_state)
        client = serve(Gateway(host.operations))
        host.drops = 4
        id, state = client.create(GATEWAY)
        host.drops = 4
        assert client.update(id, GATEWAY, state) == state
        host.drops, host.seen = 4, gateway_state(host.specs[0])
        assert client.read(id, GATEWAY, state)[0] == id
        host.drops = 4
        client.delete(id, GATEWAY, state)
        assert len(host.removed) == 1

    def test_not_forever(self, serve: Serve) -> None:
        host = Host(gateway_state)
        host.drops = 5
        with pytest.raises(Failed, match="the connection dropped; where the machine itself is gone"):
            serve(Gateway(host.operations)).create(GATEWAY)
        assert host.drops == 0


class TestDelete:
    def test_removes_by_what_is_in_the_state(self, serve: Serve) -> None:
        host = Host(gateway_state)
        client = serve(Gateway(host.operations))
        id, state = client.create(GATEWAY)
        client.delete(id, GATEWAY, state)
        client.delete(id, GATEWAY, state)
        assert host.removed == [host.specs[0]] * 2

    def test_a_host_that_does_not_answer_fails_loudly(self, serve: Serve) -> None:
        host = Host(gateway_state)
        host.error = HostUnreachable("no SSH at 192.0.2.1:22")
        with pytest.raises(Failed, match="no SSH"):
            serve(Gateway(host.operations)).delete("id", GATEWAY, {})


class TestWeights:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "config.json").write_text("{}")
        return tmp_path / "tiny"

    @staticmethod
    def weights(host: Host | None = None) -> Weights:
        return Weights((host or Host(lambda spec: WeightsState(spec.path, 13, spec.digest or "commit"))).operations)

    def test_a_changed_checkpoint_shows_as_an_update(self, serve: Serve, checkpoint: Path) -> None:
        client = serve(self.weights())
        before, failures = client.check(ON_HOST | {"source": str(checkpoint)})
        assert (failures, len(before["digest"])) == ([], 64)
        (checkpoint / "config.json").write_text("{1}")
        after, _ = client.check(ON_HOST | {"source": str(checkpoint)})
        answer = client.diff(before, after)
        assert (list(answer.diffs), list(answer.replaces)) == (["digest"], [])

    def test_a_moved_checkpoint_is_the_same(self, serve: Serve, checkpoint: Path) -> None:
        client = serve(self.weights())
        before, _ = client.check(ON_HOST | {"source": str(checkpoint)})
        moved = checkpoint.rename(checkpoint.parent / "moved")
        after, _ = client.check(ON_HOST | {"source": str(moved)})
        assert list(client.diff(before, after).diffs) == []

    def test_a_checkpoint_is_read_once_for_all_replicas(self, serve: Serve, checkpoint: Path) -> None:
        read: list[str] = []
        weights = Weights(Host(str).operations, lambda directory: read.append(directory) or "digest")  # type: ignore[func-returns-value]
        client = serve(weights)
        for _ in range(3):
            client.check(ON_HOST | {"source": str(checkpoint)})
        assert read == [str(checkpoint)]

    def test_the_spec_has_the_digest(self, serve: Serve, checkpoint: Path) -> None:
        host = Host(lambda spec: WeightsState(spec.path, 13, spec.digest))
        client = serve(self.weights(host))
        inputs, _ = client.check(ON_HOST | {"source": str(checkpoint)})
        _, outputs = client.create(inputs)
        assert host.specs == [WeightsSpec(source=str(checkpoint), digest=inputs["digest"])]
        assert outputs == {"path": host.specs[0].path, "bytes": 13, "digest": inputs["digest"]}

    def test_a_preview_knows_the_path(self, serve: Serve) -> None:
        outputs = serve(self.weights()).create(ON_HOST | {"repo": "org/model", "revision": "abc"}, preview=True)[1]
        path = WeightsSpec(repo="org/model", revision="abc").path
        assert outputs == {"path": path, "bytes": UNKNOWN, "digest": UNKNOWN}

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({}, "give either repo or source"),
            ({"repo": "a/b", "source": "/x"}, "give either repo or source"),
            ({"source": "/x", "revision": "main"}, "a local source has no revision: remove it"),
            ({"source": "/nowhere/at/all"}, "/nowhere/at/all is not a directory"),
        ],
    )
    def test_mistakes(self, serve: Serve, values: dict[str, Any], reason: str) -> None:
        assert serve(self.weights()).check(ON_HOST | values)[1] == [("", reason)]


class TestEngine:
    def test_becomes_what_the_spec_says(self, serve: Serve) -> None:
        host = Host(engine_state)
        id, outputs = serve(Engine(host.operations)).create(ENGINE)
        assert id == "192.0.2.1:22/moestro-engine-moe.service"
        [spec] = host.specs
        assert spec == EngineSpec(
            service="moe",
            served_name="tiny",
            argv=("/opt/vllm/bin/vllm", "serve", "/weights"),
            env={"VLLM_X": "1"},
            api_key="engine-key-0123",
            certificate_pem="CERTIFICATE",
            private_key_pem="ENGINE-PRIVATE",
            authority_pem="AUTHORITY",
            port=8000,
            version="0.33.0",
            replica="moe-0",
            ready_timeout_seconds=1800,
            shutdown_timeout_seconds=120,
            gateway=CONNECTION,
            max_unavailable=1,
        )
        assert outputs == {
            "unit": "moestro-engine-moe.service",
            "url": "https://192.0.2.1:8000",
            "state": "ready",
            "readySeconds": 41.5,
        }

    def test_says_which_engine_it_is(self, serve: Serve) -> None:
        host = Host(engine_state)
        client = serve(Engine(host.operations))
        client.create(ENGINE | {"engine": "sglang"})
        assert host.specs[0].engine == "sglang"
        assert client.check(ENGINE | {"engine": "tgi"})[1][0][0] == "engine"

    def test_another_engine_is_an_update_in_place(self, serve: Serve) -> None:
        client = serve(Engine(Host(engine_state).operations))
        _, outputs = client.create(ENGINE)
        difference = client.diff(ENGINE, ENGINE | {"engine": "sglang"}, outputs)
        assert list(difference.diffs) == ["engine"]
        assert list(difference.replaces) == []

    @pytest.mark.parametrize(
        "error", [NotReady("not ready; the end of its log:\nOOM"), Cancelled("stopped"), DeadlineExceeded("time")]
    )
    def test_one_that_is_not_ready_is_kept_with_its_log(self, serve: Serve, error: Exception) -> None:
        host = Host(engine_state)
        client = serve(Engine(host.operations))
        host.error = error
        with pytest.raises(Failed) as failed:
            client.create(ENGINE)
        kept = failed.value
        assert kept.reasons == [str(error)]
        assert kept.properties == {
            "unit": "moestro-engine-moe.service",
            "url": "https://192.0.2.1:8000",
            "state": "not ready",
        }
        host.error = None
        assert client.update(kept.id, ENGINE, kept.properties)["state"] == "ready"

    @pytest.mark.parametrize("error", [HostUnreachable("no SSH"), HostKeyChanged("another key")])
    def test_without_a_host_nothing_is_kept(self, serve: Serve, error: HostError) -> None:
        host = Host(engine_state)
        host.error = error
        with pytest.raises(Failed) as failed:
            serve(Engine(host.operations)).create(ENGINE)
        assert not failed.value.kept

    def test_a_host_that_may_be_gone_is_said_how_to_replace(self, serve: Serve) -> None:
        host = Host(engine_state)
        host.error = HostUnreachable("192.0.2.1:22: no SSH connection within 600 s")
        with pytest.raises(Failed, match=r"within 600 s; where the machine itself is gone, `pulumi up --refresh`"):
            serve(Engine(host.operations)).create(ENGINE)

    def test_a_log_with_the_key_in_it_is_shown_without_it(self, serve: Serve) -> None:
        host = Host(engine_state)
        host.error = NotReady("log: --api-key engine-key-0123 ENGINE-PRIVATE")
        with pytest.raises(Failed) as failed:
            serve(Engine(host.operations)).create(ENGINE)
        assert failed.value.message == "log: --api-key [secret] [secret]"

    @pytest.mark.parametrize("state", ["failed", "changed", "starting"])
    def test_one_that_is_not_ready_is_worked_on_by_the_next_up(self, serve: Serve, state: str) -> None:
        host = Host(engine_state)
        client = serve(Engine(host.operations))
        id, outputs = client.create(ENGINE)
        host.seen = engine_state(host.specs[0], state)
        _, read, inputs = client.read(id, ENGINE, outputs)
        assert read["state"] == state
        assert inputs["drift"] == f"it is {state}"

    @pytest.mark.parametrize(
        ("change", "diffs"),
        [
            ({"argv": ["/opt/vllm/bin/vllm", "serve", "/other"]}, ["argv"]),
            ({"env": {}}, ["env"]),
            ({"version": "0.34.0"}, ["version"]),
            ({"apiKey": secret("another-key")}, ["apiKey"]),
            ({"certificatePem": "RENEWED"}, ["certificatePem"]),
            ({"gateway": HOST | {"address": "192.0.2.9"}}, []),
            ({"maxUnavailable": 2, "readyTimeoutSeconds": 60}, []),
        ],
    )
    def test_only_what_it_runs_with_updates_it(self, serve: Serve, change: dict[str, Any], diffs: list[str]) -> None:
        answer = serve(Engine(Host(engine_state).operations)).diff(ENGINE, ENGINE | change)
        assert (list(answer.diffs), list(answer.replaces)) == (diffs, [])

    def test_a_preview_knows_unit_and_address(self, serve: Serve) -> None:
        outputs = serve(Engine(Host(engine_state).operations)).create(ENGINE, preview=True)[1]
        assert outputs == {
            "unit": "moestro-engine-moe.service",
            "url": "https://192.0.2.1:8000",
            "state": UNKNOWN,
            "readySeconds": UNKNOWN,
        }


class TestGateway:
    def test_becomes_what_the_spec_says(self, serve: Serve) -> None:
        host = Host(gateway_state)
        id, outputs = serve(Gateway(host.operations)).create(GATEWAY)
        assert id == "192.0.2.1:22/gateway/moe"
        assert host.specs == [
            GatewaySpec(
                service="moe",
                served_name="tiny",
                upstreams=(Upstream("moe-0", "192.0.2.1", 8000),),
                api_keys={"default": "sk-user-key"},
                engine_api_key="engine-key-0123",
                certificate_pem="CERTIFICATE",
                private_key_pem="GATEWAY-PRIVATE",
                authority_pem="AUTHORITY",
                listen_port=80,
                tls=Tls("USERS", "USERS-PRIVATE"),
            )
        ]
        assert outputs == {"url": "https://192.0.2.1:80", "configDigest": "d1"}

    def test_another_replica_is_an_update(self, serve: Serve) -> None:
        more = [*GATEWAY["upstreams"], {"name": "moe-1", "address": "192.0.2.2", "port": 8000}]
        answer = serve(Gateway(Host(gateway_state).operations)).diff(GATEWAY, GATEWAY | {"upstreams": more})
        assert (list(answer.detailedDiff), list(answer.replaces)) == (["upstreams[1]"], [])

    @pytest.mark.parametrize(
        ("digest", "state", "drift"),
        [
            ("d1", "failed", "nginx is failed"),
            ("changed", "active", "its configuration is not the declared one"),
            ("d1", "active", None),
        ],
    )
    def test_drift(self, serve: Serve, digest: str, state: str, drift: str | None) -> None:
        host = Host(gateway_state)
        client = serve(Gateway(host.operations))
        id, outputs = client.create(GATEWAY)
        host.seen = gateway_state(host.specs[0], digest, state)
        assert client.read(id, GATEWAY, outputs)[2].get("drift") == drift

    def test_a_preview_knows_the_address(self, serve: Serve) -> None:
        client = serve(Gateway(Host(gateway_state).operations))
        assert client.create(GATEWAY, preview=True)[1] == {"url": "https://192.0.2.1:80", "configDigest": UNKNOWN}
