"""Rows that are there twice: word for word, nearly, or in other words."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from tunesmith.data.check.port import Check, Context, Fact, Finding, Looked
from tunesmith.data.check.sets import near
from tunesmith.data.check.sets.columns import Ints, clusters_of, columns
from tunesmith.data.check.sets.shown import shown_differences
from tunesmith.data.check.texts.personal import opening
from tunesmith.data.differences import differences
from tunesmith.data.vectors import EXACT_ROWS, Pairs, answered, entire, pairs_above, sample_positions

SHOWN_ROWS: Final = 8
"""Rows of a cluster that stand in the evidence."""
SHOWN_CHARACTERS: Final = 200
LONG_ANSWER_WORDS: Final = 8
"""A shorter answer may well be right for many questions."""
PAIRS_PER_ROW: Final = 20
"""Pairs by meaning that are looked at, on average; more say that the texts are one template."""


def short(text: str) -> str:
    """The start of a text, for evidence, with personal data and secrets hidden before it is cut."""
    flat = " ".join(opening(text.lstrip(), 2 * SHOWN_CHARACTERS).split())
    return flat if len(flat) <= SHOWN_CHARACTERS else f"{flat[: SHOWN_CHARACTERS - 1]}…"


def place(ctx: Context, position: int) -> dict[str, Any]:
    """Where another row stands."""
    return ctx.corpus.row(position).place


def cluster_evidence(ctx: Context, members: Sequence[int]) -> dict[str, Any]:
    """The other rows of a cluster: the first, how many, and where some of them stand."""
    rows = [place(ctx, int(member)) for member in members[:SHOWN_ROWS]]
    return {"row": rows[0], "cluster_rows": len(members), "cluster": rows}


def exact_duplicates(ctx: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Question and answer stand there before."""
    known = columns(ctx)
    filled = known.asked_words + known.answered_words > 0
    found = clusters_of(known.pair, filled)
    for members in found:
        evidence = cluster_evidence(ctx, members.tolist())
        text = short(entire(ctx.corpus.row(int(members[0])).example))
        for position in members[1:].tolist():
            yield Finding(position, "warning", len(members), {**evidence, "text": text})
    extra = sum(len(members) - 1 for members in found)
    yield Fact("exact_duplicates", {"clusters": len(found), "extra_rows": extra})


def repeated_answers(ctx: Context, threshold: float) -> Iterator[Finding | Fact]:
    """A long answer that several different questions get."""
    known = columns(ctx)
    asks = known.has_prompt & (known.answered_words >= LONG_ANSWER_WORDS)
    if "answer" in known.labels:
        return
    num_clusters = 0
    for members in clusters_of(known.answered, asks):
        kept = members[near.first_of_each(known.asked[members])]
        if len(kept) < max(2, threshold):
            continue
        num_clusters += 1
        text = short(answered(ctx.corpus.row(int(kept[0])).example))
        evidence = cluster_evidence(ctx, kept.tolist())
        for position in kept.tolist():
            yield Finding(position, "note", len(kept), {**evidence, "text": text})
    yield Fact("repeated_answers", {"clusters": num_clusters})


def near_duplicates(ctx: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Rows that share most of their runs of words with the representative of their cluster."""
    pairs = near.whole_pairs(ctx, threshold)
    found = near.clusters(pairs)
    yield from likenesses(ctx, found, with_size=True)
    extra = sum(len(cluster.members) for cluster in found)
    yield Fact("near_duplicates", {"clusters": len(found), "extra_rows": extra, "pairs": len(pairs.left)})


def semantic_duplicates(ctx: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Rows whose vectors are near and whose words are not; for review, never for removal."""
    known = columns(ctx)
    vectors_ND = ctx.vectors("whole")
    filled = near.first_of_each(known.pair)
    filled = filled[(known.asked_words + known.answered_words)[filled] > 0]
    positions = sample_positions(filled, EXACT_ROWS, seed=ctx.options.seed)
    most = PAIRS_PER_ROW * len(positions)
    pairs = pairs_above(vectors_ND, positions, threshold, most=most)
    worded = near.whole_pairs(ctx, NEAR_THRESHOLD)
    total = len(ctx.corpus)
    keep = ~np.isin(pairs.left * total + pairs.right, worded.left * total + worded.right)
    stars = near.clusters(
        near.Pairs(pairs.left[keep], pairs.right[keep], pairs.similarity[keep].astype(np.float64))
    )
    yield from likenesses(ctx, stars, with_size=False)
    if len(positions) < len(filled):
        yield Looked(len(positions))
    yield Fact("semantic_duplicates", summary(ctx, pairs, stars, positions, filled, most))


def likenesses(ctx: Context, clusters: Sequence[near.Cluster], *, with_size: bool) -> Iterator[Finding]:
    """Each member of each cluster; one that says something else than the representative is a note."""
    for cluster in clusters:
        text = entire(ctx.corpus.row(cluster.representative).example)
        where = place(ctx, cluster.representative)
        size = {"cluster_rows": len(cluster.members) + 1} if with_size else {}
        for position, similarity in zip(cluster.members, cluster.similarities, strict=True):
            other = entire(ctx.corpus.row(position).example)
            apart = differences(text, other)
            evidence = {"row": where, **size, "text": short(other), "other_text": short(text)}
            if apart:
                evidence["differs"] = shown_differences(text, other)
            yield Finding(position, "note" if apart else "warning", round(similarity, 4), evidence)


def summary(
    ctx: Context, pairs: Pairs, stars: Sequence[near.Cluster], positions: Ints, filled: Ints, most: int
) -> dict[str, Any]:
    """What was compared, and how much was found."""
    return {
        "embeddings": ctx.options.embeddings,
        "pairs": len(pairs.left),
        "pairs_by_meaning_only": sum(len(cluster.members) for cluster in stars),
        "compared_rows": len(positions),
        "compared_share": round(len(positions) / max(1, len(filled)), 4),
        "all_pairs_listed": len(pairs.left) < most,
    }


NEAR_THRESHOLD: Final = 0.5

CHECKS: tuple[Check, ...] = (
    Check(
        "exact_duplicates",
        "The same question with the same answer stands there before (case, white space and commas apart): it "
        "counts twice in training, and falls on both sides of a random split.",
        "duplicates",
        whole=exact_duplicates,
    ),
    Check(
        "near_duplicates",
        "Nearly the same row stands there before, by the share of common runs of three words with the "
        "representative of its cluster; other numbers, negations or names make it a note.",
        "duplicates",
        whole=near_duplicates,
        threshold=NEAR_THRESHOLD,
    ),
    Check(
        "semantic_duplicates",
        "Another row says the same in other words, by the cosine of their vectors: to be looked at, never to "
        "be removed unseen, for a cosine tells a paraphrase badly from another number or name.",
        "duplicates",
        whole=semantic_duplicates,
        threshold=0.9,
        needs=frozenset({"embeddings"}),
    ),
    Check(
        "repeated_answers",
        "A long answer is given to several different questions, by how many: it may be a stock phrase.",
        "duplicates",
        whole=repeated_answers,
        threshold=2,
    ),
)
