import pytest

from moestro.errors import InvalidInput
from moestro.hosts.steps.firewall import close_port, open_port
from tests.unit.hosts.test_facts import recorded

UFW = recorded("ubuntu-2204-8xh200")


def test_only_the_given_addresses_are_let_in() -> None:
    (command,) = open_port(UFW, 8000, ["203.0.113.7", "2001:db8::/32"]).commands
    assert command.script == (
        "ufw allow proto tcp from 203.0.113.7/32 to any port 8000\n"
        "ufw allow proto tcp from 2001:db8::/32 to any port 8000\n"
    )


def test_everybody() -> None:
    assert "from any to any port 443" in open_port(UFW, 443).commands[0].script


def test_closing_takes_back_the_same_rules() -> None:
    opened, closed = (
        step.commands[0].script for step in (open_port(UFW, 80, ["10.0.0.1"]), close_port(UFW, 80, ["10.0.0.1"]))
    )
    assert closed == opened.replace("ufw allow", "ufw delete allow")


def test_without_an_active_firewall_there_is_nothing_to_open() -> None:
    assert not open_port(recorded("sandbox-debian-12"), 8000).needed


def test_an_address_that_is_none() -> None:
    with pytest.raises(InvalidInput, match="neither an IP address nor a network"):
        open_port(UFW, 8000, ["any; reboot"])
