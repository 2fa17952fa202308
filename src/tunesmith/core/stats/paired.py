"""Two models on the same items: difference, interval, test, and the difference that could have been seen."""

from dataclasses import dataclass
from itertools import product
from math import ceil, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from tunesmith.core.stats.intervals import (
    CHUNK,
    Groups,
    Interval,
    bootstrap_mean,
    cluster_error,
    group_sums,
    z_of,
)

EXACT_FLIPS = 12
"""Up to this many groups every one of the 2^G sign patterns is counted."""
POWER = 0.8


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Second minus first on the same items."""

    interval: Interval
    p_value: float
    test: str
    detectable: float
    """Smallest true difference that so many items see with 80 % power, given how much they vary."""


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
    differences: ArrayLike,
    groups: Groups = None,
    *,
    confidence: float = 0.95,
    weights: ArrayLike | None = None,
    bounded: bool = True,
) -> float:
    """Smallest true difference of means that this many items detect with 80 % power, at this spread.

    Differences without any spread say nothing about it; then one disagreement is assumed.  With `weights`
    the spread is that of the weighted mean; a difference of `bounded` scores is at most 1.
    """
    values = np.asarray(differences, dtype=float)
    if weights is not None:
        shares = np.asarray(weights, dtype=float)
        values = (values - (values * shares).sum() / shares.sum()) * shares / shares.mean()
    error = cluster_error(values, groups)
    if error == 0:
        num_groups = max(1, len(group_sums(values, groups)[0]))
        error = 1 / num_groups
    found = (z_of(confidence) + float(special.ndtri(POWER))) * error
    return min(1.0, found) if bounded else found


def required_items(difference: float, disagreement: float, *, confidence: float = 0.95) -> int:
    """Items on which a true difference of two shares is seen with 80 % power (Connor 1987).

    `disagreement` is the share of items that exactly one of the two gets right; it cannot be smaller than
    the difference itself, and is then taken as that.
    """
    if not 0 < difference <= 1:
        raise ValueError(f"a difference to look for lies above 0 and up to 1: {difference}")
    differing = max(disagreement, difference)
    spread = z_of(confidence) * sqrt(differing)
    spread += float(special.ndtri(POWER)) * sqrt(differing - difference**2)
    return ceil(spread**2 / difference**2)


def non_inferior(low: float, margin: float) -> bool:
    """Whether one is shown to be not worse by `margin` or more; `low` is the lower end of its gain.

    With a 95 % interval the test is one-sided at 2.5 %, as trials do it (ICH E9).
    """
    return low > -margin


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    groups: Groups = None,
    *,
    shares: bool,
    bounded: bool = True,
    weights: ArrayLike | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Mean of `second` minus mean of `first` over the same items, with interval and test.

    `shares` says that every score is 0 or 1: Tango's interval, with McNemar mid-p when no group holds two
    items and a sign-flip test over groups (McNemar's exact test, for groups) otherwise.  Other scores: the
    bootstrap and the sign-flip test, both over groups; from 0 to 1 when `bounded`.  With `weights` the means
    are Σ weight·score / Σ weight.
    """
    left, right = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if left.shape != right.shape:
        raise ValueError(f"{len(left)} scores against {len(right)}: paired scores stand for the same items")
    change = right - left
    n = len(change)
    detectable = detectable_difference(
        change, groups, confidence=confidence, weights=weights, bounded=shares or bounded
    )
    if shares:
        interval = share_difference(left, right, groups, confidence=confidence)
        if interval.groups == n:
            return PairedDifference(
                interval, mcnemar(*disagreements(left, right)), "McNemar mid-p", detectable
            )
        p_value = sign_flip(change, groups, seed=seed)
        return PairedDifference(interval, p_value, "McNemar by sign flips over groups", detectable)
    interval = bootstrap_mean(
        change,
        groups,
        confidence=confidence,
        lowest=-1.0 if bounded else None,
        weights=weights,
        seed=seed,
    )
    flipped = change if weights is None else change * np.asarray(weights, dtype=float)
    return PairedDifference(interval, sign_flip(flipped, groups, seed=seed), "sign-flip test", detectable)


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
