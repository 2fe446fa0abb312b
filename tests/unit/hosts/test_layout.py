import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moestro.errors import InvalidInput
from moestro.hosts import layout


def test_names() -> None:
    assert layout.unit_name("chat") == "moestro-engine-chat.service"
    assert layout.weights_path("deepseek-ai/DeepSeek-V3.2", "a7e62ac0") == (
        "/var/lib/moestro/weights/deepseek-ai--DeepSeek-V3.2/a7e62ac0"
    )
    assert layout.weights_path("tiny", None) == "/var/lib/moestro/weights/tiny/main"
    assert layout.weights_manifest("/x/y") == "/x/y.json"
    assert layout.staging_directory("/x/y") == "/x/.upload-y"
    assert layout.job_name("driver", "0123456789abcdef") == "moestro-job-driver-0123456789ab"
    assert layout.engine_program("vllm") == "/opt/moestro/engine/bin/vllm"


def test_engines_with_other_contents_have_other_directories() -> None:
    assert layout.engine_directory("vllm", "0.33.0") == "/opt/moestro/engines/vllm-0.33.0"
    assert layout.engine_directory("vllm", "0.33.0", "ray") != layout.engine_directory("vllm", "0.33.0", "nixl")


@pytest.mark.parametrize("service", ["", "a b", "../x", "Chat", "-a", "a-", "x" * 64, "a;b"])
def test_a_service_that_is_no_name_is_refused(service: str) -> None:
    with pytest.raises(InvalidInput):
        layout.unit_name(service)


@given(st.text(max_size=200), st.text(max_size=80))
def test_whatever_a_model_is_called_its_path_is_safe(model: str, revision: str) -> None:
    path = layout.weights_path(model, revision)
    assert re.fullmatch(r"/var/lib/moestro/weights/[A-Za-z0-9._+-]+/[A-Za-z0-9._+-]+", path)
    assert "/." not in path


@given(st.text(min_size=1), st.text(min_size=1))
def test_distinct_models_have_distinct_paths(one: str, other: str) -> None:
    if one.replace("/", "--") != other.replace("/", "--"):
        assert layout.weights_path(one, "main") != layout.weights_path(other, "main")
