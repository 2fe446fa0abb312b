"""What is done with an engine, from one look at it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moestro.hosts.steps.unit import (
    Action,
    EngineLook,
    Phase,
    Record,
    decide,
    digest_of,
    digests,
    hopeless,
    is_completion,
    parse_look,
    readable,
)

FILES = {"/etc/systemd/system/x.service": "[Unit]", "/etc/moestro/chat/engine.key": "PRIVATE"}
READY = Record(Phase.READY, digest_of(FILES), replaced="old", answered="now", ready_seconds=30.0)
LOOK = EngineLook(
    exists=True,
    active="active",
    sub="running",
    result="success",
    restarts=0,
    invocation="now",
    exit_status="0",
    record=READY,
    files=digests(FILES),
)


class TestDecide:
    @pytest.mark.parametrize(
        ("look", "action"),
        [
            (LOOK, Action.KEEP),
            (replace(LOOK, active="failed"), Action.START),
            (replace(LOOK, active="inactive"), Action.START),
            (replace(LOOK, active="activating"), Action.START),
            (replace(LOOK, files={}), Action.RESTART),
            (replace(LOOK, files=LOOK.files | {"/etc/moestro/chat/engine.key": "0"}), Action.RESTART),
            (replace(LOOK, record=replace(READY, digest="other")), Action.RESTART),
            (replace(LOOK, record=Record()), Action.RESTART),
            (replace(LOOK, invocation="later"), Action.AWAIT),
            (replace(LOOK, record=replace(READY, phase=Phase.STARTING, answered="")), Action.AWAIT),
            (replace(LOOK, record=replace(READY, phase=Phase.STARTING, replaced="now")), Action.RESTART),
            (replace(LOOK, record=replace(READY, phase=Phase.FAILED)), Action.RESTART),
        ],
        ids=[
            "ready",
            "failed",
            "stopped",
            "between two attempts",
            "files gone",
            "a file edited",
            "written, not restarted",
            "never started by us",
            "restarted by itself",
            "starting",
            "start ordered, not done",
            "given up last time",
        ],
    )
    def test_an_engine_is_disturbed_only_where_it_must_be(self, look: EngineLook, action: Action) -> None:
        assert decide(look, FILES) is action

    def test_a_changed_file_is_a_restart_even_while_starting(self) -> None:
        starting = replace(LOOK, record=replace(READY, phase=Phase.STARTING))

        assert decide(starting, FILES | {"/etc/moestro/chat/engine.key": "NEW"}) is Action.RESTART


class TestHopeless:
    @pytest.mark.parametrize(
        ("look", "reason"),
        [
            (
                replace(LOOK, active="failed", result="start-limit-hit", exit_status="1"),
                "start-limit-hit, exit status 1",
            ),
            (replace(LOOK, active="inactive"), "was stopped"),
            (replace(LOOK, restarts=5, exit_status="3"), "ended 2 times before it answered (last exit status 3)"),
        ],
    )
    def test_it_is_said_why(self, look: EngineLook, reason: str) -> None:
        assert reason in str(hopeless(look, 3))

    @pytest.mark.parametrize(
        "look",
        [
            LOOK,
            replace(LOOK, active="activating"),
            replace(LOOK, active="inactive", job=True),
            replace(LOOK, restarts=4),
        ],
        ids=["loading", "between two attempts", "about to start", "one restart"],
    )
    def test_there_is_hope(self, look: EngineLook) -> None:
        assert hopeless(look, 3) is None


class TestCompletion:
    @pytest.mark.parametrize("reason", ["length", "stop"])
    def test_a_finished_one_counts(self, reason: str) -> None:
        assert is_completion("200", json.dumps({"choices": [{"text": "", "finish_reason": reason}]}))

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            ("200", json.dumps({"choices": [{"text": "", "finish_reason": "abort"}]})),
            ("200", json.dumps({"choices": [{"text": "", "finish_reason": None}]})),
            ("200", json.dumps({"choices": []})),
            ("200", json.dumps({"object": "list"})),
            ("200", "[]"),
            ("200", "ok"),
            ("500", json.dumps({"choices": [{"text": "", "finish_reason": "stop"}]})),
            ("000", "curl: (7) Failed to connect"),
            ("", ""),
        ],
    )
    def test_nothing_else_does(self, status: str, body: str) -> None:
        assert not is_completion(status, body)


class TestReading:
    def test_a_look_comes_back_from_its_report(self) -> None:
        report = (
            "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\nNRestarts=2\n"
            "InvocationID=abc\nExecMainStatus=1\nJob=77\nUser=moestro-engine\nCurl=no\n"
            f"Record={READY.text()}\n==files==\n0123  /etc/a b\n4567  /etc/c\n"
        )

        assert parse_look(report) == EngineLook(
            exists=True,
            active="activating",
            sub="auto-restart",
            result="exit-code",
            restarts=2,
            invocation="abc",
            exit_status="1",
            job=True,
            user="moestro-engine",
            curl=False,
            record=READY,
            files={"/etc/a b": "0123", "/etc/c": "4567"},
        )

    def test_a_unit_that_is_not_there(self) -> None:
        look = parse_look("LoadState=not-found\nActiveState=inactive\nSubState=dead\nUser=root\nRecord=\n==files==\n")

        assert not look.exists
        assert look.user is None
        assert look.record == Record()

    @pytest.mark.parametrize(
        "text", ["", "{}", "[]", "no JSON", '{"phase": "unheard of"}', '{"phase": "ready", "x": 1}']
    )
    def test_a_damaged_record_is_none(self, text: str) -> None:
        assert parse_look(f"LoadState=loaded\nRecord={text}\n==files==\n").record == Record()

    def test_a_log_loses_colours_and_the_earlier_states_of_a_progress_bar(self) -> None:
        log = "\x1b[32mINFO\x1b[0m start\n\n  0%|    \r 50%|==  \r100%|====\r\nend\n"

        assert readable(log, ()) == ["INFO start", "100%|====", "end"]

    @given(st.text(min_size=1, alphabet="abc"), st.text(alphabet="abcxyz\n"))
    def test_a_log_never_shows_a_secret(self, secret: str, log: str) -> None:
        assert secret not in "\n".join(readable(log.replace(secret, f"<{secret}>"), (secret,))).replace("***", "\0")


class TestDigest:
    def test_it_depends_on_every_path_and_text(self) -> None:
        changed = [FILES | {"/etc/moestro/chat/engine.key": "x"}, FILES | {"/new": ""}, dict([*FILES.items()][:1])]

        assert len({digest_of(files) for files in (FILES, *changed)}) == 4
        assert digest_of(dict(reversed(FILES.items()))) == digest_of(FILES)
