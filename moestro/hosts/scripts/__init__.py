"""Programs that run on hosts, as files, so that linters and people can read them; parameters arrive as ``$1``, ..."""

import shlex
from functools import cache
from importlib.resources import files


def script(name: str, *parameters: str | int | float) -> str:
    """A Bash line that runs the script ``name`` with these parameters."""
    words = " ".join(shlex.quote(str(parameter)) for parameter in parameters)
    return f"set -- {words}\n{text(name + '.sh')}"


@cache
def text(name: str) -> str:
    """The text of a file of this package."""
    return (files(__name__) / name).read_text(encoding="utf-8")
