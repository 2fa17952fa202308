"""Slices that nobody declared: clusters of the questions' vectors, named by their most telling words."""

from collections import Counter
from typing import Final, NamedTuple

import numpy as np

from tunesmith.data.check.port import Context, Floats
from tunesmith.data.check.sets.columns import NOTHING, Coded, Ints, columns
from tunesmith.data.check.sets.grams import words_of
from tunesmith.data.check.sets.once import once
from tunesmith.data.vectors import BLOCK, asked, sample_positions

FIT_ROWS: Final = 20_000
ROWS_PER_TOPIC: Final = 20
MOST_TOPICS: Final = 24
NAME_ROWS: Final = 5_000
"""Names are taken from so many rows."""
NAME_WORDS: Final = 3
NAME_CHARACTERS: Final = 2_000
MIN_LETTERS: Final = 3


class Topics(NamedTuple):
    """The topic of each row, and how near rows are to the middle of theirs."""

    coded: Coded
    similarity: Floats
    """Cosine to the centre of the topic (N,)."""


def topics(ctx: Context) -> Topics:
    """Topics of all rows whose question has a vector; none where there are too few."""
    return once(ctx, "topics", lambda: find_topics(ctx))


def find_topics(ctx: Context) -> Topics:
    """k-means on the sphere, with k from the number of rows."""
    vectors_ND = ctx.vectors("prompt")
    known = columns(ctx)
    rows = len(known.asked)
    told = np.flatnonzero(known.asked_words > 0)
    _, firsts = np.unique(known.asked[told], return_index=True)
    fitted = sample_positions(np.sort(told[firsts]), FIT_ROWS, seed=ctx.options.seed)
    count = min(MOST_TOPICS, len(fitted) // ROWS_PER_TOPIC)
    codes, similarity = np.full(rows, NOTHING, dtype=np.int64), np.zeros(rows, dtype=np.float32)
    if count < 2:
        return Topics(Coded(codes, ()), similarity)
    centres_KD = fit(vectors_ND[fitted], count, seed=ctx.options.seed)
    for start in range(0, len(told), BLOCK):
        some = told[start : start + BLOCK]
        product = vectors_ND[some] @ centres_KD.T
        codes[some], similarity[some] = product.argmax(1), product.max(1)
    return Topics(Coded(codes, names_of(ctx, codes, count)), similarity)


def fit(rows_ND: Floats, count: int, *, seed: int) -> Floats:
    """Centres of length one (K, D)."""
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=4096, max_iter=50)
    centres_KD = model.fit(rows_ND).cluster_centers_
    length = np.linalg.norm(centres_KD, axis=1, keepdims=True)
    return np.asarray(centres_KD / np.where(length > 0, length, 1), dtype=np.float32)


def names_of(ctx: Context, codes: Ints, count: int) -> tuple[str, ...]:
    """For each topic the words that tell most that a row belongs to it.

    A word scores by its share of the topic's rows times the squared logarithm of how much more frequent it is
    there than in all rows: c-TF-IDF (arXiv:2203.05794) in shares, squared because words that all topics share
    are a little more frequent in some.
    """
    inside: list[Counter[str]] = [Counter() for _ in range(count)]
    sizes = np.zeros(count)
    for position in sample_positions(np.flatnonzero(codes >= 0), NAME_ROWS, seed=ctx.options.seed).tolist():
        text = asked(ctx.corpus.row(position).example)[:NAME_CHARACTERS]
        words = {word for word in words_of(text) if len(word) >= MIN_LETTERS and not word.isdigit()}
        inside[codes[position]].update(words)
        sizes[codes[position]] += 1
    everywhere = sum(inside, Counter[str]())
    total = max(1.0, float(sizes.sum()))
    names: list[str] = []
    for number, counts in enumerate(inside):

        def telling(word: str, counts: Counter[str] = counts, number: int = number) -> tuple[float, str]:
            here = counts[word] / max(1.0, sizes[number])
            lift = float(np.log(here / (everywhere[word] / total)))
            return here * max(0.0, lift) ** 2, word

        best = sorted(counts, key=telling, reverse=True)[:NAME_WORDS]
        name = ", ".join(best) or f"topic {number + 1}"
        names.append(name if name not in names else f"{name} ({number + 1})")
    return tuple(names)
