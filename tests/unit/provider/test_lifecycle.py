"""Every rule that the base keeps for all resources, through real gRPC."""
# ruff: noqa: ARG001, ARG005 - the work of a fake resource takes what every work takes

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from moestro.errors import HostError, InvalidInput
from provider.resource import Context, Incomplete
from tests.unit.provider.conftest import Serve
from tests.unit.provider.fakes import HOST, Thing, ThingInputs, thing_outputs
from tests.unit.provider.harness import UNKNOWN, Client, Failed, FakeEngine, secret

INPUTS: dict[str, Any] = {"host": HOST | {"privateKey": secret("PRIVATE-KEY")}, "size": 2}
STATE: dict[str, Any] = {"path": "/north/2", "key": secret("key-of-the-thing"), "mood": "fine"}


def raising(error: Callable[[ThingInputs], Exception]) -> Thing:
    def work(call: str, context: Context, inputs: ThingInputs) -> None:
        raise error(inputs)

    return Thing(work)


def waiting(seconds: float = 30.0, leaves: bool = True) -> tuple[Thing, threading.Event]:
    """A thing whose work only waits, and an event that says when it has begun."""
    begun = threading.Event()

    def work(call: str, context: Context, inputs: ThingInputs) -> None:
        begun.set()
        try:
            context.wait.sleep(seconds)
        except Exception as error:
            if leaves:
                raise Incomplete("id-1", thing_outputs(inputs), error) from error
            raise

    return Thing(work), begun


class TestCheck:
    def test_passes_everything_on_and_marks_secrets(self, serve: Serve) -> None:
        plain = {"host": HOST, "size": 2, "password": "hunter2-hunter2"}
        inputs, failures = serve(Thing()).check(plain)
        assert failures == []
        assert inputs == INPUTS | {"password": secret("hunter2-hunter2")}

    def test_refuses_by_property(self, serve: Serve) -> None:
        _, failures = serve(Thing()).check(INPUTS | {"sise": 2})
        assert [path for path, _ in failures] == ["sise"]

    def test_adds_what_follows_from_the_rest(self, serve: Serve) -> None:
        thing = Thing()
        thing.prepare = lambda values: {"place": f"{values['size']} south"}  # type: ignore[method-assign]
        inputs, _ = serve(thing).check(INPUTS)
        assert inputs["place"] == "2 south"

    def test_reports_what_cannot_be_prepared(self, serve: Serve) -> None:
        thing = Thing()

        def refuse(values: object) -> dict[str, Any]:
            raise InvalidInput("there is no such directory: /x")

        thing.prepare = refuse  # type: ignore[method-assign]
        assert serve(thing).check(INPUTS)[1] == [("", "there is no such directory: /x")]


class TestDiff:
    def test_says_nothing_changed(self, serve: Serve) -> None:
        answer = serve(Thing()).diff(INPUTS, INPUTS, STATE)
        assert answer.changes == answer.DIFF_NONE
        assert not answer.deleteBeforeReplace

    def test_tells_update_from_replacement(self, serve: Serve) -> None:
        answer = serve(Thing()).diff(INPUTS, INPUTS | {"size": 3, "place": "south"}, STATE)
        assert list(answer.diffs) == ["place", "size"]
        assert list(answer.replaces) == ["place"]
        kinds = {path: change.Kind.Name(change.kind) for path, change in answer.detailedDiff.items()}
        assert kinds == {"size": "UPDATE", "place": "UPDATE_REPLACE"}
        assert all(change.inputDiff for change in answer.detailedDiff.values())

    def test_deletes_first_where_the_new_one_could_be_taken_for_the_old(self, serve: Serve) -> None:
        thing = Thing()
        thing.collides = lambda old, new: True  # type: ignore[method-assign]
        client = serve(thing)
        assert client.diff(INPUTS, INPUTS | {"place": "south"}, STATE).deleteBeforeReplace
        assert not client.diff(INPUTS, INPUTS | {"size": 3}, STATE).deleteBeforeReplace

    def test_replaces_what_has_aged(self, serve: Serve) -> None:
        thing = Thing()
        thing.old = "mood"
        answer = serve(thing).diff(INPUTS, INPUTS, STATE)
        assert list(answer.replaces) == ["mood"]
        assert not answer.detailedDiff["mood"].inputDiff


