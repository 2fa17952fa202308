"""Labels that the rest of the data contradicts: confident learning (Northcutt et al., arXiv:1911.00068).

Legend of array names: N rows with a label, C classes.

Each row's probabilities come from a classifier that never saw it: logistic regression on TF-IDF of words and
pairs of words, in five folds that keep equal texts together.  A row is confidently of class j when its
probability of j is at least the mean that rows labelled j have for it.  Of the rows labelled i that are
confidently of another class those with the smallest margin p(given) − max p(other) are reported, as many as
the calibrated counts of the confident joint say (the paper's pruning by noise rate).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.check.port import Check, Context, Fact, Finding, Looked
from tunesmith.data.check.sets.columns import Coded, Hashes, Ints, columns
from tunesmith.data.check.sets.duplicates import short
from tunesmith.data.check.sets.once import once
from tunesmith.data.vectors import WORD, asked, entire

Probabilities = NDArray[np.float64]

NUM_FOLDS: Final = 5
MIN_CLASS_ROWS: Final = 2 * NUM_FOLDS
"""A class with fewer rows is left out: what it looks like cannot be learned."""
TRAIN_ROWS: Final = 20_000
"""A fold's classifier learns from at most so many rows, drawn uniformly; all rows are judged."""
MAX_TERMS: Final = 50_000
MAX_CHARACTERS: Final = 4_000
"""Of a longer text the start is read."""
MIN_LIFT: Final = 0.1
"""The classifier must make at least this much less error than the most frequent label does."""
SHOWN_COLUMNS: Final = 8
SURE: Final = 0.5
"""Where the other class has at least so much more probability, the finding is a warning, else a note."""


class Suspects(NamedTuple):
    """Rows whose label is doubted, the most doubtful first."""

    row: Ints
    suggested: Ints
    """Class that the classifier is confident of."""
    margin: Probabilities
    """p(given) − max p(other), from −1 to 1."""


