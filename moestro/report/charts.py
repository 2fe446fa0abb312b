"""Inline SVG: stacked memory bars and the scatter of cost against throughput. Pure text from plain values.

Colours come from the page's style sheet (classes), so that the page's light and dark schemes apply to the drawings too.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 920
_LABEL_WIDTH = 254
_NOTE_WIDTH = 150
_ROW = 40
_BAR = 22
_MARGIN = 56
_HEIGHT = 400
_TEXT_SPACE = 17
_CHARACTER = 7.0


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a bar: ``kind`` is the style class, ``gib`` its size."""

    kind: str
    name: str
    gib: float


@dataclass(frozen=True, slots=True)
class Bar:
    """The memory of one GPU under one plan.

    Attributes:
        total_gib: what the GPU has, as CUDA reports it.
        usable_gib: what the engine may take of it.
        note: said to the right of the bar.
        fits: whether the plan runs; a bar that does not may be longer than its GPU.
    """

    label: str
    segments: tuple[Segment, ...]
    total_gib: float
    usable_gib: float
    note: str = ""
    fits: bool = True
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One plan in the scatter: USD an hour of the whole replica, and its output tokens a second."""

    label: str
    usd_per_hour: float
    tokens_per_second: float
    chosen: bool = False


def memory_bars(bars: Sequence[Bar]) -> str:
    """Stacked bars to one scale, with each GPU's size and the engine's share of it."""
    largest = max(max(bar.total_gib, sum(s.gib for s in bar.segments)) for bar in bars)
    scale = (WIDTH - _LABEL_WIDTH - _NOTE_WIDTH) / largest
    height = len(bars) * _ROW + 34
    rows = "".join(_bar(bar, 8 + index * _ROW, scale) for index, bar in enumerate(bars))
    return _svg(height, "Memory of one GPU under each plan", rows + _gib_axis(len(bars) * _ROW + 6, scale, largest))


def cost_scatter(points: Sequence[Point]) -> str:
    """Throughput against cost, with rays of equal cost per million tokens."""
    right, top = _nice(max(p.usd_per_hour for p in points)), _nice(max(p.tokens_per_second for p in points))
    frame = _Frame(right, top)
    body = "".join([*_grid(frame), *_rays(frame, points), *_dots(frame, points)])
    return _svg(_HEIGHT, "Throughput against cost of each plan", body)


def _svg(height: float, title: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">{body}</svg>'
    )


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def _bar(bar: Bar, y: float, scale: float) -> str:
    usable, total = _LABEL_WIDTH + bar.usable_gib * scale, _LABEL_WIDTH + bar.total_gib * scale
    label = _text(_LABEL_WIDTH - 12, y + 16, bar.label, "chosen" if bar.chosen else "label", "end")
    frame = f'<rect x="{_LABEL_WIDTH}" y="{y}" width="{bar.total_gib * scale:.1f}" height="{_BAR}" class="gpu" rx="3"/>'
    limit = _line(usable, y - 4, usable, y + _BAR + 4, "limit")
    end = max(total, _LABEL_WIDTH + sum(s.gib for s in bar.segments) * scale)
    note = _text(end + 10, y + 16, bar.note, "note" if bar.fits else "bad")
    return label + frame + "".join(_segments(bar.segments, y, scale)) + limit + note


def _segments(segments: Iterable[Segment], y: float, scale: float) -> Iterator[str]:
    x = float(_LABEL_WIDTH)
    for segment in segments:
        width = segment.gib * scale
        tip = f"<title>{escape(segment.name)}: {segment.gib:.1f} GiB</title>"
        shape = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}"'
        yield f'<rect {shape} class="{escape(segment.kind, quote=True)}">{tip}</rect>'
        text = f"{segment.gib:.1f}"
        if width > len(text) * _CHARACTER + 6:
            yield _text(x + width / 2, y + 15.5, text, "inside", "middle")
        x += width


def _gib_axis(y: float, scale: float, largest: float) -> str:
    step = _step(largest)
    ticks = [index * step for index in range(int(largest / step) + 1)]
    parts = [_line(_LABEL_WIDTH, y, _LABEL_WIDTH + largest * scale, y, "axis")]
    for tick in ticks:
        x = _LABEL_WIDTH + tick * scale
        parts += [_line(x, y, x, y + 4, "axis"), _text(x, y + 18, f"{tick:g}", "tick", "middle")]
    return "".join([*parts, _text(WIDTH - _NOTE_WIDTH + 14, y + 18, "GiB per GPU", "tick")])


@dataclass(frozen=True, slots=True)
class _Frame:
    right: float
    top: float

    def x(self, usd: float) -> float:
        return _MARGIN + usd / self.right * (WIDTH - _MARGIN - 20)

    def y(self, tokens: float) -> float:
        return _HEIGHT - 44 - tokens / self.top * (_HEIGHT - 44 - 26)


def _grid(frame: _Frame) -> Iterator[str]:
    for tick in _ticks(frame.top):
        y = frame.y(tick)
        yield _line(_MARGIN, y, WIDTH - 20, y, "grid" if tick else "axis")
        yield _text(_MARGIN - 8, y + 4, f"{tick:,.0f}", "tick", "end")
    for tick in _ticks(frame.right):
        yield _text(frame.x(tick), _HEIGHT - 26, f"${tick:,.0f}", "tick", "middle")
    yield _text(_MARGIN - 8, 14, "tokens/s, estimated", "tick")
    yield _text(WIDTH - 20, _HEIGHT - 6, "USD per hour of one replica", "tick", "end")


def _rays(frame: _Frame, points: Sequence[Point]) -> Iterator[str]:
    """Lines of equal cost per million output tokens: tokens/s = USD/h / 3600 / (USD per million) x 10^6."""
    prices = sorted(p.usd_per_hour / 3600 / p.tokens_per_second * 1e6 for p in points if p.tokens_per_second > 0)
    for price in _round_prices(prices):
        slope = 1e6 / 3600 / price
        usd = min(frame.right, frame.top / slope)
        yield _line(frame.x(0), frame.y(0), frame.x(usd), frame.y(usd * slope), "ray")
        at_side = usd >= frame.right
        dx, dy, anchor = (-4, -6, "end") if at_side else (6, 12, "start")
        yield _text(frame.x(usd) + dx, frame.y(usd * slope) + dy, f"${price:g}/M", "ray-label", anchor)


def _round_prices(prices: Sequence[float]) -> list[float]:
    """At most three 1-2-5 prices within the range of the points."""
    if not prices:
        return []
    decades = range(math.floor(math.log10(prices[0])) - 1, math.ceil(math.log10(prices[-1])) + 1)
    rounds = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    within = [price for price in rounds if prices[0] * 0.6 <= price <= prices[-1] * 1.7]
    return within[:: max(1, math.ceil(len(within) / 3))]


def _dots(frame: _Frame, points: Sequence[Point]) -> Iterator[str]:
    dots = [(frame.x(p.usd_per_hour), frame.y(p.tokens_per_second)) for p in points]
    taken = [(x - 8, y + 4, 16.0) for x, y in dots]  # labels keep off the dots
    for point in sorted(points, key=lambda p: not p.chosen):
        x, y = frame.x(point.usd_per_hour), frame.y(point.tokens_per_second)
        style = "dot chosen-dot" if point.chosen else "dot"
        tip = f"{point.label}: ${point.usd_per_hour:.2f}/h, {point.tokens_per_second:,.0f} tokens/s"
        shape = f'cx="{x:.1f}" cy="{y:.1f}" r="{7 if point.chosen else 5}" class="{style}"'
        yield f"<circle {shape}><title>{escape(tip)}</title></circle>"
        place = _free_place(taken, x, y, len(point.label) * _CHARACTER)
        if place is not None:
            yield _text(*place, point.label, "chosen" if point.chosen else "label")


def _free_place(
    taken: list[tuple[float, float, float]], x: float, y: float, width: float
) -> tuple[float, float] | None:
    """A place for a label beside its dot that no earlier label covers; None in a crowd (the dot has a tooltip)."""
    sides = [x + 10] if x + 10 + width < WIDTH else []
    sides += [x - 10 - width] if x - 10 - width > _MARGIN else []
    for dy in (4, -10, 18, -24, 32):
        for left in sides:
            free = all(abs(y + dy - ty) >= _TEXT_SPACE or left > tx + tw or left + width < tx for tx, ty, tw in taken)
            if free:
                taken.append((left, y + dy, width))
                return left, y + dy
    return None


def _ticks(top: float) -> list[float]:
    step = _step(top)
    return [index * step for index in range(round(top / step) + 1)]


def _step(top: float) -> float:
    """A 1-2-5 step that makes four to nine ticks."""
    power = 10.0 ** math.floor(math.log10(top / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if top / (power * factor) <= 9)


def _nice(value: float) -> float:
    """The next whole step above ``value``, with a little air."""
    step = _step(value * 1.08)
    return math.ceil(value * 1.08 / step) * step
