"""A provider behind real gRPC in this process, and the engine's side of the protocol in few words."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, status_pb2
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderStub

from provider.resource import Resource
from provider.server import Provider, start

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"


def secret(value: Any) -> dict[str, Any]:
    """``value`` as a secret on the wire."""
    return {SIGNATURE: SECRET, "value": value}


def struct(values: Mapping[str, Any]) -> Struct:
    made = Struct()
    made.update(values)
    return made


@dataclass
class Failed(Exception):
    """An RPC that failed. The last four are set when the engine would keep the resource in its state."""

    message: str
    id: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        return bool(self.id)


@dataclass
class Client:
    """The engine's side for one kind of resource. Values are plain; answers are as they are on the wire."""

    stub: ResourceProviderStub
    token: str
    timeout: float = 0.0

    @property
    def urn(self) -> str:
        return f"urn:pulumi:dev::project::moestro:components:Service${self.token}::it"

    def check(self, news: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        answer = self.stub.Check(pb.CheckRequest(urn=self.urn, news=struct(news)))
        return MessageToDict(answer.inputs), [(it.property, it.reason) for it in answer.failures]

    def diff(
        self, old: Mapping[str, Any], new: Mapping[str, Any], state: Mapping[str, Any] | None = None
    ) -> pb.DiffResponse:
        request = pb.DiffRequest(
            urn=self.urn, id="it", old_inputs=struct(old), news=struct(new), olds=struct(state or {})
        )
        answer: pb.DiffResponse = self.stub.Diff(request)
        return answer

    def create(self, inputs: Mapping[str, Any], preview: bool = False) -> tuple[str, dict[str, Any]]:
        request = pb.CreateRequest(urn=self.urn, properties=struct(inputs), preview=preview, timeout=self.timeout)
        answer = _called(self.stub.Create, request)
        return answer.id, MessageToDict(answer.properties)

    def update(
        self, id: str, inputs: Mapping[str, Any], state: Mapping[str, Any], preview: bool = False
    ) -> dict[str, Any]:
        request = pb.UpdateRequest(
            urn=self.urn, id=id, news=struct(inputs), olds=struct(state), preview=preview, timeout=self.timeout
        )
        return MessageToDict(_called(self.stub.Update, request).properties)

    def read(
        self, id: str, inputs: Mapping[str, Any], state: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        request = pb.ReadRequest(urn=self.urn, id=id, inputs=struct(inputs), properties=struct(state))
        answer = _called(self.stub.Read, request)
        return answer.id, MessageToDict(answer.properties), MessageToDict(answer.inputs)

    def delete(self, id: str, inputs: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        request = pb.DeleteRequest(
            urn=self.urn, id=id, old_inputs=struct(inputs), properties=struct(state), timeout=self.timeout
        )
        _called(self.stub.Delete, request)

    def cancel(self) -> None:
        self.stub.Cancel(Empty())


class FakeEngine(engine_pb2_grpc.EngineServicer):
    """Remembers what the provider shows."""

    def __init__(self) -> None:
        self.shown: list[engine_pb2.LogRequest] = []

    def Log(self, request: engine_pb2.LogRequest, context: grpc.ServicerContext) -> Empty:
        del context
        self.shown.append(request)
        return Empty()


@contextlib.contextmanager
def engine() -> Iterator[tuple[FakeEngine, str]]:
    """The engine's log service, and its address."""
    fake = FakeEngine()
    server = grpc.server(ThreadPoolExecutor(2))
    engine_pb2_grpc.add_EngineServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield fake, f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@contextlib.contextmanager
def served(
    resources: Sequence[Resource[Any, Any]], engine_address: str | None = None
) -> Iterator[ResourceProviderStub]:
    """A stub for a provider that serves ``resources``."""
    port: list[int] = []
    loop, ready = asyncio.new_event_loop(), threading.Event()
    provider = Provider(list(resources), engine_address)
    stop = asyncio.Event()

    async def serve() -> None:
        server, number = start(provider)
        await server.start()
        port.append(number)
        ready.set()
        await stop.wait()
        await server.stop(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    with grpc.insecure_channel(f"127.0.0.1:{port[0]}") as channel:
        yield ResourceProviderStub(channel)
    provider.cancel.set()
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def _called(method: Callable[[Any], Any], request: Any) -> Any:
    try:
        return method(request)
    except grpc.RpcError as error:
        raise _failed(error) from None


def _failed(error: Any) -> Failed:
    trailing = dict(error.trailing_metadata() or ())
    failed = Failed(error.details())
    if details := trailing.get("grpc-status-details-bin"):
        status = status_pb2.Status.FromString(details)
        assert (status.code, status.message) == (error.code().value[0], error.details())
        kept = pb.ErrorResourceInitFailed()
        assert status.details[0].Unpack(kept)
        failed.id, failed.reasons = kept.id, list(kept.reasons)
        failed.properties, failed.inputs = MessageToDict(kept.properties), MessageToDict(kept.inputs)
    return failed
