"""Carrying out steps: run what a step asks for, look again, and insist that it helped."""

from collections.abc import Callable

from moestro.errors import ConnectionLost, HostError, HostUnreachable
from moestro.hosts.facts import Facts, gather
from moestro.hosts.jobs import Job, forget_job, run_job
from moestro.hosts.ssh import Host
from moestro.hosts.steps import Command, Step
from moestro.waiting import Wait

REBOOT_SECONDS = 1200.0  # an eight-GPU machine checks its memory for many minutes

_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
_RESTART = "moestro-restart"


def converge(host: Host, plan: Callable[[Facts], Step], facts: Facts, wait: Wait) -> Facts:
    """Carry out the step that ``plan`` finds necessary; returns the facts afterwards.

    Raises:
        HostError: the step's commands succeeded and yet the host still needs it.
        CommandFailed and the other errors of :mod:`moestro.hosts.jobs`.
    """
    while True:
        step = plan(facts)
        if not step.needed:
            return facts
        found = carry_out(host, step, wait)
        facts = gather(host)
        left = plan(facts)
        if not left.needed:
            return facts
        if not found:
            raise HostError(f"{host}: step {step.name} succeeded, but the host still needs it ({_why(left)})")
        # What was found was the record of an earlier success whose effect the host has lost: now it is run again.


def carry_out(host: Host, step: Step, wait: Wait) -> bool:
    """Run a step's commands in order, then restart the host where it asks for that.

    Returns:
        Whether a detached command was found to have succeeded earlier instead of being run.
    """
    found = False
    for command in step.commands:
        wait.report(f"{step.name}: {command.why}")
        found = _run(host, step.name, command, wait) or found
    if step.reboot:
        reboot(host, wait)
    return found


def reboot(host: Host, wait: Wait) -> None:
    """Restart the host and wait until it is back.

    Raises:
        HostUnreachable: it did not come back within :data:`REBOOT_SECONDS`.
    """
    before = host.run(_BOOT_ID).stdout
    wait.report("restarting the host")
    patient = host.within(wait.limited(REBOOT_SECONDS))
    while not _restarted(patient, before):
        patient.wait.sleep(3.0)
        patient.disconnect()


def _restarted(host: Host, before: str) -> bool:
    """Whether the host has booted anew; a host that has not is told to, as the order itself may have been lost."""
    try:
        # What runs while a host goes down may be ended at any moment: by a lost connection or by a signal.
        answer = host.run(_restart_unless_done(before.strip()), timeout=15, check=False)
        return answer.ok and answer.stdout != before
    except ConnectionLost:
        return False
    except HostUnreachable as error:
        raise HostUnreachable(f"{host}: it did not come back after a restart: {error}") from None


def _restart_unless_done(boot_id: str) -> str:
    ordered = f"systemctl --quiet is-active {_RESTART}.timer"
    order = f"systemd-run --quiet --collect --unit={_RESTART} --on-active=1 systemctl reboot"
    return f"now=$({_BOOT_ID}); [ $now != {boot_id} ] || {ordered} || {order}; echo $now"


def _run(host: Host, name: str, command: Command, wait: Wait) -> bool:
    if not command.detached:
        host.within(wait).run(f"set -eu -o pipefail\n{command.script}", timeout=command.timeout)
        return False
    job = Job(name, command.script, command.timeout)
    found = run_job(host, job, wait).found
    forget_job(host, job)
    return found


def _why(step: Step) -> str:
    return "; ".join(command.why for command in step.commands) or "another restart"
