from pathlib import Path

import pytest
import yaml

from moestro.commands.pin import pin, read_stack
from moestro.errors import InvalidInput

STACK = """\
# Production.
config:
  moe:name: prod
  moe:gpu:
    type: auto  # resolved once
    # not spot: this is interactive
    purchase: on-demand

  moe:replicas: 2
"""


def test_values_change_and_nothing_else() -> None:
    pinned = pin(STACK, {"type": "H200_SXM5", "count": 8})
    assert pinned == STACK.replace("type: auto", "type: H200_SXM5").replace(
        "purchase: on-demand\n", "purchase: on-demand\n    count: 8\n"
    )


def test_pinning_twice_changes_nothing() -> None:
    once = pin(STACK, {"type": "H200_SXM5", "count": 8})
    assert pin(once, {"type": "H200_SXM5", "count": 8}) == once


def test_existing_count_is_replaced() -> None:
    text = STACK.replace("type: auto  # resolved once", "type: auto\n    count: 1 # per replica")
    assert "    count: 16 # per replica\n" in pin(text, {"type": "H100_SXM5", "count": 16})


def test_section_at_the_end_of_a_file_without_newline() -> None:
    pinned = pin("config:\n  moe:gpu:\n    type: auto", {"type": "cpu", "count": 1})
    assert yaml.safe_load(pinned) == {"config": {"moe:gpu": {"type": "cpu", "count": 1}}}


def test_only_this_section_is_touched() -> None:
    text = STACK + "  moe:gateway:\n    type: auto\n"
    assert pin(text, {"type": "H200_SXM5"}).endswith("  moe:gateway:\n    type: auto\n")


def test_line_ends_stay() -> None:
    text = STACK.replace("\n", "\r\n")
    assert pin(text, {"type": "H200_SXM5", "count": 8}) == pin(STACK, {"type": "H200_SXM5", "count": 8}).replace(
        "\n", "\r\n"
    )


def test_a_key_in_quotes() -> None:
    pinned = pin('config:\n  "moe:gpu":\n    type: auto\n', {"type": "H200_SXM5"})
    assert pinned == 'config:\n  "moe:gpu":\n    type: H200_SXM5\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [("config:\n  moe:gpu: {type: auto}\n", "as a block"), ("config:\n  moe:name: a\n", "no 'moe:gpu' section")],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        pin(text, {"type": "H200_SXM5"})


class TestReadStack:
    def test_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "s.yaml").write_text(STACK)
        assert read_stack(tmp_path / "s.yaml")["moe:replicas"] == 2

    @pytest.mark.parametrize(
        ("text", "message"),
        [("a: 1", "no 'config'"), ("a: [", "is no YAML"), (None, "cannot be read"), ("", "no 'config'")],
    )
    def test_refused(self, tmp_path: Path, text: str | None, message: str) -> None:
        path = tmp_path / "s.yaml"
        if text is not None:
            path.write_text(text)
        with pytest.raises(InvalidInput, match=message):
            read_stack(path)

    def test_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "s.yaml").write_bytes(b"config: {\xff")
        with pytest.raises(InvalidInput, match="is no text in UTF-8"):
            read_stack(tmp_path / "s.yaml")
