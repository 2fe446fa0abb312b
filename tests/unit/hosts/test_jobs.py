import pytest

from moestro.errors import Cancelled, CommandFailed, ConnectionLost, DeadlineExceeded, InvalidInput
from moestro.hosts.jobs import Job, Look, forget_job, parse_look, run_job, verdict
from tests.unit.hosts.clock import FakeClock
from tests.unit.hosts.fake_host import Answer, FakeHost

JOB = Job("driver", "echo hello\n", timeout=100)


class Script:
    """Answers starts and looks from two lists; the last entry stays."""

    def __init__(self, starts: list[Answer], looks: list[Answer]) -> None:
        self.starts, self.looks = starts, looks

    def __call__(self, command: str) -> Answer:
        answers = self.starts if "systemd-run" in command else self.looks
        return answers.pop(0) if len(answers) > 1 else answers[0]


def fake(starts: list[Answer], looks: list[Answer]) -> FakeHost:
    return FakeHost(Script(starts, looks))


def looks_of(host: FakeHost) -> list[str]:
    return [command.splitlines()[0] for command in host.commands if "systemd-run" not in command]


class TestRunJob:
    def test_reports_the_log_as_it_grows_and_returns_its_tail(self) -> None:
        told: list[str] = []
        host = fake(["started"], ["running 4 -\none\n", "running 8 -\ntwo\n", "ended 14 exited 0 success\nthree\n"])
        result = run_job(host, JOB, FakeClock().wait(60, told.append))
        assert told == ["driver: one", "driver: two", "driver: three"]
        assert (result.log, result.found) == ("one\ntwo\nthree", False)

    def test_asks_only_for_what_is_new(self) -> None:
        host = fake(["started"], ["running 4 -\none\n", "ended 8 exited 0 success\ntwo\n"])
        run_job(host, JOB, FakeClock().wait(60))
        assert [line.split()[4] for line in looks_of(host)] == ["0", "4"]

    def test_a_line_that_is_not_complete_yet_waits_for_its_rest(self) -> None:
        told: list[str] = []
        host = fake(["started"], ["running 6 -\nfirst ", "ended 12 exited 0 success\nsecond"])
        run_job(host, JOB, FakeClock().wait(60, told.append))
        assert told == ["driver: first second"]

    def test_a_chatty_step_is_told_in_part(self) -> None:
        told: list[str] = []
        text = "".join(f"line {number}\n" for number in range(100))
        run_job(fake(["started"], [f"ended 900 exited 0 success\n{text}"]), JOB, FakeClock().wait(60, told.append))
        assert told == [f"driver: line {number}" for number in range(96, 100)]

    def test_progress_bars_are_told_in_their_last_state_without_colours(self) -> None:
        told: list[str] = []
        host = fake(["started"], ["ended 9 exited 0 success\n\x1b[32m10%\r50%\r100%\x1b[0m\n"])
        run_job(host, JOB, FakeClock().wait(60, told.append))
        assert told == ["driver: 100%"]

    def test_a_success_that_was_there_is_found_and_its_log_not_told_again(self) -> None:
        told: list[str] = []
        result = run_job(
            fake(["finished"], ["ended 4 exited 0 success\nold\n"]), JOB, FakeClock().wait(60, told.append)
        )
        assert result.found
        assert result.log == "old"
        assert told == []

    def test_a_failure_raises_with_the_end_of_the_log(self) -> None:
        host = fake(["running"], ["ended 40 exited 100 exit-code\nE: no such package\n"])
        with pytest.raises(
            CommandFailed, match=r"step driver failed with exit code 100;.*\nE: no such package"
        ) as caught:
            run_job(host, JOB, FakeClock().wait(60))
        assert caught.value.exit_code == 100

    def test_a_job_without_a_result_is_not_taken_for_a_success(self) -> None:
        with pytest.raises(CommandFailed, match="left no result"):
            run_job(fake(["running"], ["gone 0 -\n"]), JOB, FakeClock().wait(60))

    def test_a_dropped_connection_is_opened_again_and_the_log_goes_on_where_it_was(self) -> None:
        told: list[str] = []
        looks: list[Answer] = ["running 4 -\none\n", ConnectionLost("gone"), "ended 8 exited 0 success\ntwo\n"]
        host = fake([ConnectionLost("gone"), "running"], looks)
        run_job(host, JOB, FakeClock().wait(60, told.append))
        assert [line for line in told if "dropped" not in line] == ["driver: one", "driver: two"]
        assert len([line for line in told if "dropped" in line]) == 2
        assert [line.split()[4] for line in looks_of(host)] == ["0", "4", "4"]

    def test_a_connection_that_stays_away_ends_with_the_deadline(self) -> None:
        with pytest.raises(DeadlineExceeded, match="step driver goes on"):
            run_job(fake(["started"], [ConnectionLost("gone")]), JOB, FakeClock().wait(60))

    def test_without_a_deadline_the_limit_of_the_job_is_kept(self) -> None:
        clock = FakeClock()
        begun = clock.now
        with pytest.raises(DeadlineExceeded):
            run_job(fake(["started"], [ConnectionLost("gone")]), JOB, clock.wait())
        assert JOB.timeout < clock.now - begun < JOB.timeout + 300

    def test_cancelling_stops_only_the_waiting(self) -> None:
        wait = FakeClock().wait(60)
        host = fake(["started"], [Cancelled("stopped on request")])
        with pytest.raises(Cancelled, match="step driver goes on, and the next run finds it"):
            run_job(host, JOB, wait)
        assert not any("systemctl stop" in command or "kill" in command for command in host.commands)


