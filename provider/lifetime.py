"""How long the plugin lives: exactly as long as the engine that started it."""

import grpc
import grpc.aio

_DEAD = frozenset({grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN})


async def engine_gone(address: str) -> None:
    """Return once nobody listens at the engine's address any more.

    The parent process is not watched: it is a language host, which may outlive a killed engine for minutes.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        state = channel.get_state(try_to_connect=True)
        while state not in _DEAD:
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
