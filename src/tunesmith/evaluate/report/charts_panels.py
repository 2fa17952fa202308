"""Charts of the panels: quality against latency, what several answers are worth."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from tunesmith.core.page import numbers
from tunesmith.core.page.drawing import DIAMOND, DISC, SHARES, Scale, flipped, scale_around, svg
from tunesmith.evaluate.report.charts import line_of
from tunesmith.evaluate.report.facts import LossPoint
from tunesmith.evaluate.report.facts_models import ModelFacts, PassFacts, Score

LONGEST_LABEL = 44
GAP = 0.085
"""Least distance of two labels, as a share of the drawing's height: a line of text."""


MOST_TICKS = 12
LOW = 0.12
"""A share whose point stands within a line of text above the axis."""
LETTER = 0.0107
"""Width of a letter of a label, as a share of the drawing's width on a page of the usual width."""


class Mark(NamedTuple):
    """A model in the plane of seconds and quality."""

    label: str
    tuned: bool
    seconds: float
    score: Score


class Dot(NamedTuple):
    """A place in a drawing, as shares of its width and height."""

    right: float
    down: float


def marks(models: Sequence[ModelFacts], scorer: str) -> list[Mark]:
    """The models that have both a time and this score."""
    found = [(model, model.score(scorer), model.speed.median_seconds) for model in models]
    return [
        Mark(model.label, model.tuned, seconds, score)
        for model, score, seconds in found
        if score is not None and seconds is not None
    ]


def tradeoff(found: Sequence[Mark]) -> Markup:
    """Quality with its interval over median seconds for one answer; the better corner is the upper left."""
    if not found:
        return Markup("")
    kind = found[0].score.kind
    x = scale_around(0, max(mark.seconds for mark in found) * 1.05, parts=6)
    y = SHARES if kind != "number" else scale_around(*span([mark.score for mark in found]))
    parts = axes(x, y, numbers.seconds, lambda value: numbers.figure(value, kind))
    dots = [Dot(mark.seconds / x.high, (y.high - mark.score.value) / (y.high - y.low)) for mark in found]
    places = spread([dot.down for dot in dots])
    for at, (mark, place) in enumerate(zip(found, places, strict=True)):
        others = [dot for other, dot in enumerate(dots) if other != at]
        before = stands_before(Dot(dots[at].right, place), len(shortened(mark.label)) * LETTER, others)
        parts += drawn(mark, place, x, y, before=before)
    told = (
        f"{mark.label}: {numbers.figure(mark.score.value, kind)} at {numbers.seconds(mark.seconds)}"
        for mark in found
    )
    return svg("plane", "; ".join(told), parts)


def passes(found: Sequence[PassFacts]) -> Markup:
    """pass@k and pass^k over k: at least one of so many answers right, and all of them."""
    most = found[-1].k
    width = 1 + (most - 1) // MOST_TICKS
    x = Scale(1, most, tuple(range(1, most + 1, width)))
    parts = axes(x, SHARES, numbers.count, numbers.percent)
    told = []
    low = found[-1].all_right < LOW  # no room for words between the curve and the axis
    high = -28 if low and found[-1].any_right - found[-1].all_right < LOW else -12
    curves = (
        ("validation", "at least one right", [LossPoint(one.k, one.any_right) for one in found], high),
        ("train", "all right", [LossPoint(one.k, one.all_right) for one in found], -12 if low else 20),
    )
    dot = Markup('<circle class="{}" cx="{}" cy="{}" r="3.5"/>')
    name = Markup('<text class="note" x="100%" y="{}" dy="{}" text-anchor="end">{}</text>')
    for style, label, points, below in curves:
        parts.append(line_of(points, x, SHARES, style))
        marks = "point" if style == "validation" else "point second"
        parts += [dot.format(marks, x.place(one.step), flipped(one.loss, SHARES)) for one in points]
        last = points[-1]
        said = f"{label}: {numbers.percent(last.loss)} of {numbers.count(last.step)}"
        parts.append(name.format(flipped(last.loss, SHARES), below, label))
        told.append(said)
    return svg("plane", "; ".join(told), parts)


def span(scores: Sequence[Score]) -> tuple[float, float]:
    """The smallest and the largest end of some intervals."""
    ends = [end for score in scores for end in (score.low, score.value, score.high) if end is not None]
    return min(ends), max(ends)


def axes(x: Scale, y: Scale, name_x: Callable[[float], str], name_y: Callable[[float], str]) -> list[Markup]:
    """Horizontal lines with values at their left, values of the other axis below."""
    line = Markup('<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>')
    left = Markup('<text x="-10" y="{}" dy=".35em" text-anchor="end">{}</text>')
    below = Markup('<text x="{}" y="100%" dy="20" text-anchor="middle">{}</text>')
    parts = []
    for tick in y.ticks:
        height = flipped(tick, y)
        parts += [line.format(height, height), left.format(height, name_y(tick))]
    return [*parts, *(below.format(x.place(tick), name_x(tick)) for tick in x.ticks)]


def spread(heights: Sequence[float]) -> list[float]:
    """Heights (0 at the top, 1 at the bottom) moved apart as far as lines of text need it."""
    gap = min(GAP, 1 / max(1, len(heights)))
    order = sorted(range(len(heights)), key=lambda at: heights[at])
    places, free = list(heights), 0.0
    for at in order:
        places[at] = free = max(heights[at], free)
        free += gap
    most = 1.0
    for at in reversed(order):
        places[at] = most = min(places[at], most)
        most -= gap
    return places


def stands_before(dot: Dot, width: float, others: Sequence[Dot]) -> bool:
    """Whether a label stands better at the left of its mark: no room at the right, or another mark there."""
    level = [other.right for other in others if abs(other.down - dot.down) < GAP]
    after_is_free = dot.right + width < 1 and not any(0 <= at - dot.right < width for at in level)
    before_is_free = dot.right - width > 0 and not any(0 <= dot.right - at < width for at in level)
    return not after_is_free and (before_is_free or dot.right > 0.5)


def drawn(mark: Mark, place: float, x: Scale, y: Scale, *, before: bool) -> list[Markup]:
    """A mark with its interval, and its name before or behind it."""
    style, at, height = "tuned" if mark.tuned else "base", x.place(mark.seconds), flipped(mark.score.value, y)
    parts = []
    if mark.score.low is not None and mark.score.high is not None:
        line = Markup('<line class="range {}" x1="{}" x2="{}" y1="{}" y2="{}"/>')
        parts.append(line.format(style, at, at, flipped(mark.score.low, y), flipped(mark.score.high, y)))
    dot = Markup('<svg class="mark {}" x="{}" y="{}" overflow="visible">{}</svg>')
    parts.append(dot.format(style, at, height, DIAMOND if mark.tuned else DISC))
    text = Markup('<text class="note" x="{}" y="{}" dx="{}" dy=".35em" text-anchor="{}">{}</text>')
    side = (-12, "end") if before else (12, "start")
    return [*parts, text.format(at, f"{100 * place:.2f}%", *side, shortened(mark.label))]


def shortened(label: str) -> str:
    """A name that fits beside its mark."""
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
