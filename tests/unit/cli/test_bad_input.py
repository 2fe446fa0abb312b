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
    "unknown GPU of an own name": (("mixtral-8x7b", "--gpu", "H999"), "did you mean 'H"),
    "empty model": (("", "--gpu", "H100"), "the model's name is empty"),
    "zero tensor parallelism": (("mixtral-8x7b", "--gpu", "H100", "--tp", "0"), "tp 0 is below 1"),
    "no utilization": (("mixtral-8x7b", "--gpu", "H100", "--gpu-memory-utilization", "nan"), "nan is not from 0.1"),
    "unknown cache dtype": (("mixtral-8x7b", "--gpu", "H100", "--kv-cache-dtype", "foo"), "'foo' is not known"),
    "no version": (("mixtral-8x7b", "--gpu", "H100", "--engine-version", "new"), "'new' is not of the form 0.33.0"),
    "old version": (("mixtral-8x7b", "--gpu", "H100", "--engine-version", "0.6.0"), "older than 0.12.0"),
    "huge count": (("mixtral-8x7b", "--gpu", "H100", "--count", "9" * 30), "choose from 1 to 1024"),
    "negative price": (("mixtral-8x7b", "--max-price", "-5"), "max_price -5.0 makes no sense"),
    "price that is no number": (("mixtral-8x7b", "--max-price", "nan"), "max_price nan makes no sense"),
    "negative target": (("mixtral-8x7b", "--min-tokens-per-second", "-3"), "min_tokens_per_second -3.0 makes"),
    "more sequences than tokens": (
        ("mixtral-8x7b", "--gpu", "H100", "--max-num-seqs", "64", "--max-num-batched-tokens", "32"),
        "max_num_batched_tokens 32 is less than max_num_seqs 64",
    ),
    "a name longer than a path": (("m" * 5000, "--gpu", "H100"), "neither in the catalog nor a directory"),
    "a day too long": (("mixtral-8x7b", "--gpu", "H100", "--hours-per-day", "25"), "choose from 0 to 24"),
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
        ({"num_hidden_layers": -3}, "num_hidden_layers is -3"),
        ({"hidden_size": "x"}, "hidden_size is 'x'"),
        ({"hidden_size": 4096.5}, "hidden_size is 4096.5"),
        ({"num_local_experts": 0}, "num_local_experts is 0"),
        ({"num_experts_per_tok": 99}, "99 is more than the 8 experts"),
        ({"vocab_size": 10**30}, "vocab_size"),
        ({"model_type": None}, "model_type"),
        ({"model_type": ["mixtral"]}, "model_type"),
        ({"quantization_config": "fp8"}, "quantization_config"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": 128}}, "weight_block_size"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [0, "x"]}}, "weight_block_size"),
        ({"quantization_config": {"quant_method": "awq", "group_size": "big"}}, "group_size"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": []}}, "config_groups"),
        ({"quantization_config": {"quant_method": "modelopt", "quantization": "FP8"}}, "quantization"),
        ({"architectures": 5}, "architectures"),
        ({"vision_config": {"hidden_size": -1}}, "hidden_size"),
        ({"layer_types": [{}]}, "layer_types"),
        ({"torch_dtype": "float64"}, "torch_dtype"),
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


def in_bash(command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """``moestro`` followed by ``command``, in a real process."""
    line = f"set -o pipefail; {sys.executable} -m moestro.cli {command}"
    everything = dict(os.environ, **environment)
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=everything, check=False)


@pytest.mark.parametrize("command", ["models", "plan --seed-tables", "plan mixtral-8x7b --json"])
def test_a_closed_pipe_is_no_error(command: str) -> None:
    done = in_bash(f"{command} | true", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["models", "plan mixtral-8x7b"])
def test_a_full_disk_is_one_line(command: str) -> None:
    done = in_bash(f"{command} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "moestro: reading or writing failed: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("command", ["models", "plan mixtral-8x7b"])
def test_a_closed_output_takes_nothing(command: str) -> None:
    done = in_bash(f"{command} >&-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["plan mixtral-8x7b --explain", "plan --seed-tables"])
def test_a_terminal_without_our_signs(command: str) -> None:
    done = in_bash(command, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout


def test_a_file_nested_too_deeply(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "measured.json").write_text("[" * 100_000)
    outcome = shell("plan", "mixtral-8x7b", "--gpu", "H100", "--measured", tmp_path / "measured.json")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"\x01", b"\xff" * 64, (3).to_bytes(8, "little") + b"[1]", (8).to_bytes(8, "little") + b'{"a": 1}'],
)
def test_files_that_are_no_safetensors(content: bytes, shell: Shell, directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(content)
    outcome = shell("plan", directory, "--gpu", "H100")
    assert outcome.code == 2
    assert "is no safetensors file" in outcome.err
    assert outcome.err.count("\n") == 1
