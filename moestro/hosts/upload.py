"""Copying a directory to a host over SFTP: what is equal stays, what is partial goes on, what arrived is verified.

Files gather in a staging directory that belongs to the login user and move to their place under sudo, so that it
works for users other than root and no reader ever sees a part of a file.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from moestro.errors import ConnectionLost, HostError, InvalidInput
from moestro.hosts import layout
from moestro.hosts.exchange import closing_after
from moestro.hosts.scripts import script
from moestro.hosts.ssh import Host
from moestro.waiting import Wait

CHUNK_BYTES = 256 * 1024
IO_TIMEOUT_SECONDS = 60.0
MOST_FRUITLESS = 5
REPORT_BYTES = 256 * 2**20

_HASH_BYTES_PER_SECOND = 50e6  # a slow disk


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to upload: its path, size in bytes and SHA-256 in hex."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that is on the host already."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What is on the host already, by relative name: in the staging directory, and in its place."""

    staged: dict[str, RemoteFile] = field(default_factory=dict)
    final: dict[str, RemoteFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload came to: files and bytes in the tree, and how many bytes went over the wire."""

    files: int
    bytes: int
    sent: int


def local_tree(root: Path) -> dict[str, LocalFile]:
    """Every file under a directory by its relative name; links to files count as the files.

    Raises:
        InvalidInput: there is no such directory, it holds no file, or one whose name cannot be sent.
    """
    if not root.is_dir():
        raise InvalidInput(f"{root} is not a directory")
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    if not paths:
        raise InvalidInput(f"{root} holds no files")
    return {_name(root, path): LocalFile(path, path.stat().st_size, sha256_of(path)) for path in paths}


def digest_of(directory: Path | str) -> str:
    """The SHA-256, in hex, of a directory: over the sorted relative names and contents of its files, nothing else."""
    return tree_digest(local_tree(Path(directory)))


def tree_digest(tree: Mapping[str, LocalFile]) -> str:
    """The digest of a tree that was read already."""
    total = hashlib.sha256()
    for name in sorted(tree):
        total.update(f"{name}\0{tree[name].sha256}\n".encode())
    return total.hexdigest()


def sha256_of(path: Path, first_bytes: int | None = None) -> str:
    """The SHA-256 of a file, or of its first bytes."""
    digest = hashlib.sha256()
    for chunk in _chunks(path, 0, first_bytes):
        digest.update(chunk)
    return digest.hexdigest()


def upload_tree(host: Host, tree: Mapping[str, LocalFile], remote: str, wait: Wait) -> Uploaded:
    """Bring every file of ``tree`` (see :func:`local_tree`) under the directory ``remote``, which root owns.

    Files that are there with the same content are not sent; files that an earlier, interrupted upload left in
    part are continued where their beginning is right. Other files under ``remote`` stay. A dropped connection is
    opened again and the upload goes on.

    Raises:
        HostError: what arrived is not what was sent, twice in a row, or the disk is full.
        HostUnreachable, Cancelled, DeadlineExceeded: what has arrived so far is used by the next call.
    """
    return _Upload(host.within(wait), tree, remote, wait).run()


class _Upload:
    def __init__(self, host: Host, tree: Mapping[str, LocalFile], remote: str, wait: Wait) -> None:
        self.host, self.tree, self.remote, self.wait = host, tree, remote, wait
        self.staging = layout.staging_directory(remote)
        self.total = sum(file.size for file in tree.values())
        self.sent = 0
        self.told = 0

    def run(self) -> Uploaded:
        fruitless = 0
        while True:
            before = self.sent
            try:
                return self._attempt()
            except ConnectionLost as error:
                fruitless = fruitless + 1 if self.sent == before else 0
                if fruitless == MOST_FRUITLESS:
                    raise HostError(
                        f"{error}; given up after {fruitless} attempts in which nothing got through"
                    ) from None
                self.wait.report("upload: the connection dropped; connecting again, what has arrived is kept")
                self.wait.sleep(0.5)

    def _attempt(self) -> Uploaded:
        there = self._survey()
        missing = [name for name, file in self.tree.items() if not _same(there.final.get(name), file)]
        for _ in range(2):
            unstaged = [name for name in missing if not _same(there.staged.get(name), self.tree[name])]
            if not unstaged:
                break
            self._send(unstaged, there)
            there = self._survey()
        wrong = [name for name in missing if not _same(there.staged.get(name), self.tree[name])]
        if wrong:
            raise HostError(
                f"{self.host}: {wrong[0]} does not arrive as it is sent; is the disk full, or does the file change?"
            )
        self.host.run(script("upload_finish", self.staging, self.remote), timeout=600)
        return Uploaded(len(self.tree), self.total, self.sent)

    def _survey(self) -> Survey:
        """Prepare the staging directory, and hash what is in it and in its destination."""
        line = script("upload_survey", self.staging, self.remote, self.host.connection.user)
        seconds = 60 + self.total / _HASH_BYTES_PER_SECOND
        return parse_survey(self.host.run(line, timeout=seconds).stdout)

    def _send(self, names: list[str], there: Survey) -> None:
        with self.host.link.channel(self.wait) as channel:
            try:
                with closing_after(channel, IO_TIMEOUT_SECONDS):
                    channel.invoke_subsystem("sftp")
                channel.settimeout(IO_TIMEOUT_SECONDS)
                sftp = paramiko.SFTPClient(channel)
                made: set[str] = set()
                for name in names:
                    self._make_directories(sftp, name, made)
                    self._send_file(sftp, name, there.staged.get(name))
            except (paramiko.SFTPError, paramiko.SSHException, EOFError, OSError) as error:
                raise self._failure(channel, error) from None

    def _failure(self, channel: paramiko.Channel, error: Exception) -> HostError:
        said = str(error) or type(error).__name__
        # A dying connection ends the stream (EOFError) shortly before Paramiko marks the channel as closed; what the
        # server itself objects to, a full disk above all, arrives as an OSError on a channel that stays open.
        if channel.closed or isinstance(error, EOFError | TimeoutError | paramiko.SSHException):
            return ConnectionLost(f"{self.host}: the upload was interrupted ({said})")
        if isinstance(error, paramiko.SFTPError):
            return HostError(
                f"{self.host}: this is no SFTP ({said}); does the login shell of its user print something?"
            )
        return HostError(f"{self.host}: the upload to {self.staging} failed ({said}); is the disk full?")

    def _make_directories(self, sftp: paramiko.SFTPClient, name: str, made: set[str]) -> None:
        for parent in reversed(Path(name).parents[:-1]):
            path = f"{self.staging}/{parent.as_posix()}"
            if path not in made:
                made.add(path)
                try:
                    sftp.stat(path)
                except FileNotFoundError:
                    sftp.mkdir(path)

    def _send_file(self, sftp: paramiko.SFTPClient, name: str, there: RemoteFile | None) -> None:
        file = self.tree[name]
        start = _resume_at(file, there)
        with sftp.open(f"{self.staging}/{name}", "r+" if start else "w") as target:
            target.set_pipelined(True)
            target.seek(start)
            for chunk in _chunks(file.path, start):
                self.wait.check()
                target.write(chunk)
                self._count(len(chunk))

    def _count(self, size: int) -> None:
        self.sent += size
        if self.sent - self.told >= REPORT_BYTES:
            self.told = self.sent
            self.wait.report(f"upload: {self.sent / 1e9:.1f} of {self.total / 1e9:.1f} GB sent")


def parse_survey(answer: str) -> Survey:
    """Read lines "place size sha256 name" with place "staged" or "final"."""
    survey = Survey()
    for line in answer.splitlines():
        place, size, sha256, name = line.split(" ", 3)
        found = survey.staged if place == "staged" else survey.final
        found[name] = RemoteFile(int(size), sha256)
    return survey


def _name(root: Path, path: Path) -> str:
    name = path.relative_to(root).as_posix()
    if not name.isprintable():
        raise InvalidInput(f"{root}: the file name {name!r} holds characters that cannot be printed; rename it")
    return name


def _same(there: RemoteFile | None, file: LocalFile) -> bool:
    return there is not None and (there.size, there.sha256) == (file.size, file.sha256)


def _resume_at(file: LocalFile, there: RemoteFile | None) -> int:
    """How many bytes of a staged part are right; a part with another beginning is sent anew."""
    if there is None or not 0 < there.size < file.size:
        return 0
    return there.size if sha256_of(file.path, there.size) == there.sha256 else 0


def _chunks(path: Path, start: int, count: int | None = None) -> Iterator[bytes]:
    left = count
    with path.open("rb") as source:
        source.seek(start)
        while chunk := source.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left)):
            left = None if left is None else left - len(chunk)
            yield chunk
