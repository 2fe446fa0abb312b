"""How figures are written: one place for units, separators and what stands for an unknown."""

import shlex
from collections.abc import Sequence

from moestro.planning.plan import Layout, Plan

UNKNOWN = "unknown"
NO_PRICE = "no price known"


def gib(value: float) -> str:
    """GiB with two decimals."""
    return f"{value:.2f} GiB"


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def usd(value: float | None, digits: int = 2) -> str:
    """An amount without its currency, which the heading says."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def short_count(value: float) -> str:
    """1.61M, 835k, 512."""
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    return f"{value / 1e3:.0f}k" if value >= 1e4 else f"{value:,.0f}"


def machine(plan: Plan) -> str:
    """Such as ``8x H200_SXM5``, with the nodes where there are several."""
    nodes = plan.layout.nodes
    return f"{plan.count}x {plan.gpu}" + (f" over {nodes} nodes" if nodes > 1 else "")


def layout(value: Layout) -> str:
    """A layout without the sizes that are 1, such as ``TP8 EP8``."""
    kept = [part for part in str(value).split(" ") if part not in ("TP1", "PP1", "DP1")]
    return " ".join(kept) or "one GPU"


def command(argv: Sequence[str], env: dict[str, str]) -> str:
    """A launch as one would type it: a variable or an option a line."""
    lines = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    line: list[str] = []
    for argument in argv:
        if argument.startswith("--") and line:
            lines.append(" ".join(line))
            line = []
        line.append(shlex.quote(argument))
    return " \\\n  ".join([*lines, " ".join(line)])
