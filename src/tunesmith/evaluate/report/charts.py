"""The charts of the report: scores and differences with their intervals, outcomes, the loss curve."""

from collections.abc import Sequence
from math import ceil

from markupsafe import Markup

from tunesmith.core.page import numbers
from tunesmith.core.page.drawing import DISC, SHARES, Part, Scale, flipped, grid, interval, scale_around, svg
from tunesmith.core.page.drawing import axis as axis  # the page's template takes it from here
from tunesmith.evaluate.report.facts import ComparisonFacts, Difference, LossPoint, SplitFacts
from tunesmith.evaluate.report.facts_models import ModelFacts, Score, SureFacts

MOST_POINTS = 300
"""A longer curve is averaged down to this many points: a page is about 800 pixels wide."""


def difference_scale(differences: Sequence[Difference]) -> Scale:
    """One axis for differences; zero is always on it."""
    low = min([0.0, *(part.low for part in differences), *(part.value for part in differences)])
    high = max([0.0, *(part.high for part in differences), *(part.value for part in differences)])
    return scale_around(min(low, -0.05), max(high, 0.05))


def score_row(score: Score, *, tuned: bool) -> Markup:
    """One model's score with its interval, on the axis of shares."""
    alt = f"{numbers.percent(score.value)}, 95 % interval {numbers.percent_range(score.low, score.high)}"
    style = "tuned" if tuned else "base"
    return svg("row", alt, [*grid(SHARES), *interval(score.low, score.value, score.high, SHARES, style)])


def difference_row(part: Difference, scale: Scale) -> Markup:
    """One scorer's difference with its interval; coloured by the side of zero it lies on."""
    style = {1: "tuned", -1: "wrong", 0: "base"}[part.gain]
    alt = f"{numbers.points(part.value)} points, 95 % interval {gap_range(part)}"
    drawn = interval(part.low, part.value, part.high, scale, style)
    return svg("row", alt, [*grid(scale, zero=True), *drawn])


def gap_range(part: Difference) -> str:
    """'+37 to +57'."""
    return f"{numbers.gap(part.low, part.kind)} to {numbers.gap(part.high, part.kind)}"


