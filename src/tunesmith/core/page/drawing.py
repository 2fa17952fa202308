"""Drawings as inline SVG, without any library.

Horizontal places are percentages, so that a drawing fills the width it gets while its text keeps its
size; colours are classes of `look.css`, so that light, dark and print share one drawing.  Texts are
escaped by `Markup.format`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup

from tunesmith.core.page import numbers


@dataclass(frozen=True, slots=True)
class Scale:
    """A horizontal axis: its ends and its ticks, in the values' own unit."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> str:
        """A value as a share of the width, clamped to the axis."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.2f}%"


SHARES = Scale(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
"""The axis of shares."""


def nice_step(span: float, *, parts: int) -> float:
    """The step of 1, 2 or 5 times a power of ten that cuts a span into at most about `parts`."""
    rough = span / parts
    power: float = 10.0 ** floor(log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def scale_around(low: float, high: float, *, parts: int = 5) -> Scale:
    """An axis with round ticks that holds both ends."""
    step = nice_step(max(high - low, 1e-6), parts=parts)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    ticks = tuple(round(number * step, 10) for number in range(first, max(last, first + 1) + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def svg(kind: str, alt: str, parts: Iterable[Markup]) -> Markup:
    """An image with a title that screen readers speak and pointers show."""
    return Markup('<svg class="{}" role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        kind, alt, alt, Markup("").join(parts)
    )


def grid(scale: Scale, *, zero: bool = False) -> list[Markup]:
    """A thin vertical line at every tick; the zero line stronger when asked."""
    line = Markup('<line class="{}" x1="{}" x2="{}" y1="0" y2="100%"/>')
    return [
        line.format("zero" if zero and tick == 0 else "grid", scale.place(tick), scale.place(tick))
        for tick in scale.ticks
    ]


DISC = Markup('<circle r="5"/>')
DIAMOND = Markup('<path d="M0-7 7 0 0 7-7 0Z"/>')


def interval(low: float | None, value: float, high: float | None, scale: Scale, style: str) -> list[Markup]:
    """A 95 % interval with end caps, and its estimate: a disc, or a diamond for the tuned model."""
    parts = []
    if low is not None and high is not None:
        a, b = scale.place(low), scale.place(high)
        parts.append(Markup('<line class="range {}" x1="{}" x2="{}" y1="50%" y2="50%"/>').format(style, a, b))
        cap = Markup('<line class="range {}" x1="{}" x2="{}" y1="35%" y2="65%"/>')
        parts += [cap.format(style, end, end) for end in (a, b)]
    # A nested svg carries the percentage, so that the diamond's path can stay in pixels.
    mark = Markup('<svg class="mark {}" x="{}" y="50%" overflow="visible">{}</svg>')
    return [*parts, mark.format(style, scale.place(value), DIAMOND if style == "tuned" else DISC)]


def axis(scale: Scale, *, differences: bool = False) -> Markup:
    """Tick labels below rows that share an axis; hidden from screen readers, the rows say their values."""
    text = Markup('<text x="{}" y="12" text-anchor="middle">{}</text>')
    label = numbers.points if differences else numbers.percent
    parts = [text.format(scale.place(tick), label(tick)) for tick in scale.ticks]
    return Markup('<svg class="axis" aria-hidden="true">{}</svg>').format(Markup("").join(parts))


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a stacked bar."""

    label: str
    amount: float
    style: str


def stacked_bar(parts: Sequence[Part]) -> Markup:
    """Shares of a whole, side by side; empty parts are left out."""
    total = sum(part.amount for part in parts)
    if not total:
        return Markup("")
    alt = ", ".join(f"{part.label} {numbers.count(part.amount)}" for part in parts)
    drawn, start = [], 0.0
    block = Markup('<rect class="{}" x="{}%" width="{}%" y="0" height="100%"/>')
    for part in parts:
        width = 100 * part.amount / total
        if width:
            drawn.append(block.format(part.style, f"{start:.2f}", f"{width:.2f}"))
        start += width
    return svg("stack", alt, drawn)


def bar(amount: float, most: float) -> Markup:
    """A bar in a table cell; the cell beside it holds the number."""
    width = 100 * amount / most if most else 0.0
    rect = Markup('<rect x="0" y="0" width="{}%" height="100%" rx="2"/>').format(f"{width:.2f}")
    return Markup('<svg class="bar" aria-hidden="true">{}</svg>').format(rect)


def flipped(value: float, scale: Scale) -> str:
    """A place from the top: SVG's y axis points down."""
    return Scale(-scale.high, -scale.low, ()).place(-value)
