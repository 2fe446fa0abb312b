"""How each engine gets its API key, and what is said of what it cannot do."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from moestro.errors import InvalidInput
from moestro.serving.engines import compiles_deep_gemm, engine, with_warnings
from moestro.serving.launch import Launch
from tests.unit.serving.plans import plan

DIRECTORY = "/etc/moestro/chat"
KEY = "engine-key-0123456789"
LAUNCH = Launch(("/opt/bin/engine", "serve", "--port", "8000"), {"A": "1"})
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).filter(lambda key: key[0] != "-")


@pytest.mark.parametrize("name", ["vllm", "sglang"])
class TestKey:
    def test_is_neither_argument_nor_variable_of_the_unit_nor_in_a_repr(self, name: str) -> None:
        keyed = engine(name).keyed(LAUNCH, DIRECTORY, KEY)

        assert KEY not in str(keyed.launch)
        assert KEY not in repr(keyed)

    def test_is_in_one_file_of_those_that_are_secret(self, name: str) -> None:
        keyed = engine(name).keyed(LAUNCH, DIRECTORY, KEY)

        [path] = [path for path, text in keyed.files.items() if KEY in text]
        assert path.startswith(f"{DIRECTORY}/")
        assert path.endswith((".env", ".yaml"))

    def test_the_launch_goes_on_as_it_was(self, name: str) -> None:
        keyed = engine(name).keyed(LAUNCH, DIRECTORY, KEY)

        assert keyed.launch.argv[: len(LAUNCH.argv)] == LAUNCH.argv
        assert keyed.launch.env.items() >= LAUNCH.env.items()


@pytest.mark.parametrize(
    ("name", "variable"), [("vllm", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE"), ("sglang", "SGLANG_TIMEOUT_KEEP_ALIVE")]
)
def test_keeps_idle_connections_longer_than_nginx_unless_told_otherwise(name: str, variable: str) -> None:
    assert engine(name).keyed(LAUNCH, DIRECTORY, KEY).launch.env[variable] == "75"
    told = Launch(LAUNCH.argv, {variable: "30"})
    assert engine(name).keyed(told, DIRECTORY, KEY).launch.env[variable] == "30"


class TestVllm:
    def test_reads_its_environment(self) -> None:
        keyed = engine("vllm").keyed(LAUNCH, DIRECTORY, KEY)

        assert keyed.launch.argv == LAUNCH.argv
        assert keyed.environment_file == f"{DIRECTORY}/engine.env"
        assert keyed.files == {f"{DIRECTORY}/engine.env": f'VLLM_API_KEY="{KEY}"\n'}

    def test_nothing_has_to_be_said(self) -> None:
        assert with_warnings(plan()) == plan()
        assert engine("vllm").client_certificates


class TestSglang:
    def test_reads_a_configuration_and_keeps_the_key_out_of_its_log(self) -> None:
        keyed = engine("sglang").keyed(LAUNCH, DIRECTORY, KEY)

        assert keyed.launch.argv[-2:] == ("--config", f"{DIRECTORY}/engine.yaml")
        assert keyed.launch.env["SGLANG_LOGGING_CONFIG_PATH"] == f"{DIRECTORY}/logging.json"
        assert keyed.environment_file is None
        logging = json.loads(keyed.files[f"{DIRECTORY}/logging.json"])
        assert logging["loggers"]["sglang.srt.entrypoints.engine"] == {"level": "WARNING"}

    @settings(deadline=None)  # the first call of a busy machine may take long
    @given(KEYS)
    def test_every_key_arrives_as_text(self, key: str) -> None:
        text = engine("sglang").keyed(LAUNCH, DIRECTORY, key).files[f"{DIRECTORY}/engine.yaml"]

        assert yaml.safe_load(text) == {"api-key": key}

    @pytest.mark.parametrize("key", ["", "-abc", "two words", "line\nbreak", "schlüssel"])
    def test_a_key_that_it_would_misread_is_refused_and_not_shown(self, key: str) -> None:
        with pytest.raises(InvalidInput, match="printable ASCII") as refused:
            engine("sglang").keyed(LAUNCH, DIRECTORY, key)
        assert not key or key not in str(refused.value)

    @pytest.mark.parametrize("words", [("--config", "/a.yaml"), ("--config=/a.yaml",)])
    def test_a_second_configuration_is_refused(self, words: tuple[str, ...]) -> None:
        with pytest.raises(InvalidInput, match="one --config"):
            engine("sglang").keyed(Launch((*LAUNCH.argv, *words)), DIRECTORY, KEY)

    def test_a_plan_says_that_it_demands_no_client_certificates(self) -> None:
        warned = with_warnings(plan(engine="sglang", version="0.5.23"))

        assert any("cannot demand client certificates" in warning for warning in warned.warnings)
        assert not engine("sglang").client_certificates


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"use_deep_gemm": True}, True),
        ({"use_deep_gemm": False}, False),
        ({"use_deep_gemm": False, "tokenizer_mode": "deepseek_v32"}, True),  # NVFP4 or AWQ: the indexer's kernels
        ({"use_deep_gemm": False, "tokenizer_mode": "deepseek_v32", "device": "cpu"}, False),
    ],
)
def test_who_needs_a_compiler_on_the_host(choice: dict[str, Any], expected: bool) -> None:
    assert compiles_deep_gemm(plan(**choice).engine) is expected


def test_another_engine_is_refused() -> None:
    with pytest.raises(InvalidInput, match="engine 'tgi' is unknown: use vllm or sglang"):
        engine("tgi")
