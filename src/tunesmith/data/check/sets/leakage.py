"""Rows of the test splits that stand in training, word for word or nearly."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.check.port import Check, Context, Fact, Finding, Looked
from tunesmith.data.check.sets import near
from tunesmith.data.check.sets.columns import Columns, Ints, columns
from tunesmith.data.check.sets.duplicates import NEAR_THRESHOLD, place, short
from tunesmith.data.check.sets.once import once
from tunesmith.data.check.sets.shown import shown_differences
from tunesmith.data.differences import differences
from tunesmith.data.vectors import EXACT_ROWS, asked, nearest, sample_positions

TEST_SHARE: Final = 0.2
"""Of the random split that a file without splits is judged by."""
MOST_QUERIES: Final = 20_000
HISTOGRAM_BINS: Final = 20
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


class Alike:
    """Which rows ask the same, and which questions are nearly the same."""

    def __init__(self, known: Columns, pairs: near.Pairs) -> None:
        asks = known.asked_words > 0
        # rows without a word in their question are alike to nothing
        unlike = np.arange(len(known.asked), dtype=np.uint64)
        keys = np.where(asks, known.asked, unlike)
        _, first, self.question_of = np.unique(keys, return_index=True, return_inverse=True)
        self.num_questions = len(first)
        self.left, self.right = self.question_of[pairs.left], self.question_of[pairs.right]
        self.similarity = pairs.similarity
        self.pairs = pairs

    def rows_of(self, wanted: NDArray[np.bool_]) -> Ints:
        """For each question one of the wanted rows that ask it, or −1."""
        found = np.full(self.num_questions, -1, dtype=np.int64)
        positions = np.flatnonzero(wanted)[::-1]
        found[self.question_of[positions]] = positions
        return found


def split_leakage(ctx: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Rows of a test split whose question stands in train; without splits, what a random one would leak."""
    known = columns(ctx)
    alike = Alike(known, near.asked_pairs(ctx, threshold))
    if known.is_train.all() or not known.is_train.any():
        yield Fact("random_split", random_split(known, alike))
        yield Looked(0)
        return
    in_train = alike.rows_of(known.is_train)
    leaked: dict[int, tuple[int, float]] = {}
    held = np.flatnonzero(~known.is_train)
    for position in held[in_train[alike.question_of[held]] >= 0].tolist():
        leaked[position] = int(in_train[alike.question_of[position]]), 1.0
    by_question = nearest_in_train(alike, in_train)
    for position in held.tolist():
        found = by_question.get(int(alike.question_of[position]))
        if position not in leaked and found is not None:
            leaked[position] = found
    for position, (other, similarity) in leaked.items():
        yield leak(ctx, known, position, other, similarity)
    yield Fact("split_leakage", leaks(known, leaked))


def nearest_in_train(alike: Alike, in_train: Ints) -> dict[int, tuple[int, float]]:
    """For each question that is nearly one of train: the most alike row of train, and how alike it is."""
    found: dict[int, tuple[int, float]] = {}
    for mine, others in ((alike.left, alike.right), (alike.right, alike.left)):
        for question, other, similarity in zip(
            mine.tolist(), in_train[others].tolist(), alike.similarity.tolist(), strict=True
        ):
            if other >= 0 and similarity > found.get(question, (0, 0.0))[1]:
                found[question] = other, similarity
    return found


def leak(ctx: Context, known: Columns, position: int, other: int, similarity: float) -> Finding:
    """One row of a test split that stands in train."""
    texts = [asked(ctx.corpus.row(one).example) for one in (position, other)]
    evidence: dict[str, Any] = {"row": place(ctx, other), "text": short(texts[0])}
    if known.asked[position] == known.asked[other]:
        return Finding(position, "error", 1.0, evidence)
    evidence["other_text"] = short(texts[1])
    if differences(*texts):
        evidence["differs"] = shown_differences(*texts)
        return Finding(position, "note", round(similarity, 4), evidence)
    return Finding(position, "warning", round(similarity, 4), evidence)


