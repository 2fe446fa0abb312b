"""How long Moestro itself takes to rent many machines side by side: `python benchmarks/cloud_create.py`.

A sandbox without hosts and without rate limits stands in for the cloud, in this same process, so its time counts as
ours. Every machine goes the whole way: look for the name, check the balance, read the offers, order, see it run.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from moestro.clouds import open_cloud
from moestro.clouds.base import Cloud, OfferQuery
from moestro.clouds.ordering import await_running, ensure_ssh_key, rent, terminate
from moestro.clouds.sandbox import Home, Settings, configure, destroy
from moestro.waiting import Wait

TARGET_SECONDS = 20.0
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEbVJzZ1mXPEn1v4tqAm6Jvs4e4ZKQfLwYn2zYqKc1bA"


def main() -> None:
    """Measure and print; exits with 1 above the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=100)
    machines = parser.parse_args().machines
    with tempfile.TemporaryDirectory() as directory:
        os.environ["MOESTRO_SANDBOX_HOME"] = directory
        home = Home(Path(directory))
        configure(home, Settings(contract_only=True))
        took, each = _measure(open_cloud("sandbox"), machines)
        destroy(home)
    print(f"machine: {_machine()}")
    print(f"{machines} machines rented and running, side by side: {took:.2f} s (target {TARGET_SECONDS:.0f} s)")
    print(f"one machine: median {statistics.median(each) * 1000:.0f} ms, slowest {max(each) * 1000:.0f} ms")
    if took > TARGET_SECONDS:
        raise SystemExit(1)


def _measure(cloud: Cloud, machines: int) -> tuple[float, list[float]]:
    """Seconds for all machines together, and for each of them."""
    wait = Wait.of(600.0)
    key = ensure_ssh_key(cloud, "benchmark", PUBLIC_KEY, wait)

    def rent_one(number: int) -> tuple[str, float]:
        started = time.perf_counter()
        ordered = rent(cloud, OfferQuery("CPU", 1), f"benchmark-{number}", key.id, wait)
        await_running(cloud, ordered.id, wait, poll_seconds=0.1)
        return ordered.id, time.perf_counter() - started

    started = time.perf_counter()
    with ThreadPoolExecutor(machines) as pool:
        rented = list(pool.map(rent_one, range(machines)))
    took = time.perf_counter() - started
    if len({machine for machine, _ in rented}) != machines or len(cloud.list_instances(wait)) != machines:
        raise SystemExit("the cloud does not have one machine for each order")
    for machine, _ in rented:
        terminate(cloud, machine, wait)
    return took, [seconds for _, seconds in rented]


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
