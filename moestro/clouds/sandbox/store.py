"""The sandbox's memory: one SQLite file that any number of processes read and write at once."""

import itertools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields, replace

from moestro.clouds.sandbox.home import Home, Settings

BUSY_SECONDS = 30.0
FIRST_NUMBER = 2  # a network's first address is its gateway's
_LIVING = "status NOT IN ('failed', 'terminated', 'terminated-provider')"
_VERSION = 1
_SCHEMA = """
CREATE TABLE deployments (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, terms TEXT NOT NULL, public_key TEXT NOT NULL, status TEXT NOT NULL,
    created_at REAL NOT NULL, started_at REAL, stopped_at REAL, rented INTEGER NOT NULL, late_ssh REAL NOT NULL,
    listed_at REAL NOT NULL, number INTEGER NOT NULL
);
CREATE TABLE ssh_keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, public_key TEXT NOT NULL, created_at REAL NOT NULL);
CREATE TABLE faults (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, times INTEGER, name TEXT NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE settings (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One machine as the sandbox remembers it. Times are seconds since the epoch.

    Attributes:
        terms: the order's fields in the contract's own names.
        public_key: what is let in over SSH.
        rented: whether its host was ever there; a host that is missing afterwards was taken away.
        late_ssh: seconds that its sshd takes to start after its boot.
        listed_at: when it shows up in lists.
        number: its place in the network, which no other living machine has; it keeps its address when it reboots.
    """

    id: str
    name: str
    terms: dict[str, object]
    public_key: str
    status: str
    created_at: float
    started_at: float | None = None
    stopped_at: float | None = None
    rented: bool = False
    late_ssh: float = 0.0
    listed_at: float = 0.0
    number: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing will ever happen to it again."""
        return self.status in {"failed", "terminated", "terminated-provider"}


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One registered public key."""

    id: str
    name: str
    public_key: str
    created_at: float


class Store:
    """Reads and writes of one home's file. Every call is one transaction."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def settings(self) -> Settings:
        """How this sandbox behaves."""
        with self.transaction() as db:
            row = db.execute("SELECT value FROM settings").fetchone()
        return Settings(**json.loads(row["value"])) if row else Settings()

    def configure(self, settings: Settings) -> None:
        """Replace the settings."""
        with self.transaction(write=True) as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (1, ?)", (json.dumps(asdict(settings)),))

    def forget(self) -> None:
        """Drop machines, keys and faults."""
        with self.transaction(write=True) as db:
            for table in ("deployments", "ssh_keys", "faults"):
                db.execute(f"DELETE FROM {table}")

    def add_deployment(self, deployment: Deployment) -> Deployment:
        """Remember a new machine and give it the lowest free number."""
        with self.transaction(write=True) as db:
            taken = {row["number"] for row in db.execute(f"SELECT number FROM deployments WHERE {_LIVING}")}
            free = next(number for number in itertools.count(FIRST_NUMBER) if number not in taken)
            deployment = replace(deployment, number=free)
            row = [json.dumps(value) if isinstance(value, dict) else value for value in astuple(deployment)]
            db.execute(f"INSERT INTO deployments VALUES ({', '.join('?' * len(row))})", row)
        return deployment

    def deployment(self, deployment_id: str) -> Deployment | None:
        """One machine."""
        with self.transaction() as db:
            row = db.execute("SELECT * FROM deployments WHERE id = ?", (deployment_id,)).fetchone()
        return _deployment(row) if row else None

    def deployments(self) -> list[Deployment]:
        """Every machine there ever was, oldest first."""
        with self.transaction() as db:
            return [_deployment(row) for row in db.execute("SELECT * FROM deployments ORDER BY created_at, id")]

    def change_deployment(self, deployment: Deployment, **changes: object) -> Deployment:
        """Change fields of a machine unless it has ended meanwhile; returns it as it is then."""
        assignments = ", ".join(f"{name} = :{name}" for name in changes)
        with self.transaction(write=True) as db:
            db.execute(
                f"UPDATE deployments SET {assignments} WHERE id = :id AND {_LIVING}", changes | {"id": deployment.id}
            )
            row = db.execute("SELECT * FROM deployments WHERE id = ?", (deployment.id,)).fetchone()
        return _deployment(row) if row else deployment

    def add_key(self, key: StoredKey) -> None:
        """Remember a key."""
        with self.transaction(write=True) as db:
            db.execute("INSERT INTO ssh_keys VALUES (?, ?, ?, ?)", astuple(key))

    def ssh_keys(self) -> list[StoredKey]:
        """Every key, oldest first."""
        with self.transaction() as db:
            return [StoredKey(**dict(row)) for row in db.execute("SELECT * FROM ssh_keys ORDER BY created_at, id")]

    def remove_key(self, key_id: str) -> bool:
        """Forget a key; returns whether it was there."""
        with self.transaction(write=True) as db:
            return db.execute("DELETE FROM ssh_keys WHERE id = ?", (key_id,)).rowcount > 0

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection in one transaction, committed at the end and rolled back by an exception."""
        db = self._connect()
        try:
            # A deferred transaction that turns into a writing one may fail where an immediate one would wait.
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield db
            db.execute("COMMIT")
        finally:
            db.close()

    def _connect(self) -> sqlite3.Connection:
        if not self._home.database.exists():
            self._create()
        db = sqlite3.connect(self._home.database, timeout=BUSY_SECONDS, isolation_level=None)
        db.row_factory = sqlite3.Row
        return db

    def _create(self) -> None:
        with self._home.locked("store"):
            if self._home.database.exists():
                return
            # Others see the file only when it is whole.
            draft = self._home.database.with_suffix(".draft")
            draft.unlink(missing_ok=True)
            db = sqlite3.connect(draft, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version = {_VERSION}")
            db.close()
            draft.rename(self._home.database)


def _deployment(row: sqlite3.Row) -> Deployment:
    values = {field.name: row[field.name] for field in fields(Deployment)}
    values |= {"terms": json.loads(row["terms"]), "rented": bool(row["rented"])}
    return Deployment(**values)
