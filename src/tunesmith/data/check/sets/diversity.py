"""How varied the rows are."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from tunesmith.core.conversation import Example
from tunesmith.data.check.port import Check, Context, Fact, Finding, Floats
from tunesmith.data.check.sets import near
from tunesmith.data.check.sets.balance import effective
from tunesmith.data.check.sets.columns import Ints, columns
from tunesmith.data.check.sets.grams import words_of
from tunesmith.data.check.sets.topics import topics
from tunesmith.data.vectors import BLOCK, answered, asked, nearest, sample_positions

VENDI_ROWS: Final = 20_000
NEAREST_ROWS: Final = 5_000
WORDS: Final = 100_000
"""Distinct runs are counted in so many words: the share falls with their number."""
OPENING_WORDS: Final = 3
SHOWN_OPENINGS: Final = 10
MIN_ROWS: Final = 50


def vendi(rows_ND: Floats) -> float:
    """The Vendi score (Friedman & Dieng, arXiv:2210.02410): the effective number of different rows.

    exp of the entropy of the eigenvalues of the similarity matrix over n, by its dual of D × D entries; at
    most min(n, D).  Rows are vectors of length one.
    """
    if not len(rows_ND):
        return 0.0
    moments_DD = np.zeros((rows_ND.shape[1],) * 2)
    for start in range(0, len(rows_ND), BLOCK):
        part = rows_ND[start : start + BLOCK].astype(np.float64)
        moments_DD += part.T @ part
    values = np.linalg.eigvalsh(moments_DD / len(rows_ND))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def diversity(ctx: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Facts on vectors, words and openings; a note for an opening that too many answers share."""
    known = columns(ctx)
    told = np.flatnonzero(known.asked_words > 0)
    if not len(told):
        return
    yield Fact("vectors", of_vectors(ctx, told))
    for name, text_of, words in (
        ("prompt", asked, known.asked_words),
        ("answer", answered, known.answered_words),
    ):
        rows = np.flatnonzero((words > 0) & (known.has_prompt | (name == "answer")))
        if len(rows):
            yield Fact(f"words of the {name}s", of_words(ctx, rows, text_of))
    rows = np.flatnonzero(known.has_prompt & (known.answered_words > 2 * OPENING_WORDS))
    if "answer" in known.labels or len(rows) < MIN_ROWS:
        return
    shared = openings(ctx, rows)
    yield Fact(
        "openings of the answers",
        {"rows": len(rows), "openings": [{"opening": text, "rows": number} for text, number in shared]},
    )
    for text, number in shared:
        if number > threshold * len(rows):
            yield Finding(None, "note", round(number / len(rows), 4), {"opening": text, "rows": number})


def of_vectors(ctx: Context, told: Ints) -> dict[str, Any]:
    """Vendi score, distance to the nearest neighbour, and the share of the topics that is filled."""
    vectors_ND, seed = ctx.vectors("prompt"), ctx.options.seed
    sampled = sample_positions(told, VENDI_ROWS, seed=seed)
    queries = sample_positions(sampled, NEAREST_ROWS, seed=seed)
    similarity = nearest(vectors_ND, queries, sampled, 1).similarity[:, 0]
    found = topics(ctx).coded
    score = vendi(vectors_ND[sampled])
    return {
        "rows": len(sampled),
        "of": len(told),
        "embeddings": ctx.options.embeddings,
        "width": int(vectors_ND.shape[1]),
        "vendi": round(score, 2),
        "vendi_share": round(score / max(1, min(len(sampled), vectors_ND.shape[1])), 4),
        "nearest_distance": round(float(1 - similarity.mean()), 4) if len(told) > 1 else None,
        "topics": len(found.names),
        "effective_topics": round(effective(found.counts()), 2) if found.names else None,
        "different_share": round(len(near.first_of_each(columns(ctx).asked[told])) / len(told), 4),
    }


def of_words(ctx: Context, rows: Ints, text_of: Callable[[Example], str]) -> dict[str, Any]:
    """Share of different words, pairs and triples (distinct-n, Li et al., arXiv:1510.03055)."""
    seen: list[set[int]] = [set() for _ in range(3)]
    totals, used = [0, 0, 0], 0
    for position in np.random.default_rng(ctx.options.seed).permutation(rows).tolist():
        words = words_of(text_of(ctx.corpus.row(position).example))[: WORDS - totals[0]]
        used += 1
        for length, runs in enumerate(seen, start=1):
            found = [hash_words(words[at : at + length]) for at in range(len(words) - length + 1)]
            runs.update(found)
            totals[length - 1] += len(found)
        if totals[0] >= WORDS:
            break
    shares = {
        f"distinct_{length}": round(len(runs) / max(1, total), 4)
        for length, (runs, total) in enumerate(zip(seen, totals, strict=True), start=1)
    }
    return {"rows": used, "of": len(rows), "words": totals[0], **shares}


def hash_words(words: list[str]) -> int:
    """A number for a run of words, for counting within one process."""
    return hash(tuple(words))


def openings(ctx: Context, rows: Ints) -> list[tuple[str, int]]:
    """The most frequent openings of the answers, and their rows."""
    counts: Counter[str] = Counter()
    for position in rows.tolist():
        words = words_of(answered(ctx.corpus.row(position).example)[:200])
        counts[" ".join(words[:OPENING_WORDS])] += 1
    return counts.most_common(SHOWN_OPENINGS)


CHECKS: tuple[Check, ...] = (
    Check(
        "diversity",
        "How varied the rows are, by vectors (Vendi score, nearest neighbours, topics) and words; a note for "
        "an opening of three words that more than this share of the answers has.",
        "coverage",
        whole=diversity,
        threshold=0.2,
        needs=frozenset({"embeddings"}),
    ),
)
