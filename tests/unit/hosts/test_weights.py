import json
from pathlib import Path

import pytest

from moestro.errors import InvalidInput
from moestro.hosts import weights
from moestro.hosts.weights import WeightsSpec, WeightsState, digest_of, parse_manifest
from moestro.waiting import Wait
from tests.unit.hosts.fake_host import CONNECTION, FakeHost

MANIFEST = json.dumps({"source": "org/model", "digest": "c0ffee", "files": {"config.json": 2, "sub/a b.bin": 5}})


class TestSpec:
    @pytest.mark.parametrize(
        "spec", [{}, {"repo": "a/b", "source": "/x", "digest": "d"}, {"source": "/x"}, {"repo": ""}]
    )
    def test_impossible(self, spec: dict[str, str]) -> None:
        with pytest.raises(InvalidInput):
            WeightsSpec(**spec)

    def test_the_path_follows_from_what_is_wanted(self) -> None:
        assert WeightsSpec(repo="org/model", revision="abc").path == "/var/lib/moestro/weights/org--model/abc"
        assert WeightsSpec(repo="org/model").path == "/var/lib/moestro/weights/org--model/main"
        assert WeightsSpec(source="/models/tiny", digest="d1").path == "/var/lib/moestro/weights/tiny/d1"
        assert WeightsSpec(source="/x", digest="d1", model="tiny").path == "/var/lib/moestro/weights/tiny/d1"


class TestParseManifest:
    def test_complete(self) -> None:
        answer = f"{MANIFEST}\n2 config.json\n5 sub/a b.bin\n9 another\n"
        assert parse_manifest("/p", answer) == WeightsState("/p", 7, "c0ffee")

    @pytest.mark.parametrize(
        "answer",
        [
            "",
            f"{MANIFEST}\n",
            f"{MANIFEST}\n2 config.json\n",
            f"{MANIFEST}\n2 config.json\n4 sub/a b.bin\n",
            f"{MANIFEST[:-9]}\n2 config.json\n5 sub/a b.bin\n",
        ],
    )
    def test_incomplete(self, answer: str) -> None:
        assert parse_manifest("/p", answer) is None


class TestEnsure:
    def test_what_is_there_takes_one_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        host = FakeHost(lambda _: f"{MANIFEST}\n2 config.json\n5 sub/a b.bin\n")
        monkeypatch.setattr(weights, "connect", lambda *_: host)
        state = weights.ensure_weights(CONNECTION, WeightsSpec(repo="org/model"), Wait())
        assert state.digest == "c0ffee"
        assert len(host.commands) == 1

    def test_a_directory_that_changed_since_the_plan_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "config.json").write_text("{}")
        spec = WeightsSpec(source=str(tmp_path), digest=digest_of(tmp_path))
        (tmp_path / "config.json").write_text("{ }")
        host = FakeHost(lambda _: "")
        monkeypatch.setattr(weights, "connect", lambda *_: host)
        with pytest.raises(InvalidInput, match="changed since the plan"):
            weights.ensure_weights(CONNECTION, spec, Wait())
        assert len(host.commands) == 1

    def test_the_token_reaches_the_job_and_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        recorded = (Path(__file__).parents[2] / "fixtures/facts/sandbox-debian-12.txt").read_text()
        reads = iter(["", f"{MANIFEST}\n2 config.json\n5 sub/a b.bin\n"])

        def answer(command: str) -> str:
            if "cloud-init" in command:
                return recorded
            if "systemd-run" in command:
                return "started"
            if "ActiveState" in command:
                return "ended 0 exited 0 success\n"
            return "" if "/exit" in command else next(reads)

        told: list[str] = []
        host = FakeHost(answer)
        monkeypatch.setattr(weights, "connect", lambda *_: host)
        weights.ensure_weights(CONNECTION, WeightsSpec(repo="org/model"), Wait(report=told.append))
        assert sum(b"HF_TOKEN=hf_secret" in sent for sent in host.inputs) == 1
        assert not any("hf_secret" in text for text in host.commands + told)


def test_removing_takes_the_files_and_leaves_other_revisions(monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost(lambda _: "")
    monkeypatch.setattr(weights, "connect", lambda *_: host)
    weights.remove_weights(CONNECTION, WeightsSpec(repo="org/model", revision="abc"), Wait())
    (command,) = host.commands
    root = "/var/lib/moestro/weights/org--model"
    assert f"rm -rf {root}/abc {root}/abc.json {root}/abc.py {root}/.upload-abc;" in command
    assert "rmdir --ignore-fail-on-non-empty" in command
