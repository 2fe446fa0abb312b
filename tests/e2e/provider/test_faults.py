"""Faults of the cloud and of the process, on the real engine: nothing that bills is ever outside the state."""

import random
import signal
import time

import pytest

from tests.e2e.provider.paper import PaperStack, until

pytestmark = pytest.mark.pulumi


def settled(stack: PaperStack, machines: int = 2) -> None:
    """State and cloud agree on this many machines, and nothing is left to do."""
    assert {it["id"] for it in stack.instances().values()} == {machine.id for machine in stack.machines()}
    assert len(stack.machines()) == machines
    stack.preview("--expect-no-changes")


class TestOrder:
    @pytest.mark.parametrize("kind", ["post_5xx_after_accept", "dropped_connection"])
    def test_accepted_without_a_clear_answer(self, stack: PaperStack, kind: str) -> None:
        stack.faults.arm(kind, times=2)
        stack.up()
        settled(stack)

    def test_not_accepted_and_not_said_so(self, stack: PaperStack) -> None:
        stack.declare(machines=1)
        stack.faults.arm("post_5xx_before_accept", times=1)
        running = stack.start("up", "--yes", "--skip-preview")
        until(lambda: not stack.faults.armed(), 30)
        running.send_signal(signal.SIGINT)  # nobody waits three minutes for an order that never arrived
        assert running.wait(30) != 0
        assert [it["id"].startswith("order:") for it in stack.instances().values()] == [True]
        assert set(stack.outputs()) == {"token"}  # what was known before the failure
        stack.up()
        assert len(stack.machines()) == 1
        assert set(stack.outputs()) == {"token", "names", "addresses", "hosts"}
        assert stack.destroy().code == 0
        assert stack.machines() == []

    def test_answered_late(self, stack: PaperStack) -> None:
        stack.faults.arm("slow_post", times=2, seconds=3)
        stack.up()
        settled(stack)

    def test_no_stock_keeps_nothing(self, stack: PaperStack) -> None:
        stack.faults.arm("no_stock", times=None)
        failed = stack.up(check=False)
        assert failed.code != 0
        assert "has stock" in failed.output
        assert (stack.instances(), stack.machines()) == ({}, [])
        stack.faults.disarm()
        stack.up()
        settled(stack)


class TestDestroy:
    @pytest.mark.parametrize("kind", ["get_failure", "delete_failure"])
    def test_a_cloud_that_does_not_answer_fails_loudly_and_nothing_is_forgotten(
        self, stack: PaperStack, kind: str
    ) -> None:
        stack.up()
        stack.faults.arm(kind, times=None)
        stack.faults.arm("list_failure", times=None)
        failed = stack.destroy(check=False)
        assert failed.code != 0
        assert len(stack.instances()) == 2
        stack.faults.disarm()
        assert len(stack.machines()) == 2
        stack.destroy()
        assert (stack.machines(), stack.resources()) == ([], [])

    def test_waits_out_the_minimum_runtime(self, stack: PaperStack) -> None:
        stack.up()
        stack.faults.arm("early_delete", times=1, seconds=2)
        assert stack.destroy().seconds > 2
        assert stack.machines() == []

    def test_twice_and_with_a_machine_already_gone(self, stack: PaperStack) -> None:
        stack.up()
        stack.delete_behind(stack.machines()[0])
        stack.destroy()
        stack.destroy()
        assert (stack.machines(), stack.resources()) == ([], [])


class TestBehindPulumi:
    def test_a_machine_taken_away_is_replaced_after_a_refresh(self, stack: PaperStack) -> None:
        stack.up()
        stack.delete_behind(stack.machines()[0])
        assert "1 deleted" in stack.refresh().output
        stack.up()
        settled(stack)

    def test_a_key_taken_away_is_registered_again_and_replaces_no_machine(self, stack: PaperStack) -> None:
        stack.up()
        before = {machine.id for machine in stack.machines()}
        stack.delete_key_behind()
        assert "1 deleted" in stack.refresh().output
        assert "1 created" in stack.up().output
        assert {machine.id for machine in stack.machines()} == before
        settled(stack)

    def test_a_preempted_machine_is_replaced_after_a_refresh(self, stack: PaperStack) -> None:
        stack.up()
        stack.faults.arm("preemption", times=1)
        stack.pulumi("up", "--yes", "--skip-preview", "--refresh")
        settled(stack)


class TestCtrlC:
    def test_during_a_long_create_the_next_up_continues(self, stack: PaperStack) -> None:
        stack.slow_machines(seconds=8)
        running = stack.start("up", "--yes", "--skip-preview")
        until(lambda: len(stack.machines()) == 2, 30)
        ids = {machine.id for machine in stack.machines()}
        running.send_signal(signal.SIGINT)
        assert running.wait(15) != 0
        assert {it["id"] for it in stack.instances().values()} == ids
        assert all(it["initErrors"] for it in stack.instances().values())
        stack.up()
        settled(stack)
        assert {machine.id for machine in stack.machines()} == ids


class TestKilled:
    @pytest.mark.parametrize("seed", range(10))
    def test_at_any_moment_then_up(self, stack: PaperStack, seed: int) -> None:
        delay = random.Random(seed).uniform(0.3, 3.0)
        stack.slow_machines(seconds=1.0)
        stack.faults.arm("slow_post", times=2, seconds=0.7)
        running = stack.start("up", "--yes", "--skip-preview")
        time.sleep(delay)
        stack.kill("pulumi", "provider")
        running.wait()
        stack.pulumi("cancel", "--yes")
        stack.up()
        settled(stack)

    def test_right_after_an_order_that_the_cloud_does_not_list_yet(self, stack: PaperStack) -> None:
        stack.declare(machines=1)
        stack.faults.arm("late_listing", seconds=8)
        stack.faults.arm("slow_post", seconds=60)
        running = stack.start("up", "--yes", "--skip-preview")
        until(lambda: not stack.faults.armed(), 30)
        stack.kill("pulumi", "provider")
        running.wait()
        stack.pulumi("cancel", "--yes")
        stack.up()
        settled(stack, machines=1)

    def test_then_destroy_leaves_nothing_that_bills_unsaid(self, stack: PaperStack) -> None:
        stack.faults.arm("late_listing", times=2, seconds=5)
        stack.faults.arm("slow_post", times=2, seconds=60)
        running = stack.start("up", "--yes", "--skip-preview")
        until(lambda: not stack.faults.armed(), 30)
        stack.kill("pulumi", "provider")
        running.wait()
        stack.pulumi("cancel", "--yes")
        failed = stack.destroy(check=False)
        assert failed.code != 0
        assert all(f"{machine.name} ({machine.id}" in failed.output for machine in stack.machines())
        stack.up()
        stack.destroy()
        assert (stack.machines(), stack.resources()) == ([], [])

    def test_only_the_command_and_its_plugin_leaves_by_itself(self, stack: PaperStack) -> None:
        stack.slow_machines(seconds=20)
        running = stack.start("up", "--yes", "--skip-preview")
        until(lambda: len(stack.machines()) == 2, 30)
        running.kill()
        running.wait()
        until(lambda: not stack.processes(), 10)
