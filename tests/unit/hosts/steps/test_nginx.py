"""What a gateway's host needs."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from moestro.errors import HostError
from moestro.hosts.facts import Facts
from moestro.hosts.steps.nginx import GatewayLook, as_wanted, install_nginx, parse_look

FACTS = Facts(
    os_id="debian",
    os_version="12",
    os_name="Debian",
    arch="x86_64",
    kernel="6.1",
    cpus=2,
    memory_gib=4,
    disk_free_gib=10,
    virtualization="docker",
    boot_id="x",
    packages={"curl": "7.88.1"},
)
RELEASE = {"nginx.conf": "events {}"}


class TestInstall:
    def test_a_bare_host_gets_nginx_and_loses_the_welcome_page(self) -> None:
        step = install_nginx(FACTS)

        first, second = step.commands
        assert first.detached
        assert "install logrotate nginx" in first.script
        assert "/etc/nginx/sites-enabled/default" in second.script

    def test_a_host_without_debian_packages_is_named(self) -> None:
        with pytest.raises(HostError, match=r"no Debian packages, and logrotate, nginx must"):
            install_nginx(replace(FACTS, packages={}))

    def test_a_host_that_has_both_is_left_alone(self) -> None:
        step = install_nginx(replace(FACTS, packages={"nginx": "1.22.1", "logrotate": "3"}))

        assert not step.needed
        assert "1.22.1" in str(step.noop)


class TestLook:
    def test_it_comes_back_from_its_report(self) -> None:
        look = parse_look(
            "LoadState=loaded\nActiveState=active\nNginx=yes\nServed=abc\nUnitInPlace=yes\nDown=replica-1\nDown=replica-3\n"
            "==files==\n0123  nginx.conf\n4567  servers/replica-0.up.conf\n"
        )

        assert look == GatewayLook(
            exists=True,
            active="active",
            nginx=True,
            unit_in_place=True,
            served="abc",
            drained=("replica-1", "replica-3"),
            files={"nginx.conf": "0123", "servers/replica-0.up.conf": "4567"},
        )

    def test_nothing_there(self) -> None:
        look = parse_look("LoadState=not-found\nActiveState=inactive\n==files==\n")

        assert (look.exists, look.nginx, look.files) == (False, False, {})


class TestAsWanted:
    @pytest.fixture
    def look(self) -> GatewayLook:
        listed = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in RELEASE.items()}
        return GatewayLook(True, "active", True, True, "digest", (), listed)

    def test_all_in_place(self, look: GatewayLook) -> None:
        assert as_wanted(look, RELEASE, "digest")
        assert as_wanted(replace(look, drained=("replica-0",)), RELEASE, "digest")

    @pytest.mark.parametrize(
        "changes",
        [
            {"active": "failed"},
            {"unit_in_place": False},
            {"served": ""},
            {"served": "the one before"},
            {"files": {}},
            {"files": {"nginx.conf": "edited"}},
        ],
    )
    def test_anything_missing(self, look: GatewayLook, changes: dict[str, Any]) -> None:
        assert not as_wanted(replace(look, **changes), RELEASE, "digest")

    def test_a_file_too_many(self, look: GatewayLook) -> None:
        assert not as_wanted(replace(look, files={**look.files, "extra.conf": "1"}), RELEASE, "digest")
