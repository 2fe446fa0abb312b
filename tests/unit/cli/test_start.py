"""The command line starts fast because it imports little: what must stay out of the way of `moestro plan`."""

import subprocess
import sys

import pytest

HEAVY = ("pulumi", "fastapi", "docker", "paramiko", "httpx", "huggingface_hub", "jinja2", "pydantic", "rich")
SCRIPT = """
import sys
from moestro.cli import run
run({arguments!r})
print(" ".join(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "mixtral-8x22b-fp8", "--gpu", "A100_80G_PCIE", "--json"],
        ["plan", "mixtral-8x22b-fp8", "--gpu", "A100_80G_PCIE"],
        ["plan", "mixtral-8x7b-fp8", "--context", "8192", "--json"],
    ],
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    script = SCRIPT.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
