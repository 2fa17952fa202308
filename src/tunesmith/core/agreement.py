"""How far people agree: percent, Cohen's kappa, Krippendorff's alpha, with bootstrap intervals over items.

Legend of array names: N items, R raters, V different values, B resamples.
Ratings are an array (N, R) of numbers, NaN where a rater did not rate an item.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunesmith.core.errors import DataError

Floats = NDArray[np.float64]
Metric = Literal["nominal", "ordinal", "interval"]
Weights = Literal["none", "linear", "quadratic"]

RESAMPLES = 1000
MAX_VALUES = 2000
"""More different values make tables of values by values too large."""


class Coefficient(NamedTuple):
    """A coefficient with its 95 % interval (percentile bootstrap over items); None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    items: int
    """Items that say something: those with at least two ratings."""
    ratings: int
    """Ratings of these items."""


class Table(NamedTuple):
    """Ratings counted: how often each item was given each value."""

    values_V: Floats
    """The different values, ascending."""
    count_NV: Floats
    """Of items with at least two ratings."""


def table_of(ratings: ArrayLike) -> Table:
    """Count the ratings (N, R); items with fewer than two say nothing and are left out.

    Raises DataError for ratings that are no table, and for more than `MAX_VALUES` different values.
    """
    rating_NR: Floats = np.asarray(ratings, dtype=float)
    if rating_NR.ndim != 2:
        raise DataError("ratings are a table: items by raters", value=f"{rating_NR.ndim} dimensions")
    rating_NR = rating_NR[(~np.isnan(rating_NR)).sum(1) >= 2]
    known = ~np.isnan(rating_NR)
    values_V, code = np.unique(rating_NR[known], return_inverse=True)
    if len(values_V) > MAX_VALUES:
        step = "round the ratings"
        raise DataError("too many different values", value=f"{len(values_V):,}", next_step=step)
    count_NV = np.zeros((len(rating_NR), len(values_V)))
    np.add.at(count_NV, (np.nonzero(known)[0], code), 1)
    return Table(values_V, count_NV)


def codes_of(labels: Sequence[Sequence[Hashable | None]]) -> tuple[Floats, list[Hashable]]:
    """Labels (None: not given) as codes (N, R), and the labels in the order of their codes."""
    known: dict[Hashable, int] = {}
    rows = [
        [np.nan if label is None else known.setdefault(label, len(known)) for label in row] for row in labels
    ]
    return np.array(rows, dtype=float).reshape(len(labels), -1), list(known)


# --- percent -------------------------------------------------------------------------------------------


