"""Intervals and paired tests for scores of models on the same items.

Items of one group (near-duplicates, one document, one user) are not independent, so every function
takes `groups` and counts groups, not items, where the two differ.  A score lies between 0 and 1.

Which interval, and why:

* a share of 0/1 scores: Wilson's interval; with groups of more than one item at the effective number of
  items (Kish; compared by Franco et al. 2019), because a bootstrap of all-right answers has no width;
* the mean of other scores: a bootstrap over groups, BCa (Efron 1987) because scores pile up at 0 and 1;
* the difference of two shares on the same items: Tango's score interval (1998), which holds its level for
  few items and few disagreements and inverts McNemar's own statistic; with larger groups at the effective
  number of items, as for one share;
* the difference of two means on the same items: the bootstrap of the per-item differences over groups.

Checked against scipy and statsmodels, and by simulation of coverage and false positives, in
`tests/fast/test_stats.py`.
"""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
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
EXACT_FLIPS = 12
"""Up to this many groups every one of the 2^G sign patterns is counted."""
POWER = 0.8


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


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Second minus first on the same items."""

    interval: Interval
    p_value: float
    test: str
    detectable: float
    """Smallest true difference that so many items see with 80 % power, given how much they vary."""


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
    lowest: float = 0.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of a mean, resampling whole groups.

    `values` lie between `lowest` and 1: scores from 0, differences of scores from −1.  Equal values have no
    spread to resample; the interval is then that of as many equal 0/1 scores, which no other score exceeds.
    """
    scores = np.asarray(values, dtype=float)
    sums, sizes = group_sums(scores, groups)
    n, num_groups = len(scores), len(sums)
    if n == 0:
        return Interval(0.0, lowest, 1.0, 0, 0, "no items")
    value = float(sums.sum() / sizes.sum())
    if num_groups < 2 or np.ptp(sums / sizes) < 1e-12:
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


def disagreements(first: ArrayLike, second: ArrayLike) -> tuple[int, int]:
    """Items that only the second got right (fixes) and that only the first got right (regressions)."""
    left, right = np.asarray(first, dtype=float) > 0.5, np.asarray(second, dtype=float) > 0.5
    return int((~left & right).sum()), int((left & ~right).sum())


def mcnemar_exact(fixes: int, regressions: int) -> float:
    """Exact two-sided McNemar test: the binomial probability of disagreements at least as uneven."""
    fewer, both = min(fixes, regressions), fixes + regressions
    return min(1.0, 2 * float(special.bdtr(fewer, both, 0.5))) if both else 1.0


def mcnemar(fixes: int, regressions: int) -> float:
    """Mid-p McNemar test (Fagerland et al. 2013): the exact one without half of the observed outcome."""
    fewer, both = min(fixes, regressions), fixes + regressions
    if not both:
        return 1.0
    here = float(special.bdtr(fewer, both, 0.5) - (special.bdtr(fewer - 1, both, 0.5) if fewer else 0.0))
    return min(1.0, 2 * float(special.bdtr(fewer, both, 0.5)) - here)