def probabilities(texts: Sequence[str], labels_N: Ints, folds_N: Ints, *, seed: int) -> Probabilities:
    """Out-of-sample probabilities (N, C) of the classes 0 … C−1."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    terms = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2 if len(texts) > 200 else 1, max_features=MAX_TERMS, sublinear_tf=True,
        tokenizer=WORD.findall, token_pattern=None, dtype=np.float32,
    )  # fmt: skip
    # no labels are used here, so that one vocabulary for all folds leaks none
    matrix_NV = terms.fit_transform(texts)
    num_classes = int(labels_N.max()) + 1
    found = np.full((len(texts), num_classes), 1 / num_classes)
    draw = np.random.default_rng(seed)
    for fold in range(NUM_FOLDS):
        held = folds_N == fold
        learned = np.flatnonzero(~held)
        if len(learned) > TRAIN_ROWS:
            learned = draw.choice(learned, TRAIN_ROWS, replace=False)
        if not held.any() or len(np.unique(labels_N[learned])) < 2:
            continue
        model = LogisticRegression(C=4.0, max_iter=200, tol=1e-3)
        with warnings.catch_warnings():
            # a fit stopped early still ranks; the cross-validated error says what it is worth
            warnings.simplefilter("ignore")
            model.fit(matrix_NV[learned], labels_N[learned])
        found[np.ix_(held, model.classes_)] = model.predict_proba(matrix_NV[held])
        missing = np.setdiff1d(np.arange(num_classes), model.classes_)
        found[np.ix_(held, missing)] = 0
    return found


def self_margins(probability_NC: Probabilities, labels_N: Ints) -> Probabilities:
    """p(given) − max p(other) of each row."""
    rows = np.arange(len(labels_N))
    others = probability_NC.copy()
    others[rows, labels_N] = -np.inf
    margins: Probabilities = probability_NC[rows, labels_N] - others.max(1)
    return margins


def thresholds_of(probability_NC: Probabilities, labels_N: Ints) -> Probabilities:
    """For each class the mean probability that its own rows have for it; above 1 for a class without rows."""
    sums = np.bincount(labels_N, probability_NC[np.arange(len(labels_N)), labels_N], probability_NC.shape[1])
    counts = np.bincount(labels_N, minlength=probability_NC.shape[1])
    return np.where(counts > 0, sums / np.maximum(1, counts), 2.0)


def suspects(probability_NC: Probabilities, labels_N: Ints) -> Suspects:
    """Off-diagonal members of the confident joint, pruned by noise rate."""
    num_classes = probability_NC.shape[1]
    is_sure = probability_NC >= thresholds_of(probability_NC, labels_N)
    believed = np.where(is_sure, probability_NC, -1).argmax(1)
    counted = is_sure.any(1)
    joint = np.zeros((num_classes, num_classes))
    np.add.at(joint, (labels_N[counted], believed[counted]), 1)
    sizes = np.bincount(labels_N, minlength=num_classes)
    calibrated = joint / np.maximum(1, joint.sum(1, keepdims=True)) * sizes[:, None]
    margins = self_margins(probability_NC, labels_N)
    kept = []
    for given in range(num_classes):
        for other in range(num_classes):
            if given == other:
                continue
            rows = np.flatnonzero((labels_N == given) & (believed == other) & counted & (margins < 0))
            most = int(np.ceil(calibrated[given, other]))
            kept.append(rows[np.argsort(margins[rows], kind="stable")[:most]])
    chosen = np.concatenate(kept)
    chosen = chosen[np.argsort(margins[chosen], kind="stable")]
    return Suspects(chosen, believed[chosen], margins[chosen])


class Judged(NamedTuple):
    """One label of the rows, and what a classifier that has not seen them says of it."""

    positions: Ints
    labels: Ints
    names: list[str]
    probability: Probabilities

    @property
    def error(self) -> float:
        """Share of rows whose most probable class is another."""
        return float((self.probability.argmax(1) != self.labels).mean())

    @property
    def majority_error(self) -> float:
        """Share of rows that do not have the most frequent label."""
        return 1 - float(np.bincount(self.labels).max()) / len(self.labels)

    @property
    def is_learnable(self) -> bool:
        """Whether the text says something about the label; if not, doubts would be noise."""
        return self.error <= (1 - MIN_LIFT) * self.majority_error


def judge(coded: Coded, keys: Hashes, texts_of: Callable[[Ints], list[str]], *, seed: int) -> Judged | None:
    """Cross-validated probabilities of one label; None where fewer than two classes have rows enough."""
    large = np.flatnonzero(coded.counts() >= MIN_CLASS_ROWS)
    positions = np.flatnonzero(np.isin(coded.codes, large))
    if len(large) < 2:
        return None
    labels = np.searchsorted(large, coded.codes[positions])
    # equal texts fall into one fold: a wrong label that stands twice would vouch for itself
    _, text_number = np.unique(keys[positions], return_inverse=True)
    order = np.random.default_rng(seed).permutation(text_number.max() + 1)
    probability = probabilities(texts_of(positions), labels, order[text_number] % NUM_FOLDS, seed=seed)
    return Judged(positions, labels, [coded.names[number] for number in large], probability)


def judged_columns(ctx: Context) -> dict[str, Judged]:
    """Every label of a corpus judged; label errors by name of the label."""

    def make() -> dict[str, Judged]:
        known = columns(ctx)
        found = {}
        for name, coded in list(known.labels.items())[:SHOWN_COLUMNS]:
            is_answer = name == "answer" or name.startswith("answer.")
            text_of = asked if is_answer else entire

            def texts_of(positions: Ints, text_of: Callable[..., str] = text_of) -> list[str]:
                return [text_of(ctx.corpus.row(int(at)).example)[:MAX_CHARACTERS] for at in positions]

            keys = known.asked if is_answer else known.pair
            judged = judge(coded, keys, texts_of, seed=ctx.options.seed)
            if judged is not None:
                found[name] = judged
        return found

    return once(ctx, "judged labels", make)


def label_errors(ctx: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Rows whose label a classifier that has not seen them is confident is another."""
    judged_by_name = judged_columns(ctx)
    if not judged_by_name:
        yield Looked(0)
    for name, judged in judged_by_name.items():
        doubted = suspects(judged.probability, judged.labels)
        if judged.is_learnable:
            yield from doubts(ctx, name, judged, doubted, threshold)
        yield Fact(f"label_errors: {name}", summary(judged, doubted))


def doubts(ctx: Context, name: str, judged: Judged, doubted: Suspects, threshold: float) -> Iterator[Finding]:
    """The findings of one label."""
    for row, suggested, margin in zip(*(column.tolist() for column in doubted), strict=True):
        if -margin < threshold:
            break
        position = int(judged.positions[row])
        given = int(judged.labels[row])
        evidence = {
            "label": name,
            "given": judged.names[given],
            "suggested": judged.names[suggested],
            "probability_given": round(float(judged.probability[row, given]), 4),
            "probability_suggested": round(float(judged.probability[row, suggested]), 4),
            "text": short(asked(ctx.corpus.row(position).example)),
        }
        yield Finding(position, "warning" if -margin >= SURE else "note", round(-margin, 4), evidence)


def summary(judged: Judged, doubted: Suspects) -> dict[str, Any]:
    """How well the label can be learned, and how many rows are doubted."""
    rows = len(judged.labels)
    return {
        "rows": rows,
        "classes": len(judged.names),
        "cross_validated_error": round(judged.error, 4),
        "error_of_the_most_frequent_label": round(judged.majority_error, 4),
        "learnable": judged.is_learnable,
        "doubted_rows": len(doubted.row) if judged.is_learnable else 0,
        "doubted_share": round(len(doubted.row) / rows, 4) if judged.is_learnable else 0.0,
    }


CHECKS: tuple[Check, ...] = (
    Check(
        "label_errors",
        "A classifier that has not seen the row is confident of another label, by how much more probability "
        "that has than the given one (confident learning): a wrong label, or a hard row.",
        "labels",
        whole=label_errors,
        threshold=0.1,
    ),
)
