"""The stacks of the repository preview anywhere: without an account, without Docker, without a network."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.stack import CHECKOUT, LOCAL, Stack

pytestmark = pytest.mark.pulumi

NOWHERE = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1,localhost",  # the engine and the program talk over loopback
    "DOCKER_HOST": "tcp://127.0.0.1:9",
}


def declared(stack: str) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((CHECKOUT / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"]
    return settings


def cut_off(home: Path, settings: dict[str, Any]) -> Stack:
    """A stack whose commands reach no network and find no credentials."""
    stack = Stack(home, settings)
    stack.env.pop("SPHERON_API_KEY", None)
    stack.env |= NOWHERE
    return stack


@pytest.mark.parametrize(("name", "instances"), [("local", 2), ("mixtral-dev", 1), ("deepseek-prod", 2)])
def test_a_preview_needs_nothing(tmp_path: Path, name: str, instances: int) -> None:
    shown = cut_off(tmp_path, declared(name)).preview().output
    created = {line.split()[2] for line in shown.splitlines() if "moestro:cloud:Instance" in line}
    assert len(created) == instances


def test_all_mistakes_in_one_message_and_no_traceback(tmp_path: Path) -> None:
    wrong = LOCAL | {"moe:replicas": 0, "moe:gpus": {"type": "cpu"}, "moe:cloud": {"name": "sandbx"}}
    shown = cut_off(tmp_path, wrong).preview(check=False)
    assert shown.code != 0
    for words in ("moe:replicas: 0", "moe:gpus: is not a key", "did you mean 'gpu'?", "'sandbx' should be 'sandbox'"):
        assert words in shown.output
    assert "Traceback" not in shown.output


def test_what_does_not_fit_is_refused_before_anything_is_rented(tmp_path: Path) -> None:
    small = declared("deepseek-prod") | {"moe:gpu": {"type": "H100_PCIE", "count": 8}}
    shown = cut_off(tmp_path, small).preview(check=False)
    assert shown.code != 0
    assert "does not run on 8x H100_PCIE" in shown.output
    assert "Traceback" not in shown.output
