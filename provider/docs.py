"""The reference of the resources, made from the schema: ``python -m provider.docs`` writes docs/resources.md."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from provider.registry import resources
from provider.schema import schema

PAGE: Final = Path(__file__).parents[1] / "docs" / "resources.md"
_INTRODUCTION: Final = """# Custom resources

Written by `python -m provider.docs` from the provider's schema; do not edit by hand.

In the tables: **required**; *replaces*: a change makes a new resource; *secret*: encrypted in the state and shown
nowhere. Programs use the classes of `components.resources`, with the same names in snake_case.
"""

Properties = Mapping[str, Mapping[str, Any]]


def page() -> str:
    """The whole page."""
    package = schema(resources())
    parts = [_INTRODUCTION]
    for token, resource in package["resources"].items():
        parts += _section(token, resource["description"])
        parts += _table("Input", resource["inputProperties"], resource["requiredInputs"])
        parts += _table("Output", resource["properties"], [])
    parts.append("# Objects\n")
    for token, shared in package["types"].items():
        parts += _section(token, shared["description"])
        parts += _table("Property", shared["properties"], shared["required"])
    return "\n".join(parts)


def _section(token: str, description: str) -> Iterator[str]:
    yield f"## {token}\n"
    yield f"{description.replace('``', '`')}\n"


def _table(heading: str, properties: Properties, required: list[str]) -> Iterator[str]:
    yield f"| {heading} | Type | Meaning |"
    yield "| --- | --- | --- |"
    for name, described in properties.items():
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        yield f"| {shown} | {_type(described)} | {_meaning(described)} |"
    yield ""


def _type(described: Mapping[str, Any]) -> str:
    if "$ref" in described:
        return str(described["$ref"]).rsplit(":", 1)[1]
    if "items" in described:
        return f"list of {_type(described['items'])}"
    if "additionalProperties" in described:
        return f"map of {_type(described['additionalProperties'])}"
    return str(described["type"])


def _meaning(described: Mapping[str, Any]) -> str:
    notes = ["*secret*"] if described.get("secret") else []
    if described.get("willReplaceOnChanges"):
        notes.append("*replaces*")
    if described.get("default") not in (None, ""):
        notes.append(f"default `{described['default']}`")
    return " ".join([str(described["description"]), *([f"({', '.join(notes)})"] if notes else [])])


if __name__ == "__main__":
    PAGE.write_text(page())
