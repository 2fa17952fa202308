"""What a score would be with more data than was tried: from losses that fall along a curve to answers.

Losses are cheap and vary little, so the learning curve is drawn through them.  At the largest size answers
were scored as well; how likely an item's right answer was there tells how often it is given (a logistic
curve), and the learning curve tells how much likelier it becomes.  Two things are not known, and each is
taken one way in one half of the draws and the other way in the other: whether every item's loss shrinks by
the same factor or by the same amount a token, and whether the logistic curve runs over the loss or over its
logarithm (an answer without any loss is then always given).

Legend: S runs at the largest size, I items, D draws.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tunesmith.core.stats.curves import Curve, Predicted, summary
from tunesmith.core.stats.intervals import Floats

DRAWS = 1000
NEWTON_STEPS = 30
LEVEL_PRIOR, SLOPE_PRIOR, NAT_PRIOR = 10.0, 3.0, 2.0
"""Standard deviations of the logistic curve's level and slope per standard deviation of the loss, the slope
also per nat: weak, and enough to hold it when all answers are right or all are wrong."""
LEAST_LOSS = 1e-3
"""Nats below which a right answer is certain, for logarithms."""


@dataclass(frozen=True)
class Answers:
    """What the runs at the largest size and the best prompt made of the same items."""

    score_SI: Floats
    """Scores from 0 to 1."""
    loss_SI: Floats
    """Negative log-likelihood of the right answers, nats."""
    token_I: Floats
    """Tokens of the right answers."""
    prompted_I: Floats
    """Scores with the best prompt; NaN for items that it was not asked."""
    groups: Sequence[Hashable]
    """Which items are not independent."""

    def scaled(self, losses: Floats, *, logarithmic: bool = False) -> Floats:
        """Losses, or their logarithms, in standard deviations from their mean."""
        seen, asked = self.loss_SI, losses
        if logarithmic:
            seen, asked = (np.log(np.maximum(one, LEAST_LOSS)) for one in (seen, losses))
        found: Floats = (asked - seen.mean()) / (seen.std() or 1.0)
        return found


class Expected(NamedTuple):
    """A score at a size that was not tried, and what it gains on the best prompt."""

    score: Predicted
    gain: Predicted


class Drawn(NamedTuple):
    """Everything that is unsure, as it is in each draw."""

    curve_D: "np.ndarray"
    """Which draw of the curve."""
    weight_DI: Floats
    """How much each item counts."""
    prompted_D: Floats
    """The best prompt's score."""
    level_D: Floats
    slope_D: Floats
    """The logistic curve from an item's loss to its score."""


@dataclass(frozen=True)
class Forecast:
    """The learning curve, the largest size with its answers, and what follows for other sizes."""

    curve: Curve
    size: float
    """Rows of the largest runs."""
    answers: Answers
    seed: int = 0

    def at(self, size: float, *, confidence: float = 0.95) -> Expected:
        """The score after training on `size` rows, over items like these."""
        score_D = self.scores(size)
        gain_D = score_D - self._drawn.prompted_D
        return Expected(summary(score_D, confidence), summary(gain_D, confidence))

    def scores(self, size: float) -> Floats:
        """The mean score for each draw (D)."""
        drawn, answers = self._drawn, self.answers
        later_D, before_D = (self.curve.losses(rows)[drawn.curve_D] for rows in (size, self.size))
        factor_D, fall_D = later_D / np.maximum(before_D, 1e-12), before_D - later_D
        by_factor_D = np.arange(DRAWS) % 2 == 0
        total_D = np.zeros(DRAWS)
        for loss_I in answers.loss_SI:
            shrunk_DI = factor_D[:, None] * loss_I
            lowered_DI = np.maximum(loss_I - fall_D[:, None] * answers.token_I, 0.0)
            later_DI = np.where(by_factor_D[:, None], shrunk_DI, lowered_DI)
            scaled_DI = np.empty_like(later_DI)
            for of_logarithm, draws in LINKS.items():
                scaled_DI[draws] = answers.scaled(later_DI[draws], logarithmic=of_logarithm)
            likely_DI = logistic(drawn.level_D[:, None] + drawn.slope_D[:, None] * scaled_DI)
            total_D += (drawn.weight_DI * likely_DI).sum(axis=1)
        found: Floats = total_D / drawn.weight_DI.sum(axis=1) / len(answers.loss_SI)
        return found

    @cached_property
    def _drawn(self) -> Drawn:
        """Draw everything, always in the same order.

        Half a right and half a wrong answer are added (Jeffreys' prior): nothing seen is not never.
        """
        generator, answers = np.random.default_rng(self.seed), self.answers
        curve_D = generator.integers(len(self.curve.floor_D), size=DRAWS)
        weight_DI = drawn_weights(answers.groups, generator)
        unseen_D2, asked_D2 = generator.standard_gamma(0.5, (2, DRAWS, 2))
        known_I = ~np.isnan(answers.prompted_I)
        right_D = weight_DI[:, known_I] @ answers.prompted_I[known_I] + asked_D2[:, 0]
        prompted_D = right_D / (weight_DI[:, known_I].sum(axis=1) + asked_D2.sum(axis=1))
        runs = len(answers.loss_SI)
        score_J = np.append(answers.score_SI.ravel(), [1.0, 0.0])
        weight_DJ = np.hstack([np.tile(weight_DI / runs, (1, runs)), unseen_D2])
        level_D, slope_D = np.empty(DRAWS), np.empty(DRAWS)
        for of_logarithm, draws in LINKS.items():
            scaled_J = answers.scaled(answers.loss_SI.ravel(), logarithmic=of_logarithm)
            prior = max(SLOPE_PRIOR, 0.0 if of_logarithm else NAT_PRIOR * float(answers.loss_SI.std()))
            loss_J = np.append(scaled_J, [0.0, 0.0])
            level_D[draws], slope_D[draws] = fit_logistic(loss_J, score_J, weight_DJ[draws], prior)
        return Drawn(curve_D, weight_DI, prompted_D, level_D, slope_D)


