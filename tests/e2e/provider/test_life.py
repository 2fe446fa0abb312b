"""A stack's life on the real engine: up, preview, change, refresh, destroy."""

import pytest

from tests.e2e.provider.paper import PaperStack, until

pytestmark = pytest.mark.pulumi


def test_from_nothing_to_nothing(stack: PaperStack) -> None:
    preview = stack.preview().output
    assert "+ 8 to create" in preview
    up = stack.up()
    assert stack.outputs()["names"] == sorted(machine.name for machine in stack.machines())
    assert "8 unchanged" in stack.preview("--expect-no-changes").output
    assert "8 unchanged" in stack.refresh().output
    stack.preview("--expect-no-changes")
    assert "8 deleted" in stack.destroy().output
    stack.destroy()
    assert stack.machines() == []
    assert up.seconds < 15


def test_no_secret_is_in_the_clear(stack: PaperStack) -> None:
    up = stack.up()
    secrets = [stack.outputs()["token"], *stack.outputs()["hosts"][0]["privateKey"].splitlines()]
    state = "".join(path.read_text() for path in (stack.home / "state").rglob("*.json*") if path.is_file())
    assert "ssh-ed25519" in state
    assert not [secret for secret in secrets if len(secret) > 8 and secret in state + up.output]


def test_a_renamed_machine_stays(stack: PaperStack) -> None:
    stack.up()
    before = {machine.id for machine in stack.machines()}
    stack.declare(prefix="renamed")
    assert "2 updated" in stack.up().output
    assert {machine.id for machine in stack.machines()} == before
    assert all(machine.name.startswith("renamed-") for machine in stack.machines())


def test_what_only_steers_operations_is_recorded_without_an_update(stack: PaperStack) -> None:
    stack.up()
    stack.declare(limit=1.5)
    assert "8 unchanged" in stack.up().output
    assert [it["inputs"]["maxUsdPerHour"] for it in stack.instances().values()] == [1.5, 1.5]


def test_another_region_is_rented_before_the_old_machines_go(stack: PaperStack) -> None:
    stack.up()
    before = {machine.id for machine in stack.machines()}
    region = stack.machines()[0].region
    stack.declare(regions=[region])
    preview = stack.preview("--diff").output
    assert "+-2 to replace" in preview
    up = stack.up().output
    assert up.index("created replacement") < up.index("deleted original")
    assert len(stack.machines()) == 2
    assert before.isdisjoint(machine.id for machine in stack.machines())


def test_a_forced_replacement_loses_no_machine(stack: PaperStack) -> None:
    stack.up()
    urn = stack.instances()["machine-0"]["urn"]
    forced = stack.pulumi("up", "--yes", "--skip-preview", "--target-replace", urn)
    assert "is kept: its replacement has the same declaration" in forced.output
    alive = {machine.id for machine in stack.machines()}
    assert {it["id"] for it in stack.instances().values()} == alive
    assert len(alive) == 2


def test_the_plugin_leaves_with_the_engine(stack: PaperStack) -> None:
    stack.up()
    until(lambda: not stack.processes(), 10)


def test_mistakes_are_named(stack: PaperStack) -> None:
    stack.declare(prefix="Not A Name")
    failed = stack.preview(check=False)
    assert failed.code != 0
    assert "name" in failed.output
    assert "should match pattern" in failed.output
