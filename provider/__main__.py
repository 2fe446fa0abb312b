"""The plugin's process. The engine starts it with its own address and reads the port from the first line printed."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Started as a directory, Python puts this very directory first on the path, where `resource` would hide a module of the
# standard library. The checkout belongs there.
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if not entry or Path(entry).resolve() != HERE)]

GRACE_SECONDS = 3.0
"""How long operations in flight may take to report what they leave behind once the plugin is told to stop."""


def main() -> None:
    """Serve until the engine says so or is gone."""
    options = _options()
    asyncio.run(_serve(options.engine))
    sys.stdout.flush()
    os._exit(0)  # threads that still wait for a host have nobody left to report to


async def _serve(engine_address: str | None) -> None:
    from provider.lifetime import engine_gone
    from provider.registry import resources
    from provider.server import Provider, start

    provider = Provider(resources(), engine_address)
    server, port = start(provider)
    await server.start()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(port, flush=True)
    ends: list[asyncio.Task[Any]] = [asyncio.create_task(stopped.wait())]
    if engine_address:
        ends.append(asyncio.create_task(engine_gone(engine_address)))
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    provider.cancel.set()
    await server.stop(GRACE_SECONDS if stopped.is_set() else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="provider", description="The Pulumi provider plugin of Moestro.")
    parser.add_argument("engine", nargs="?", help="address of the Pulumi engine")
    parser.add_argument("--logtostderr", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--tracing", help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    return options


if __name__ == "__main__":
    main()
