"""Bash that runs on hosts. Files, so that linters and people can read them; parameters arrive as ``$1``, ``$2``, ..."""

import shlex
from functools import cache
from importlib.resources import files


def script(name: str, *parameters: str | int | float) -> str:
    """A command line that runs the script ``name`` with these parameters."""
    words = " ".join(shlex.quote(str(parameter)) for parameter in parameters)
    return f"set -- {words}\n{_text(name)}"


@cache
def _text(name: str) -> str:
    return (files(__name__) / f"{name}.sh").read_text(encoding="utf-8")
