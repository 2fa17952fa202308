"""From probes to what all the data, and more of it, are expected to bring."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tunesmith.core.stats.curves import FEWEST_SIZES, Curve, fit_curve
from tunesmith.core.stats.forecast import Answers, Expected, Forecast
from tunesmith.core.stats.observed import Observed
from tunesmith.decide.probing import Item, Probing
from tunesmith.decide.schema import Gain

ERROR_SHARE = 0.01
"""Standard error of a probe's loss as a share of it; what they scatter more is seen and counted."""
MOST_TIMES = 16
"""How many times the data the search for enough rows goes."""
STEPS_A_DOUBLING = 4


class Outlook(Protocol):
    """What a score would be after training on so many rows."""

    def at(self, size: float) -> Expected:
        """Score and gain."""
        ...


class Expectation(NamedTuple):
    """What more rows bring, how many the target needs, and the curve of the losses."""

    gains: list[Gain]
    rows_needed: int | None


def expectation(
    state: Probing, prompted: Mapping[str, float], target: float, seen: int
) -> Expectation | None:
    """What the probes let one expect, or None when they are too few.

    `prompted`: scores of the best prompt by item.  `seen`: rows that the proposed training has time for.
    """
    if len({one.rows for one in state.probes}) < FEWEST_SIZES:
        return None
    largest = state.largest
    runs = [items for (rows, _), items in sorted(state.items.items()) if rows == largest]
    outlook, curve = outlook_of(state, runs, prompted, largest)
    sizes = sorted({largest, max(1, seen), state.rows, 2 * state.rows})
    gains = [gain_at(outlook, curve, size) for size in sizes]
    return Expectation(gains, rows_needed(outlook, state.rows, target))


def outlook_of(
    state: Probing, runs: Sequence[Sequence[Item]], prompted: Mapping[str, float], largest: int
) -> tuple[Outlook, Curve | None]:
    """By losses where the model has them, else by the answers' own scores."""
    sizes = [one.rows for one in state.probes]
    seed = state.config.seed
    if not state.has_losses:
        scores = [one.score or 0.0 for one in state.probes]
        baseline = [prompted.get(one.id, np.nan) for one in runs[0]]
        score_SI = np.array([[one.score or 0.0 for one in items] for items in runs])
        groups = [one.group_id for one in runs[0]]
        return Observed.of(sizes, scores, score_SI, np.array(baseline), groups, seed=seed), None
    losses = [one.loss or 0.0 for one in state.probes]
    curve = fit_curve(sizes, losses, [max(1e-6, ERROR_SHARE * loss) for loss in losses], seed=seed)
    answers = answers_of(runs, prompted)
    return Forecast(curve, largest, answers, seed), curve


def answers_of(runs: Sequence[Sequence[Item]], prompted: Mapping[str, float]) -> Answers:
    """Scores and losses of the items that every run was scored on."""
    numbers = range(len(runs[0]))
    common = [place for place in numbers if all(items[place].loss is not None for items in runs)]
    chosen = [[items[place] for place in common] for items in runs]
    return Answers(
        score_SI=np.array([[one.score or 0.0 for one in items] for items in chosen]),
        loss_SI=np.array([[one.loss or 0.0 for one in items] for items in chosen]),
        token_I=np.array([float(one.tokens) for one in chosen[0]]),
        prompted_I=np.array([prompted.get(one.id, np.nan) for one in chosen[0]]),
        groups=[one.group_id for one in chosen[0]],
    )


def gain_at(outlook: Outlook, curve: Curve | None, size: int) -> Gain:
    """What so many rows are expected to reach."""
    expected = outlook.at(size)
    loss = curve.at(size) if curve is not None else None
    return Gain(
        rows=size,
        score=expected.score.value,
        low=expected.score.low,
        high=expected.score.high,
        gain=expected.gain.value,
        gain_low=expected.gain.low,
        gain_high=expected.gain.high,
        loss=loss.value if loss else None,
        loss_low=loss.low if loss else None,
        loss_high=loss.high if loss else None,
    )


def rows_needed(outlook: Outlook, rows: int, target: float) -> int | None:
    """The fewest rows whose expected score reaches the target, in steps of a fifth; None beyond all."""
    steps = STEPS_A_DOUBLING * int(np.log2(MOST_TIMES))
    for step in range(-steps, steps + 1):
        size = round(rows * 2 ** (step / STEPS_A_DOUBLING))
        if size >= 1 and outlook.at(size).score.value >= target:
            return size
    return None