def drawn_weights(groups: Sequence[Hashable], generator: np.random.Generator) -> Floats:
    """How much each item counts in each draw (D, I): Bayesian bootstrap (Rubin 1981), groups as a whole."""
    _, place_I = np.unique([str(group) for group in groups], return_inverse=True)
    weight_DG = generator.standard_exponential((DRAWS, int(place_I.max()) + 1))
    weight_DI: Floats = weight_DG[:, place_I]
    return weight_DI


def logistic(values: Floats) -> Floats:
    """1 / (1 + e^(−x)), safe at both ends."""
    found: Floats = 1 / (1 + np.exp(-np.clip(values, -40, 40)))
    return found


LINKS = {False: np.arange(DRAWS) % 4 < 2, True: np.arange(DRAWS) % 4 >= 2}
"""Draws whose logistic curve runs over losses, and those where it runs over their logarithms."""


def fit_logistic(
    loss_J: ArrayLike, score_J: ArrayLike, weight_DJ: ArrayLike, slope_prior: float = SLOPE_PRIOR
) -> tuple[Floats, Floats]:
    """Level and slope (D each) of the logistic curve through scores from 0 to 1, for each row of weights.

    Newton's method on the weighted log-likelihood (Papke and Wooldridge 1996 for scores between 0 and 1) with
    weak normal priors; a likelier answer is never a worse one, so the slope is at most 0.
    """
    x_J, y_J = np.asarray(loss_J, dtype=float), np.asarray(score_J, dtype=float)
    w_DJ = np.asarray(weight_DJ, dtype=float)
    level_D, slope_D = np.zeros(len(w_DJ)), np.zeros(len(w_DJ))
    for _ in range(NEWTON_STEPS):
        p_DJ = logistic(level_D[:, None] + slope_D[:, None] * x_J)
        rest_DJ, curved_DJ = w_DJ * (y_J - p_DJ), w_DJ * p_DJ * (1 - p_DJ)
        up_D = rest_DJ.sum(axis=1) - level_D / LEVEL_PRIOR**2
        tilt_D = rest_DJ @ x_J - slope_D / slope_prior**2
        aa_D = curved_DJ.sum(axis=1) + 1 / LEVEL_PRIOR**2
        ab_D, bb_D = curved_DJ @ x_J, curved_DJ @ x_J**2 + 1 / slope_prior**2
        det_D = aa_D * bb_D - ab_D**2
        level_D = level_D + np.clip((bb_D * up_D - ab_D * tilt_D) / det_D, -5, 5)
        slope_D = np.minimum(slope_D + np.clip((aa_D * tilt_D - ab_D * up_D) / det_D, -5, 5), 0.0)
    return level_D, slope_D