def percent(ratings: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Coefficient:
    """Share of pairs of ratings of one item that are equal, over all items."""
    table = table_of(ratings)
    count_N = table.count_NV.sum(1)
    equal_N = (table.count_NV * (table.count_NV - 1)).sum(1)
    pairs_N = count_N * (count_N - 1)
    return resampled(table, lambda weight_N: ratio(weight_N @ equal_N, weight_N @ pairs_N), resamples, seed)


# --- Krippendorff's alpha ------------------------------------------------------------------------------


def alpha(
    ratings: ArrayLike, metric: Metric = "nominal", *, resamples: int = RESAMPLES, seed: int = 0
) -> Coefficient:
    """Krippendorff's alpha for any number of raters with missing ratings.

    1 is perfect, 0 what chance gives.  Source: Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability"; undefined when only one value was ever given.
    """
    table = table_of(ratings)
    share_N = 1 / (table.count_NV.sum(1) - 1)
    difference = DIFFERENCES[metric]

    def value(weight_N: Floats) -> float:
        weighted_NV = table.count_NV * (weight_N * share_N)[:, None]
        coincidence_VV = table.count_NV.T @ weighted_NV - np.diag(weighted_NV.sum(0))
        total_V = coincidence_VV.sum(1)
        n = total_V.sum()
        square_VV = difference(table.values_V, total_V)
        observed = float((coincidence_VV * square_VV).sum())
        expected = float(total_V @ square_VV @ total_V)
        return 1 - ratio(observed * (n - 1), expected)

    return resampled(table, value, resamples, seed)


def nominal(values_V: Floats, total_V: Floats) -> Floats:
    """Different or not."""
    return 1 - np.eye(len(values_V))


def ordinal(values_V: Floats, total_V: Floats) -> Floats:
    """How many ratings lie from one value to the other, half of those at both ends."""
    up_to_V = np.cumsum(total_V)
    between_VV = np.abs(up_to_V[:, None] - up_to_V[None, :])
    # from c up to k (c < k) the sum runs over c … k: what is up to k less what is up to c, with c itself
    lower_VV = np.where(values_V[:, None] < values_V[None, :], total_V[:, None], total_V[None, :])
    distance_VV = between_VV + lower_VV - (total_V[:, None] + total_V[None, :]) / 2
    np.fill_diagonal(distance_VV, 0)
    return np.asarray(distance_VV**2)


def interval(values_V: Floats, total_V: Floats) -> Floats:
    """The square of the difference."""
    return np.asarray((values_V[:, None] - values_V[None, :]) ** 2)


DIFFERENCES: Mapping[Metric, Callable[[Floats, Floats], Floats]] = {
    "nominal": nominal, "ordinal": ordinal, "interval": interval,
}  # fmt: skip
"""Metric → squared differences (V, V) of values, given how often each was given."""


# --- Cohen's kappa -------------------------------------------------------------------------------------


def kappa(
    first: ArrayLike,
    second: ArrayLike,
    *,
    weights: Weights = "none",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Coefficient:
    """Cohen's kappa of two raters (1960), or weighted by how far values are apart in their order (1968).

    Items that one of the two did not rate are left out.
    """
    rating_N2 = np.column_stack([np.asarray(first, dtype=float), np.asarray(second, dtype=float)])
    rating_N2 = rating_N2[~np.isnan(rating_N2).any(1)]
    values_V, code = np.unique(rating_N2, return_inverse=True)
    code_N2 = code.reshape(-1, 2)
    size = len(values_V)
    apart_VV = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(float)
    cost_VV = {"none": (apart_VV > 0) * 1.0, "linear": apart_VV, "quadratic": apart_VV**2}[weights]

    def value(weight_N: Floats) -> float:
        place = code_N2[:, 0] * size + code_N2[:, 1]
        seen_VV = np.bincount(place, weight_N, size * size).reshape(size, size)
        expected_VV = np.outer(seen_VV.sum(1), seen_VV.sum(0)) / seen_VV.sum()
        return 1 - ratio(float((cost_VV * seen_VV).sum()), float((cost_VV * expected_VV).sum()))

    return resampled(table_of(rating_N2), value, resamples, seed)


def ac1(first: ArrayLike, second: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Coefficient:
    """Gwet's AC1 of two raters (2008): like kappa, but one common value does not drag it to 0.

    Items that one of the two did not rate are left out.
    """
    rating_N2 = np.column_stack([np.asarray(first, dtype=float), np.asarray(second, dtype=float)])
    table = table_of(rating_N2)
    is_equal_N = (table.count_NV == 2).any(1)
    size = len(table.values_V)

    def value(weight_N: Floats) -> float:
        share_V = weight_N @ table.count_NV / (2 * weight_N.sum())
        by_chance = float((share_V * (1 - share_V)).sum()) / (size - 1) if size > 1 else 0.0
        agreed = float(weight_N @ is_equal_N / weight_N.sum())
        return ratio(agreed - by_chance, 1 - by_chance)

    return resampled(table, value, resamples, seed)


# --- by label and by rater -----------------------------------------------------------------------------


def by_label(ratings: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[float, Coefficient]:
    """Nominal alpha of each value against all others: which label people disagree on."""
    rating_NR: Floats = np.asarray(ratings, dtype=float)
    missing = np.isnan(rating_NR)
    return {
        float(value): alpha(
            np.where(missing, np.nan, rating_NR == value), "nominal", resamples=resamples, seed=seed
        )
        for value in np.unique(rating_NR[~missing])
    }


def by_rater(ratings: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> list[Coefficient]:
    """For each rater, the share of the other ratings of the same items that are equal to theirs."""
    rating_NR: Floats = np.asarray(ratings, dtype=float)
    found = []
    for rater in range(rating_NR.shape[1]):
        own_N1 = rating_NR[:, [rater]]
        others_NR = np.delete(rating_NR, rater, axis=1)
        rated = ~np.isnan(own_N1[:, 0]) & (~np.isnan(others_NR)).any(1)
        own_N1, others_NR = own_N1[rated], others_NR[rated]
        pairs_N = (~np.isnan(others_NR)).sum(1).astype(float)
        equal_N = (others_NR == own_N1).sum(1).astype(float)
        table = Table(np.zeros(0), np.column_stack([equal_N, pairs_N - equal_N]))

        def value(weight_N: Floats, equal_N: Floats = equal_N, pairs_N: Floats = pairs_N) -> float:
            return ratio(float(weight_N @ equal_N), float(weight_N @ pairs_N))

        found.append(resampled(table, value, resamples, seed))
    return found


# --- intervals -----------------------------------------------------------------------------------------


def ratio(part: float, whole: float) -> float:
    """A quotient; NaN where there is nothing to divide by."""
    return float(part / whole) if whole else float("nan")


def resampled(table: Table, value: Callable[[Floats], float], resamples: int, seed: int) -> Coefficient:
    """A coefficient as a function of how often each item counts, and its percentile interval.

    Resamples in which it is undefined are left out.
    """
    num_items = len(table.count_NV)
    ratings = int(table.count_NV.sum())
    if num_items == 0 or np.isnan(estimate := value(np.ones(num_items))):
        return Coefficient(None, None, None, num_items, ratings)
    generator = np.random.default_rng(seed)
    drawn_B = [
        value(np.bincount(generator.integers(num_items, size=num_items), minlength=num_items).astype(float))
        for _ in range(resamples)
    ]
    known_B = np.array([one for one in drawn_B if not np.isnan(one)])
    if len(known_B) == 0:
        return Coefficient(estimate, None, None, num_items, ratings)
    low, high = np.quantile(known_B, [0.025, 0.975])
    return Coefficient(estimate, float(low), float(high), num_items, ratings)
