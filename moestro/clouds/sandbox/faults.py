"""Faults of a cloud, armed by a test or by hand and met by whichever process asks next."""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from moestro.clouds.sandbox.home import Home
from moestro.clouds.sandbox.store import Store
from moestro.errors import InvalidInput


class FaultKind(StrEnum):
    """What can go wrong. ``seconds`` of :meth:`Faults.arm` means what is said here."""

    NO_STOCK = "no_stock"  # an order is refused
    SLOW_POST = "slow_post"  # an order is accepted and answered `seconds` later
    POST_5XX_BEFORE_ACCEPT = "post_5xx_before_accept"  # an order is not accepted, and the answer does not say so
    POST_5XX_AFTER_ACCEPT = "post_5xx_after_accept"  # an order is accepted, and the answer does not say so
    DROPPED_CONNECTION = "dropped_connection"  # an order is accepted, and the connection breaks before the answer
    LATE_LISTING = "late_listing"  # an ordered machine shows up in lists `seconds` later
    LATE_SSH = "late_ssh"  # an ordered machine runs, and its sshd starts `seconds` after its boot
    LIST_FAILURE = "list_failure"  # 500 to a list of machines
    GET_FAILURE = "get_failure"  # 500 to a question about one machine
    DELETE_FAILURE = "delete_failure"  # 500 to a termination, which does not happen
    EARLY_DELETE = "early_delete"  # a termination is refused, with `seconds` of the minimum runtime left
    RATE_LIMITED = "rate_limited"  # 429 with a `retryAfter` of `seconds`, to any request
    PREEMPTION = "preemption"  # at its next read a running machine is taken away
    CHANGED_HOST_KEY = "changed_host_key"  # at its next read a running machine has made itself new host keys
    UNKNOWN_STATE = "unknown_state"  # one read shows a state that the contract does not have


@dataclass(frozen=True, slots=True)
class Fault:
    """An armed fault: ``times`` more times (``None``: always), for machines whose name matches ``name``."""

    kind: FaultKind
    times: int | None
    name: str
    seconds: float


class Faults:
    """The armed faults of one home; kept in its file, so that all its processes meet them."""

    def __init__(self, home: Home) -> None:
        self._store = Store(home)

    def arm(self, kind: str, times: int | None = 1, name: str = "*", seconds: float = 0.0) -> None:
        """Let ``kind`` happen the next ``times`` times (``None``: always).

        Args:
            kind: one of :class:`FaultKind`.
            times: how often.
            name: a shell pattern for the machine's name. A request that concerns no single machine has the name "".
            seconds: see :class:`FaultKind`.

        Raises:
            InvalidInput: there is no such kind.
        """
        if kind not in set(FaultKind):
            raise InvalidInput(f"fault: '{kind}' is not known; known faults: {', '.join(FaultKind)}")
        with self._store.transaction(write=True) as db:
            db.execute(
                "INSERT INTO faults (kind, times, name, seconds) VALUES (?, ?, ?, ?)", (str(kind), times, name, seconds)
            )

    def armed(self) -> list[Fault]:
        """What will still happen, in the order of arming."""
        with self._store.transaction() as db:
            rows = db.execute("SELECT kind, times, name, seconds FROM faults ORDER BY id").fetchall()
        return [Fault(FaultKind(row["kind"]), row["times"], row["name"], row["seconds"]) for row in rows]

    def disarm(self, kind: str | None = None) -> None:
        """Take back every fault, or those of one kind."""
        with self._store.transaction(write=True) as db:
            db.execute("DELETE FROM faults WHERE ? IS NULL OR kind = ?", (kind, kind))

    def take(self, kind: FaultKind, name: str = "") -> Fault | None:
        """The armed fault of this kind that strikes now, counted down; ``None`` where there is none."""
        if not any(fault.kind is kind and fnmatchcase(name, fault.name) for fault in self.armed()):
            return None
        with self._store.transaction(write=True) as db:
            for row in db.execute("SELECT * FROM faults WHERE kind = ? ORDER BY id", (kind,)).fetchall():
                if not fnmatchcase(name, row["name"]):
                    continue
                if row["times"] is not None:
                    db.execute("UPDATE faults SET times = times - 1 WHERE id = ?", (row["id"],))
                    db.execute("DELETE FROM faults WHERE times <= 0")
                return Fault(kind, row["times"], row["name"], row["seconds"])
        return None
