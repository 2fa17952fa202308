"""The interval of a mean difference that was measured on the same items with several seeds.

Legend of array names: S seeds, N items, G groups of items.
"""

from collections.abc import Hashable, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]


class CrossedInterval(NamedTuple):
    """A mean with its interval."""

    value: float
    low: float
    high: float
    items: int
    groups: int
    seeds: int
    method: str


def crossed_interval(
    differences_SN: ArrayLike, groups: Sequence[Hashable], *, confidence: float = 0.95
) -> CrossedInterval:
    """Interval for other seeds and other items alike: both are samples, and every seed sees every item.

    Two crossed random effects (Cornfield & Tukey 1956): the variance of the mean has a part from seeds,
    MS_seeds / (S·G), and one from groups, max(0, MS_groups − MS_residual) / (S·G).  Each is widened by the
    t quantile of its own degrees of freedom, S − 1 and G − 1, before they are added: Satterthwaite's common
    degrees cover .91 to .93 with two or three seeds, this .95 and more.  A bootstrap over three seeds would
    be too narrow.  With one seed it is an interval over items only.
    """
    change_SN = np.atleast_2d(np.asarray(differences_SN, dtype=np.float64))
    change_SG = by_group(change_SN, groups)
    seeds, num_groups = change_SG.shape
    value = float(change_SG.mean())
    if num_groups < 2:
        return CrossedInterval(value, -np.inf, np.inf, change_SN.shape[1], num_groups, seeds, "one group")
    seed_means, group_means = change_SG.mean(1), change_SG.mean(0)
    of_groups = seeds * float(group_means.var(ddof=1))
    scale = 1 / (seeds * num_groups)
    if seeds == 1:
        squared, method = (
            (quantile(num_groups - 1, confidence) ** 2) * of_groups * scale,
            "t over groups, one seed",
        )
    else:
        residual_SG = change_SG - seed_means[:, None] - group_means[None, :] + value
        residual = float((residual_SG**2).sum()) / ((seeds - 1) * (num_groups - 1))
        of_seeds = max(num_groups * float(seed_means.var(ddof=1)), residual)
        more = max(0.0, of_groups - residual)
        squared = scale * (
            quantile(seeds - 1, confidence) ** 2 * of_seeds + quantile(num_groups - 1, confidence) ** 2 * more
        )
        method = f"crossed random effects of {seeds} seeds and {num_groups} groups of items"
    half = sqrt(squared)
    return CrossedInterval(value, value - half, value + half, change_SN.shape[1], num_groups, seeds, method)


def quantile(freedom: int, confidence: float) -> float:
    """Two-sided quantile of Student's t."""
    return float(special.stdtrit(freedom, 0.5 + confidence / 2))


def by_group(values_SN: Floats, groups: Sequence[Hashable]) -> Floats:
    """(S, G): each group's part of the mean, scaled so that the mean over groups is that over items."""
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=int)
    sums = [np.bincount(index, values_N, len(numbers)) for values_N in values_SN]
    scaled: Floats = np.array(sums, dtype=np.float64) * (len(numbers) / max(1, values_SN.shape[1]))
    return scaled