def tango_score(difference: float, fixes: float, regressions: float, n: float) -> float:
    """Tango's statistic (1998): distance of the observed difference from `difference` in standard errors.

    The variance uses the share of regressions most likely when the true difference is `difference`.
    """
    excess = fixes - regressions - n * difference
    if excess == 0:
        return 0.0
    linear = -fixes - regressions + (2 * n - fixes + regressions) * difference
    constant = -regressions * difference * (1 - difference)
    share = (sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    return excess / sqrt(variance) if variance > 1e-15 else float(np.copysign(np.inf, excess))


def tango(fixes: float, regressions: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Tango's score interval of the difference of two paired shares: the differences it does not reject.

    The counts may be effective ones, so they need not be whole.
    """
    if n == 0:
        return -1.0, 1.0
    observed, z = (fixes - regressions) / n, z_of(confidence)
    bounds = []
    for end, wanted in ((-1.0, z), (1.0, -z)):
        inside, outside = observed, end
        for _ in range(60):  # halves the distance each time: far below float precision
            middle = (inside + outside) / 2
            if abs(tango_score(middle, fixes, regressions, n)) < abs(wanted):
                inside = middle
            else:
                outside = middle
        bounds.append(inside)
    return bounds[0], bounds[1]


def sign_flip(
    differences: ArrayLike, groups: Groups = None, *, resamples: int = 9999, seed: int = 0
) -> float:
    """Two-sided randomisation test of a mean difference: whole groups swap their two models at random.

    Exact for few groups; else Monte Carlo, the observed outcome counted as one draw (Phipson & Smyth 2010).
    """
    sums, _ = group_sums(differences, groups)
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    reached = abs(sums.sum()) - 1e-9
    if len(sums) <= EXACT_FLIPS:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(sums))))
        return float((np.abs(signs @ sums) >= reached).mean())
    generator = np.random.default_rng(seed)
    hits = 1
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        signs = generator.integers(2, size=(rows, len(sums)), dtype=np.int8) * 2.0 - 1.0
        hits += int((np.abs(signs @ sums) >= reached).sum())
    return hits / (resamples + 1)


def detectable_difference(
    differences: ArrayLike, groups: Groups = None, *, confidence: float = 0.95
) -> float:
    """Smallest true difference of means that this many items detect with 80 % power, at this spread.

    Differences without any spread say nothing about it; then one disagreement is assumed.
    """
    values = np.asarray(differences, dtype=float)
    error = cluster_error(values, groups)
    if error == 0:
        num_groups = max(1, len(group_sums(values, groups)[0]))
        error = 1 / num_groups
    return min(1.0, (z_of(confidence) + float(special.ndtri(POWER))) * error)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    groups: Groups = None,
    *,
    shares: bool,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Mean of `second` minus mean of `first` over the same items, with interval and test.

    `shares` says that every score is 0 or 1: Tango's interval, with McNemar mid-p when no group holds two
    items and a sign-flip test over groups (McNemar's exact test, for groups) otherwise.  Other scores: the
    bootstrap and the sign-flip test, both over groups.
    """
    left, right = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if left.shape != right.shape:
        raise ValueError(f"{len(left)} scores against {len(right)}: paired scores stand for the same items")
    change = right - left
    n = len(change)
    detectable = detectable_difference(change, groups, confidence=confidence)
    if shares:
        interval = share_difference(left, right, groups, confidence=confidence)
        if interval.groups == n:
            return PairedDifference(
                interval, mcnemar(*disagreements(left, right)), "McNemar mid-p", detectable
            )
        p_value = sign_flip(change, groups, seed=seed)
        return PairedDifference(interval, p_value, "McNemar by sign flips over groups", detectable)
    interval = bootstrap_mean(change, groups, confidence=confidence, lowest=-1.0, seed=seed)
    return PairedDifference(interval, sign_flip(change, groups, seed=seed), "sign-flip test", detectable)


def share_difference(
    first: ArrayLike, second: ArrayLike, groups: Groups = None, *, confidence: float = 0.95
) -> Interval:
    """Tango's interval of the difference of two paired shares, with groups at the effective number."""
    change = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    n, num_groups = len(change), len(group_sums(change, groups)[0])
    fixes, regressions = disagreements(first, second)
    value = (fixes - regressions) / n if n else 0.0
    if num_groups == n:
        low, high = tango(fixes, regressions, n, confidence=confidence)
        return Interval(value, low, high, n, n, "Tango score interval")
    effective = float(num_groups)
    if (error := cluster_error(change, groups)) > 0:
        effective = min(float(n), n * (cluster_error(change) / error) ** 2)
    scale = effective / n
    low, high = tango(fixes * scale, regressions * scale, effective, confidence=confidence)
    return Interval(
        value, low, high, n, num_groups, f"Tango score interval at {effective:.0f} effective items"
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979), in the order given: reject where they are at most alpha."""
    order = sorted(range(len(p_values)), key=lambda position: p_values[position])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, position in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = highest
    return adjusted
