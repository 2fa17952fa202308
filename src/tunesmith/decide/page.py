"""The page of a plan: the verdict, prompts and what tuning is expected to bring on one axis, the curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from shlex import quote

from markupsafe import Markup

from tunesmith.core import page
from tunesmith.core.page import numbers
from tunesmith.core.page.drawing import (
    DISC,
    SHARES,
    Scale,
    axis,
    flipped,
    grid,
    interval,
    scale_around,
    svg,
)
from tunesmith.decide.schema import DecideResult, Gain, Measurement, Verdict

PAGE = "report.html"
HERE = Path(__file__).parent
HEADLINES: Mapping[Verdict, str] = {
    "base_is_enough": "Do not fine-tune: the base is enough",
    "prompt_is_enough": "Do not fine-tune: a prompt is enough",
    "better_data": "Better data first",
    "fine_tune": "Fine-tune",
    "bigger_model": "A bigger model or machine",
    "cannot_say": "Cannot say yet",
}
LOOKS: Mapping[Verdict, str] = {"fine_tune": "better", "better_data": "worse", "cannot_say": "worse"}
"""How the box looks; the others are plain."""


@dataclass(frozen=True)
class Row:
    """One line of the forest."""

    name: str
    note: str
    value: float
    low: float | None
    high: float | None
    style: str

    def drawing(self, target: float) -> Markup:
        """The score with its interval, and the target."""
        alt = f"{numbers.percent(self.value)}, 95 % interval {numbers.percent_range(self.low, self.high)}"
        aim = Markup('<line class="aim" x1="{0}" x2="{0}" y1="0" y2="100%"/>').format(SHARES.place(target))
        mine = interval(self.low, self.value, self.high, SHARES, self.style)
        return svg("row", alt, [*grid(SHARES), aim, *mine])


def page_of(result: DecideResult) -> str:
    """The whole page as one file."""
    return page.render(
        HERE,
        {"numbers": numbers, "axis": axis(SHARES)},
        result=result,
        headline=HEADLINES[result.verdict],
        look=LOOKS.get(result.verdict, ""),
        prompts=[prompt_row(one) for one in result.measurements],
        bigger=[prompt_row(one, model=True) for one in result.bigger],
        tuned=[*probe_rows(result), *(gain_row(one, result) for one in result.forecast)],
        aim=target_label(result.target),
        curve=curve(result),
        commands=commands(result),
    )


def prompt_row(one: Measurement, *, model: bool = False) -> Row:
    """A prompt as it was measured."""
    name = f"{one.model}, {words(one.prompt)}" if model else words(one.prompt)
    note = f"{one.n} items, {numbers.count(one.prompt_tokens)} tokens"
    return Row(name, note, one.value, one.low, one.high, "base")


def words(prompt: str) -> str:
    """'few_shot_4' → 'few shot 4'."""
    return prompt.replace("_", " ")


def probe_rows(result: DecideResult) -> list[Row]:
    """Probes whose answers were scored."""
    return [
        Row(
            f"trained on {numbers.count(one.rows)} rows",
            f"seed {one.seed}, measured",
            one.score,
            None,
            None,
            "tuned",
        )
        for one in result.probes
        if one.score is not None
    ]


def gain_row(gain: Gain, result: DecideResult) -> Row:
    """What so many rows are expected to reach."""
    whole = " (all)" if gain.rows == result.rows["train"] else ""
    name = f"{numbers.count(gain.rows)} rows{whole}"
    low, high = numbers.points(gain.gain_low), numbers.points(gain.gain_high)
    note = f"expected, {numbers.points(gain.gain)} ({low} to {high})"
    return Row(name, note, gain.score, gain.low, gain.high, "tuned")


def target_label(target: float) -> Markup:
    """The name of the line that runs through all rows of the forest."""
    text = Markup('<text class="note" x="{}" y="12" text-anchor="{}">target {}</text>')
    anchor = "end" if target > 0.9 else "start" if target < 0.1 else "middle"
    label = text.format(SHARES.place(target), anchor, numbers.percent(target))
    return svg("aim", f"target {numbers.percent(target)}", [label])


def curve(result: DecideResult) -> Markup:
    """Losses of the probes over rows (doubling to the right), and the expected ones with their intervals."""
    measured = [(one.rows, one.loss) for one in result.probes if one.loss is not None]
    expected = [one for one in result.forecast if one.loss is not None]
    if not measured or not expected:
        return Markup("")
    rows = [count for count, _ in measured] + [one.rows for one in expected]
    x = Scale(log2(min(rows)) - 0.3, log2(max(rows)) + 0.3, tuple(log2(count) for count in sorted(set(rows))))
    highest = max([loss for _, loss in measured] + [one.loss_high or 0.0 for one in expected])
    y = scale_around(0, highest)
    dot = Markup('<circle class="point" cx="{}" cy="{}" r="4"/>')
    parts = [*lines(x, y), *(whisker(one, x, y) for one in expected)]
    parts += [dot.format(x.place(log2(count)), flipped(loss, y)) for count, loss in measured]
    told = "; ".join(f"{count} rows {loss:.3f}" for count, loss in measured)
    return svg("learning", f"loss by rows: {told}", parts)


def lines(x: Scale, y: Scale) -> list[Markup]:
    """Losses at the left, rows below."""
    level = Markup('<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>')
    label = Markup('<text x="-10" y="{}" dy=".35em" text-anchor="end">{}</text>')
    below = Markup('<text x="{}" y="100%" dy="20" text-anchor="middle">{}</text>')
    parts = []
    for tick in y.ticks:
        height = flipped(tick, y)
        parts += [level.format(height, height), label.format(height, f"{tick:g}")]
    return parts + [below.format(x.place(tick), numbers.count(2**tick)) for tick in x.ticks]


def whisker(gain: Gain, x: Scale, y: Scale) -> Markup:
    """An expected loss with its interval, standing upright."""
    place = x.place(log2(gain.rows))
    low, high = flipped(gain.loss_low or 0.0, y), flipped(gain.loss_high or 0.0, y)
    line = Markup('<line class="range tuned" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        place, place, low, high
    )
    mark = Markup('<svg class="mark open" x="{}" y="{}" overflow="visible">{}</svg>')
    return line + mark.format(place, flipped(gain.loss or 0.0, y), DISC)


def commands(result: DecideResult) -> Sequence[str]:
    """What to do next."""
    recipe = quote(str(result.folder / result.recipe))
    prompt = quote(str(result.folder / result.best_prompt))
    by_verdict: Mapping[Verdict, Sequence[str]] = {
        "fine_tune": [f"tunesmith train {recipe}"],
        "base_is_enough": [f"tunesmith serve {quote(result.model)}"],
        "prompt_is_enough": [f"tunesmith evaluate {quote(result.data)} --prompt {prompt}"],
        "better_data": [
            f"tunesmith data check {quote(result.data)}",
            f"tunesmith data pool --labelled {quote(result.data)} --pool FILE",
        ],
        "bigger_model": [f"tunesmith train {recipe} --check"],
        "cannot_say": [f"tunesmith decide {quote(result.data)} --budget-minutes 60"],
    }
    return by_verdict[result.verdict]
