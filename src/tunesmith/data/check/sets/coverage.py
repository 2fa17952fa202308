"""Whether training has what the test asks for: rows by slice in both, and how many to collect.

A slice has a gap when its share of train is less than half its share of the test rows.  What to collect
is then as many as bring the two shares level, at least up to `ENOUGH_ROWS` rows in train; where there is no
test split, slices are brought up to `ENOUGH_ROWS` rows.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.errors import DataError
from tunesmith.core.files import read_jsonl
from tunesmith.data.check.port import Check, Context, Fact, Finding
from tunesmith.data.check.sets.balance import MAX_VALUES, declared_slices
from tunesmith.data.check.sets.columns import Coded, columns
from tunesmith.data.check.sets.topics import topics

ENOUGH_ROWS: Final = 20
MIN_HELD: Final = 3
"""With fewer test rows of a slice its share says little."""
SAMPLES: Final = "samples.jsonl"
"""Answers in a folder of `tunesmith evaluate`: one line with the row's hash and its scores."""

Mask = NDArray[np.bool_]


def coverage(ctx: Context, threshold: float) -> Iterator[Finding | Fact]:
    """A table for each way to slice the rows; what train lacks."""
    known = columns(ctx)
    scores = read_scores(ctx)
    for name, coded in slices(ctx).items():
        table = [
            entry | errors_of(coded.codes == number, scores)
            for number, entry in enumerate(rows_of(coded, known.is_train, threshold))
        ]
        yield Fact(f"coverage by {name}", {"rule": rule(known.is_train, threshold), "slices": table})
        for entry in table:
            if entry["collect"]:
                severity: Any = (
                    "warning" if entry["test_rows"] >= MIN_HELD and not entry["train_rows"] else "note"
                )
                yield Finding(None, severity, entry["train_share"], {"by": name, **entry})


def slices(ctx: Context) -> dict[str, Coded]:
    """Declared slices, labels, and the topics that were found."""
    known = columns(ctx)
    found = {**declared_slices(ctx, known), **known.labels, "topic": topics(ctx).coded}
    return {name: coded for name, coded in found.items() if 1 <= len(coded.names) <= MAX_VALUES}


def rule(is_train: Mask, threshold: float) -> str:
    """By what rule it is said how many to collect."""
    if is_train.all():
        return f"every slice has at least {ENOUGH_ROWS} rows"
    return (
        f"a slice with less than {threshold:g} of its test share in train is brought level with the test, "
        f"and to at least {ENOUGH_ROWS} rows"
    )


def rows_of(coded: Coded, is_train: Mask, threshold: float) -> list[dict[str, Any]]:
    """Rows, shares and gap of each slice; how many to collect."""
    known = coded.codes >= 0
    train = np.bincount(coded.codes[known & is_train], minlength=len(coded.names))
    held = np.bincount(coded.codes[known & ~is_train], minlength=len(coded.names))
    found = []
    for name, mine, asked in zip(coded.names, train.tolist(), held.tolist(), strict=True):
        train_share, test_share = mine / max(1, train.sum()), asked / max(1, held.sum())
        found.append(
            {
                "slice": name,
                "train_rows": mine,
                "test_rows": asked,
                "train_share": round(train_share, 4),
                "test_share": round(test_share, 4) if held.sum() else None,
                "gap": round(test_share - train_share, 4) if held.sum() else None,
                "collect": to_collect(mine, int(train.sum()), asked, int(held.sum()), threshold),
            }
        )
    return found


def to_collect(mine: int, train: int, asked: int, held: int, threshold: float) -> int:
    """How many rows of a slice train lacks, in one or two digits that count: an estimate is no more exact."""
    if not held:
        return max(0, ENOUGH_ROWS - mine)
    share = asked / held
    if asked < MIN_HELD or mine >= threshold * share * train:
        return 0
    # (mine + n) / (train + n) = share
    level = (share * train - mine) / (1 - share) if share < 1 else ENOUGH_ROWS - mine
    return rounded_up(max(level, ENOUGH_ROWS - mine, 0))


def rounded_up(number: float) -> int:
    """Up to two digits that count."""
    step = 10 ** max(0, math.floor(math.log10(number)) - 1) if number >= 1 else 1
    return math.ceil(number / step) * step


def read_scores(ctx: Context) -> NDArray[np.float64]:
    """For each row the first score of its answer in the report that was given (N,), or NaN.

    Raises DataError for a folder without answers, or with those of other rows.
    """
    found = np.full(len(ctx.corpus), np.nan)
    folder = ctx.options.report
    if folder is None:
        return found
    path = Path(folder) / SAMPLES
    if not path.is_file():
        step = "give a folder that `tunesmith evaluate` made"
        raise DataError("the report has no answers", where=path, next_step=step)
    scores = {
        str(line.value["id"]): float(next(iter(line.value["scores"].values())))
        for line in read_jsonl(path)
        if line.value.get("scores")
    }
    for row in ctx.corpus:
        if row.row_hash in scores:
            found[row.position] = scores[row.row_hash]
    if np.isnan(found).all():
        step = "give the report of an evaluation on this data set"
        raise DataError("the report's answers are to other rows", where=path, next_step=step)
    return found


def errors_of(inside: Mask, scores: NDArray[np.float64]) -> dict[str, Any]:
    """Answers of a slice in the report, and the share that they lack of the full score."""
    mine = scores[inside]
    mine = mine[~np.isnan(mine)]
    return {"answers": len(mine), "error": round(1 - float(mine.mean()), 4)} if len(mine) else {}


CHECKS: tuple[Check, ...] = (
    Check(
        "coverage",
        "A slice of the data has less than this part of its test share in train, or hardly any rows: a "
        "warning where the test asks for what train does not have at all.",
        "coverage",
        whole=coverage,
        threshold=0.5,
        needs=frozenset({"embeddings"}),
    ),
)