def reliability(bins: Sequence[SureFacts]) -> Markup:
    """Share of right answers over confidence, with intervals; the diagonal is where they are equal."""
    parts = [*grid(SHARES), Markup('<line class="zero" x1="0%" y1="100%" x2="100%" y2="0%"/>')]
    spread = Markup('<line class="range base" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    dot = Markup('<svg class="mark base" x="{}" y="{}" overflow="visible">{}</svg>')
    for one in bins:
        x = SHARES.place(one.confidence)
        parts.append(spread.format(x, x, flipped(one.low, SHARES), flipped(one.high, SHARES)))
        parts.append(dot.format(x, flipped(one.right, SHARES), DISC))
    told = (f"sure {numbers.percent(one.confidence)}, right {numbers.percent(one.right)}" for one in bins)
    return svg("reliability", "; ".join(told), parts)


def split_parts(splits: Sequence[SplitFacts]) -> tuple[Part, ...]:
    """Splits as parts of a bar."""
    styles = {"train": "both", "validation": "neither", "test": "tuned"}
    return tuple(
        Part(split.name.replace("_", " "), split.num_rows, styles.get(split.name, "neither"))
        for split in splits
    )


def account_parts(accounting: Sequence[tuple[str, int]]) -> tuple[Part, ...]:
    """What became of every input row, as parts of a bar."""
    styles = {"kept": "both", "changed": "tuned", "refused": "wrong"}
    return tuple(Part(name, amount, styles.get(name, "neither")) for name, amount in accounting)


def outcomes(first: ModelFacts, second: ModelFacts, comparison: ComparisonFacts) -> tuple[Part, ...]:
    """Items by what became of them; a scorer that gives more than 0 and 1 has no "right", only "better"."""
    both = [(first.samples[key], after) for key, after in second.samples.items() if key in first.samples]
    name, main = comparison.primary, comparison.main
    pairs = [(a.scores[name], b.scores[name]) for a, b in both if name in a.scores and name in b.scores]
    if both and not pairs:  # people's verdicts are no score of the reports
        return ()
    sign = -1 if main is not None and main.better == "lower" else 1
    gained, lost = sum(sign * (b - a) > 0 for a, b in pairs), sum(sign * (b - a) < 0 for a, b in pairs)
    if {value for pair in pairs for value in pair} <= {0, 1}:
        return (
            Part("wrong before, right now", gained, "tuned"),
            Part("right in both", pairs.count((1, 1)), "both"),
            Part("wrong in both", pairs.count((0, 0)), "neither"),
            Part("right before, wrong now", lost, "wrong"),
        )
    same = len(pairs) - gained - lost
    return (
        Part("better now", gained, "tuned"),
        Part("the same", same, "neither"),
        Part("worse now", lost, "wrong"),
    )


def parameter_parts(trainable: int, total: int) -> tuple[Part, ...]:
    """Learned and frozen parameters as parts of a bar."""
    return Part("learned", trainable, "tuned"), Part("frozen", total - trainable, "neither")


def thinned(points: Sequence[LossPoint]) -> list[LossPoint]:
    """At most MOST_POINTS points: neighbours are averaged, the ends of the curve stay in it."""
    width = ceil(len(points) / MOST_POINTS) if points else 1
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    return [
        LossPoint(sum(p.step for p in group) / len(group), sum(p.loss for p in group) / len(group))
        for group in groups
    ]


def loss_curve(train: Sequence[LossPoint], validation: Sequence[LossPoint], best: LossPoint | None) -> Markup:
    """Loss against steps: training thin, validation strong with its points, the best checkpoint ringed."""
    points = [*train, *validation]
    if not points:
        return Markup("")
    x = scale_around(0, max(point.step for point in points), parts=6)
    x = Scale(0, max(point.step for point in points) or 1, x.ticks)
    y = scale_around(0, max(point.loss for point in points) or 1, parts=5)
    alt = loss_alt(train, validation, best)
    drawn = [*loss_grid(x, y), line_of(thinned(train), x, y, "train")]
    drawn.append(line_of(validation, x, y, "validation"))
    dot = Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>')
    drawn += [dot.format("point", x.place(p.step), flipped(p.loss, y), 3.5) for p in validation]
    if best is not None:
        drawn.append(dot.format("best", x.place(best.step), flipped(best.loss, y), 8))
        drawn.append(best_label(best, x, y))
    return svg("loss", alt, drawn)


def loss_alt(train: Sequence[LossPoint], validation: Sequence[LossPoint], best: LossPoint | None) -> str:
    """The curve in words."""
    parts = []
    for name, points in (("Training", train), ("Validation", validation)):
        if points:
            parts.append(f"{name} loss from {points[0].loss:.3g} to {points[-1].loss:.3g}")
    if best is not None:
        parts.append(f"best checkpoint at step {numbers.count(best.step)}")
    return ", ".join(parts)


def loss_grid(x: Scale, y: Scale) -> list[Markup]:
    """Horizontal lines with losses at their left, steps below."""
    parts = []
    line = Markup('<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>')
    label = Markup('<text x="-10" y="{}" dy=".35em" text-anchor="end">{}</text>')
    for tick in y.ticks:
        height = flipped(tick, y)
        parts += [line.format(height, height), label.format(height, f"{tick:g}")]
    step = Markup('<text x="{}" y="100%" dy="20" text-anchor="middle">{}</text>')
    parts += [step.format(x.place(tick), numbers.count(tick)) for tick in x.ticks if tick <= x.high]
    return parts


def line_of(points: Sequence[LossPoint], x: Scale, y: Scale, style: str) -> Markup:
    """A line stretched over the whole drawing; the stroke keeps its width."""
    if len(points) < 2:
        return Markup("")
    width, height = 1000 / (x.high - x.low), 1000 / (y.high - y.low)
    places = " ".join(f"{(p.step - x.low) * width:.1f},{(y.high - p.loss) * height:.1f}" for p in points)
    return Markup(
        '<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%"'
        ' overflow="visible">'
        '<polyline class="{}" points="{}" vector-effect="non-scaling-stroke"/></svg>'
    ).format(style, places)


def best_label(best: LossPoint, x: Scale, y: Scale) -> Markup:
    """Words above the ring, turned inward near the right edge."""
    late = (best.step - x.low) / (x.high - x.low) > 0.6
    text = f"best checkpoint: {best.loss:.3g} at step {numbers.count(best.step)}"
    return Markup('<text class="note" x="{}" y="{}" dy="-16" text-anchor="{}">{}</text>').format(
        x.place(best.step), flipped(best.loss, y), "end" if late else "start", text
    )
