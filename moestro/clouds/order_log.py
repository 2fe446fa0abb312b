"""Orders whose answer nobody has seen yet, remembered on this machine: one small file each, in Moestro's cache."""

import time
from collections.abc import Callable
from pathlib import Path

from moestro import paths
from moestro.errors import InvalidInput


class OrderLog:
    """When orders were sent that have no known outcome.

    A cloud may take an order, and its client may be killed before the answer arrives. Whoever comes next finds here
    that the machine may be there although the cloud does not list it yet, and looks a while before it orders again.

    Args:
        directory: where the files are; ``None`` remembers nothing.
        now: the clock, in seconds since the epoch.
    """

    def __init__(self, directory: Path | None, now: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now = now

    @classmethod
    def current(cls) -> "OrderLog":
        """The one in Moestro's cache."""
        return cls(paths.cache() / "orders")

    def sent(self, name: str) -> None:
        """An order of the machine ``name`` goes out now.

        Raises:
            InvalidInput: the cache cannot be written. Nothing may be ordered then.
        """
        if self._directory is None:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / name).write_text(repr(self._now()))
        except OSError as error:
            raise InvalidInput(
                f"{self._directory} cannot be written ({error.strerror}), and orders are remembered there: set "
                f"MOESTRO_CACHE to a directory that can"
            ) from None

    def answered(self, name: str) -> None:
        """The outcome of the order of ``name`` is known."""
        if self._directory is not None:
            (self._directory / name).unlink(missing_ok=True)

    def age(self, name: str) -> float | None:
        """Seconds since an order of ``name`` was sent that has no known outcome; ``None`` where there is none."""
        if self._directory is None:
            return None
        try:
            return max(0.0, self._now() - float((self._directory / name).read_text()))
        except (OSError, ValueError):
            return None

    def youngest(self) -> float | None:
        """Seconds since the last order of any name that has no known outcome; ``None`` where there is none."""
        if self._directory is None or not self._directory.is_dir():
            return None
        ages = (self.age(file.name) for file in self._directory.iterdir())
        return min((age for age in ages if age is not None), default=None)


FORGETFUL = OrderLog(None)
