"""Rows unlike the others: by the distance to their nearest neighbours, and by their length."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.check.port import Check, Context, Fact, Finding, Looked
from tunesmith.data.check.sets import near
from tunesmith.data.check.sets.columns import columns
from tunesmith.data.check.sets.duplicates import place, short
from tunesmith.data.check.sets.sizes import lengths
from tunesmith.data.vectors import EXACT_ROWS, entire, nearest, sample_positions

NUM_NEIGHBOURS: Final = 10
REFERENCES: Final = 10_000
"""Neighbours are looked for among so many rows, drawn uniformly."""
MIN_ROWS: Final = 50
"""Among fewer rows nothing is usual."""
NORMAL: Final = 1.4826
"""Median distance from the median of a normal distribution, times this, is its standard deviation."""
SMALLEST: Final = 1e-3


def robust_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances from the median in robust standard deviations (Iglewicz & Hoaglin 1993), with their sign."""
    middle = np.median(values)
    spread = NORMAL * np.median(np.abs(values - middle))
    scores: NDArray[np.float64] = (values - middle) / max(float(spread), SMALLEST)
    return scores


def outliers(ctx: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Rows whose ten nearest neighbours are far."""
    known = columns(ctx)
    vectors_ND = ctx.vectors("whole")
    filled = near.first_of_each(known.pair)
    filled = filled[(known.asked_words + known.answered_words)[filled] > 0]
    if len(filled) < MIN_ROWS:
        return
    asked = sample_positions(filled, EXACT_ROWS, seed=ctx.options.seed)
    references = sample_positions(filled, REFERENCES, seed=ctx.options.seed)
    found = nearest(vectors_ND, asked, references, NUM_NEIGHBOURS)
    distance = 1 - found.similarity.mean(1).astype(np.float64)
    scores = robust_scores(distance)
    far = np.flatnonzero(scores > threshold)
    for at in far[np.argsort(-scores[far], kind="stable")].tolist():
        position = int(asked[at])
        evidence = {
            "distance": round(float(distance[at]), 4),
            "usual_distance": round(float(np.median(distance)), 4),
            "row": place(ctx, int(found.position[at, 0])),
            "text": short(entire(ctx.corpus.row(position).example)),
        }
        yield Finding(position, "note", round(float(scores[at]), 2), evidence)
    if len(asked) < len(filled):
        yield Looked(len(asked))
    yield Fact(
        "neighbour_distance",
        {
            "neighbours": NUM_NEIGHBOURS,
            "median": round(float(np.median(distance)), 4),
            "p95": round(float(np.quantile(distance, 0.95)), 4),
            "rows": len(asked),
            "references": len(references),
            "outliers": len(far),
        },
    )


def length_outliers(ctx: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Rows whose question or answer is far longer or shorter than usual, on a logarithmic scale."""
    known, sizes = columns(ctx), lengths(ctx)
    for name, values, told in (
        ("question", sizes.asked, known.has_prompt & (sizes.asked > 0)),
        ("answer", sizes.answered, sizes.answered > 0),
    ):
        rows = np.flatnonzero(told)
        if len(rows) < MIN_ROWS or (name == "answer" and "answer" in known.labels):
            continue
        logs = np.log(values[rows].astype(np.float64))
        usual = int(np.median(values[rows]))
        # where most have one length, a difference below a factor of 1.5 is nothing
        spread = max(NORMAL * float(np.median(np.abs(logs - np.median(logs)))), np.log(1.5))
        scores = (logs - np.median(logs)) / spread
        far = np.flatnonzero(np.abs(scores) > threshold)
        for at in far[np.argsort(-np.abs(scores[far]), kind="stable")].tolist():
            length = int(values[rows[at]])
            evidence = {"of": name, "length": length, "usual_length": usual, "unit": sizes.unit}
            yield Finding(int(rows[at]), "note", round(float(scores[at]), 2), evidence)
        yield Fact(
            f"{name}_length",
            {
                "unit": sizes.unit,
                "median": usual,
                **{f"p{share}": int(np.quantile(values[rows], share / 100)) for share in (5, 95, 99)},
                "longest": int(values[rows].max()),
                "outliers": len(far),
            },
        )


CHECKS: tuple[Check, ...] = (
    Check(
        "outliers",
        "The row is far from its ten nearest neighbours, in robust standard deviations from the usual "
        "distance: it may be of another kind, or broken.",
        "balance",
        whole=outliers,
        threshold=4.0,
        needs=frozenset({"embeddings"}),
    ),
    Check(
        "length_outliers",
        "Question or answer is much longer or shorter than usual, in robust standard deviations of the "
        "logarithm of the length.",
        "balance",
        whole=length_outliers,
        threshold=4.0,
    ),
)
