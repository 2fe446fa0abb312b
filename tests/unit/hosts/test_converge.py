import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from moestro.errors import ConnectionLost, HostError, HostUnreachable
from moestro.hosts import converge as module
from moestro.hosts.converge import carry_out, converge, reboot
from moestro.hosts.facts import Facts
from moestro.hosts.jobs import Job, JobResult
from moestro.hosts.ssh import Completed
from moestro.hosts.steps import Command, Reason, Step, nothing
from tests.unit.hosts.clock import FakeClock
from tests.unit.hosts.fake_host import Answer, FakeHost
from tests.unit.hosts.test_facts import recorded

FACTS = recorded("sandbox-debian-12")
STEP = Step("tool", (Command("install tool\n", "install the tool", detached=True),))


class World:
    """Facts that change as jobs run, and a record of the jobs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: list[bool], effects: list[bool]) -> None:
        self.found, self.effects = found, effects
        self.ran: list[str] = []
        self.forgotten: list[str] = []
        self.done = False
        monkeypatch.setattr(module, "run_job", self._run)
        monkeypatch.setattr(module, "forget_job", lambda _, job: self.forgotten.append(job.name))
        monkeypatch.setattr(module, "gather", lambda _: replace(FACTS, reboot_required=self.done))

    def _run(self, host: object, job: Job, wait: object) -> JobResult:
        del host, wait
        self.ran.append(job.script)
        self.done = self.effects.pop(0)
        return JobResult("", self.found.pop(0))


def plan(facts: Facts) -> Step:
    return nothing("tool", Reason.PRESENT) if facts.reboot_required else STEP


class TestConverge:
    def test_does_nothing_where_nothing_is_needed(self) -> None:
        host = FakeHost(lambda _: "")
        converge(host, plan, replace(FACTS, reboot_required=True), FakeClock().wait())
        assert host.commands == []

    def test_runs_looks_again_and_forgets_the_job(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, [False], [True])
        facts = converge(FakeHost(lambda _: ""), plan, FACTS, FakeClock().wait())
        assert facts.reboot_required
        assert world.ran == ["install tool\n"]
        assert world.forgotten == ["tool"]

    def test_a_success_without_effect_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        World(monkeypatch, [False], [False])
        with pytest.raises(HostError, match=r"step tool succeeded, but the host still needs it \(install the tool\)"):
            converge(FakeHost(lambda _: ""), plan, FACTS, FakeClock().wait())

    def test_an_old_success_whose_effect_is_lost_is_run_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, [True, False], [False, True])
        converge(FakeHost(lambda _: ""), plan, FACTS, FakeClock().wait())
        assert len(world.ran) == 2


def test_short_commands_run_at_once_and_stop_at_the_first_failure() -> None:
    host = FakeHost(lambda _: "")
    told: list[str] = []
    step = Step("port", (Command("one\n", "first"), Command("two\n", "second")))
    assert carry_out(host, step, FakeClock().wait(60, told.append)) is False
    assert host.commands == ["set -eu -o pipefail\none\n", "set -eu -o pipefail\ntwo\n"]
    assert told == ["port: first", "port: second"]


class TestReboot:
    def test_waits_until_the_host_has_booted_anew(self) -> None:
        boots: list[Answer] = ["old\n", "old\n", ConnectionLost("closed"), ConnectionLost("refused"), "new\n"]
        host = FakeHost(lambda command: boots.pop(0) if "boot_id" in command else Completed(0, ""))
        reboot(host, FakeClock().wait())
        assert boots == []

    def test_what_was_ended_while_the_host_went_down_is_no_new_boot(self) -> None:
        boots: list[Answer] = ["old\n", Completed(143, ""), Completed(-1, "ne"), "new\n"]
        host = FakeHost(lambda command: boots.pop(0) if "boot_id" in command else "")
        reboot(host, FakeClock().wait())
        assert boots == []

    @pytest.mark.parametrize(
        ("of_before", "timer", "ordered"), [(True, "exit 3", True), (True, "exit 0", False), (False, "exit 3", False)]
    )
    def test_the_order_is_given_once_and_never_to_a_new_boot(
        self, tmp_path: Path, of_before: bool, timer: str, ordered: bool
    ) -> None:
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{timer}\n")
        (tmp_path / "systemd-run").write_text('#!/bin/sh\necho "$*" >&2\n')
        for program in tmp_path.iterdir():
            program.chmod(0o755)
        now = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        line = module._restart_unless_done(now if of_before else "another")
        path = f"{tmp_path}:/usr/bin:/bin"
        ran = subprocess.run(["bash", "-c", line], env={"PATH": path}, capture_output=True, text=True, check=True)
        assert ran.stdout == f"{now}\n"
        assert ("systemctl reboot" in ran.stderr) is ordered

    def test_a_host_that_stays_away_is_named(self) -> None:
        answers: list[Answer] = ["old\n", HostUnreachable("no SSH connection")]
        host = FakeHost(lambda command: answers.pop(0) if "boot_id" in command else "")
        with pytest.raises(HostUnreachable, match="did not come back after a restart"):
            reboot(host, FakeClock().wait())
