"""The plugin's process: a server that lives as long as the engine that started it."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

import grpc
import grpc.aio

from provider.resource import Resource
from provider.server import Provider, start

_GRACE_SECONDS: Final = 3.0  # for operations in flight to report what they leave behind, once told to stop
_DEAD: Final = frozenset({grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN})


def run(resources: Sequence[Resource[Any, Any]]) -> None:
    """Serve ``resources`` until the engine says stop or is gone; then end the process."""
    asyncio.run(_serve(list(resources), _options().engine))
    sys.stdout.flush()
    os._exit(0)  # threads that still wait for a host have nobody left to report to


async def _serve(resources: list[Resource[Any, Any]], engine_address: str | None) -> None:
    provider = Provider(resources, engine_address)
    server, port = start(provider)
    await server.start()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(port, flush=True)
    ends: list[asyncio.Task[Any]] = [asyncio.create_task(stopped.wait())]
    if engine_address:
        ends.append(asyncio.create_task(_engine_gone(engine_address)))
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    provider.cancel.set()
    await server.stop(_GRACE_SECONDS if stopped.is_set() else 0)


async def _engine_gone(address: str) -> None:
    """Return once nobody listens at the engine's address any more.

    The parent process is not watched: it is a language host, which may outlive a killed engine for minutes.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        state = channel.get_state(try_to_connect=True)
        while state not in _DEAD:
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="provider", description="The Pulumi provider plugin of Moestro.")
    parser.add_argument("engine", nargs="?", help="address of the Pulumi engine")
    parser.add_argument("--logtostderr", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--tracing", help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    return options
