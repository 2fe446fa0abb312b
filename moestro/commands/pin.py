"""``moestro plan --pin``: write the machine that a search chose into a stack file, and change nothing else in it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moestro.errors import InvalidInput

SECTION = "moe:gpu"
_KEY = rf"[\"']?{SECTION}[\"']?"  # YAML lets a key stand in quotes


def read_stack(path: Path) -> dict[str, Any]:
    """The configuration of a stack file, as YAML gives it.

    Raises:
        InvalidInput: there is no such file, or no configuration in it.
    """
    import yaml

    try:
        document = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InvalidInput(f"stack file {path} is no YAML: {' '.join(str(error).split())}") from None
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise InvalidInput(f"stack file {path} has no 'config' section")
    return config


def read_text(path: Path) -> str:
    """The text of a stack file with the line ends that it has.

    Raises:
        InvalidInput: there is no such file, or it is no text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InvalidInput(f"stack file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"stack file {path} is no text in UTF-8") from None


def pin(text: str, choice: Mapping[str, str | int]) -> str:
    """``text`` with the keys of ``choice`` set in its ``moe:gpu`` section; comments and order stay.

    Raises:
        InvalidInput: there is no such section, or it is written on one line.
    """
    lines = text.splitlines(keepends=True)
    start, indent = _section(lines)
    end = next((i for i in range(start + 1, len(lines)) if _ends(lines[i], indent)), len(lines))
    block = lines[start + 1 : end]
    newline = "\r\n" if lines[start].endswith("\r\n") else "\n"
    for key, value in choice.items():
        block = _set(block, key, str(value), indent, newline)
    return "".join([*lines[: start + 1], *block, *lines[end:]])


def _section(lines: list[str]) -> tuple[int, int]:
    for number, line in enumerate(lines):
        found = re.match(rf"(\s*){_KEY}:\s*(#.*)?$", line)
        if found:
            return number, len(found[1])
        if re.match(rf"\s*{_KEY}:", line):
            raise InvalidInput(f"write '{SECTION}' as a block with one key a line, so that the choice can be pinned")
    raise InvalidInput(f"the stack file has no '{SECTION}' section: add it with 'type: auto'")


def _ends(line: str, indent: int) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#") and len(line) - len(line.lstrip()) <= indent


def _set(block: list[str], key: str, value: str, indent: int, newline: str) -> list[str]:
    """Replace the value of ``key``, keeping the comment behind it, or add the key as the section's last."""
    for number, line in enumerate(block):
        found = re.match(rf"(\s+{key}:\s*)([^#\r\n]*?)(\s*(?:#.*)?\r?\n?)$", line)
        if found:
            return [*block[:number], f"{found[1]}{value}{found[3]}", *block[number + 1 :]]
    last = max((i for i, line in enumerate(block) if line.strip() and not line.lstrip().startswith("#")), default=-1)
    inner = re.match(r"\s*", block[last])[0] if last >= 0 else " " * (indent + 2)  # type: ignore[index]
    before = block[: last + 1]
    if before and not before[-1].endswith("\n"):
        before[-1] += newline
    return [*before, f"{inner}{key}: {value}{newline}", *block[last + 1 :]]
