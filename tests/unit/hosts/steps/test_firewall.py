"""Whom ufw lets in. The script runs in a real Bash, against a stand-in of what ufw 0.36.2 was seen to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moestro.errors import InvalidInput
from moestro.hosts.steps import Step
from moestro.hosts.steps.firewall import keep_out, let_in
from tests.unit.hosts.test_facts import recorded

UFW = recorded("ubuntu-2204-8xh200")
UNIT, OTHER = "moestro-engine-chat.service", "moestro-engine-other.service"
THEIRS = ["ufw allow 22/tcp", "ufw allow 443/tcp comment 'web'", f"ufw allow 8080/tcp comment '{OTHER}'"]

# Its rules are a file as `ufw show added` prints it. A rule that is there already takes on the new comment.
STAND_IN = """
import sys
from pathlib import Path

store, words = Path(__file__).with_name("rules"), sys.argv[1:]
rules = store.read_text().splitlines()
if words[0] == "show":
    print("Added user rules (see 'ufw status' for running firewall):", *rules, sep="\\n")
    sys.exit()
comment = f" comment '{words[-1]}'" if "comment" in words else ""
rule = " ".join(["ufw", *(words[1:] if words[0] == "delete" else words[: -2 if comment else None])])
others = [each for each in rules if each.partition(" comment ")[0] != rule]
if words[0] == "delete" and len(others) == len(rules):
    sys.exit("Could not delete non-existent rule")
store.write_text("".join(f"{each}\\n" for each in others + ([] if words[0] == "delete" else [rule + comment])))
"""


class Firewall:
    def __init__(self, directory: Path, rules: list[str]) -> None:
        self.directory = directory
        (directory / "rules").write_text("".join(f"{rule}\n" for rule in rules))
        program = directory / "ufw"
        program.write_text(f"#!{sys.executable}{STAND_IN}")
        program.chmod(0o755)

    def carry_out(self, step: Step) -> list[str]:
        """The rules afterwards, but for those that were there first and still are."""
        environment = os.environ | {"PATH": f"{self.directory}:{os.environ['PATH']}"}
        for command in step.commands:
            line = f"set -eu -o pipefail\n{command.script}"
            subprocess.run(["bash", "-c", line], env=environment, check=True, capture_output=True)
        rules = (self.directory / "rules").read_text().splitlines()
        assert rules[: len(THEIRS)] == THEIRS
        return rules[len(THEIRS) :]


@pytest.fixture
def firewall(tmp_path: Path) -> Firewall:
    return Firewall(tmp_path, THEIRS)


def test_only_the_given_addresses_are_let_in(firewall: Firewall) -> None:
    assert firewall.carry_out(let_in(UFW, UNIT, 8000, ["203.0.113.7", "2001:db8::/32"])) == [
        f"ufw allow from 203.0.113.7 to any port 8000 proto tcp comment '{UNIT}'",
        f"ufw allow from 2001:db8::/32 to any port 8000 proto tcp comment '{UNIT}'",
    ]


def test_everybody_and_twice_changes_nothing(firewall: Firewall) -> None:
    for _ in range(2):
        assert firewall.carry_out(let_in(UFW, UNIT, 80)) == [f"ufw allow 80/tcp comment '{UNIT}'"]


@pytest.mark.parametrize(
    ("port", "sources", "left"),
    [(81, (), "81/tcp"), (80, ("203.0.113.7",), "from 203.0.113.7 to any port 80 proto tcp")],
    ids=["another port", "another visitor"],
)
def test_a_change_closes_what_was_open_before(
    firewall: Firewall, port: int, sources: tuple[str, ...], left: str
) -> None:
    firewall.carry_out(let_in(UFW, UNIT, 80))

    assert firewall.carry_out(let_in(UFW, UNIT, port, sources)) == [f"ufw allow {left} comment '{UNIT}'"]


def test_rules_of_others_are_neither_taken_over_nor_away(firewall: Firewall) -> None:
    for port in (22, 443, 8080):
        assert firewall.carry_out(let_in(UFW, UNIT, port)) == []
    assert firewall.carry_out(keep_out(UFW, UNIT)) == []


def test_nothing_of_ours_is_left_open(firewall: Firewall) -> None:
    firewall.carry_out(let_in(UFW, UNIT, 80))

    for _ in range(2):
        assert firewall.carry_out(keep_out(UFW, UNIT)) == []


def test_without_an_active_firewall_there_is_nothing_to_open() -> None:
    assert not let_in(recorded("sandbox-debian-12"), UNIT, 8000).needed


def test_an_address_that_is_none() -> None:
    with pytest.raises(InvalidInput, match="neither an IP address nor a network"):
        let_in(UFW, UNIT, 8000, ["any; reboot"])
