"""The gateway on a real host: installed, tested before it is swapped in, drained, removed."""

from dataclasses import replace

import httpx
import pytest

from moestro.errors import HostError
from moestro.hosts.gateway import (
    GatewaySpec,
    Upstream,
    drain,
    ensure_gateway,
    read_gateway,
    remove_gateway,
    restore,
)
from moestro.waiting import Wait
from tests.integration.gateway.pki import Authority
from tests.integration.hosts.conftest import Machine

pytestmark = pytest.mark.docker

KEY = "alice-key-0123456789.abc"
DIRECTORY = "/etc/moestro/chat/gateway"
SERVED = f"{DIRECTORY}/current/nginx.conf"


@pytest.fixture(scope="module")
def spec() -> GatewaySpec:
    authority = Authority()
    client = authority.issue("gateway")
    return GatewaySpec(
        service="chat",
        served_name="tiny",
        # Nothing listens there: a gateway comes up before its replicas.
        upstreams=(Upstream("replica-0", "127.0.0.1", 8001), Upstream("replica-1", "127.0.0.1", 8002)),
        api_keys={"alice": KEY},
        engine_api_key="engine-key-0123456789",
        certificate_pem=client.certificate,
        private_key_pem=client.key,
        authority_pem=authority.certificate,
        listen_port=8080,
    )


@pytest.fixture
def gateway(machine: Machine, spec: GatewaySpec) -> GatewaySpec:
    ensure_gateway(machine.connection(), spec, Wait.of(300))
    return spec


def status(machine: Machine, port: int = 8080, key: str = KEY) -> int:
    url = f"http://{machine.address}:{port}/v1/models"
    return httpx.get(url, headers={"Authorization": f"Bearer {key}"}).status_code


class TestEnsure:
    def test_from_nothing_to_a_gateway_that_answers(self, machine: Machine, spec: GatewaySpec) -> None:
        assert read_gateway(machine.connection(), spec, Wait.of(60)) is None

        state = ensure_gateway(machine.connection(), spec, Wait.of(300))

        assert state.url == f"http://{machine.address}:8080"
        assert state.state == "active"
        assert status(machine) == 503, "no replica is there, and the gateway says so"
        assert status(machine, key="wrong-key-0123456789") == 401
        assert read_gateway(machine.connection(), spec, Wait.of(60)) == state

    def test_the_welcome_page_of_the_package_is_off(self, machine: Machine, gateway: GatewaySpec) -> None:
        del gateway
        assert machine.inside("systemctl is-active nginx || true") == "inactive"
        assert machine.inside("ls /etc/nginx/sites-enabled") == ""

    def test_secrets_are_readable_by_root_alone(self, machine: Machine, gateway: GatewaySpec) -> None:
        del gateway
        assert (
            machine.inside(f"find {DIRECTORY} -type f -perm /077 -exec grep -l -e 0123456789 -e PRIVATE {{}} + || true")
            == ""
        )
        assert machine.inside(f"su ubuntu -s /bin/sh -c 'ls {DIRECTORY}' 2>&1 || true").endswith("Permission denied")

    def test_twice_changes_nothing(self, machine: Machine, gateway: GatewaySpec) -> None:
        before = machine.inside(f"readlink {DIRECTORY}/current; systemctl show -p MainPID moestro-gateway-chat")

        ensure_gateway(machine.connection(), gateway, Wait.of(60))

        assert before == machine.inside(f"readlink {DIRECTORY}/current; systemctl show -p MainPID moestro-gateway-chat")

    def test_a_change_is_a_reload_and_leaves_one_release(self, machine: Machine, gateway: GatewaySpec) -> None:
        process = machine.inside("systemctl show -p MainPID moestro-gateway-chat")
        changed = replace(gateway, listen_port=8081)

        ensure_gateway(machine.connection(), changed, Wait.of(60))

        assert status(machine, 8081) == 503
        assert machine.inside("systemctl show -p MainPID moestro-gateway-chat") == process
        assert machine.inside(f"ls {DIRECTORY}/releases | wc -l") == "1"
        ensure_gateway(machine.connection(), gateway, Wait.of(60))

    def test_what_nginx_refuses_never_replaces_what_runs(self, machine: Machine, gateway: GatewaySpec) -> None:
        broken = replace(gateway, certificate_pem="no certificate")

        with pytest.raises(HostError, match=r"client\.crt") as refused:
            ensure_gateway(machine.connection(), broken, Wait.of(60))

        assert KEY not in str(refused.value)
        assert status(machine) == 503
        assert machine.inside(f"ls {DIRECTORY}/releases | wc -l") == "1"
        state = read_gateway(machine.connection(), gateway, Wait.of(60))
        assert state
        assert state.config_digest != "changed"

    def test_a_port_that_is_taken_brings_the_old_one_back(self, machine: Machine, gateway: GatewaySpec) -> None:
        with pytest.raises(HostError, match=r"bind\(\).*:22 failed"):
            ensure_gateway(machine.connection(), replace(gateway, listen_port=22), Wait.of(120))

        assert status(machine) == 503
        state = read_gateway(machine.connection(), gateway, Wait.of(60))
        assert state
        assert state.config_digest != "changed"


