"""The engine's requests about one resource, turned into calls of its :class:`~provider.resource.Resource`."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import provider_pb2 as pb

from moestro.errors import InvalidInput
from moestro.waiting import Wait
from provider.differences import DRIFT, Difference, differences
from provider.failures import Failure, failure, init_failed, redacted
from provider.models import Mark, Model, Stored, marked, mistakes, secret_paths, wire_name
from provider.resource import Context, Incomplete, Resource
from provider.status import Display, throttled
from provider.wire import UNKNOWN, amended, decode, encode, has_unknowns, secret_texts

I = TypeVar("I", bound=Model)  # noqa: E741 - inputs
O = TypeVar("O", bound=Stored)  # noqa: E741 - outputs

_STRUCTS = ("news", "olds", "old_inputs", "properties", "inputs")


class Lifecycle(Generic[I, O]):
    """Check, diff, previews, secrets, limits and partial failures of one kind of resource. Blocking; thread-safe."""

    def __init__(self, resource: Resource[I, O], display: Display, cancel: threading.Event) -> None:
        self.resource = resource
        self._display = display
        self._cancel = cancel
        self._secret_inputs = secret_paths(resource.inputs)
        self._secret_outputs = secret_paths(resource.outputs)

    def check(self, request: pb.CheckRequest) -> pb.CheckResponse:
        """Refuse what is impossible, name each mistake, mark secrets, add inputs that follow from others."""
        values = decode(request.news)
        found = mistakes(self.resource.inputs, values)
        extra: Mapping[str, Any] = {}
        if not found:
            try:
                extra = self.resource.prepare(values)
            except InvalidInput as error:
                found = [("", str(error))]
        failures = [pb.CheckFailure(property=path, reason=reason) for path, reason in found]
        return pb.CheckResponse(inputs=amended(request.news, extra, self._secret_inputs), failures=failures)

    def diff(self, request: pb.DiffRequest) -> pb.DiffResponse:
        """What changed in the declaration, and whether it asks for an update or a replacement."""
        old, new = decode(request.old_inputs), decode(request.news)
        found = differences(self.resource.inputs, old, new)
        aged = self._stale(request)
        if aged:
            found.append(Difference(aged, aged, "UPDATE", True))
        replaces = sorted({change.key for change in found if change.replaces})
        return pb.DiffResponse(
            changes=pb.DiffResponse.DIFF_SOME if found else pb.DiffResponse.DIFF_NONE,
            replaces=replaces,
            diffs=sorted({change.key for change in found}),
            deleteBeforeReplace=bool(replaces) and self.resource.collides(old, new),
            hasDetailedDiff=True,
            detailedDiff={change.path: _property_diff(change, aged) for change in found},
        )

    def create(self, request: pb.CreateRequest) -> pb.CreateResponse:
        """Make it, or in a preview imagine it."""
        values = decode(request.properties)
        if request.preview:
            return pb.CreateResponse(properties=self._encoded(self._imagined(values, None)))
        inputs = self._inputs(values)
        resource_id, outputs = self.resource.create(self._context(request, self.resource.timeouts.create), inputs)
        return pb.CreateResponse(id=resource_id, properties=self._encoded(outputs.wire()))

    def update(self, request: pb.UpdateRequest) -> pb.UpdateResponse:
        """Change it in place, or in a preview imagine that."""
        values, state = decode(request.news), self._state(request.olds)
        if request.preview:
            return pb.UpdateResponse(properties=self._encoded(self._imagined(values, state)))
        context = self._context(request, self.resource.timeouts.update)
        outputs = self.resource.update(context, request.id, self._inputs(values), state)
        return pb.UpdateResponse(properties=self._encoded(outputs.wire()))

    def read(self, request: pb.ReadRequest) -> pb.ReadResponse:
        """What is really there; an empty answer when it is gone."""
        if not request.inputs.fields and not request.properties.fields:  # a refresh always knows what the state holds
            raise InvalidInput(
                f"{self.resource.token} {request.id!r} cannot be imported: declare it and run `pulumi up`"
            )
        context = self._context(request, self.resource.timeouts.read)
        inputs, state = self._inputs(decode(request.inputs)), self._state(request.properties)
        found = self.resource.read(context, request.id, inputs, state)
        if found is None:
            return pb.ReadResponse()
        return pb.ReadResponse(
            id=request.id,
            properties=self._encoded(found.outputs.wire()),
            inputs=self._with_drift(request.inputs, found.drift),
        )

    def delete(self, request: pb.DeleteRequest) -> Empty:
        """Remove it."""
        context = self._context(request, self.resource.timeouts.delete)
        inputs, state = self._inputs(decode(request.old_inputs)), self._state(request.properties)
        self.resource.delete(context, request.id, inputs, state)
        return Empty()

    def failed(self, request: Message, error: Exception) -> Failure:
        """How the RPC of ``request`` ends with ``error``."""
        secrets = list(self._secrets(request))
        if isinstance(error, Incomplete):
            asked: Struct = getattr(request, "news", None) or request.properties  # type: ignore[attr-defined]
            return init_failed(error, self._encoded(error.outputs.wire()), asked, secrets)
        return failure(error, secrets)

    def _context(self, request: Any, usual_seconds: float) -> Context:
        secrets, urn = list(self._secrets(request)), str(request.urn)
        show = throttled(lambda line: self._display.status(urn, redacted(line, secrets)))
        wait = Wait(cancel=self._cancel, report=show).limited(request.timeout or usual_seconds)
        return Context(wait, urn, lambda line: self._display.warn(urn, redacted(line, secrets)))

    def _inputs(self, values: Mapping[str, Any]) -> I:
        known = {wire_name(name, info) for name, info in self.resource.inputs.model_fields.items()}
        return self.resource.inputs.model_validate({key: part for key, part in values.items() if key in known})

    def _state(self, properties: Struct) -> O:
        return self.resource.outputs.restored(decode(properties))

    def _encoded(self, values: Mapping[str, Any]) -> Struct:
        return encode(values, self._secret_outputs)

    def _imagined(self, values: Mapping[str, Any], state: O | None) -> dict[str, Any]:
        names = [wire_name(name, info) for name, info in self.resource.outputs.model_fields.items()]
        kept = state.wire() if state else {}
        volatile = marked(self.resource.outputs, Mark.VOLATILE)
        known = {} if has_unknowns(values) else self.resource.foresee(self._inputs(values), state)
        lasting = {key: part for key, part in kept.items() if key not in volatile}
        return dict.fromkeys(names, UNKNOWN) | lasting | dict(known)

    def _stale(self, request: pb.DiffRequest) -> str | None:
        return self.resource.stale(self._state(request.olds))

    def _with_drift(self, inputs: Struct, drift: str | None) -> Struct:
        declared = Struct()
        declared.CopyFrom(inputs)
        declared.fields.pop(DRIFT, None)
        return amended(declared, {DRIFT: drift} if drift else {}, self._secret_inputs)

    def _secrets(self, request: Message) -> Iterator[str]:
        for name in _STRUCTS:
            struct = getattr(request, name, None)
            if isinstance(struct, Struct):
                yield from secret_texts(amended(struct, {}, self._secret_inputs | self._secret_outputs))


def _property_diff(change: Difference, aged: str | None) -> pb.PropertyDiff:
    kind = pb.PropertyDiff.Kind.Value(f"{change.kind}_REPLACE" if change.replaces else change.kind)
    return pb.PropertyDiff(kind=kind, inputDiff=change.path != aged)
