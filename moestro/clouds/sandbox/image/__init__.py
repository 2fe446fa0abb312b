"""The image of the sandbox's hosts: what it is made of and how it is called."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

NAME = "moestro/sandbox-host"
DIRECTORY = Path(__file__).parent
"""The build's context, but for ``ca.crt``: the certificates that the building machine needs, often none."""


def reference() -> str:
    """The image's name with a tag that changes whenever the Dockerfile or one of its inputs does."""
    digest = hashlib.sha256()
    for path in _inputs():
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(DIRECTORY).as_posix()}\0{executable}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{NAME}:{digest.hexdigest()[:12]}"


def _inputs() -> Iterator[Path]:
    """Every file that the build reads, in an order of its own."""
    for path in sorted(DIRECTORY.rglob("*")):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            yield path
