"""Finding a thing by its name, and suggesting the nearest one."""

import difflib
import re
from collections.abc import Iterable


def plain(name: str) -> str:
    """A name without case, spaces and separators, for comparing."""
    return re.sub(r"[\s_\-]+", "-", name.strip().lower())


def nearest(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """The known names that look most like ``name``, nearest first; none where nothing does."""
    by_plain = {plain(one): one for one in known}
    close = difflib.get_close_matches(plain(name), list(by_plain), n=count, cutoff=0.5)
    return [by_plain[one] for one in close]


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or the list of what there is where nothing is near."""
    names = sorted(known)
    close = nearest(name, names)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(names)}"
