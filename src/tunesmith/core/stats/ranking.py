"""Strengths of several models from comparisons of their answers: Bradley and Terry (1952), with intervals.

A tie is half a win for both.  With features of style (Li et al. 2024, "Does style matter?", Chatbot Arena)
the strengths are those at equal style: how long and how decorated an answer is then explains its own part of
the wins.

Legend: C comparisons, M models, S features of style.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from tunesmith.core.stats.intervals import Floats, Groups

PENALTY = 0.01
"""Weight of the squared strengths in the loss: a model that won every time stays finite."""
RESAMPLES = 500


class Comparisons(NamedTuple):
    """Who was compared with whom, and who won."""

    first_C: NDArray[np.int64]
    """Index of the model that stands first."""
    second_C: NDArray[np.int64]
    """Index of the other."""
    won_C: Floats
    """1 when the first won, 0 when the second did, 0.5 for a tie."""
    style_CS: Floats
    """Style of the first minus style of the second, standardised; no columns without style control."""

    @classmethod
    def of(
        cls, first: ArrayLike, second: ArrayLike, won: ArrayLike, style: ArrayLike | None = None
    ) -> "Comparisons":
        """Checked arrays, with style features scaled to a standard deviation of 1 around no difference."""
        first_C, second_C = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
        won_C = np.asarray(won, dtype=float)
        style_CS = np.zeros((len(won_C), 0)) if style is None else np.asarray(style, dtype=float)
        if not len(first_C) == len(second_C) == len(won_C) == len(style_CS):
            raise ValueError("each comparison needs two models, an outcome and its style")
        scale_S = np.sqrt((style_CS**2).mean(axis=0)) if len(won_C) else np.ones(style_CS.shape[1])
        return cls(first_C, second_C, won_C, style_CS / np.where(scale_S > 0, scale_S, 1.0))

    def picked(self, index: NDArray[np.int64]) -> "Comparisons":
        """These comparisons, in this order."""
        first_C, second_C, won_C, style_CS = self
        return Comparisons(first_C[index], second_C[index], won_C[index], style_CS[index])


class Strength(NamedTuple):
    """One model's place: log-odds against the average of all, and the chance to win against it."""

    value: float
    low: float
    high: float
    chance: float
    """Probability that its answer wins against the average model's."""
    best_rank: int
    worst_rank: int
    """Ranks that its interval allows: others wholly above it, and others not wholly below it."""


class Ranking(NamedTuple):
    """Strengths in the order of the models, and the weight of each feature of style."""

    strengths: list[Strength]
    style_S: Floats


def style_difference(first: ArrayLike, second: ArrayLike) -> Floats:
    """(a − b) / (a + b) of each feature (C, S): the relative difference; 0 where neither answer has any."""
    a_CS, b_CS = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    both_CS = a_CS + b_CS
    relative_CS: Floats = np.divide(a_CS - b_CS, both_CS, out=np.zeros_like(both_CS), where=both_CS > 0)
    return relative_CS


def fit(comparisons: Comparisons, num_models: int, *, penalty: float = PENALTY) -> tuple[Floats, Floats]:
    """Strengths (M), which sum to 0, and weights of style (S), of highest penalised likelihood."""
    from scipy.optimize import minimize  # a sixth of a second that only rankings need

    first_C, second_C, won_C, style_CS = comparisons

    def loss(parameters: Floats) -> tuple[float, Floats]:
        strength_M, weight_S = parameters[:num_models], parameters[num_models:]
        margin_C = strength_M[first_C] - strength_M[second_C] + style_CS @ weight_S
        value = float((np.logaddexp(0.0, margin_C) - won_C * margin_C).sum())
        error_C = special.expit(margin_C) - won_C
        slope_M = np.bincount(first_C, error_C, num_models) - np.bincount(second_C, error_C, num_models)
        slope = np.concatenate([slope_M, style_CS.T @ error_C]) + 2 * penalty * parameters
        return value + penalty * float(parameters @ parameters), slope

    start = np.zeros(num_models + style_CS.shape[1])
    found: Floats = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-8}
    ).x
    return found[:num_models] - found[:num_models].mean(), found[num_models:]


def rank(
    comparisons: Comparisons,
    num_models: int,
    groups: Groups = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ranking:
    """Strengths with percentile bootstrap intervals over groups (prompts); None: over comparisons."""
    strength_M, style_S = fit(comparisons, num_models)
    drawn = np.array(
        [
            fit(comparisons.picked(index), num_models)[0]
            for index in drawn_groups(len(comparisons.won_C), groups, resamples, seed)
        ]
    )
    tail = (1 - confidence) / 2
    low_M, high_M = np.quantile(drawn, [tail, 1 - tail], axis=0)
    strengths = [
        Strength(
            float(value),
            float(low_M[place]),
            float(high_M[place]),
            float(special.expit(value)),
            best_rank=1 + int((low_M > high_M[place]).sum()),
            worst_rank=num_models - int((high_M < low_M[place]).sum()),
        )
        for place, value in enumerate(strength_M)
    ]
    return Ranking(strengths, style_S)


def drawn_groups(
    num_items: int, groups: Sequence[Hashable] | None, resamples: int, seed: int
) -> list[NDArray[np.int64]]:
    """Indices of items, whole groups drawn with replacement, `resamples` times."""
    generator = np.random.default_rng(seed)
    numbers: dict[Hashable, list[int]] = {}
    for place, group in enumerate(range(num_items) if groups is None else groups):
        numbers.setdefault(group, []).append(place)
    members = [np.array(places, dtype=np.int64) for places in numbers.values()]
    return [
        np.concatenate([members[place] for place in generator.integers(len(members), size=len(members))])
        for _ in range(resamples)
    ]
