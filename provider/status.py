"""What the user sees while an operation runs: status lines and warnings in the engine's own display."""

import threading
import time
from collections.abc import Callable

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

_CALL_SECONDS = 2.0


class Display:
    """The engine's log service. A display that cannot be reached never fails the work it describes."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._stub: engine_pb2_grpc.EngineStub | None = None
        self._lock = threading.Lock()

    def attach(self, address: str) -> None:
        """Show everything from now on at the engine of this address."""
        with self._lock:
            self._address, self._stub = address, None

    def status(self, urn: str, message: str) -> None:
        """A line beside the resource that the next one overwrites."""
        self._log(engine_pb2.LogRequest(severity=engine_pb2.INFO, urn=urn, message=message, ephemeral=True))

    def warn(self, urn: str, message: str) -> None:
        """A warning that stays on the screen."""
        self._log(engine_pb2.LogRequest(severity=engine_pb2.WARNING, urn=urn, message=message))

    def _log(self, request: engine_pb2.LogRequest) -> None:
        stub = self._connected()
        if stub is None:
            return
        try:
            stub.Log(request, timeout=_CALL_SECONDS)
        except grpc.RpcError:
            return

    def _connected(self) -> engine_pb2_grpc.EngineStub | None:
        with self._lock:
            if self._stub is None and self._address:
                self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(self._address))
            return self._stub


def throttled(
    show: Callable[[str], None], seconds: float = 0.25, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[str], None]:
    """``show``, at most once in ``seconds``, and never the same line twice in a row; what comes faster is dropped."""
    last_time, last_line = -seconds, ""

    def report(line: str) -> None:
        nonlocal last_time, last_line
        now = monotonic()
        if line == last_line or now - last_time < seconds:
            return
        last_time, last_line = now, line
        show(line)

    return report
