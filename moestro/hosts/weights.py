"""A model's files on one host, at one revision or of one digest, complete or not there at all."""

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moestro.errors import HostError, InvalidInput
from moestro.hosts import layout
from moestro.hosts.connection import HostConnection
from moestro.hosts.facts import gather
from moestro.hosts.jobs import Job, forget_job, run_job
from moestro.hosts.scripts import script
from moestro.hosts.ssh import Host, connect
from moestro.hosts.steps.weights import download_weights
from moestro.hosts.upload import LocalFile, digest_of, local_tree, tree_digest, upload_tree
from moestro.waiting import Wait

__all__ = ["WeightsSpec", "WeightsState", "digest_of", "ensure_weights", "read_weights", "remove_weights"]

REMOVE_SECONDS = 600.0

# Read from the operator's environment at call time, handed over to the job alone.
_HUB_VARIABLES = ("HF_TOKEN", "HF_ENDPOINT")


@dataclass(frozen=True, slots=True)
class WeightsSpec:
    """Which files: of a Hugging Face repository, or of a directory on the operator's machine.

    Attributes:
        repo: the repository, "organisation/name".
        revision: its commit, tag or branch; "main" without one.
        source: the local directory, instead of a repository.
        digest: what :func:`digest_of` says of the local directory; names the files on the host.
        model: the name that the path on the host is made from; the repository or the directory's name without one.
    """

    repo: str | None = None
    revision: str | None = None
    source: str | None = None
    digest: str | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if bool(self.repo) == bool(self.source):
            raise InvalidInput("weights: give either repo or source")
        if self.source and not self.digest:
            raise InvalidInput(f"weights: source {self.source!r} needs its digest")

    @property
    def name(self) -> str:
        """What the files are called."""
        return self.model or self.repo or Path(self.source or "").name

    @property
    def path(self) -> str:
        """Where the files are on the host."""
        return layout.weights_path(self.name, self.digest if self.source else self.revision)


@dataclass(frozen=True, slots=True)
class WeightsState:
    """Files that are there completely. ``digest`` is the commit for a repository, else that of the directory."""

    path: str
    bytes: int
    digest: str


def ensure_weights(connection: HostConnection, spec: WeightsSpec, wait: Wait) -> WeightsState:
    """Bring the files to the host; one round trip where they are there.

    An interrupted download or upload is continued by the next call. ``HF_TOKEN`` and ``HF_ENDPOINT`` are taken from
    the operator's environment.

    Raises:
        InvalidInput: the local directory is missing, empty or another one than its digest says.
        CommandFailed: the download failed; the message ends with its log (no access, no such revision, no space).
        HostError: the upload failed.
    """
    host = connect(connection, wait)
    present = _read(host, spec)
    if present is not None:
        return present
    if spec.source is not None:
        _upload(host, spec, Path(spec.source), wait)
    else:
        _download(host, spec, wait)
    state = _read(host, spec)
    if state is None:
        raise HostError(f"{host}: the files of {spec.name} were brought to {spec.path}, but some are missing there")
    return state


def read_weights(connection: HostConnection, spec: WeightsSpec, wait: Wait) -> WeightsState | None:
    """The files as they are; None where one is missing, has another size, or the download never ended."""
    return _read(connect(connection, wait), spec)


def remove_weights(connection: HostConnection, spec: WeightsSpec, wait: Wait) -> None:
    """Remove the files, complete or not. Other revisions stay."""
    path, staging = spec.path, layout.staging_directory(spec.path)
    names = " ".join(shlex.quote(name) for name in (path, layout.weights_manifest(path), f"{path}.py", staging))
    model = shlex.quote(path.rpartition("/")[0])
    line = f"rm -rf {names}; rmdir --ignore-fail-on-non-empty {model} 2> /dev/null || true"
    connect(connection, wait).run(line, timeout=REMOVE_SECONDS)


def _read(host: Host, spec: WeightsSpec) -> WeightsState | None:
    manifest = layout.weights_manifest(spec.path)
    return parse_manifest(spec.path, host.run(script("weights_read", spec.path, manifest)).stdout)


def parse_manifest(path: str, answer: str) -> WeightsState | None:
    """Hold the manifest (first line) against the files that are there (lines "size name")."""
    head, _, listing = answer.partition("\n")
    if not head:
        return None
    try:
        manifest: dict[str, Any] = json.loads(head)
    except ValueError:
        return None  # what a crash of the host left of it
    there = {name: int(size) for size, name in (line.split(" ", 1) for line in listing.splitlines())}
    sizes: dict[str, int] = manifest["files"]
    if any(there.get(name) != size for name, size in sizes.items()):
        return None
    return WeightsState(path, sum(sizes.values()), manifest["digest"])


def _upload(host: Host, spec: WeightsSpec, source: Path, wait: Wait) -> None:
    tree = local_tree(source)
    digest = tree_digest(tree)
    if digest != spec.digest:
        raise InvalidInput(
            f"{source}: its files have the digest {digest}, not {spec.digest}; they changed since the plan"
        )
    wait.report(f"weights: upload {len(tree)} files, {sum(file.size for file in tree.values()) / 1e6:.0f} MB")
    upload_tree(host, tree, spec.path, wait)
    host.write(layout.weights_manifest(spec.path), _manifest(spec.name, digest, tree))


def _manifest(source: str, digest: str, tree: dict[str, LocalFile]) -> str:
    return json.dumps({"source": source, "digest": digest, "files": {name: file.size for name, file in tree.items()}})


def _download(host: Host, spec: WeightsSpec, wait: Wait) -> None:
    assert spec.repo is not None, "WeightsSpec has either a repository or a source"
    command = download_weights(gather(host), spec.repo, spec.revision or "main", spec.path)
    wait.report(f"weights: {command.why}")
    secrets = {name: os.environ[name] for name in _HUB_VARIABLES if os.environ.get(name)}
    job = Job("weights", command.script, command.timeout, secrets)
    run_job(host, job, wait)
    forget_job(host, job)