class TestPreview:
    def test_foresees_what_follows_from_known_inputs(self, serve: Serve) -> None:
        thing = Thing()
        _, outputs = serve(thing).create(INPUTS, preview=True)
        assert outputs == {"path": "/north/2", "key": secret(UNKNOWN), "mood": UNKNOWN}
        assert thing.calls == []

    def test_knows_nothing_from_unknown_inputs(self, serve: Serve) -> None:
        _, outputs = serve(Thing()).create(INPUTS | {"size": UNKNOWN}, preview=True)
        assert outputs == {"path": UNKNOWN, "key": secret(UNKNOWN), "mood": UNKNOWN}

    def test_an_update_keeps_outputs_that_no_update_changes(self, serve: Serve) -> None:
        thing = Thing()
        outputs = serve(thing).update("id-1", INPUTS | {"size": 9}, STATE, preview=True)
        assert outputs == STATE | {"path": "/north/9", "mood": UNKNOWN}
        assert thing.calls == []


class TestSuccess:
    def test_create_gives_id_and_outputs_with_secrets_wrapped(self, serve: Serve) -> None:
        assert serve(Thing()).create(INPUTS) == ("id-1", STATE)

    def test_the_work_sees_plain_values(self, serve: Serve) -> None:
        seen: list[ThingInputs] = []
        serve(Thing(lambda call, context, inputs: seen.append(inputs))).create(INPUTS)
        assert seen[0].host.connection().private_key == "PRIVATE-KEY"

    def test_twenty_run_side_by_side(self, serve: Serve) -> None:
        together = threading.Barrier(20)
        client = serve(Thing(lambda *_: (together.wait(10), None)[1]))
        threads = [threading.Thread(target=client.create, args=(INPUTS,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15)
        assert not together.broken


class TestInitFailed:
    def test_what_exists_is_kept_with_its_error(self, serve: Serve) -> None:
        client = serve(raising(lambda inputs: Incomplete("id-1", thing_outputs(inputs), HostError("no answer"))))
        with pytest.raises(Failed) as failed:
            client.create(INPUTS)
        kept = failed.value
        assert (kept.id, kept.reasons, kept.message) == ("id-1", ["no answer"], "no answer")
        assert kept.properties == STATE
        assert kept.inputs == INPUTS

    def test_an_update_can_fail_so_too(self, serve: Serve) -> None:
        client = serve(raising(lambda inputs: Incomplete("id-1", thing_outputs(inputs), HostError("no answer"))))
        with pytest.raises(Failed) as failed:
            client.update("id-1", INPUTS, STATE)
        assert failed.value.kept
        assert failed.value.inputs == INPUTS


class TestFailure:
    @pytest.mark.parametrize("call", ["create", "update", "read", "delete"])
    def test_nothing_is_kept_where_nothing_was_made(self, serve: Serve, call: str) -> None:
        client = serve(raising(lambda inputs: HostError("no route to 192.0.2.1")))
        with pytest.raises(Failed) as failed:
            call_it(client, call)
        assert (failed.value.message, failed.value.kept) == ("no route to 192.0.2.1", False)

    def test_a_bug_is_called_a_bug(self, serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
        client = serve(raising(lambda inputs: KeyError("PRIVATE-KEY")))
        with pytest.raises(Failed, match="this is a bug in moestro: KeyError") as failed:
            client.create(INPUTS)
        assert "PRIVATE" not in failed.value.message + capfd.readouterr().err

    def test_secrets_never_leave_in_an_error(self, serve: Serve) -> None:
        def error(inputs: ThingInputs) -> Exception:
            cause = HostError(f"bad key {inputs.host.private_key} for {inputs.password}")
            return Incomplete("id-1", thing_outputs(inputs), cause)

        with pytest.raises(Failed) as failed:
            serve(raising(error)).create(INPUTS | {"password": "hunter2-hunter2"})
        assert failed.value.reasons == ["bad key [secret] for [secret]"]


class TestRead:
    def test_returns_inputs_and_state(self, serve: Serve) -> None:
        assert serve(Thing()).read("id-1", INPUTS, STATE) == ("id-1", STATE, INPUTS)

    def test_gone_is_an_empty_id(self, serve: Serve) -> None:
        thing = Thing()
        thing.gone = True
        assert serve(thing).read("id-1", INPUTS, STATE) == ("", {}, {})

    def test_drift_is_seen_by_the_next_diff_and_mended_once(self, serve: Serve) -> None:
        thing = Thing()
        thing.drift = "edited by hand"
        client = serve(thing)
        _, _, inputs = client.read("id-1", INPUTS, STATE)
        assert list(client.diff(inputs, INPUTS, STATE).diffs) == ["drift"]
        thing.drift = None
        assert client.read("id-1", inputs, STATE)[2] == INPUTS

    def test_import_is_refused_with_the_way_out(self, serve: Serve) -> None:
        with pytest.raises(Failed, match="cannot be imported: declare it"):
            serve(Thing()).read("id-1", {}, {})


def test_delete_ignores_inputs_and_outputs_that_this_version_does_not_know(serve: Serve) -> None:
    thing = Thing()
    serve(thing).delete("id-1", INPUTS | {"retired": 1, "drift": "x"}, STATE | {"retired": 2})
    assert thing.calls == ["delete"]


class TestCancel:
    def test_ends_waits_and_keeps_what_exists(self, serve: Serve) -> None:
        thing, begun = waiting()
        client = serve(thing)
        failures = in_background(client, "create", begun)
        client.cancel()
        [failed] = failures()
        assert failed.kept
        assert failed.reasons == ["stopped on request; run the same command again to continue"]

    def test_without_anything_made_it_is_an_ordinary_error(self, serve: Serve) -> None:
        thing, begun = waiting(leaves=False)
        client = serve(thing)
        failures = in_background(client, "create", begun)
        client.cancel()
        [failed] = failures()
        assert not failed.kept

    def test_nothing_begins_after_it(self, serve: Serve) -> None:
        thing, _ = waiting()
        client = serve(thing)
        client.cancel()
        with pytest.raises(Failed, match="stopped on request"):
            client.create(INPUTS)


class TestTimeout:
    def test_custom_timeouts_hold(self, serve: Serve) -> None:
        thing, _ = waiting()
        client = serve(thing)
        client.timeout = 0.2
        started = time.monotonic()
        with pytest.raises(Failed, match="time limit"):
            client.create(INPUTS)
        assert time.monotonic() - started < 10

    def test_the_resource_has_a_limit_of_its_own(self, serve: Serve) -> None:
        seen: list[float | None] = []
        serve(Thing(lambda call, context, inputs: seen.append(context.wait.remaining()))).create(INPUTS)
        assert seen[0] == pytest.approx(30.0, abs=5)


class TestDisplay:
    def test_progress_and_warnings_reach_the_engine_without_secrets(
        self, serve: Serve, fake_engine: tuple[FakeEngine, str]
    ) -> None:
        def work(call: str, context: Context, inputs: ThingInputs) -> None:
            context.wait.report(f"copying with {inputs.host.private_key}")
            context.warn(f"left {inputs.host.private_key}")

        client = serve(Thing(work))
        client.create(INPUTS)
        shown = [(it.urn, it.message, it.ephemeral) for it in fake_engine[0].shown]
        assert shown == [(client.urn, "copying with [secret]", True), (client.urn, "left [secret]", False)]


def call_it(client: Client, call: str) -> None:
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: client.create(INPUTS),
        "update": lambda: client.update("id-1", INPUTS, STATE),
        "read": lambda: client.read("id-1", INPUTS, STATE),
        "delete": lambda: client.delete("id-1", INPUTS, STATE),
    }
    calls[call]()


def in_background(client: Client, call: str, begun: threading.Event) -> Callable[[], list[Failed]]:
    """Start ``call``, return when its work has begun; the result waits for its end and gives what it failed with."""
    failures: list[Failed] = []

    def run() -> None:
        try:
            call_it(client, call)
        except Failed as failed:
            failures.append(failed)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(10)

    def end() -> list[Failed]:
        thread.join(10)
        return failures

    return end
