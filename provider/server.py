"""The gRPC server that the engine talks to. Its event loop only routes; all work runs in threads."""
# ruff: noqa: ARG002 - gRPC gives every method a request and a context, needed or not

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderServicer, add_ResourceProviderServicer_to_server

from provider.lifecycle import Lifecycle
from provider.resource import Resource
from provider.schema import VERSION, schema_text
from provider.status import Display

_THREADS: Final = 128  # twenty hosts with several resources each are prepared side by side
_MESSAGE_BYTES: Final = 400 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
)

Answer = TypeVar("Answer")
Servicing = grpc.aio.ServicerContext[Any, Any]


class Provider(ResourceProviderServicer):
    """The package's resources behind Pulumi's provider protocol."""

    def __init__(self, resources: list[Resource[Any, Any]], engine_address: str | None = None) -> None:
        self.cancel: Final = threading.Event()
        self._resources = resources
        self._display = Display(engine_address)
        self._lifecycles: Mapping[str, Lifecycle[Any, Any]] = {
            resource.token: Lifecycle(resource, self._display, self.cancel) for resource in resources
        }
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="moestro")

    async def Handshake(self, request: pb.ProviderHandshakeRequest, context: Servicing) -> pb.ProviderHandshakeResponse:
        """Agree on what both sides can do."""
        self._display.attach(request.engine_address)
        return pb.ProviderHandshakeResponse(accept_secrets=True)

    async def Attach(self, request: plugin_pb2.PluginAttach, context: Servicing) -> Empty:
        """Talk to the engine at this address from now on (a plugin started by hand)."""
        self._display.attach(request.address)
        return Empty()

    async def GetPluginInfo(self, request: Empty, context: Servicing) -> plugin_pb2.PluginInfo:
        """The version of the package."""
        return plugin_pb2.PluginInfo(version=VERSION)

    async def GetSchema(self, request: pb.GetSchemaRequest, context: Servicing) -> pb.GetSchemaResponse:
        """The package's schema, as JSON."""
        return pb.GetSchemaResponse(schema=schema_text(self._resources))

    async def CheckConfig(self, request: pb.CheckRequest, context: Servicing) -> pb.CheckResponse:
        """The provider has no configuration of its own: clouds' tokens are read from the environment when needed."""
        return pb.CheckResponse(inputs=request.news)

    async def DiffConfig(self, request: pb.DiffRequest, context: Servicing) -> pb.DiffResponse:
        """Nothing in the configuration can change."""
        return pb.DiffResponse(changes=pb.DiffResponse.DIFF_NONE)

    async def Configure(self, request: pb.ConfigureRequest, context: Servicing) -> pb.ConfigureResponse:
        """Secrets and previews are understood; resource references and output values are not needed."""
        return pb.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    async def Check(self, request: pb.CheckRequest, context: Servicing) -> pb.CheckResponse:
        """See :meth:`Lifecycle.check`."""
        return await self._run(request, context, lambda lifecycle: lifecycle.check(request))

    async def Diff(self, request: pb.DiffRequest, context: Servicing) -> pb.DiffResponse:
        """See :meth:`Lifecycle.diff`."""
        return await self._run(request, context, lambda lifecycle: lifecycle.diff(request))

    async def Create(self, request: pb.CreateRequest, context: Servicing) -> pb.CreateResponse:
        """See :meth:`Lifecycle.create`."""
        return await self._run(request, context, lambda lifecycle: lifecycle.create(request))

    async def Read(self, request: pb.ReadRequest, context: Servicing) -> pb.ReadResponse:
        """See :meth:`Lifecycle.read`."""
        return await self._run(request, context, lambda lifecycle: lifecycle.read(request))

    async def Update(self, request: pb.UpdateRequest, context: Servicing) -> pb.UpdateResponse:
        """See :meth:`Lifecycle.update`."""
        return await self._run(request, context, lambda lifecycle: lifecycle.update(request))

    async def Delete(self, request: pb.DeleteRequest, context: Servicing) -> Empty:
        """See :meth:`Lifecycle.delete`."""
        return await self._run(request, context, lambda lifecycle: lifecycle.delete(request))

    async def Cancel(self, request: Empty, context: Servicing) -> Empty:
        """Every wait ends now; what exists is reported with its error, so that the next ``up`` continues it."""
        self.cancel.set()
        return Empty()

    async def _run(self, request: Any, context: Servicing, work: Callable[[Lifecycle[Any, Any]], Answer]) -> Answer:
        token = _token(request.urn)
        lifecycle = self._lifecycles.get(token)
        if lifecycle is None:
            known = ", ".join(sorted(self._lifecycles))
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"unknown resource type {token!r}: use one of {known}"
            )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, lifecycle)
        except Exception as error:
            failure = lifecycle.failed(request, error)
            await context.abort(failure.code, failure.message, failure.trailing)


def _token(urn: str) -> str:
    """``urn:pulumi:stack::project::parent$package:module:Type::name`` -> ``package:module:Type``."""
    return urn.split("::")[2].rsplit("$", 1)[-1]


def start(provider: Provider) -> tuple[grpc.aio.Server, int]:
    """A server for ``provider`` on a free local port; the caller awaits ``server.start()``."""
    server = grpc.aio.server(options=_OPTIONS)
    add_ResourceProviderServicer_to_server(provider, server)
    return server, server.add_insecure_port("127.0.0.1:0")
