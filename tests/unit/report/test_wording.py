import shlex

import pytest

from moestro.planning.plan import Layout
from moestro.report.wording import command, count, layout, short_count, usd


@pytest.mark.parametrize(
    ("value", "text"),
    [(Layout(), "one GPU"), (Layout(tp=8, ep=True), "TP8 EP8"), (Layout(tp=8, pp=2, nodes=2), "TP8 PP2 2 nodes")],
)
def test_layout(value: Layout, text: str) -> None:
    assert layout(value) == text


def test_unknown_is_a_word_and_not_a_zero() -> None:
    assert (count(None), usd(None)) == ("unknown", "unknown")


@pytest.mark.parametrize(("value", "text"), [(1_610_000, "1.61M"), (835_499, "835k"), (512, "512")])
def test_short_count(value: int, text: str) -> None:
    assert short_count(value) == text


def test_command_is_what_a_shell_would_run() -> None:
    argv = ("vllm", "serve", "a b", "--tool", '{"x": 1}', "--eager")
    text = command(argv, {"A": "0|1"})
    assert shlex.split(text.replace("\\\n", "")) == ["A=0|1", *argv]
