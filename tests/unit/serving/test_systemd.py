"""The engine's unit: what systemd reads is what we meant."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moestro.errors import InvalidInput
from moestro.serving.launch import Launch
from moestro.serving.systemd import (
    EngineUnit,
    command_line,
    engine_unit,
    environment_text,
    gateway_unit,
    quote,
)

UNIT = EngineUnit(
    name="moestro-engine-chat.service",
    service="chat",
    version="0.32.0",
    launch=Launch(("/opt/vllm/bin/vllm", "serve", "/models/tiny", "--port", "8000"), {"VLLM_CPU_KVCACHE_SPACE": "1"}),
    environment_file="/etc/moestro/chat/engine.env",
    shutdown_timeout_seconds=120,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def directives(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line:
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def systemd_words(line: str) -> list[str]:
    """systemd.syntax(7) read independently: quotes, C escapes, then specifiers."""
    words, position = [], 0
    token = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"\'\\]+)')
    while position < len(line):
        match = token.match(line, position)
        assert match, f"systemd cannot read {line[position:]!r}"
        quoted, bare = match.groups()
        raw = bare if quoted is None else quoted
        plain = re.sub(r"\\(x[0-9a-f]{2}|.)", _unescape, raw)
        assert "%" not in plain.replace("%%", ""), "an unescaped specifier"
        words.append(plain.replace("%%", "%"))
        position = match.end()
        assert position == len(line) or line[position] == " "
        position += 1
    return words


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] == "x" and len(code) == 3:
        return chr(int(code[1:], 16))
    return {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}[code]


class TestCommandLine:
    @given(st.lists(TEXT))
    @example(
        ["", " ", ";", "%n %%", "$HOME ${HOME} $$", "it's", 'say "hi"', "back\\slash\\", '{"a": [1]}', "ü\n\t\x01\x7f"]
    )
    def test_every_argument_arrives_as_it_is(self, arguments: list[str]) -> None:
        line = command_line(("/bin/engine", *arguments))

        assert line.startswith(":/bin/engine"), "without ':' systemd would expand $"
        assert not re.search(r"[\n\r]", line), "an argument must not end the line"
        assert systemd_words(line[1:]) == ["/bin/engine", *arguments]

    @pytest.mark.parametrize("argv", [(), ("",), ("vllm",), ("-/bin/vllm",), ("/bin/with space",), ('/bin/"quoted"',)])
    def test_a_program_systemd_would_not_take_is_refused(self, argv: tuple[str, ...]) -> None:
        with pytest.raises(InvalidInput, match="absolute path"):
            command_line(argv)

    @pytest.mark.parametrize("text", ["a\0b", "lone \ud800 surrogate"])
    def test_what_no_unit_can_hold_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="cannot stand in a systemd unit"):
            quote(text)


class TestEngineUnit:
    def test_it_comes_back_however_the_engine_ended_and_stops_trying_when_it_never_starts(self) -> None:
        found = directives(engine_unit(UNIT))

        assert found["Restart"] == ["always"]
        assert int(found["StartLimitBurst"][0]) > 1
        # Attempts that fail at once must reach the limit inside its window.
        assert int(found["StartLimitBurst"][0]) * int(found["RestartSec"][0]) < int(found["StartLimitIntervalSec"][0])

    @given(st.integers(0, 3600))
    def test_systemd_waits_longer_than_the_engine_drains(self, seconds: int) -> None:
        unit = EngineUnit(UNIT.name, "chat", "0.32.0", UNIT.launch, UNIT.environment_file, seconds)

        found = directives(engine_unit(unit))

        assert int(found["TimeoutStopSec"][0]) > seconds
        assert found["KillMode"] == ["mixed"], "SIGTERM to the workers would end the requests that drain"

    def test_an_engine_that_ends_slowly_gets_its_time(self) -> None:
        slow = replace(UNIT, stop_grace_seconds=90)

        assert directives(engine_unit(slow))["TimeoutStopSec"] == ["210"]

    def test_an_engine_that_reads_its_key_itself_has_no_environment_file(self) -> None:
        assert directives(engine_unit(UNIT))["EnvironmentFile"] == ["/etc/moestro/chat/engine.env"]
        assert "EnvironmentFile" not in directives(engine_unit(replace(UNIT, environment_file=None)))

    def test_it_runs_as_its_own_user_or_as_root(self) -> None:
        as_root = EngineUnit(UNIT.name, "chat", "0.32.0", UNIT.launch, UNIT.environment_file, 120, user=None)

        assert directives(engine_unit(UNIT))["User"] == ["moestro-engine"]
        assert "User" not in directives(engine_unit(as_root))

    @given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True), TEXT))
    def test_the_environment_arrives_as_it_is(self, env: dict[str, str]) -> None:
        unit = EngineUnit(UNIT.name, "chat", "1", Launch(UNIT.launch.argv, env), UNIT.environment_file, 120)
        if any(re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value) for value in env.values()):
            with pytest.raises(InvalidInput, match="control character"):
                engine_unit(unit)
            return

        lines = [line for line in engine_unit(unit).split("\n") if line.startswith("Environment=")]
        read = dict(systemd_words(line.removeprefix("Environment="))[0].split("=", 1) for line in lines)

        assert read.items() >= env.items()

    def test_what_the_launch_sets_wins_over_the_defaults(self) -> None:
        unit = EngineUnit(UNIT.name, "chat", "1", Launch(UNIT.launch.argv, {"HOME": "/data"}), UNIT.environment_file, 1)

        assert [value for value in directives(engine_unit(unit))["Environment"] if "HOME=" in value] == [
            "HOME=/data",
            "XDG_CACHE_HOME=/var/cache/moestro/chat/engine",
        ]

    def test_a_name_that_is_no_variable_is_refused(self) -> None:
        unit = EngineUnit(UNIT.name, "chat", "1", Launch(UNIT.launch.argv, {"A B": "1"}), UNIT.environment_file, 1)

        with pytest.raises(InvalidInput, match="'A B' is no variable name"):
            engine_unit(unit)

    def test_another_version_is_another_unit(self) -> None:
        newer = EngineUnit(UNIT.name, "chat", "0.33.0", UNIT.launch, UNIT.environment_file, 120)

        assert engine_unit(newer) != engine_unit(UNIT)

    @pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
    def test_systemd_itself_finds_nothing_to_complain_about(self, tmp_path: Path) -> None:
        launch = Launch(("/bin/true", 'a "b" $c %d', "e\nf", ";"), {"WITH": 'a "b" $c %d'})
        path = tmp_path / UNIT.name
        path.write_text(engine_unit(EngineUnit(UNIT.name, "chat", "1", launch, "/etc/moestro/chat/engine.env", 120)))

        done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)

        ours = [line for line in done.stderr.splitlines() if str(path) in line or UNIT.name in line]
        assert ours == []


class TestEnvironmentText:
    @given(st.from_regex(r"[^\x00-\x1f\x7f\ud800-\udfff]*", fullmatch=True))
    @example('a"b\\c`d$e f')
    def test_a_value_arrives_as_it_is(self, value: str) -> None:
        text = environment_text({"VLLM_API_KEY": value})

        assert re.sub(r'\\(["\\`$])', r"\1", text) == f'VLLM_API_KEY="{value}"\n'
        assert re.fullmatch(r'VLLM_API_KEY="(?:[^"\\`$]|\\["\\`$])*"\n', text)

    def test_a_refused_value_is_not_shown(self) -> None:
        with pytest.raises(InvalidInput) as refused:
            environment_text({"VLLM_API_KEY": "s3cret\nOTHER=1"})

        assert "VLLM_API_KEY" in str(refused.value)
        assert "s3cret" not in str(refused.value)


class TestGatewayUnit:
    def test_it_drains_on_stop_reloads_on_hup_and_comes_back(self) -> None:
        text = gateway_unit("chat", "/etc/moestro/chat/gateway/current/nginx.conf")
        found = directives(text)

        assert found["ExecStart"] == [
            '/usr/sbin/nginx -c /etc/moestro/chat/gateway/current/nginx.conf -g "daemon off;"'
        ]
        assert found["KillSignal"] == ["SIGQUIT"]
        assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
        assert found["Restart"] == ["always"]
        assert found["StartLimitIntervalSec"] == ["0"], "a gateway never gives up"
        assert "{" not in text

    @pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
    def test_systemd_itself_finds_nothing_to_complain_about(self, tmp_path: Path) -> None:
        path = tmp_path / "moestro-gateway-chat.service"
        path.write_text(gateway_unit("chat", "/etc/nginx/nginx.conf").replace("/usr/sbin/nginx", "/bin/true"))

        done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)

        assert [line for line in done.stderr.splitlines() if path.name in line] == []
