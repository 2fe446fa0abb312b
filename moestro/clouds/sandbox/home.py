"""Where one sandbox lives. Two homes are two clouds that know nothing of each other."""

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moestro.paths import cache


@dataclass(frozen=True, slots=True)
class Settings:
    """How a sandbox behaves.

    Attributes:
        contract_only: rent nothing real; machines exist on paper only, with addresses reserved for documentation.
        deploy_seconds: the least time a machine stays ``deploying``.
        minimum_runtime_minutes: how long a machine must run before it may be terminated.
        balance_usd: the money in the account. Everything costs 0.
    """

    contract_only: bool = False
    deploy_seconds: float = 0.0
    minimum_runtime_minutes: int = 0
    balance_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one sandbox; it comes into being when something is first written."""

    path: Path

    @classmethod
    def current(cls) -> "Home":
        """``$MOESTRO_SANDBOX_HOME``, else ``sandbox`` in the cache directory."""
        chosen = os.environ.get("MOESTRO_SANDBOX_HOME")
        return cls(Path(chosen) if chosen else cache() / "sandbox")

    @property
    def id(self) -> str:
        """Marks the containers of this home; a function of the path, so they are found even without the files."""
        return hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:10]

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "sandbox.sqlite"

    def token(self) -> str:
        """The key that this sandbox accepts; made on first use and readable by its owner only."""
        with self.locked("token"):
            file = self.path / "token"
            if not file.exists():
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
                with os.fdopen(descriptor, "w") as opened:
                    opened.write(f"sandbox_{secrets.token_urlsafe(24)}")
            return file.read_text()

    @contextmanager
    def locked(self, name: str, *, shared: bool = False, patient: bool = True) -> Iterator[bool]:
        """Hold a lock among all threads and processes of this home; yields whether it was got.

        Args:
            name: which lock.
            shared: many may hold it together, as long as nobody holds it alone.
            patient: wait for it; an impatient caller gets ``False`` where it is taken.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if patient else fcntl.LOCK_NB)
        with (self.path / f"{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, mode)
            except BlockingIOError:
                yield False
                return
            yield True

    def remove(self) -> None:
        """Delete the directory."""
        shutil.rmtree(self.path, ignore_errors=True)
