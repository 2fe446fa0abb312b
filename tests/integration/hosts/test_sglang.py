"""SGLang's unit on a real host: where its key is and where it is not. The engine is a stand-in (stand_in_engine.py)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from moestro.hosts.engine import EngineSpec, ensure_engine, read_engine, remove_engine
from moestro.serving.names import engine_name
from moestro.waiting import Wait
from tests.integration.gateway.pki import Authority
from tests.integration.hosts.conftest import Machine

pytestmark = pytest.mark.docker

KEY = "sglang-key-0123456789"
VLLM_KEY = "vllm-key-0123456789"
UNIT = "moestro-engine-chat"
DIRECTORY = "/etc/moestro/chat"
NAME = engine_name("chat")


@pytest.fixture(scope="module")
def machine(rent: Callable[..., list[Machine]]) -> Machine:
    [rented] = rent(1)
    rented.host().write("/opt/stand-in", Path(__file__).with_name("stand_in_engine.py").read_text(), 0o755)
    return rented


@pytest.fixture(scope="module")
def vllm() -> EngineSpec:
    authority = Authority()
    leaf = authority.issue("replica-0", NAME)
    argv = ("/opt/stand-in", "--port", "8000", "--ssl-certfile", f"{DIRECTORY}/engine.crt")
    argv += ("--ssl-keyfile", f"{DIRECTORY}/engine.key")
    return EngineSpec(
        service="chat",
        served_name="tiny",
        argv=(*argv, "--ssl-ca-certs", f"{DIRECTORY}/authority.crt"),
        env={},
        api_key=VLLM_KEY,
        certificate_pem=leaf.certificate,
        private_key_pem=leaf.key,
        authority_pem=authority.certificate,
        port=8000,
        version="1",
        replica="replica-0",
        ready_timeout_seconds=30,
        shutdown_timeout_seconds=5,
    )


@pytest.fixture(scope="module")
def sglang(machine: Machine, vllm: EngineSpec) -> EngineSpec:
    """Ready in vLLM's place."""
    ensure_engine(machine.connection(), vllm, Wait.of(120))
    spec = replace(vllm, engine="sglang", api_key=KEY, argv=vllm.argv[:-2])
    assert ensure_engine(machine.connection(), spec, Wait.of(120)).state == "ready"
    return spec


def asked(machine: Machine, *options: str) -> str:
    """The HTTP status of a completion, asked for on the host without a client certificate."""
    url = f"--resolve {NAME}:8000:127.0.0.1 --cacert {DIRECTORY}/authority.crt https://{NAME}:8000/v1/completions"
    return machine.inside(f"curl -s -o /dev/null -w '%{{http_code}}' -d '{{}}' {' '.join(options)} {url}")


def test_nothing_of_the_engine_before_is_left(machine: Machine, sglang: EngineSpec) -> None:
    seen = read_engine(machine.connection(), sglang, Wait.of(60))
    assert seen
    assert seen.state == "ready"
    assert machine.inside(f"grep -rl {VLLM_KEY} {DIRECTORY} /etc/systemd || true") == ""


@pytest.mark.usefixtures("sglang")
class TestKey:
    def test_is_in_a_file_that_its_user_alone_reads(self, machine: Machine) -> None:
        assert machine.inside(f"grep -rl {KEY} /etc /opt /var/lib /var/log /var/cache") == f"{DIRECTORY}/engine.yaml"
        assert machine.inside(f"stat -c '%a %U' {DIRECTORY}/engine.yaml") == "600 moestro-engine"

    def test_is_in_no_argument_list_no_environment_and_no_unit(self, machine: Machine) -> None:
        process = machine.inside(f"systemctl show -p MainPID --value {UNIT}")

        assert machine.inside(f"ps -o user= -p {process}") in ("moestro-engine", "moestro+")
        assert machine.inside(f"grep -la {KEY[:-1]}[9] /proc/[0-9]*/cmdline || true") == ""
        assert machine.inside(f"grep -ca {KEY} /proc/{process}/environ || true") == "0"
        assert machine.inside(f"systemctl show {UNIT} | grep -c {KEY[:-1]}[9] || true") == "0"

    def test_is_in_no_log_though_the_rest_of_the_log_is_there(self, machine: Machine) -> None:
        log = machine.inside(f"journalctl --unit={UNIT} --output=cat --no-pager")

        assert "load weight begin" in log
        assert KEY not in log
        assert "server_args" not in log

    def test_is_what_lets_a_caller_in_for_no_certificate_is_demanded(self, machine: Machine) -> None:
        assert asked(machine) == "401"
        assert asked(machine, "-H", f"'Authorization: Bearer {VLLM_KEY}'") == "401"
        assert asked(machine, "-H", f"'Authorization: Bearer {KEY}'") == "200"


def test_a_host_without_firewall_is_told(machine: Machine, sglang: EngineSpec) -> None:
    said: list[str] = []

    ensure_engine(machine.connection(), replace(sglang, version="2"), Wait.of(120, said.append))

    assert any("TLS and the API key alone guard port 8000" in line for line in said)
    properties = machine.inside(f"systemctl show {UNIT} -p TimeoutStopUSec -p EnvironmentFiles")
    assert "TimeoutStopUSec=1min 35s" in properties
    assert "engine.env" not in properties


def test_removed_nothing_is_left(machine: Machine, sglang: EngineSpec) -> None:
    remove_engine(machine.connection(), sglang, Wait.of(120))

    assert machine.inside("find / -xdev -path '*moestro*chat*' -not -path '/proc/*' -not -path '/sys/*'") == ""
