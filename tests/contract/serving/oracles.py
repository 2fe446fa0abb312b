"""The engines' own parsers, asked about many launch lines in one go."""

import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moestro.clouds.sandbox.image import reference
from moestro.paths import cache

HERE = Path(__file__).parent
SGLANG = "0.5.23"
_VLLM_PYTHON = "/opt/vllm/bin/python"


@dataclass(frozen=True)
class Verdict:
    """What an engine says about one line: its error, or None and the values it read."""

    error: str | None
    parsed: dict[str, Any]


def ask_vllm(lines: list[dict[str, Any]]) -> dict[str, Verdict]:
    """Verdicts of the vLLM (CPU) inside the sandbox's host image, by the lines' names."""
    script = f"{HERE / 'vllm_parser.py'}:/vllm_parser.py:ro"
    command = ["docker", "run", "--rm", "-i", "--network", "none", "-v", script, reference(), _VLLM_PYTHON]
    return _ask([*command, "/vllm_parser.py"], lines)


def ask_sglang(lines: list[dict[str, Any]]) -> dict[str, Verdict]:
    """Verdicts of SGLang's parser, taken from its wheel."""
    return _ask([sys.executable, str(HERE / "sglang_parser.py"), str(sglang_source())], lines)


def _ask(command: list[str], lines: list[dict[str, Any]]) -> dict[str, Verdict]:
    done = subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True, timeout=570)
    assert done.returncode == 0, done.stderr[-2000:]
    return {found["name"]: Verdict(found["error"], found["parsed"]) for found in json.loads(done.stdout)}


def sglang_source() -> Path:
    """SGLang's Python files, unpacked once into the cache."""
    home = cache() / "oracles" / f"sglang-{SGLANG}"
    if not (home / "complete").exists():
        home.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", str(home), f"sglang=={SGLANG}"], check=True)
        with zipfile.ZipFile(next(home.glob("*.whl"))) as wheel:
            wheel.extractall(home, [name for name in wheel.namelist() if name.endswith(".py")])
        (home / "complete").touch()
    return home
