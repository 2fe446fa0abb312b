"""``moestro:host:Weights``."""
# ruff: noqa: ARG002 - every resource has the same methods, whether it needs each argument or not

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from provider.host_resource import HostResource, OnHost, Operations
from provider.models import Mark, Stored
from provider.resource import Timeouts

if TYPE_CHECKING:
    from moestro.hosts.weights import WeightsSpec, WeightsState

Signature = tuple[tuple[str, int, int], ...]


def _operations() -> Operations[WeightsSpec, WeightsState]:
    from moestro.hosts.weights import ensure_weights, read_weights, remove_weights

    return Operations(ensure_weights, read_weights, remove_weights)


def _digest_of(directory: str) -> str:
    from moestro.hosts.weights import digest_of

    return digest_of(directory)


class WeightsInputs(OnHost):
    """Which files: of a Hugging Face repository, or of a directory on the operator's machine."""

    repo: str | None = Field(default=None, description="Repository, `organisation/name`.", min_length=1)
    revision: str | None = Field(default=None, description="Its commit, tag or branch; left out: `main`.", min_length=1)
    source: Annotated[str | None, Mark.QUIET] = Field(
        default=None, description="Local directory, instead of a repository. Moving it changes nothing.", min_length=1
    )
    digest: str | None = Field(
        default=None, description="SHA-256 of the local directory's files. Computed at every preview; do not set it."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.repo) == bool(self.source):
            raise ValueError("give either repo or source")
        if self.revision and self.source:
            raise ValueError("a local source has no revision: remove it")
        return self


class WeightsOutputs(Stored):
    """Files that are there completely."""

    path: str = Field(description="Their directory on the host.")
    bytes: Annotated[int, Mark.VOLATILE] = Field(description="Size of all files in bytes.")
    digest: Annotated[str, Mark.VOLATILE] = Field(
        description="The commit of the repository, or the SHA-256 of the local directory's files."
    )


class Weights(HostResource[WeightsInputs, WeightsOutputs, "WeightsSpec", "WeightsState"]):
    """A model's files at one revision on one host. Files of earlier revisions stay until the host goes."""

    token = "moestro:host:Weights"
    inputs = WeightsInputs
    outputs = WeightsOutputs
    timeouts = Timeouts(create=6 * 3600.0, update=6 * 3600.0, read=45.0)

    def __init__(
        self,
        operations: Callable[[], Operations[WeightsSpec, WeightsState]] = _operations,
        digest_of: Callable[[str], str] = _digest_of,
    ) -> None:
        super().__init__(operations)
        self._digest_of = digest_of
        self._digests: dict[tuple[str, Signature], str] = {}
        self._digesting = threading.Lock()

    def prepare(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The digest of a local directory, so that a changed checkpoint shows as an update."""
        source = values.get("source")
        return {"digest": self._digest(source)} if isinstance(source, str) else {}

    def foresee(self, inputs: WeightsInputs, state: WeightsOutputs | None) -> Mapping[str, Any]:
        """The path follows from the inputs."""
        return {"path": self.spec(inputs).path}

    def spec(self, inputs: WeightsInputs) -> WeightsSpec:
        """What the host shall have."""
        from moestro.hosts.weights import WeightsSpec

        return WeightsSpec(repo=inputs.repo, revision=inputs.revision, source=inputs.source, digest=inputs.digest)

    def name(self, inputs: WeightsInputs) -> str:
        """The model."""
        return f"weights/{inputs.repo or Path(inputs.source or '').name}"

    def result(self, inputs: WeightsInputs, state: WeightsState) -> WeightsOutputs:
        """The outputs."""
        return WeightsOutputs(path=state.path, bytes=state.bytes, digest=state.digest)

    def _digest(self, source: str) -> str:
        """Read once for all replicas: a checkpoint has hundreds of gigabytes."""
        with self._digesting:
            key = (source, _signature(Path(source)))
            if key not in self._digests:
                self._digests[key] = self._digest_of(source)
            return self._digests[key]


def _signature(directory: Path) -> Signature:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path in found for stat in (path.stat(),))
