"""Every mistake is one line on stderr and exit code 2, without a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.running import MIXTRAL, Shell

CASES = {
    "unknown model": (("nosuchmodel", "--gpu", "H100"), "neither in the catalog nor a directory"),
    "misspelt model": (("mixtrl-8x22b", "--gpu", "H100"), "did you mean 'mixtral-8x22b'?"),
    "negative count": (("mixtral-8x7b", "--gpu", "H100", "--count", "-3"), "count -3 is below 1"),
    "zero context": (("mixtral-8x7b", "--gpu", "H100", "--context", "0"), "context 0 is below 1"),
    "context above the maximum": (("mixtral-8x7b", "--gpu", "H100", "--context", "99999"), "32768 is the maximum"),
    "unknown GPU": (("mixtral-8x7b", "--gpu", "H10O_SXM5"), "did you mean 'H100_SXM5'?"),
    "impossible budget": (("deepseek-v3.2", "--max-price", "3"), "the cheapest is 16x H100_PCIE at $32.16/h"),
    "no number": (("mixtral-8x7b", "--gpu", "H100", "--count", "many"), "Invalid value for '--count'"),
    "unknown option": (("mixtral-8x7b", "--tpp", "8"), "No such option: --tpp"),
    "no model": ((), "name a model"),
    "unknown engine": (("mixtral-8x7b", "--gpu", "H100", "--engine", "trt"), "choose 'vllm' or 'sglang'"),
    "absurd utilization": (("mixtral-8x7b", "--gpu", "H100", "--gpu-memory-utilization", "1.5"), "0.1 to below 1"),
    "contradicting sizes": (
        ("mixtral-8x7b", "--gpu", "H100", "--count", "4", "--tp", "8", "--pp", "1", "--dp", "1"),
        "8",
    ),
    "unwritable report": (("mixtral-8x7b", "--gpu", "H100", "--html", "/nowhere/x.html"), "cannot be written"),
    "missing stack file": (("--pin", "/nowhere/Pulumi.x.yaml"), "cannot be read"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_code_2(name: str, shell: Shell) -> None:
    arguments, message = CASES[name]
    outcome = shell("plan", *arguments)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("moestro: ")
    assert message in outcome.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": -4}, "hidden_size is -4"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers"),
        ({"num_local_experts": 10**9}, "num_local_experts"),
    ],
)
def test_absurd_configuration(change: dict[str, object], message: str, shell: Shell, directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps(MIXTRAL | change))
    outcome = shell("plan", directory, "--gpu", "H100")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_missing_field(shell: Shell, directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps({k: v for k, v in MIXTRAL.items() if k != "hidden_size"}))
    outcome = shell("plan", directory, "--gpu", "H100")
    assert outcome.code == 2
    assert "hidden_size" in outcome.err


def test_directory_without_a_checkpoint(shell: Shell, tmp_path: Path) -> None:
    outcome = shell("plan", tmp_path, "--gpu", "H100")
    assert outcome.code == 2
    assert "no config.json" in outcome.err


def test_nothing_fits_is_code_3(shell: Shell) -> None:
    outcome = shell("plan", "deepseek-v3.2", "--gpu", "A100_80G_PCIE", "--gpu", "L40S_PCIE")
    assert outcome.code == 3
    assert "fits on none of A100_80G_PCIE, L40S_PCIE" in outcome.err
    assert outcome.err.count("\n") == 1


def test_unknown_command(shell: Shell) -> None:
    outcome = shell("paln")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1


def test_a_real_process_ends_with_the_code_and_no_traceback() -> None:
    command = [sys.executable, "-m", "moestro.cli", "plan", "mixtral-8x7b", "--gpu", "H100", "--count", "-1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "moestro: count -1 is below 1\n"


def test_a_closed_pipe_is_no_error() -> None:
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    command = f"{sys.executable} -m moestro.cli models | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""
