"""What the resources on a host share: each is one spec that :mod:`moestro.hosts` ensures, reads and removes."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Generic, TypeVar

from pydantic import Field

from moestro.errors import ConnectionLost, DeadlineExceeded, HostUnreachable, MoestroError
from moestro.hosts.connection import HostConnection
from moestro.waiting import Wait
from provider.models import Host, Mark, Model, Stored
from provider.resource import Context, Found, Incomplete, Resource, Timeouts

Spec = TypeVar("Spec")
State = TypeVar("State")
T = TypeVar("T")

_ATTEMPTS: Final = 5
_RETRY_SECONDS: Final = 1.0


class OnHost(Model):
    """What everything on a host takes."""

    host: Annotated[Host, Mark.REPLACES] = Field(
        description="The host. It stays the same while address, port and host key do; the login may rotate."
    )


I = TypeVar("I", bound=OnHost)  # noqa: E741 - inputs
O = TypeVar("O", bound=Stored)  # noqa: E741 - outputs


@dataclass(frozen=True)
class Operations(Generic[Spec, State]):
    """The three things that can be done about a spec on a host; all are safe to repeat."""

    ensure: Callable[[HostConnection, Spec, Wait], State]
    read: Callable[[HostConnection, Spec, Wait], State | None]
    remove: Callable[[HostConnection, Spec, Wait], None]


class HostResource(Resource[I, O], Generic[I, O, Spec, State]):
    """A resource on a host. ``operations`` is called when a request needs them: their libraries load late."""

    timeouts = Timeouts(read=45.0)
    leaves_behind: tuple[type[MoestroError], ...] = ()
    """Errors of ``ensure`` after which something is on the host that belongs into the state."""

    def __init__(self, operations: Callable[[], Operations[Spec, State]]) -> None:
        self._operations = operations

    @abstractmethod
    def spec(self, inputs: I) -> Spec:
        """What the host shall have."""

    @abstractmethod
    def name(self, inputs: I) -> str:
        """What it is called on its host; the end of its id."""

    @abstractmethod
    def result(self, inputs: I, state: State) -> O:
        """The outputs."""

    def unfinished(self, inputs: I) -> O:
        """The outputs of what ``leaves_behind`` speaks of."""
        raise NotImplementedError

    def drift(self, state: State) -> str | None:
        """In what the real thing, as read, differs from the declaration."""
        return None

    def create(self, context: Context, inputs: I) -> tuple[str, O]:
        """Bring the host to the spec."""
        resource_id = f"{inputs.host.address}:{inputs.host.port}/{self.name(inputs)}"
        return resource_id, self._ensured(context, resource_id, inputs)

    def update(self, context: Context, resource_id: str, inputs: I, state: O) -> O:
        """Bring the host to the new spec."""
        return self._ensured(context, resource_id, inputs)

    def read(self, context: Context, resource_id: str, inputs: I, state: O) -> Found[O] | None:
        """As it is on the host. A host that does not answer counts as gone: creating again is harmless."""
        try:
            seen = _done(self._operations().read, inputs, self.spec(inputs), context.wait)
        except (HostUnreachable, DeadlineExceeded) as error:
            context.warn(f"{error}; taken as gone, the next `pulumi up` makes it again")
            return None
        if seen is None:
            return None
        return Found(self.result(inputs, seen), self.drift(seen))

    def delete(self, context: Context, resource_id: str, inputs: I, state: O) -> None:
        """Take it off the host."""
        _done(self._operations().remove, inputs, self.spec(inputs), context.wait)

    def _ensured(self, context: Context, resource_id: str, inputs: I) -> O:
        spec = self.spec(inputs)
        try:
            state = _done(self._operations().ensure, inputs, spec, context.wait)
        except self.leaves_behind as error:
            raise Incomplete(resource_id, self.unfinished(inputs), error) from error
        except HostUnreachable as error:
            raise HostUnreachable(
                f"{error}; where the machine itself is gone, `pulumi up --refresh` replaces it"
            ) from error
        return self.result(inputs, state)


def _done(operation: Callable[[HostConnection, Spec, Wait], T], inputs: OnHost, spec: Spec, wait: Wait) -> T:
    """What ``operation`` gives; it is safe to repeat, and is repeated when the connection drops in the middle."""
    for attempt in wait.backoff(_RETRY_SECONDS):
        try:
            return operation(inputs.host.connection(), spec, wait)
        except ConnectionLost as error:
            if attempt >= _ATTEMPTS:
                raise
            wait.report(f"{error}; connecting again")
    raise AssertionError("backoff only ends by raising")
