"""The components, against Pulumi's mocks: what is declared, what depends on what, what is secret."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from components.inference_service import InferenceService
from components.outputs import curl, plan_summary
from moestro.planning.plan import Cost, EngineChoice, Label, Layout, Memory, Plan
from moestro.settings import Settings

SECRET_MARK = "4dabf18193072939515e22adb298388d"  # the key by which the SDK marks a secret on the wire
PLAN = Plan(
    model="acme/tiny",
    revision=None,
    gpu="cpu",
    count=1,
    layout=Layout(),
    memory=Memory((0.1,), 1024, 1000, 0.5, 1.0, True, {"kv_tokens": Label.DERIVED}),
    engine=EngineChoice(device="cpu", version="0.32.0", max_model_len=512, cpu_kv_cache_gib=1),
    cost=Cost(0.0, 0.0, None, "on-demand", {}),
    reasons=("fits",),
)
SETTINGS: dict[str, Any] = {
    "name": "svc",
    "cloud": {"name": "sandbox"},
    "model": {"repo": "acme/tiny", "servedName": "tiny"},
    "gpu": {"type": "cpu"},
    "replicas": 2,
}


class Recorder(mocks.Mocks):
    """Answers every registration with its inputs and made-up outputs, and remembers it."""

    def __init__(self) -> None:
        self.seen: dict[str, mocks.MockResourceArgs] = {}
        self.numbers = itertools.count(1)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.seen[args.name] = args
        made = {
            "moestro:identity:Token": {"value": f"token-of-{args.name}"},
            "moestro:identity:KeyPair": {"publicKey": "ssh-ed25519 AAAA", "privateKey": "PRIVATE"},
            "moestro:identity:Authority": {"certificatePem": "CA", "privateKeyPem": "CAKEY"},
            "moestro:identity:Certificate": {"certificatePem": f"CRT {args.name}", "privateKeyPem": "KEY"},
            "moestro:cloud:SshKey": {"keyId": "key-1"},
            "moestro:cloud:Instance": {
                "address": f"10.0.0.{next(self.numbers)}",
                "sshPort": 22,
                "sshUser": "ubuntu",
                "hostKey": "ssh-ed25519 HOST",
                "state": "running",
                "region": "local-1",
                "usdPerHour": 1.25,
            },
            "moestro:host:Runtime": {"enginePath": "/opt/vllm/bin/vllm"},
            "moestro:host:Weights": {"path": "/var/lib/moestro/weights/acme--tiny/main"},
            "moestro:serve:Engine": {"state": "ready", "url": "https://x:8000"},
            "moestro:gateway:Gateway": {"url": "http://10.0.0.9"},
        }.get(args.typ, {})
        return f"{args.name}-id", {**args.inputs, **made}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"nothing is invoked: {args.token}")

    def of_type(self, token: str) -> dict[str, dict[str, Any]]:
        return {name: unwrapped(args.inputs) for name, args in self.seen.items() if args.typ == token}


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and SECRET_MARK in value


def unwrapped(value: Any) -> Any:
    """The value without the marks of secrets."""
    if is_secret(value):
        return unwrapped(value["value"])
    if isinstance(value, dict):
        return {key: unwrapped(item) for key, item in value.items()}
    return [unwrapped(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="moe", stack="test")
    yield recorder
    loop.close()


def declare(changes: dict[str, Any], plan: Plan = PLAN) -> dict[str, Any]:
    """Run a program that declares the service; answers the resolved outputs."""
    settings = Settings.model_validate(SETTINGS | changes)
    found: dict[str, Any] = {}

    @pulumi.runtime.test
    def program() -> pulumi.Output[Any]:
        service = InferenceService(settings.name, settings, plan)
        wanted = {
            "endpoint": service.endpoint,
            "keys": service.api_keys,
            "replicas": service.replicas,
            "usd": service.usd_per_hour,
            "curl": curl(service.endpoint, "test", settings, PLAN),
        }
        return pulumi.Output.all(**wanted).apply(found.update)

    program()
    return found


class TestReplicas:
    def test_each_has_a_machine_and_an_engine_of_its_own(self, recorder: Recorder) -> None:
        declare({})
        assert set(recorder.of_type("moestro:cloud:Instance")) == {"svc-0", "svc-1"}
        engines = recorder.of_type("moestro:serve:Engine")
        assert set(engines) == {"svc-0-engine", "svc-1-engine"}
        assert engines["svc-0-engine"]["host"]["address"] != engines["svc-1-engine"]["host"]["address"]

    def test_the_engine_runs_what_runtime_and_weights_found(self, recorder: Recorder) -> None:
        declare({})
        argv = recorder.of_type("moestro:serve:Engine")["svc-0-engine"]["argv"]
        assert argv[:3] == ["/opt/vllm/bin/vllm", "serve", "/var/lib/moestro/weights/acme--tiny/main"]
        assert "--ssl-ca-certs" in argv

    @pytest.mark.parametrize("choice", [{"use_deep_gemm": True}, {"tokenizer_mode": "deepseek_v32"}])
    def test_deep_gemm_finds_its_compiler(self, recorder: Recorder, choice: dict[str, Any]) -> None:
        declare({}, replace(PLAN, engine=replace(PLAN.engine, device="cuda", **choice)))
        assert recorder.of_type("moestro:host:Runtime")["svc-0-runtime"]["deepGemm"]
        assert "CUDA_HOME" in recorder.of_type("moestro:serve:Engine")["svc-0-engine"]["env"]

    def test_no_engine_key_in_argv_or_environment(self, recorder: Recorder) -> None:
        declare({})
        engine = recorder.of_type("moestro:serve:Engine")["svc-0-engine"]
        key = recorder.seen["svc-engine-key"].name
        assert f"token-of-{key}" not in str(engine["argv"]) + str(engine["env"])

    def test_sglang_is_told_apart_and_claims_no_client_certificates(self, recorder: Recorder) -> None:
        choice = replace(PLAN.engine, engine="sglang", version="0.5.23", device="cuda", cpu_kv_cache_gib=None)
        declare({}, replace(PLAN, engine=choice))
        engine = recorder.of_type("moestro:serve:Engine")["svc-0-engine"]
        assert engine["engine"] == recorder.of_type("moestro:host:Runtime")["svc-0-runtime"]["engine"] == "sglang"
        assert engine["argv"][1:3] == ["serve", "--model-path"]
        assert "--ssl-certfile" in engine["argv"]
        assert "--ssl-ca-certs" not in engine["argv"]

    def test_keys_travel_as_secrets(self, recorder: Recorder) -> None:
        declare({})
        engine = recorder.seen["svc-0-engine"].inputs
        gateway = recorder.seen["svc-gateway-nginx"].inputs
        values = [engine["apiKey"], engine["privateKeyPem"], gateway["apiKeys"], gateway["engineApiKey"]]
        assert all(is_secret(value) for value in values)

    def test_machine_names_carry_the_stacks_own_id(self, recorder: Recorder) -> None:
        declare({})
        names = [inputs["name"] for inputs in recorder.of_type("moestro:cloud:Instance").values()]
        assert len({name.rsplit("-", 1)[1] for name in names}) == 1
        assert all(name.startswith("svc-") for name in names)
        assert not any("token-of" in name for name in names)
        assert not any(is_secret(args.inputs["name"]) for args in recorder.seen.values() if "name" in args.inputs)

    def test_both_drain_at_the_machine_that_has_nginx(self, recorder: Recorder) -> None:
        declare({})
        engines = recorder.of_type("moestro:serve:Engine")
        gateway = recorder.of_type("moestro:gateway:Gateway")["svc-gateway-nginx"]
        assert {engine["gateway"]["address"] for engine in engines.values()} == {gateway["host"]["address"]}


class TestGateway:
    def test_lists_every_replica(self, recorder: Recorder) -> None:
        declare({})
        upstreams = recorder.of_type("moestro:gateway:Gateway")["svc-gateway-nginx"]["upstreams"]
        assert [upstream["name"] for upstream in upstreams] == ["svc-0", "svc-1"]

    def test_on_a_machine_of_its_own(self, recorder: Recorder) -> None:
        declare({"gateway": {"placement": "own-host", "gpuType": "cpu"}})
        machines = recorder.of_type("moestro:cloud:Instance")
        assert set(machines) == {"svc-gateway", "svc-0", "svc-1"}
        host = recorder.of_type("moestro:gateway:Gateway")["svc-gateway-nginx"]["host"]["address"]
        upstreams = recorder.of_type("moestro:gateway:Gateway")["svc-gateway-nginx"]["upstreams"]
        assert host not in [upstream["address"] for upstream in upstreams]

    def test_declared_keys_replace_the_generated_one(self, recorder: Recorder) -> None:
        declare({"gateway": {"apiKeys": {"alice": "sk-alice-0123456789", "bob": "sk-bob-0123456789"}}})
        keys = recorder.of_type("moestro:gateway:Gateway")["svc-gateway-nginx"]["apiKeys"]
        assert keys == {"alice": "sk-alice-0123456789", "bob": "sk-bob-0123456789"}
        assert "svc-user-key" not in recorder.seen


class TestOutputs:
    def test_cost_is_the_sum_of_all_machines(self, recorder: Recorder) -> None:  # noqa: ARG002
        assert declare({})["usd"] == 2.5
        assert declare({"gateway": {"placement": "own-host", "gpuType": "cpu"}})["usd"] == 3.75

    def test_replicas_tell_address_and_states(self, recorder: Recorder) -> None:  # noqa: ARG002
        [first, second] = declare({})["replicas"]
        assert (first["name"], first["machineState"], first["engineState"]) == ("svc-0", "running", "ready")
        assert first["address"] != second["address"]

    def test_the_curl_reads_the_key_when_it_runs(self, recorder: Recorder) -> None:  # noqa: ARG002
        command = declare({})["curl"]
        assert command.startswith("curl -sS http://10.0.0.9/v1/completions")
        assert "pulumi stack output apiKey --show-secrets -s test" in command
        assert "token-of" not in command

    def test_the_plan_holds_the_launch_line(self) -> None:
        summary = plan_summary(Settings.model_validate(SETTINGS), PLAN)
        assert summary["layout"]["tp"] == 1
        assert summary["launch"]["argv"][1] == "serve"
