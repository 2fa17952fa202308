"""Curves in the terminal, drawn with braille dots: two by four in a character."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.text import Text

STYLES = ("cyan", "yellow", "green", "magenta", "red", "blue")
BLOCKS = "▁▂▃▄▅▆▇█"
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of a braille character by row and column of the dot (Unicode 16, block U+2800)."""


class Points(NamedTuple):
    """One curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Scale(NamedTuple):
    """A range of values on so many dots."""

    low: float
    high: float
    dots: int

    def place(self, value: float) -> int:
        """The dot of a value, from 0; the middle where all values are one."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return round(share * (self.dots - 1))


def sparkline(values: Sequence[float], *, width: int = 32) -> str:
    """A curve in one line: the mean of each share of the values."""
    shares = min(width, len(values))
    cuts = [len(values) * part // shares for part in range(shares + 1)] if shares else []
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(cuts)]
    scale = Scale(min(means, default=0.0), max(means, default=0.0), len(BLOCKS))
    return "".join(BLOCKS[scale.place(value)] for value in means)


def plot(curves: Sequence[Points], *, width: int, height: int) -> Text:
    """Curves over a common range, each in its colour, with the range at the sides and the names below."""
    across = Scale(*span([value for curve in curves for value in curve.x]), 2 * width)
    up = Scale(*span([value for curve in curves for value in curve.y]), 4 * height)
    cells: dict[tuple[int, int], tuple[int, int]] = {}
    for number, curve in enumerate(curves):
        for column, row in line(curve, across, up):
            place = (4 * height - 1 - row) // 4, column // 2
            bit = DOTS[(4 * height - 1 - row) % 4][column % 2]
            cells[place] = (cells.get(place, (0, 0))[0] | bit, number)
    drawn = Text()
    flat = up.low == up.high
    labels = {height // 2: f"{up.low:.4g}"} if flat else {height - 1: f"{up.low:.4g}", 0: f"{up.high:.4g}"}
    for row in range(height):
        label = labels.get(row, "")
        drawn.append(f"{label:>9} ┤", style="dim")
        for column in range(width):
            bits, number = cells.get((row, column), (0, 0))
            drawn.append(chr(0x2800 + bits) if bits else " ", style=STYLES[number % len(STYLES)])
        drawn.append("\n")
    left, right = f"{across.low:g}", f"{across.high:g}" if across.low < across.high else ""
    drawn.append(f"{'':>10}└{'─' * width}\n{'':>11}{left}{right:>{width - len(left)}}\n", style="dim")
    for number, curve in enumerate(curves):
        ends = f"{curve.y[0]:.4g} → {curve.y[-1]:.4g}" if curve.y else ""
        drawn.append(f"{'':>11}━ {curve.name}  {ends}\n", style=STYLES[number % len(STYLES)])
    drawn.rstrip()
    return drawn


def span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest."""
    return min(values), max(values)


def line(curve: Points, across: Scale, up: Scale) -> list[tuple[int, int]]:
    """Dots of a curve, its points joined by straight lines."""
    places = [(across.place(x), up.place(y)) for x, y in zip(curve.x, curve.y, strict=True)]
    dots = places[:1]
    for (x0, y0), (x1, y1) in pairwise(places):
        count = max(abs(x1 - x0), abs(y1 - y0), 1)
        dots += [
            (round(x0 + (x1 - x0) * part / count), round(y0 + (y1 - y0) * part / count))
            for part in range(1, count + 1)
        ]
    return dots
