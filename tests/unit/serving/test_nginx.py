"""The rendered gateway configuration: its syntax, its secrets, its refusals. What it does is in tests/integration."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moestro.errors import InvalidInput
from moestro.serving.nginx import (
    GatewayPaths,
    GatewaySpec,
    Tls,
    Upstream,
    config_digest,
    gateway_files,
    generation_state,
    replica_state,
)

ALICE, BOB, ENGINE = "alice-key-0123456789", "bob-key-0123456789", "engine-key-0123456789"
SPEC = GatewaySpec(
    service="chat",
    served_name="mistralai/Mixtral-8x7B",
    upstreams=(Upstream("replica-0", "10.0.0.1", 8000), Upstream("replica-1", "fd00::2", 8000)),
    api_keys={"alice": ALICE, "bob": BOB},
    engine_api_key=ENGINE,
    certificate_pem="CERTIFICATE",
    private_key_pem="PRIVATE KEY",
    authority_pem="AUTHORITY",
    listen_port=8080,
)
FULL = replace(
    SPEC, tls=Tls("SERVER CERTIFICATE", "SERVER PRIVATE KEY"), requests_per_second_per_key=2.5, connections_per_key=8
)
# keepalive_timeout is valid in an upstream since nginx 1.15.3; the entries of a map are no directives.
CROSSPLANE_DOES_NOT_KNOW = re.compile(
    r'"keepalive_timeout" directive is not allowed|unknown directive "(default|\d{3}|~.*)?" in '
)


@pytest.fixture
def paths(tmp_path: Path) -> GatewayPaths:
    (tmp_path / "state").mkdir()
    return GatewayPaths("/run/x", str(tmp_path / "state"), "/log/access", "/log/error")


def written(spec: GatewaySpec, paths: GatewayPaths, directory: Path) -> Path:
    for name, file in gateway_files(spec, paths).items():
        path = directory / "release" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
    for number, upstream in enumerate(spec.upstreams):
        # crossplane, unlike nginx, resolves an include from the including file's directory.
        text = replica_state(upstream.name, taking_requests=number > 0).replace(
            "servers/", f"{directory}/release/servers/"
        )
        Path(paths.state, f"{upstream.name}.conf").write_text(text)
    Path(paths.state, "generation.inc").write_text(generation_state("abc"))
    return directory / "release" / "nginx.conf"


def walk(block: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in block:
        yield each
        yield from walk(each.get("block", []))


def walk_all(path: Path) -> Iterator[dict[str, Any]]:
    return walk(crossplane.parse(str(path), combine=True)["config"][0]["parsed"])


def directives(path: Path, name: str) -> list[list[str]]:
    return [each["args"] for each in walk_all(path) if each["directive"] == name]


class TestSyntax:
    @pytest.mark.parametrize("spec", [SPEC, FULL], ids=["plain", "everything"])
    def test_crossplane_finds_no_mistake(self, spec: GatewaySpec, paths: GatewayPaths, tmp_path: Path) -> None:
        parsed = crossplane.parse(str(written(spec, paths, tmp_path)), strict=True, check_ctx=True, check_args=True)

        assert [
            error["error"] for error in parsed["errors"] if not CROSSPLANE_DOES_NOT_KNOW.search(error["error"])
        ] == []

    def test_upstream_servers_come_with_their_state(self, paths: GatewayPaths, tmp_path: Path) -> None:
        servers = directives(written(SPEC, paths, tmp_path), "server")

        assert [args for args in servers if args] == [
            ["10.0.0.1:8000", "max_fails=2", "fail_timeout=10s", "down"],
            ["[fd00::2]:8000", "max_fails=2", "fail_timeout=10s"],
        ]

    def test_the_engines_are_verified_under_their_shared_name(self, paths: GatewayPaths, tmp_path: Path) -> None:
        path = written(SPEC, paths, tmp_path)

        assert directives(path, "proxy_ssl_verify") == [["on"]]
        assert directives(path, "proxy_ssl_name") == [["chat.engine.moestro.internal"]]
        assert directives(path, "proxy_pass") == [["https://moestro_chat/v1/"]]

    @pytest.mark.parametrize(("rate", "expected"), [(2.5, "rate=150r/m"), (0.001, "rate=1r/m"), (100, "rate=6000r/m")])
    def test_rates_become_whole_numbers(self, paths: GatewayPaths, tmp_path: Path, rate: float, expected: str) -> None:
        path = written(replace(SPEC, requests_per_second_per_key=rate), paths, tmp_path)

        assert directives(path, "limit_req_zone") == [["$moestro_user", "zone=requests:1m", expected]]

    def test_without_limits_nothing_is_limited(self, paths: GatewayPaths, tmp_path: Path) -> None:
        path = written(SPEC, paths, tmp_path)

        assert directives(path, "limit_req") == directives(path, "limit_conn") == []

    def test_old_workers_may_live_as_long_as_a_reply_may_take(self, paths: GatewayPaths, tmp_path: Path) -> None:
        path = written(replace(SPEC, read_timeout_seconds=7200), paths, tmp_path)

        assert directives(path, "worker_shutdown_timeout") == [["7200s"]]

    def test_error_bodies_are_openai_errors(self, paths: GatewayPaths, tmp_path: Path) -> None:
        path = written(FULL, paths, tmp_path)
        mapped = [block for block in walk_all(path) if block["args"] == ["$status", "$moestro_error"]]
        bodies = [args[1] for args in directives(path, "return") if args[1].startswith("{")]
        bodies += [each["args"][0] for each in mapped[0]["block"]]

        assert len(bodies) >= 15
        for body in bodies:
            assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}


class TestSecrets:
    def test_they_are_in_files_of_mode_0600_alone(self, paths: GatewayPaths) -> None:
        for name, file in gateway_files(FULL, paths).items():
            secret = any(each in file.text for each in ("0123456789", "PRIVATE KEY"))
            assert file.mode == (0o600 if secret else 0o644), name

    def test_they_are_in_no_repr(self, paths: GatewayPaths) -> None:
        shown = f"{FULL!r} {gateway_files(FULL, paths)!r}"

        assert not any(each in shown for each in (ALICE, BOB, ENGINE, "PRIVATE KEY"))

    @pytest.mark.parametrize(
        "changes",
        [
            {"api_keys": {"alice": "short-secret"}},
            {"api_keys": {"alice": 'quote"-0123456789-0123456789'}},
            {"api_keys": {"alice": "new\nline-0123456789-0123456789"}},
            {"engine_api_key": "dollar$-0123456789-0123456789"},
            {"api_keys": {"alice": ALICE, "bob": ALICE}},
        ],
    )
    def test_a_refused_key_is_not_shown(self, paths: GatewayPaths, changes: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput) as refused:
            gateway_files(replace(SPEC, **changes), paths)

        keys = [*changes.get("api_keys", {}).values(), changes.get("engine_api_key", ENGINE)]
        assert not any(key in str(refused.value) for key in keys)


class TestDigest:
    @pytest.mark.parametrize(
        "changes",
        [
            {"api_keys": {"alice": ALICE}},
            {"engine_api_key": "another-key-0123456789"},
            {"upstreams": SPEC.upstreams[:1]},
            {"listen_port": 9090},
            {"tls": FULL.tls},
            {"private_key_pem": "ANOTHER"},
            {"served_name": "other"},
            {"max_body_mb": 1},
            {"read_timeout_seconds": 60},
            {"connections_per_key": 3},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_every_change_changes_it(self, paths: GatewayPaths, changes: dict[str, Any]) -> None:
        assert config_digest(replace(SPEC, **changes), paths) != config_digest(SPEC, paths)

    def test_it_is_in_the_configuration_and_is_stable(self, paths: GatewayPaths) -> None:
        digest = config_digest(SPEC, paths)

        assert digest == config_digest(replace(SPEC), paths)
        assert digest in gateway_files(SPEC, paths)["nginx.conf"].text


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"service": "Chat"}, "'Chat'"),
            ({"service": "chat;"}, "'chat;'"),
            ({"served_name": "a'b"}, "servedName"),
            ({"upstreams": ()}, "at least one replica"),
            ({"upstreams": (Upstream("a", "10.0.0.1; include x", 1),)}, "neither an IP address nor a host name"),
            ({"upstreams": (Upstream("a", "10.0.0.1", 0),)}, "port of upstream a 0"),
            ({"upstreams": (Upstream("a", "h", 1), Upstream("a", "i", 1))}, "name a is there twice"),
            ({"upstreams": (Upstream("a", "h", 1), Upstream("b", "h", 1))}, "socket h:1 is there twice"),
            ({"api_keys": {"al ice": ALICE}}, "user 'al ice'"),
            ({"listen_port": 70000}, "listenPort 70000"),
            ({"read_timeout_seconds": 0}, "readTimeoutSeconds 0"),
            ({"max_body_mb": -1}, "maxBodyMb -1"),
            ({"requests_per_second_per_key": 0}, "requestsPerSecondPerKey 0"),
            ({"connections_per_key": 0}, "connectionsPerKey 0"),
        ],
    )
    def test_impossible_values_are_named(self, paths: GatewayPaths, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message.replace(".", r"\.")):
            gateway_files(replace(SPEC, **changes), paths)

    @given(st.text(max_size=40), st.text(max_size=40))
    def test_no_name_or_address_breaks_out_of_its_place(self, name: str, address: str) -> None:
        spec = replace(SPEC, upstreams=(Upstream(name, address, 8000),))
        paths = GatewayPaths("/run", "/state", "/access", "/error")
        try:
            line = gateway_files(spec, paths)[f"servers/{name}.up.conf"].text
        except InvalidInput:
            return

        assert line.count(";") == line.count("\n") == 1
        assert len(line.split()) == 4
