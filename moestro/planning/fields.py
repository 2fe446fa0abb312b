"""Reading one field of a ``config.json``: a mistake becomes one line that names the field, its value and the fix."""

from collections.abc import Mapping
from typing import Any

from moestro.errors import InvalidInput

_FIX = "take config.json from the model's own repository"
_MOST = 1 << 40


class UnknownArchitecture(InvalidInput):
    """The configuration describes something whose memory is not understood.

    Attributes:
        field: the key that is not understood.
        total_bytes: of the weight files, where they are known.
        known: what would be understood in its place, where that is worth telling.
    """

    def __init__(self, field: str, value: object, total_bytes: int | None = None, known: str = "") -> None:
        self.field, self.value, self.total_bytes, self.known = field, value, total_bytes, known
        hint = f" (known are {known})" if known else ""
        what = f"{field} {value!r} is not understood" if value else f"{field} is missing"
        problem = f"config.json: {what}{hint}, so no plan is computed"
        super().__init__(f"{problem}; {self._bounds()}")

    def _bounds(self) -> str:
        if not self.total_bytes:
            return "the weight files' sizes are not known either"
        gib = self.total_bytes / 2**30
        return (
            f"its files hold {gib:.1f} GiB of weights: on N GPUs each needs from {gib:.1f}/N GiB (all split) "
            f"to {gib:.1f} GiB (all replicated), and the KV cache comes on top"
        )


class Fields:
    """The fields of one (possibly nested) configuration."""

    def __init__(self, raw: Mapping[str, Any], where: str = "config.json") -> None:
        self.raw, self._where = raw, where

    def has(self, *names: str) -> bool:
        """Whether one of the names is there and not null."""
        return any(self.raw.get(name) is not None for name in names)

    def integer(self, *names: str, default: int | None = None, least: int = 1, most: int = _MOST) -> int:
        """The first of ``names`` that is set, a whole number from ``least`` to ``most``.

        Raises:
            InvalidInput: it is missing (and has no default), no whole number, or absurd.
        """
        name = next((n for n in names if self.raw.get(n) is not None), None)
        if name is None:
            if default is not None:
                return default
            raise InvalidInput(f"{self._where}: {names[0]} is missing; {_FIX}")
        value = self.raw[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidInput(f"{self._where}: {name} is {value!r}, not a whole number from {least} to {most}; {_FIX}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A true or false field."""
        value = self.raw.get(name, default)
        return bool(value)

    def text(self, name: str, default: str = "") -> str:
        """A text field."""
        value = self.raw.get(name)
        return default if value is None else str(value)

    def items(self, name: str) -> list[Any]:
        """A list field; empty where it is missing.

        Raises:
            InvalidInput: it is something else.
        """
        value = self.raw.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise InvalidInput(f"{self._where}: {name} is {value!r}, not a list; {_FIX}")
        return value