class TestLogs:
    def test_they_go_on_in_new_files_after_a_rotation(self, machine: Machine, gateway: GatewaySpec) -> None:
        del gateway
        log = "/var/log/moestro/chat/gateway/access.log"
        assert status(machine) == 503
        machine.inside("logrotate --force /etc/logrotate.d/moestro-gateway-chat; sleep 1")

        assert status(machine, key="wrong-key-0123456789") == 401

        assert machine.inside(f"grep -c . {log}.1") != "0"
        assert machine.inside(f"grep -c . {log}") == "1"
        assert machine.inside(f"cat {log}* | grep -c 0123456789 || true") == "0"


class TestDrift:
    @pytest.mark.parametrize(
        "damage",
        [
            f"sed -i 's/64m/1m/' {SERVED}",
            f"echo > {DIRECTORY}/current/keys.conf",
            "systemctl stop moestro-gateway-chat",
            "sed -i s/2/3/ /etc/systemd/system/moestro-gateway-chat.service",
            f"rm {DIRECTORY}/current",
        ],
    )
    def test_it_is_seen_and_repaired(self, machine: Machine, gateway: GatewaySpec, damage: str) -> None:
        machine.inside(damage)

        seen = read_gateway(machine.connection(), gateway, Wait.of(60))
        repaired = ensure_gateway(machine.connection(), gateway, Wait.of(60))

        assert seen
        assert seen.config_digest == "changed"
        assert repaired.config_digest != "changed"
        assert status(machine) == 503


class TestDrain:
    def test_it_survives_a_new_configuration_and_ends_with_restore(
        self, machine: Machine, gateway: GatewaySpec
    ) -> None:
        connection, wait = machine.connection(), Wait.of(120)

        assert drain(connection, "chat", "replica-1", wait)
        assert drain(connection, "chat", "replica-1", wait), "twice is fine"
        assert ensure_gateway(connection, gateway, wait).drained == ("replica-1",)
        other = ensure_gateway(connection, replace(gateway, max_body_mb=1), wait)
        assert other.drained == ("replica-1",)
        again = read_gateway(connection, gateway, wait)
        assert again
        assert again.config_digest == "changed"

        assert restore(connection, "chat", "replica-1", wait)
        assert ensure_gateway(connection, gateway, wait).drained == ()

    def test_draining_alone_is_no_drift(self, machine: Machine, gateway: GatewaySpec) -> None:
        connection, wait = machine.connection(), Wait.of(60)
        before = read_gateway(connection, gateway, wait)

        drain(connection, "chat", "replica-0", wait)
        after = read_gateway(connection, gateway, wait)
        restore(connection, "chat", "replica-0", wait)

        assert before
        assert after == replace(before, drained=("replica-0",))

    def test_a_replica_that_left_is_forgotten(self, machine: Machine, gateway: GatewaySpec) -> None:
        connection, wait = machine.connection(), Wait.of(60)
        drain(connection, "chat", "replica-1", wait)

        ensure_gateway(connection, replace(gateway, upstreams=gateway.upstreams[:1]), wait)
        assert not drain(connection, "chat", "replica-1", wait)
        assert ensure_gateway(connection, gateway, wait).drained == ()

    def test_without_a_gateway_there_is_nothing_to_drain(self, machine: Machine) -> None:
        assert not drain(machine.connection(), "another", "replica-0", Wait.of(60))


class TestOthers:
    def test_somebody_elses_nginx_is_left_alone(self, machine: Machine, spec: GatewaySpec) -> None:
        connection, wait = machine.connection(), Wait.of(300)
        ensure_gateway(connection, spec, wait)
        remove_gateway(connection, spec, wait)
        site = "server { listen 8090; return 200 theirs; }"
        machine.inside(
            f"echo '{site}' > /etc/nginx/conf.d/theirs.conf; "
            "ln -s ../sites-available/default /etc/nginx/sites-enabled/; systemctl enable --now nginx"
        )

        ensure_gateway(connection, spec, wait)

        assert httpx.get(f"http://{machine.address}:8090").text == "theirs"
        assert httpx.get(f"http://{machine.address}").status_code == 200
        assert status(machine) == 503
        machine.inside(
            "systemctl disable --now nginx; rm /etc/nginx/conf.d/theirs.conf /etc/nginx/sites-enabled/default"
        )


class TestRemove:
    def test_nothing_is_left_and_twice_is_fine(self, machine: Machine, gateway: GatewaySpec) -> None:
        for _ in range(2):
            remove_gateway(machine.connection(), gateway, Wait.of(60))

        assert read_gateway(machine.connection(), gateway, Wait.of(60)) is None
        left = machine.inside("find /etc /var/cache /var/log /var/lib -path '*moestro*' -not -path '*/jobs*'")
        assert [path for path in left.splitlines() if "chat" in path or "gateway" in path] == []
        with pytest.raises(httpx.TransportError):
            status(machine)