def leaks(known: Columns, leaked: dict[int, tuple[int, float]]) -> dict[str, Any]:
    """Rows and share of each test split that stand in train."""
    found: dict[str, Any] = {}
    for number, name in enumerate(known.split.names):
        rows = np.flatnonzero((known.split.codes == number) & ~known.is_train)
        if not len(rows):
            continue
        similar = [leaked[position][1] for position in rows.tolist() if position in leaked]
        exact = sum(value == 1.0 for value in similar)
        found[name] = {
            "rows": len(rows),
            "exact": exact,
            "near": len(similar) - exact,
            "share": round(len(similar) / len(rows), 4),
        }
    return found


def random_split(known: Columns, alike: Alike) -> dict[str, Any]:
    """Share of the test rows of a random split that would have an alike row in train, on average.

    A row with m rows like it leaks unless all of them fall into the test split too: 1 − share^m.
    """
    rows_of_question = np.bincount(alike.question_of, minlength=alike.num_questions)
    others = rows_of_question.astype(np.float64)
    np.add.at(others, alike.left, rows_of_question[alike.right])
    np.add.at(others, alike.right, rows_of_question[alike.left])
    same = 1 - TEST_SHARE ** np.maximum(0, rows_of_question - 1)
    any_ = 1 - TEST_SHARE ** np.maximum(0, others - 1)
    rows = max(1, len(known.asked))
    return {
        "test_share": TEST_SHARE,
        "leaked_exact": round(float((same * rows_of_question).sum() / rows), 4),
        "leaked": round(float((any_ * rows_of_question).sum() / rows), 4),
    }


def train_similarity(ctx: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """How near each row of a test split is to its nearest row of train, by the cosine of their questions."""
    known = columns(ctx)
    held = sample_positions(np.flatnonzero(~known.is_train & (known.asked_words > 0)), MOST_QUERIES, seed=0)
    train = np.flatnonzero(known.is_train & (known.asked_words > 0))
    compared = sample_positions(train, EXACT_ROWS, seed=ctx.options.seed)
    if not len(held) or not len(compared):
        yield Looked(0)
        return
    found = once(ctx, "nearest train", lambda: nearest(ctx.vectors("prompt"), held, compared, 1))
    similarity, others = found.similarity[:, 0], found.position[:, 0]
    for position, other, value in zip(held.tolist(), others.tolist(), similarity.tolist(), strict=True):
        if value < threshold or known.asked[position] == known.asked[other]:
            continue  # equal ones are `split_leakage`'s
        texts = [asked(ctx.corpus.row(one).example) for one in (position, other)]
        evidence = {
            "row": place(ctx, other),
            "text": short(texts[0]),
            "other_text": short(texts[1]),
            **({"differs": shown_differences(*texts)} if differences(*texts) else {}),
        }
        yield Finding(position, "note", round(value, 4), evidence)
    for number, name in enumerate(known.split.names):
        inside = known.split.codes[held] == number
        if inside.any():
            yield Fact(f"nearest_train: {name}", distribution(similarity[inside]))
    yield Fact(
        "compared",
        {
            "test_rows": len(held),
            "train_rows": len(compared),
            "train_share": round(len(compared) / len(train), 4),
        },
    )


def distribution(values: NDArray[np.float32]) -> dict[str, Any]:
    """Quantiles and a histogram of similarities."""
    counts, edges = np.histogram(np.clip(values, 0, 1), bins=HISTOGRAM_BINS, range=(0, 1))
    return {
        "rows": len(values),
        "mean": round(float(values.mean()), 4),
        "quantiles": {f"{share:g}": round(float(np.quantile(values, share)), 4) for share in QUANTILES},
        "histogram": {"edges": [round(float(edge), 4) for edge in edges], "counts": counts.tolist()},
    }


CHECKS: tuple[Check, ...] = (
    Check(
        "split_leakage",
        "The question of a test row stands in train: the same (an error), or by the share of common runs of "
        "three words nearly the same.  Scores on such rows measure memory.",
        "leakage",
        whole=split_leakage,
        threshold=NEAR_THRESHOLD,
    ),
    Check(
        "train_similarity",
        "The question of a test row has nearly the vector of one in train: it may be a paraphrase.",
        "leakage",
        whole=train_similarity,
        threshold=0.95,
        needs=frozenset({"embeddings"}),
    ),
)
