"""What the training rows are made of, in rows and in tokens: labels, sources, tasks, languages, lengths."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np

from tunesmith.core.errors import MissingPackage
from tunesmith.data.check.port import Check, Context, Fact, Finding
from tunesmith.data.check.sets.columns import NOTHING, Coded, Columns, Ints, columns
from tunesmith.data.check.sets.once import once
from tunesmith.data.check.sets.sizes import Lengths, lengths
from tunesmith.data.vectors import entire, sample_positions

BOUNDS: Final = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
"""Lengths at which a bucket ends."""
SHOWN_VALUES: Final = 30
MAX_VALUES: Final = 200
"""A field with more different values is not one to balance by."""
LANGUAGE_ROWS: Final = 20_000
"""Languages are told of so many rows, drawn uniformly."""
LANGUAGE_CHARACTERS: Final = 1_000
LANGUAGE_WORDS: Final = 4
"""Of a shorter text nobody can tell the language."""
STARVED_SHARE: Final = 0.1
"""A value is starved with less than this part of its equal share…"""
STARVED_ROWS: Final = 20
"""…and fewer rows than this: what can be learned from them is little."""
MOST_NOTES: Final = 10


def balance(ctx: Context, threshold: float) -> Iterator[Finding | Fact]:
    """A table for each property of the training rows; notes for values that dominate or are starved."""
    known, sizes = columns(ctx), lengths(ctx)
    train = known.is_train
    yield Fact("unit", sizes.unit)
    for name, coded in properties(ctx).items():
        table = tabulate(coded, train, sizes)
        if not table["values"]:
            if name in ctx.options.slices:
                yield Finding(None, "warning", 0, {"by": name, "why": "no row has this key in its metadata"})
            continue
        yield Fact(f"balance by {name}", table)
        if name not in ("length", "turns", "language"):
            yield from notes(name, coded, train, threshold)


def properties(ctx: Context) -> dict[str, Coded]:
    """What rows are balanced by: the user's keys first."""
    known, sizes = columns(ctx), lengths(ctx)
    found: dict[str, Coded] = declared_slices(ctx, known)
    found |= known.labels
    for name in ("source", "task", "rating"):
        if name in known.fields:
            found.setdefault(name, known.fields[name])
    # a word that begins two rows is no task
    found = {name: coded for name, coded in found.items() if name != "task" or is_task(coded)}
    found["language"] = languages(ctx)
    found["length"] = buckets(sizes.total, sizes.unit)
    found["turns"] = numbered(known.turns)
    return {name: coded for name, coded in found.items() if len(coded.names) <= MAX_VALUES or name == "task"}


def declared_slices(ctx: Context, known: Columns) -> dict[str, Coded]:
    """The keys of the metadata that the user names; a key that no row has is a value of its own."""
    nothing = Coded(np.full(len(ctx.corpus), NOTHING, dtype=np.int64), ())
    return {key: known.fields.get(f"metadata.{key}", nothing) for key in ctx.options.slices}


def is_task(coded: Coded) -> bool:
    """Whether the first words of the questions say what kind of question it is: most recur."""
    counts = coded.counts()
    return bool(len(counts)) and float(counts[counts >= STARVED_ROWS].sum()) >= 0.5 * float(counts.sum())


def buckets(values: Ints, unit: str) -> Coded:
    """Lengths in powers of two."""
    edges = [0, *BOUNDS]
    names = [f"{low}–{high - 1} {unit}" for low, high in pairwise(edges)]
    return Coded(np.searchsorted(BOUNDS, values, side="right"), (*names, f"from {BOUNDS[-1]} {unit}"))


def numbered(values: Ints) -> Coded:
    """Whole numbers as values."""
    found, codes = np.unique(values, return_inverse=True)
    return Coded(codes.astype(np.int64), tuple(str(value) for value in found.tolist()))


