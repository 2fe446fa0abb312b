"""What every custom resource of the package declares and does. All the rest (wire, diff, preview) is made from it."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from moestro.waiting import Wait
from provider.models import Model, Stored

I = TypeVar("I", bound=Model)  # noqa: E741 - inputs
O = TypeVar("O", bound=Stored)  # noqa: E741 - outputs


def _quiet(message: str) -> None:
    del message


@dataclass(frozen=True)
class Context:
    """On whose behalf an operation runs.

    Attributes:
        wait: how long it may take; carries the engine's cancellation and reports progress to its display.
        urn: the resource in the engine's terms.
        warn: shows the user a warning that stays on the screen.
    """

    wait: Wait
    urn: str = ""
    warn: Callable[[str], None] = field(default=_quiet)


@dataclass(frozen=True)
class Timeouts:
    """Seconds that an operation may take where the program sets no ``customTimeouts``."""

    create: float = 20 * 60.0
    update: float = 20 * 60.0
    read: float = 2 * 60.0
    delete: float = 10 * 60.0


@dataclass(frozen=True)
class Found(Generic[O]):
    """What Read saw.

    Attributes:
        outputs: the outputs as they are now.
        drift: in what the real thing differs from the declaration; the next ``up`` mends it. ``None``: in nothing.
    """

    outputs: O
    drift: str | None = None


class Incomplete(Exception):
    """Something exists but is not what was asked for: it belongs into the state, with its error.

    The engine keeps the resource with ``id`` and ``outputs``, and the next ``up`` calls ``update`` on it.
    """

    def __init__(self, resource_id: str, outputs: Stored, cause: Exception) -> None:
        super().__init__(str(cause))
        self.id = resource_id
        self.outputs = outputs


class Resource(ABC, Generic[I, O]):
    """One kind of custom resource.

    ``create`` and ``update`` must be safe to run again after they were killed at any moment, and raise
    :class:`Incomplete` as soon as something exists. Errors are those of :mod:`moestro.errors`.
    """

    token: ClassVar[str]
    inputs: type[I]
    outputs: type[O]
    timeouts: ClassVar[Timeouts] = Timeouts()

    @abstractmethod
    def create(self, context: Context, inputs: I) -> tuple[str, O]:
        """Make it: its id and its outputs."""

    @abstractmethod
    def update(self, context: Context, resource_id: str, inputs: I, state: O) -> O:
        """Make it what ``inputs`` say, in place; also finishes what an earlier run left incomplete."""

    @abstractmethod
    def read(self, context: Context, resource_id: str, inputs: I, state: O) -> Found[O] | None:
        """What is there now; ``None`` when it is gone."""

    @abstractmethod
    def delete(self, context: Context, resource_id: str, inputs: I, state: O) -> None:
        """Remove it; quiet when it is gone already."""

    def prepare(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Inputs that follow from others and from the operator's machine, by wire name; runs at every check."""
        return {}

    def foresee(self, inputs: I, state: O | None) -> Mapping[str, Any]:
        """Outputs that a preview can know, by wire name; called only when all inputs are known."""
        return {}

    def stale(self, state: O) -> str | None:
        """The output, by wire name, whose age alone asks for a replacement."""
        return None

    def collides(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether a replacement from ``old`` to ``new`` inputs could take the old thing for the new one."""
        return False
