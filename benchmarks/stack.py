"""How long Pulumi commands on the local stack take: `source scripts/env && python benchmarks/stack.py`.

Real engine, real hosts, real vLLM: a warm ``up`` from nothing, previews and ups without changes, ``destroy``; and what
the provider adds to a resource beyond the work itself, on machines that exist on paper only.
"""

import os
import platform
import re
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.e2e.provider.paper import PaperStack
from tests.e2e.stack import LOCAL, Finished, Stack

RUNS = 5
MACHINES = 50
TARGETS = {
    "up from nothing": 240.0,
    "preview without changes": 4.0,
    "up without changes": 8.0,
    "a resource, beyond its work": 0.150,
}


def main() -> None:
    """Measure everything and print a table; exits with 1 where a target is missed."""
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as directory:
        rows = {**_local(Path(directory) / "local"), **_overhead(Path(directory) / "paper")}
    missed = [name for name, seconds in rows.items() if seconds > TARGETS.get(name, float("inf"))]
    print("| what | seconds | target |\n|---|---|---|")
    for name, seconds in rows.items():
        print(f"| {name} | {seconds:.2f} | {TARGETS.get(name, '')} |")
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


def _local(home: Path) -> dict[str, float]:
    stack = Stack(home, LOCAL)
    try:
        first = stack.up()
        rows = {"up from nothing": first.seconds}
        rows["of which the slowest engine's own start"] = _slowest_engine(first)
        rows["preview without changes"] = _median(stack.preview)
        rows["up without changes"] = _median(stack.up)
        rows["destroy"] = stack.destroy().seconds
        return rows
    finally:
        stack.wipe()


def _overhead(home: Path) -> dict[str, float]:
    """Seconds that one more machine on paper costs an ``up``: engine, plugin, client and sandbox together."""
    few = PaperStack(home / "few", machines=1)
    many = PaperStack(home / "many", machines=1 + MACHINES)
    difference = many.up().seconds - few.up().seconds
    return {"a resource, beyond its work": difference / MACHINES}


def _slowest_engine(finished: Finished) -> float:
    times = re.findall(r"moestro:serve:Engine \S+ created \((\d+)s\)", finished.output)
    return float(max(times, key=float, default=0.0))


def _median(command: Callable[[], Finished]) -> float:
    return statistics.median(command().seconds for _ in range(RUNS))


if __name__ == "__main__":
    main()