def languages(ctx: Context) -> Coded:
    """The language of a uniform sample of the rows (py3langid); rows that were not looked at have none.

    Raises MissingPackage when py3langid is not installed.
    """
    return once(ctx, "languages", lambda: tell_languages(ctx))


def tell_languages(ctx: Context) -> Coded:
    """See `languages`."""
    try:
        from py3langid import classify
    except ImportError:
        step = "pip install 'tunesmith[data]'"
        raise MissingPackage("telling languages needs py3langid", next_step=step) from None
    known = columns(ctx)
    telling = np.flatnonzero(known.asked_words + known.answered_words >= LANGUAGE_WORDS)
    codes = np.full(len(ctx.corpus), NOTHING, dtype=np.int64)
    names: dict[str, int] = {}
    for position in sample_positions(telling, LANGUAGE_ROWS, seed=ctx.options.seed).tolist():
        text = entire(ctx.corpus.row(position).example)[:LANGUAGE_CHARACTERS]
        language = str(classify(text)[0])
        codes[position] = names.setdefault(language, len(names))
    return Coded(codes, tuple(names))


def tabulate(coded: Coded, train: Any, sizes: Lengths) -> dict[str, Any]:
    """Rows and tokens of each value, the most frequent first, and the effective number of values."""
    known = train & (coded.codes >= 0)
    codes = coded.codes[known]
    rows = np.bincount(codes, minlength=len(coded.names))
    amount = np.bincount(codes, sizes.total[known], minlength=len(coded.names))
    order = np.argsort(-rows, kind="stable")
    order = order[rows[order] > 0]
    values = [
        {
            "value": coded.names[number],
            "rows": int(rows[number]),
            "row_share": share(rows[number], rows),
            "tokens": int(amount[number]),
            "token_share": share(amount[number], amount),
        }
        for number in order[:SHOWN_VALUES].tolist()
    ]
    return {
        "unit": sizes.unit,
        "rows": int(known.sum()),
        "rows_without": int(train.sum() - known.sum()),
        "different": len(order),
        "effective": round(effective(rows), 2),
        "values": values,
        "rows_of_others": int(rows[order[SHOWN_VALUES:]].sum()),
    }


def share(part: float, whole: Any) -> float:
    """A part of a sum."""
    return round(float(part) / max(1.0, float(whole.sum())), 4)


def effective(rows: Ints) -> float:
    """The number of equally frequent values with the same entropy (Hill number of order 1)."""
    shares = rows[rows > 0] / max(1, rows.sum())
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def notes(name: str, coded: Coded, train: Any, threshold: float) -> Iterator[Finding]:
    """What dominates, and what is starved."""
    codes = coded.codes[train & (coded.codes >= 0)]
    rows = np.bincount(codes, minlength=len(coded.names))
    total, different = int(rows.sum()), int((rows > 0).sum())
    if different < 2:
        return
    top = int(rows.argmax())
    if rows[top] > threshold * total:
        evidence: Mapping[str, Any] = {
            "by": name,
            "value": coded.names[top],
            "rows": int(rows[top]),
            "of": total,
        }
        yield Finding(None, "note", round(float(rows[top]) / total, 4), {**evidence, "why": "dominates"})
    starved = np.flatnonzero((rows > 0) & (rows < STARVED_SHARE * total / different) & (rows < STARVED_ROWS))
    if name == "task":
        return  # most first words are rare
    for number in starved[np.argsort(rows[starved], kind="stable")][:MOST_NOTES].tolist():
        evidence = {"by": name, "value": coded.names[number], "rows": int(rows[number]), "of": total}
        yield Finding(None, "note", round(float(rows[number]) / total, 4), {**evidence, "why": "starved"})


CHECKS: tuple[Check, ...] = (
    Check(
        "balance",
        "What the training rows are made of, in rows and in tokens; a note for a value with more than this "
        "share of the rows, and for values with hardly any.",
        "balance",
        whole=balance,
        threshold=0.8,
    ),
)
