"""The self-contained HTML page of a plan: no script, no outside file, readable on paper and in the dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from moestro.report.charts import Bar, Point, cost_scatter, memory_bars
from moestro.report.checks import Check
from moestro.report.explain import Line


@dataclass(frozen=True, slots=True)
class Figure:
    """One headline number with where it comes from."""

    name: str
    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Page:
    """What the page shows; a section with nothing in it is left out."""

    model: str
    fits: bool
    summary: str
    figures: Sequence[Figure] = ()
    bars: Sequence[Bar] = ()
    bars_note: str = ""
    points: Sequence[Point] = ()
    points_note: str = ""
    plans: Sequence[Sequence[str]] = ()
    refused: Sequence[tuple[str, str]] = ()
    arithmetic: Sequence[Line] = ()
    reasons: Sequence[str] = ()
    warnings: Sequence[str] = ()
    checks: Sequence[Check] = ()
    rejected: Sequence[tuple[str, str]] = ()
    launch: str = ""
    footer: str = ""


def render(page: Page) -> str:
    """The page's text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string((files("moestro.report") / "page.html.j2").read_text(encoding="utf-8"))
    bars = Markup(memory_bars(page.bars)) if page.bars else ""
    scatter = Markup(cost_scatter(page.points)) if page.points else ""
    return template.render(page=page, bars=bars, scatter=scatter)
