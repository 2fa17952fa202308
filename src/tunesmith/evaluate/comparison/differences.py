"""The difference of a score on the same items, and the corrections for having looked at several."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from tunesmith.core.stats import PairedDifference, benjamini_hochberg, holm, paired_difference, required_items
from tunesmith.evaluate.comparison.reports import ItemKey, Pairs, Report, pairs_of, scored_pairs, shared_score
from tunesmith.evaluate.comparison.schema import Difference, SliceDifference, Verdict
from tunesmith.evaluate.summary import quarter

ALPHA = 0.05
FEWEST_GROUPS = 10
"""With fewer independent groups no verdict is given: one or two items would carry it."""

Measure = Callable[[Sequence[ItemKey], float], PairedDifference | None]
"""The difference on some of the items at a confidence; None when none of them has it."""


class Deciding(NamedTuple):
    """What a verdict rests on: a score, or people's verdicts."""

    name: str
    difference: Difference
    pairs: Pairs
    """The items that carry it, with both values."""
    measure: Measure


def by_score(a: Report, b: Report, common: Sequence[ItemKey], name: str, seed: int) -> Deciding:
    """A score that decides.  Raises DataError when no item has it in both reports."""
    score = shared_score(a, b, name)

    def measure(items: Sequence[ItemKey], confidence: float) -> PairedDifference | None:
        some = pairs_of(a, b, items, name)
        return paired_of(some, score, seed, confidence) if some.items else None

    pairs = scored_pairs(a, b, common, name)
    return Deciding(name, difference_of(pairs, score, seed), pairs, measure)


def all_differences(
    a: Report,
    b: Report,
    common: Sequence[ItemKey],
    metrics: Sequence[str],
    deciding: Deciding,
    seed: int,
) -> dict[str, Difference]:
    """Every score's difference, the deciding one in its place, or first when it is none of the scores."""
    found = {} if deciding.name in metrics else {deciding.name: deciding.difference}
    for name in metrics:
        if name == deciding.name:
            found[name] = deciding.difference
        elif (pairs := pairs_of(a, b, common, name)).items:
            found[name] = difference_of(pairs, shared_score(a, b, name), seed)
    return found


def correct_others(found: Sequence[dict[str, Difference]], deciding: str) -> None:
    """Holm's correction over all scores that do not decide, of all candidates."""
    places = [(one, name) for one in found for name in one if name != deciding]
    adjusted = holm([one[name].p_value for one, name in places])
    for (one, name), p_value in zip(places, adjusted, strict=True):
        one[name] = one[name].model_copy(update={"adjusted_p": p_value})


def correct_slices(found: Sequence[Sequence[SliceDifference]]) -> list[list[SliceDifference]]:
    """Benjamini and Hochberg's correction over all parts of all candidates."""
    adjusted = iter(benjamini_hochberg([part.p_value for parts in found for part in parts]))
    return [[part.model_copy(update={"adjusted_p": next(adjusted)}) for part in parts] for parts in found]


def difference_of(pairs: Pairs, score: Mapping[str, Any], seed: int) -> Difference:
    """The difference of one score."""
    paired = paired_of(pairs, score, seed)
    total = sum(pairs.weights)
    first, second = (
        sum(value * weight for value, weight in zip(values, pairs.weights, strict=True)) / total
        for values in (pairs.first, pairs.second)
    )
    needed = items_needed(pairs, paired, score)
    return as_difference(paired, first, second, needed, better=score["better"], kind=score["kind"])


def as_difference(
    paired: PairedDifference, first: float, second: float, needed: int | None, **facts: Any
) -> Difference:
    """Interval, test and what could have been seen, as results show them."""
    return Difference(
        a=first,
        b=second,
        value=paired.interval.value,
        low=paired.interval.low,
        high=paired.interval.high,
        method=paired.interval.method,
        p_value=paired.p_value,
        test=paired.test,
        adjusted_p=paired.p_value,
        detectable=paired.detectable,
        needed=needed,
        n=paired.interval.n,
        **facts,
    )


def paired_of(
    pairs: Pairs, score: Mapping[str, Any], seed: int, confidence: float = 1 - ALPHA
) -> PairedDifference:
    """Interval and test for a score of this kind."""
    return paired_difference(
        pairs.first,
        pairs.second,
        pairs.groups,
        shares=is_share(score),
        bounded=score["kind"] != "number",
        weights=pairs.weights if set(pairs.weights) != {1.0} else None,
        confidence=confidence,
        seed=seed,
    )


def items_needed(pairs: Pairs, paired: PairedDifference, score: Mapping[str, Any]) -> int | None:
    """Items that would see a true difference of the size seen four times in five; None for no difference."""
    size, n = abs(paired.interval.value), len(pairs.items)
    if not size:
        return None
    if is_share(score):
        differing = sum(first != second for first, second in zip(pairs.first, pairs.second, strict=True))
        return required_items(size, differing / n)
    return ceil(n * (paired.detectable / size) ** 2)


def is_share(score: Mapping[str, Any]) -> bool:
    """Whether every item scores 0 or 1; the mean of repeats lies between."""
    return bool(score["kind"] == "share" and score["repeats"] is None)


def slice_differences(b: Report, common: Sequence[ItemKey], deciding: Deciding) -> list[SliceDifference]:
    """The deciding difference on each slice; p-values of each alone."""
    parts: dict[tuple[str, str], list[ItemKey]] = {}
    for item in common:
        for key, value in b.by_item[item][0]["slices"].items():
            parts.setdefault((key, value), []).append(item)
    found = []
    for (key, value), items in parts.items():
        if (paired := deciding.measure(items, 1 - ALPHA)) is not None:
            found.append(
                SliceDifference(
                    key=key,
                    value=value,
                    n=paired.interval.n,
                    difference=paired.interval.value,
                    low=paired.interval.low,
                    high=paired.interval.high,
                    p_value=paired.p_value,
                    adjusted_p=paired.p_value,
                    detectable=paired.detectable,
                )
            )
    return sorted(found, key=lambda one: (one.key, quarter(one.value), -one.n))


def verdict_of(difference: Difference, groups: int, margin: float, wide: tuple[float, float]) -> Verdict:
    """What can be said: a claim needs interval and test, a tie needs an interval inside the margin.

    Of several candidates the p-value is the corrected one, and `wide` the interval at α / candidates.
    """
    low, high = gains(difference)
    if groups < FEWEST_GROUPS:
        return "not enough data"
    if difference.adjusted_p <= ALPHA and low > 0:
        return "better"
    if difference.adjusted_p <= ALPHA and high < 0:
        return "worse"
    return "tied" if -margin <= min(wide) and max(wide) <= margin else "not enough data"


def gains(difference: Difference) -> tuple[float, float]:
    """The interval's ends, turned so that more is better."""
    if difference.better == "lower":
        return -difference.high, -difference.low
    return difference.low, difference.high