class TestSecrets:
    job = Job("weights", "echo $HF_TOKEN\n", 60, {"HF_TOKEN": "hf_o'clock"})

    def test_travel_on_standard_input_alone(self) -> None:
        host = fake(["started"], ["ended 0 exited 0 success\n"])
        run_job(host, self.job, FakeClock().wait(60))
        assert not any("hf_o" in command for command in host.commands)
        assert host.inputs[0] == b"echo $HF_TOKEN\nHF_TOKEN='hf_o'\"'\"'clock'\n"

    def test_are_masked_in_what_is_told(self) -> None:
        told: list[str] = []
        host = fake(["started"], ["ended 20 exited 1 exit-code\ntoken hf_o'clock is bad\n"])
        with pytest.raises(CommandFailed) as caught:
            run_job(host, self.job, FakeClock().wait(60, told.append))
        assert told == ["weights: token *** is bad"]
        assert "hf_o" not in str(caught.value)
        assert "hf_o" not in caught.value.output

    def test_show_in_no_repr_and_do_not_change_the_identity(self) -> None:
        assert "hf_o" not in repr(self.job)
        assert self.job.unit == Job("weights", "echo $HF_TOKEN\n", 60).unit

    def test_with_an_impossible_name_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="environment variable"):
            run_job(fake(["started"], [""]), Job("x", "", 60, {"A B": "c"}), FakeClock().wait(60))


class TestIdentity:
    def test_another_script_is_another_job(self) -> None:
        assert Job("a", "echo 1", 60).unit != Job("a", "echo 2", 60).unit

    def test_another_limit_is_the_same_job(self) -> None:
        assert Job("a", "echo 1", 60).unit == Job("a", "echo 1", 90).unit

    def test_forgetting_removes_the_record_and_keeps_the_log(self) -> None:
        host = FakeHost(lambda _: "")
        forget_job(host, JOB)
        assert host.commands == [f"rm -f {JOB.directory}/exit"]


@pytest.mark.parametrize(
    ("state", "record", "code", "reason"),
    [
        ("ended", "exited 0 success", 0, "succeeded"),
        ("ended", "exited 3 exit-code", 3, "failed with exit code 3"),
        ("ended", "killed TERM timeout", 124, "did not end within 60 s"),
        ("ended", "exited 0 timeout", 124, "did not end within 60 s"),
        ("ended", "killed KILL oom-kill", 137, "was killed because the host ran out of memory"),
        ("ended", "killed TERM signal", -1, "was ended by signal TERM"),
        ("ended", "unknown unknown unknown", -1, "was ended by signal unknown"),
        ("ended", "", -1, "left no result (was the host restarted, or is its disk full?); run it again"),
        ("gone", "-", -1, "left no result (was the host restarted, or is its disk full?); run it again"),
    ],
)
def test_verdict(state: str, record: str, code: int, reason: str) -> None:
    assert verdict(state, record, 60) == (code, reason)


def test_parse_look() -> None:
    assert parse_look("ended 12 exited 0 success\nline\nrest") == Look("ended", 12, "exited 0 success", "line\nrest")
    assert parse_look("running 0 -\n") == Look("running", 0, "-", "")
