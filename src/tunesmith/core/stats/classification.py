"""What answers that are labels say of a whole set: accuracy, macro-F1, each class, the confusion table.

Legend: C classes (the last column of a confusion table is "none of them").
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tunesmith.core.stats.intervals import Floats, Interval, share_interval
from tunesmith.core.stats.ranking import drawn_groups
from tunesmith.core.values import normalised

RESAMPLES = 1000


class ClassScore(NamedTuple):
    """One class: how many of it were found, and how many called so are of it."""

    label: str
    precision: float
    recall: float
    f1: float
    items: int


class Classification(NamedTuple):
    """What answers that are labels say of a whole set."""

    accuracy: Interval
    macro_f1: Interval
    """Mean F1 of the classes of the right answers (scikit-learn's macro average over those labels)."""
    classes: list[ClassScore]
    confusion: list[list[int]]
    """Rows: right labels; columns: the labels given, the last one what is no known label."""
    labels: list[str]


def classify(
    golds: Sequence[str], outputs: Sequence[str], groups: Sequence[str] | None = None, *, seed: int = 0
) -> Classification:
    """Accuracy, macro-F1 with a bootstrap interval over groups, each class, and the confusion table.

    The classes are the right answers that occur; an answer that is none of them is wrong for every class.
    """
    labels = sorted({gold.strip() for gold in golds})
    place = {normalised(name): number for number, name in enumerate(labels)}
    right = np.array([place[normalised(gold)] for gold in golds])
    said = np.array([place.get(normalised(output), len(labels)) for output in outputs])
    table = confusion(right, said, len(labels))
    drawn = np.array(
        [
            macro_f1(confusion(right[index], said[index], len(labels)))
            for index in drawn_groups(len(right), groups, RESAMPLES, seed)
        ]
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    num_groups = len(set(groups)) if groups is not None else len(right)
    macro = Interval(
        macro_f1(table), float(low), float(high), len(right), num_groups, "percentile bootstrap over groups"
    )
    hits = (right == said).astype(float)
    return Classification(
        share_interval(hits, groups), macro, class_scores(table, labels), table.astype(int).tolist(), labels
    )


def confusion(right: "np.ndarray", said: "np.ndarray", num_classes: int) -> Floats:
    """How often each right label (row, C) was answered by each label (column, C + 1)."""
    pairs = right * (num_classes + 1) + said
    counts = np.bincount(pairs, minlength=num_classes * (num_classes + 1))
    table: Floats = counts.reshape(num_classes, num_classes + 1).astype(np.float64)
    return table


def f1_of(table: Floats) -> Floats:
    """F1 of each class (C); 0 for one that is never right, NaN for one that neither stands nor is said."""
    right, actual, said = np.diag(table), table.sum(axis=1), table[:, :-1].sum(axis=0)
    both = actual + said
    scores: Floats = np.divide(2 * right, both, out=np.full(len(right), np.nan), where=both > 0)
    return scores


def macro_f1(table: Floats) -> float:
    """Mean F1 of the classes that stand in the table."""
    return float(np.nanmean(f1_of(table)))


def class_scores(table: Floats, labels: Sequence[str]) -> list[ClassScore]:
    """Precision, recall and F1 of each class."""
    found = []
    for number, (name, f1) in enumerate(zip(labels, f1_of(table), strict=True)):
        right, actual, said = table[number, number], table[number].sum(), table[:, number].sum()
        precision, recall = right / said if said else 0.0, right / actual if actual else 0.0
        found.append(ClassScore(name, float(precision), float(recall), float(f1), int(actual)))
    return found


def area_under_curve(
    actual: Sequence[bool], scores: Sequence[float], groups: Sequence[str] | None = None, *, seed: int = 0
) -> Interval:
    """How often a positive item scores higher than a negative one (AUC), with a bootstrap over groups.

    Ties count half.  Raises ValueError when all items are of one kind.
    """
    is_positive, values = np.array(actual, dtype=bool), np.array(scores, dtype=float)
    if is_positive.all() or not is_positive.any():
        raise ValueError("all items are of one kind: there is nothing to tell apart")
    drawn = [
        rank_area(is_positive[index], values[index])
        for index in drawn_groups(len(values), groups, RESAMPLES, seed)
        if 0 < is_positive[index].sum() < len(index)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    num_groups = len(set(groups)) if groups is not None else len(values)
    value = rank_area(is_positive, values)
    return Interval(
        value, float(low), float(high), len(values), num_groups, "percentile bootstrap over groups"
    )


def rank_area(is_positive: "np.ndarray", values: "np.ndarray") -> float:
    """The area from the ranks of the positive items (Mann and Whitney 1947)."""
    from scipy.stats import rankdata  # here: it takes a third of a second to load, and few tables need it

    num_positive = int(is_positive.sum())
    num_negative = len(values) - num_positive
    above = rankdata(values)[is_positive].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))
