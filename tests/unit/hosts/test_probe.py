"""What is asked of an engine on its host, and how the answers are read."""

import subprocess
from pathlib import Path

import pytest

from moestro.hosts.probe import Door, parse_sighting

DOOR = Door("chat.engine.moestro.internal", "127.0.0.1", 8000, "/etc/moestro/chat", "engine-key-0123456789")


class TestCurl:
    def test_the_engine_is_verified_under_its_name_and_we_show_a_certificate(self) -> None:
        text = DOOR.curl("/metrics", 10)

        assert 'url = "https://chat.engine.moestro.internal:8000/metrics"' in text
        assert 'resolve = "chat.engine.moestro.internal:8000:127.0.0.1"' in text
        assert 'cacert = "/etc/moestro/chat/authority.crt"' in text
        assert 'cert = "/etc/moestro/chat/engine.crt"' in text
        assert "insecure" not in text

    def test_curl_itself_reads_it_and_sends_what_was_meant(self, tmp_path: Path) -> None:
        body = {"prompt": 'a "quoted" \\ line\nand $another'}
        text = DOOR.curl("/v1/completions", 1, body).replace("https://chat.engine.moestro.internal:8000", "file://")
        text += f'trace-ascii = "{tmp_path}/trace"\n'

        done = subprocess.run(["curl", "--config", "-"], input=text, capture_output=True, text=True, check=False)

        assert "Warning" not in done.stderr, "curl does not know an option"
        assert done.returncode in (3, 37), f"the path does not exist: {done.stderr}"

    def test_the_key_is_in_no_repr(self) -> None:
        assert "engine-key" not in repr(DOOR)


class TestSighting:
    def test_parts_are_told_apart(self) -> None:
        seen = parse_sighting(
            "LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=1\nInvocationID=abc\n"
            "==log==\nfirst\n==http== is said in the log\n==http==\n{\n}\n200\n"
        )

        assert seen.look.running
        assert (seen.look.restarts, seen.look.invocation) == (1, "abc")
        assert seen.log == "first\n==http== is said in the log\n"
        assert (seen.status, seen.body) == ("200", "{\n}")

    @pytest.mark.parametrize("answer", ["", "curl: (7) Failed to connect\n\n000\n"])
    def test_no_answer_is_no_success(self, answer: str) -> None:
        seen = parse_sighting(f"ActiveState=active\n==log==\n==http==\n{answer}")

        assert seen.status != "200"
