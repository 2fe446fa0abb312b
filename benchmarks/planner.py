"""How fast the planner is: `python benchmarks/planner.py [--peers BIN]`.

Three figures with their bounds: one plan in a warm process, the command line from a cold start (imports included, each
run a new process), and every catalog model on every GPU at 1 to 32 GPUs. With ``--peers``, a directory with the
commands of modelinfo-cli and vllm-wizard (``pip install modelinfo-cli vllm-wizard`` into an environment of its own),
these are started in turn with ours on one local checkpoint, so that load on the machine hits all alike.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from moestro.catalog import decision_matrix, gpus, load_gpu, load_model, load_prices
from moestro.catalog.models import entries
from moestro.planning.planner import Request, plan

WARM_SECONDS, COLD_SECONDS, ALL_SECONDS = 0.005, 0.35, 2.0
LARGEST = 32
CONFIG = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 6144,
    "num_hidden_layers": 56,
    "num_attention_heads": 48,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "intermediate_size": 16384,
    "vocab_size": 32000,
    "max_position_embeddings": 65536,
    "torch_dtype": "bfloat16",
}


def main() -> None:
    """Measure and print; exits with 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="directory with `modelinfo` and `vllm-wizard`")
    parser.add_argument("--runs", type=int, default=20, help="cold starts of each command")
    given = parser.parse_args()
    python, load = platform.python_version(), os.getloadavg()[0]
    print(f"machine: {platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}, Python {python}")
    met = [_warm(), _everything()]
    with tempfile.TemporaryDirectory() as directory:
        met.append(_cold(Path(directory), given.peers, given.runs))
    sys.exit(0 if all(met) else 1)


def _warm() -> bool:
    """One plan of each catalog model with all its reasons, the caches of the first call filled."""
    model_names, times = list(entries()), []
    gpu, request = load_gpu("H200_SXM5"), Request(context=4096, concurrency=4)
    for name in model_names:
        once = partial(plan, load_model(name), gpu, request, load_prices(), decision_matrix())
        once()
        times.append(min(_timed(once) for _ in range(5)))
    worst = max(times)
    slowest = model_names[times.index(worst)]
    print(f"one plan, warm: median {statistics.median(times) * 1e3:.2f} ms, slowest {worst * 1e3:.2f} ms ({slowest})")
    return _verdict(worst, WARM_SECONDS)


def _everything() -> bool:
    """Every model on every GPU at every count, nothing cached beforehand in this process for the counts above 8."""
    models = [load_model(name) for name in entries()]
    types = [gpu for gpu in gpus().values() if gpu.device == "cuda"]
    prices, matrix = load_prices(), decision_matrix()

    def sweep() -> None:
        for model in models:
            for gpu in types:
                for count in range(1, LARGEST + 1):
                    plan(model, gpu, Request(count=count, context=4096), prices, matrix, explain=False)

    took = _timed(sweep)
    plans = len(models) * len(types) * LARGEST
    print(f"{len(models)} models x {len(types)} GPUs x 1 to {LARGEST}: {plans:,} plans in {took:.2f} s")
    return _verdict(took, ALL_SECONDS)


def _cold(directory: Path, peers: Path | None, runs: int) -> bool:
    """Cold starts, ours and the peers' in turn."""
    checkpoint = _checkpoint(directory)
    moestro = [str(Path(sys.executable).with_name("moestro")), "plan"]
    commands = {
        "moestro plan (catalog)": [*moestro, "mixtral-8x22b", "--gpu", "H100", "--json"],
        "moestro plan (directory)": [*moestro, str(checkpoint), "--gpu", "H100", "--json"],
        "moestro plan (search all GPUs)": [*moestro, "mixtral-8x22b", "--context", "8192", "--json"],
    }
    commands |= _peer_commands(checkpoint, peers)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(_timed(partial(_start, command)))
    for name, taken in times.items():
        print(f"{name}: best {min(taken):.3f} s, median {statistics.median(taken):.3f} s of {runs}")
    return _verdict(min(times["moestro plan (catalog)"]), COLD_SECONDS)


def _peer_commands(checkpoint: Path, peers: Path | None) -> dict[str, list[str]]:
    if peers is None:
        return {}
    wizard, info = peers / "vllm-wizard", peers / "modelinfo"
    asked = ["--gpu", "H100 80GB", "--gpus", "4", "--params-b", "140.6", "--max-model-len", "8192", "--json"]
    found = {
        "modelinfo-cli": [str(info), str(checkpoint / "model.safetensors"), "--vllm", "--gpu", "H100"],
        "vllm-wizard": [str(wizard), "plan", "--model", str(checkpoint), *asked],
    }
    return {name: command for name, command in found.items() if shutil.which(command[0])}


def _checkpoint(directory: Path) -> Path:
    """A checkpoint with a configuration and one small tensor: enough for all tools to start on."""
    (directory / "config.json").write_text(json.dumps(CONFIG))
    header = json.dumps({"lm_head.weight": {"dtype": "BF16", "shape": [4, 4], "data_offsets": [0, 32]}}).encode()
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(32))
    return directory


def _start(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.decode()[-500:]}")


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _verdict(took: float, bound: float) -> bool:
    print(f"  bound {bound:g} s: {'met' if took < bound else 'MISSED'}")
    return took < bound


if __name__ == "__main__":
    main()
