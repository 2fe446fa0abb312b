"""Finding a thing by its name, and suggesting the nearest one."""

import difflib
import re
from collections.abc import Iterable


def plain(name: str) -> str:
    """A name without case, spaces and separators, for comparing."""
    return re.sub(r"[\s_\-]+", "-", name.strip().lower())


def nearest(name: str, known: Iterable[str], count: int = 1, cutoff: float = 0.5) -> list[str]:
    """The known names that look most like ``name``, nearest first; none where nothing is alike to ``cutoff`` of 1."""
    by_plain = {plain(one): one for one in known}
    close = difflib.get_close_matches(plain(name), list(by_plain), n=count, cutoff=cutoff)
    return [by_plain[one] for one in close]
