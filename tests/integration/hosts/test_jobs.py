import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from moestro.errors import Cancelled, CommandFailed
from moestro.hosts.jobs import Job, forget_job, run_job
from moestro.hosts.ssh import Host
from moestro.waiting import Wait
from tests.integration.hosts.conftest import Machine

pytestmark = pytest.mark.docker


def counting(name: str, rest: str, timeout: float = 60) -> Job:
    """A job that leaves a line in a file for each time it is run."""
    return Job(name, f"echo run >> /tmp/runs-{name}\n{rest}\n", timeout)


def running(job: Job) -> str:
    """The condition, inside the host, that a job is under way."""
    return f"systemctl is-active --quiet {job.unit}"


def runs(machine: Machine, job: Job) -> int:
    return int(machine.inside(f"wc -l < /tmp/runs-{job.name}"))


def test_a_step_survives_the_loss_of_its_connection(machine: Machine, host: Host) -> None:
    job = counting("cut", "for i in $(seq 8); do echo line $i; sleep 1; done")
    for line in (2, 5):
        machine.when(f"grep -q 'line {line}' {job.directory}/log", "pkill -KILL -f '^sshd: ubuntu' || true")
    result = run_job(host, job, host.wait)
    assert result.log.splitlines() == [f"line {number}" for number in range(1, 9)]
    assert runs(machine, job) == 1
    assert sum("the connection dropped" in line for line in machine.lines) >= 1
    told = [line for line in machine.lines if "line" in line]
    assert told == sorted(set(told)), "no line is told twice, whatever was cut"
    assert told[-1] == "cut: line 8"


def test_a_finished_step_is_found_and_a_forgotten_one_runs_again(machine: Machine, host: Host) -> None:
    job = counting("twice", "echo done")
    assert not run_job(host, job, host.wait).found
    again = run_job(host, job, host.wait)
    assert again.found
    assert again.log == "done"
    assert runs(machine, job) == 1
    forget_job(host, job)
    assert not run_job(host, job, host.wait).found
    assert runs(machine, job) == 2


def test_a_failed_step_shows_its_log_and_is_run_again(machine: Machine, host: Host) -> None:
    job = counting("fails", "[ -e /tmp/repaired ] || { echo out of paper >&2; exit 42; }")
    with pytest.raises(CommandFailed, match=r"step fails failed with exit code 42; .*\nout of paper") as caught:
        run_job(host, job, host.wait)
    assert caught.value.exit_code == 42
    machine.inside("touch /tmp/repaired")
    run_job(host, job, host.wait)
    assert runs(machine, job) == 2


def test_steps_that_fail_at_once_have_begun_all_the_same(host: Host) -> None:
    def run(number: int) -> CommandFailed:
        with pytest.raises(CommandFailed) as caught:
            run_job(host, Job("at-once", f"echo {number}; exit 42\n", 60), host.wait)
        return caught.value

    with ThreadPoolExecutor(6) as threads:
        failures = list(threads.map(run, range(40)))
    assert {failure.exit_code for failure in failures} == {42}
    assert [failure.output for failure in failures] == [str(number) for number in range(40)]


def test_four_at_once_share_one_run(machine: Machine) -> None:
    job = counting("shared", "sleep 2; echo shared")
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: run_job(machine.host(), job, Wait.of(60)), range(4)))
    assert {result.log for result in results} == {"shared"}
    assert runs(machine, job) == 1


def test_cancelling_leaves_it_running_and_the_next_call_finds_it(machine: Machine, host: Host) -> None:
    job = counting("cancelled", "sleep 4; echo finished anyway")
    wait = Wait.of(60)
    machine.when(running(job), wait.cancel.set)
    with pytest.raises(Cancelled, match="step cancelled goes on, and the next run finds it"):
        run_job(host, job, wait)
    assert run_job(host, job, host.wait).log == "finished anyway"
    assert runs(machine, job) == 1


RUN_A_JOB = """
import sys
from moestro.hosts.connection import HostConnection
from moestro.hosts.jobs import Job, run_job
from moestro.hosts.ssh import connect
from moestro.waiting import Wait

address, script, private_key, host_key = sys.stdin.read().split("|")
wait = Wait.of(60)
host = connect(HostConnection(address, 22, "ubuntu", private_key, host_key), wait)
run_job(host, Job("killed", script, 60), wait)
"""


def test_killing_moestro_leaves_it_running_and_the_next_run_finds_it(machine: Machine, host: Host) -> None:
    job = counting("killed", "sleep 4; echo finished anyway")
    connection = machine.connection()
    process = subprocess.Popen([sys.executable, "-c", RUN_A_JOB], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write("|".join([connection.address, job.script, connection.private_key, connection.host_key]))
    process.stdin.close()
    machine.inside(f"until [ -e /tmp/runs-{job.name} ]; do sleep 0.1; done")
    process.kill()
    process.wait()
    assert run_job(host, job, host.wait).log == "finished anyway"
    assert runs(machine, job) == 1


def test_its_time_limit_ends_everything_it_started(machine: Machine, host: Host) -> None:
    with pytest.raises(CommandFailed, match="did not end within 2 s"):
        run_job(host, Job("slow", "sleep 5432 & sleep 5432\n", 2), host.wait)
    assert machine.inside("pgrep -f 'sleep 5432$' || true") == ""


def test_a_step_that_is_killed_is_no_success(machine: Machine, host: Host) -> None:
    job = Job("shot", "sleep 30\n", 60)
    machine.when(running(job), f"systemctl kill -s KILL {job.unit}")
    with pytest.raises(CommandFailed, match="was ended by signal KILL"):
        run_job(host, job, host.wait)


def test_a_unit_that_vanished_without_a_result_is_no_success(machine: Machine, host: Host) -> None:
    job = Job("vanished", "sleep 30\n", 60)
    crash = f"sed -i 1iexit {job.directory}/finish; systemctl kill -s KILL {job.unit}"  # as a crash of the whole host
    machine.when(running(job), crash)
    with pytest.raises(CommandFailed, match="left no result"):
        run_job(host, job, host.wait)


def test_secrets_reach_the_script_and_stay_nowhere(machine: Machine, host: Host) -> None:
    secret = "hunter2's"
    script = (
        'test "$TOKEN" = "hunter2\'s"; test ! -e "${0%/*}/secrets"; touch /tmp/started\n'
        'until [ -e /tmp/looked ]; do sleep 0.1; done; echo "token $TOKEN"\n'
    )
    job = Job("secret", script.replace("hunter2", "$(printf hunter%s 2)"), 60, {"TOKEN": secret})
    places = f"cat /proc/[0-9]*/cmdline | tr '\\0' ' '; systemctl show {job.unit}; find {job.directory} -name secrets"
    seen: list[str] = []
    machine.when("[ -e /tmp/started ]", lambda: seen.append(machine.inside(f"{places}; touch /tmp/looked")))
    run_job(host, job, host.wait)
    assert seen
    assert "hunter2" not in seen[0]
    assert f"{job.directory}/secrets" not in seen[0]
    assert machine.lines == ["secret: token ***"]
    machine.inside(f"truncate -s 0 {job.directory}/log")
    assert machine.inside(f"grep -r hunter2 {job.directory} || true") == ""
