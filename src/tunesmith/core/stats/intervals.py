"""Intervals of a share and of a mean, with items that belong together in groups."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]
Groups = Sequence[Hashable] | None
BootstrapMethod = Literal["percentile", "bca"]

RESAMPLES = 4000
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval, the numbers it rests on and how it was made."""

    value: float
    low: float
    high: float
    n: int
    groups: int
    method: str

    def to_json(self) -> dict[str, Any]:
        """The interval as JSON can hold it."""
        return asdict(self)


def z_of(confidence: float) -> float:
    """Two-sided normal quantile: 1.96 for 0.95."""
    return float(special.ndtri(0.5 + confidence / 2))


def wilson(successes: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (1927); `n` may be an effective number, so neither need be whole."""
    if n <= 0:
        return 0.0, 1.0
    z, share = z_of(confidence), successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)


def group_sums(values: ArrayLike, groups: Groups) -> tuple[Floats, Floats]:
    """Sum of values and number of items in each group; None makes each item its own group."""
    scores: Floats = np.asarray(values, dtype=float)
    if groups is None:
        return scores, np.ones_like(scores)
    if len(groups) != len(scores):
        raise ValueError(f"{len(scores)} values but {len(groups)} groups")
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=int)
    sums: Floats = np.bincount(index, scores, len(numbers)).astype(np.float64)
    sizes: Floats = np.bincount(index, minlength=len(numbers)).astype(np.float64)
    return sums, sizes


def cluster_error(values: ArrayLike, groups: Groups = None) -> float:
    """Standard error of a mean when items of a group belong together (CR1 sandwich); 0 for one group."""
    sums, sizes = group_sums(values, groups)
    num_groups = len(sums)
    if num_groups < 2:
        return 0.0
    residuals = sums - sizes * (sums.sum() / sizes.sum())
    return float(sqrt(num_groups / (num_groups - 1) * (residuals @ residuals)) / sizes.sum())


def share_interval(values: ArrayLike, groups: Groups = None, *, confidence: float = 0.95) -> Interval:
    """Wilson interval of the mean of 0/1 scores, at the effective number of items for larger groups."""
    scores = np.asarray(values, dtype=float)
    n = len(scores)
    num_groups = len(group_sums(scores, groups)[0])
    share = float(scores.mean()) if n else 0.0
    if num_groups == n:
        return Interval(share, *wilson(share * n, n, confidence=confidence), n, n, "Wilson")
    effective = float(num_groups)
    if 0 < share < 1 and (error := cluster_error(scores, groups)) > 0:
        effective = min(float(n), share * (1 - share) / error**2)
    low, high = wilson(share * effective, effective, confidence=confidence)
    return Interval(share, low, high, n, num_groups, f"Wilson at {effective:.0f} effective items")


def bootstrap_means(sums: Floats, sizes: Floats, *, resamples: int, seed: int) -> Floats:
    """Means of `resamples` draws of whole groups with replacement, sorted."""
    generator = np.random.default_rng(seed)
    num_groups = len(sums)
    means = np.empty(resamples)
    for start in range(0, resamples, CHUNK):
        stop = min(start + CHUNK, resamples)
        drawn = generator.integers(num_groups, size=(stop - start, num_groups))
        means[start:stop] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    means.sort()
    return means


def expanded_z(confidence: float, num_groups: int) -> float:
    """Normal quantile widened for few groups, where a bootstrap's spread is too small (Hesterberg 2015)."""
    student = float(special.stdtrit(num_groups - 1, 0.5 + confidence / 2))
    return student * sqrt(num_groups / (num_groups - 1))


def bca_levels(sums: Floats, sizes: Floats, means: Floats, z: float) -> tuple[float, float]:
    """Quantile levels of the bias-corrected accelerated bootstrap (Efron 1987), jackknife over groups."""
    value = sums.sum() / sizes.sum()
    below = ((means < value).mean() + (means <= value).mean()) / 2
    bias = float(special.ndtri(np.clip(below, 1 / len(means), 1 - 1 / len(means))))
    without = (sums.sum() - sums) / (sizes.sum() - sizes)
    spread = without.mean() - without
    acceleration = float((spread**3).sum() / (6 * (spread @ spread) ** 1.5)) if spread.any() else 0.0
    levels = []
    for tail in (-z, z):
        shifted = bias + tail
        levels.append(float(special.ndtr(bias + shifted / (1 - acceleration * shifted))))
    return levels[0], levels[1]


def bootstrap_mean(
    values: ArrayLike,
    groups: Groups = None,
    *,
    confidence: float = 0.95,
    method: BootstrapMethod = "bca",
    lowest: float | None = 0.0,
    weights: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of a mean, or with `weights` of Σ weight·value / Σ weight, resampling whole groups.

    `values` lie between `lowest` and 1: scores from 0, differences of scores from −1; None: anywhere.  Equal
    values have no spread to resample; the interval is then that of as many equal 0/1 scores, which no other
    score exceeds, and a point for values that lie anywhere.
    """
    scores = np.asarray(values, dtype=float)
    shares = np.ones_like(scores) if weights is None else np.asarray(weights, dtype=float)
    sums, sizes = group_sums(scores * shares, groups)[0], group_sums(shares, groups)[0]
    n, num_groups = len(scores), len(sums)
    if n == 0:
        return Interval(0.0, 0.0 if lowest is None else lowest, 1.0, 0, 0, "no items")
    value = float(sums.sum() / sizes.sum())
    if lowest is None and (num_groups < 2 or np.ptp(sums / sizes) < 1e-12):
        return Interval(value, value, value, n, num_groups, "one value only")
    if lowest is not None and (num_groups < 2 or np.ptp(sums / sizes) < 1e-12):
        low, high = equal_values_interval(value, num_groups, lowest=lowest, confidence=confidence)
        return Interval(value, low, high, n, num_groups, "score interval (all scores equal)")
    means = bootstrap_means(sums, sizes, resamples=resamples, seed=seed)
    z = expanded_z(confidence, num_groups)
    levels = float(special.ndtr(-z)), float(special.ndtr(z))
    if method == "bca":
        levels = bca_levels(sums, sizes, means, z)
    low, high = (float(bound) for bound in np.quantile(means, levels))
    unit = "items" if num_groups == n else "groups"
    name = "BCa" if method == "bca" else "percentile"
    return Interval(value, low, high, n, num_groups, f"{name} bootstrap over {unit}")


def equal_values_interval(value: float, n: int, *, lowest: float, confidence: float) -> tuple[float, float]:
    """Interval around `n` equal values: Wilson's from 0 to 1, Tango's at no disagreement from −1 to 1."""
    if lowest == 0:
        return wilson(value * n, n, confidence=confidence)
    half = z_of(confidence) ** 2 / (n + z_of(confidence) ** 2)
    return max(lowest, value - half), min(1.0, value + half)
