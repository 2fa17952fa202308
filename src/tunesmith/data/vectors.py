"""Unit vectors of a corpus's texts, in a file on disk, and which of them are near each other.

Legend of array names: N rows, D width, Q queries, R references, K neighbours.

`words` needs no model: hashed words and runs of four characters, weighted by how rare they are, put into
`WIDTH` dimensions by a seeded sparse random projection (Achlioptas 2003; Li, Hastie & Church 2006), which
keeps inner products on average.  The others are those of `runtime.embed`.
"""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.arrays import GrowingArray
from tunesmith.core.conversation import Example
from tunesmith.core.files import explain_disk_errors
from tunesmith.core.job import Job
from tunesmith.core.progress import Silent
from tunesmith.core.similarity import normalise
from tunesmith.data.check.port import Floats, Text
from tunesmith.data.corpus import Corpus

Ints = NDArray[np.int64]
Embed = Callable[[Sequence[str]], Floats]

WORD = re.compile(r"\w+")

CHUNK_ROWS = 2048
"""Rows whose texts are in memory at once."""
SHOWN_FROM_ROWS = 20_000
"""Fewer rows are embedded before a bar could be read."""
WIDTH = 256
NUM_BUCKETS = 1 << 17
"""Features are told apart by so many hashes."""
NONZEROS = 4
"""Dimensions that each feature goes to, with a random sign."""
CHARACTER_SHARE = 0.5
"""Weight of the runs of characters beside that of the words: they bridge inflections and typing errors."""
RUN_LENGTH = 4
EXACT_ROWS = 200_000
"""Up to so many rows all are compared; of more a uniform sample is."""
BLOCK = 2048
"""Vectors that are compared with `BLOCK` others at once (16 MiB of similarities)."""
LEADING = 64
"""Dimensions in which most pairs are ruled out."""


# --- texts ---------------------------------------------------------------------------------------------


def asked(example: Example) -> str:
    """What is said before the answer, without the standing instruction; of plain text, the text itself."""
    turns = example.prompt if has_answer(example) else example.messages
    if not turns:
        return answered(example)
    said = [turn.content or "" for turn in turns if turn.role not in ("system", "developer")]
    return "\n".join(said or [turn.content or "" for turn in turns])


def answered(example: Example) -> str:
    """The text of the answer; empty where there is none."""
    return example.answer if has_answer(example) else ""


def has_answer(example: Example) -> bool:
    """Whether some turn answers."""
    return bool(example.chosen or example.steps) or any(
        turn.role in ("assistant", "text") for turn in example.messages
    )


def has_prompt(example: Example) -> bool:
    """Whether something is asked: a document of plain text asks nothing."""
    return not has_answer(example) or bool(example.prompt)


def entire(example: Example) -> str:
    """Question and answer."""
    return f"{asked(example)}\n{answered(example)}" if has_prompt(example) else answered(example)


TEXTS: dict[Text, Callable[[Example], str]] = {"prompt": asked, "answer": answered, "whole": entire}
"""What of a row is embedded.  The prompt of a document without one is the document."""


def chunks(corpus: Corpus, which: Text) -> Iterator[list[str]]:
    """One text of each row, `CHUNK_ROWS` at a time."""
    for start in range(0, len(corpus), CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, len(corpus))
        yield [TEXTS[which](corpus.row(position).example) for position in range(start, stop)]


# --- vectors -------------------------------------------------------------------------------------------


@contextmanager
def open_vectors(
    corpus: Corpus, embeddings: str, job: Job, *, seed: int = 0
) -> Iterator[Callable[[Text], Floats]]:
    """What gives the vectors (N, D) of one text of each row, computed when first asked for; files while open.

    Texts without a word have a vector of zeros.  `embeddings` is "static", "minilm", "words" or the folder of
    an encoder.  Its errors come when it is first asked: ModelError or UserError of `runtime.embed`, or
    ImportError where torch is not installed.
    """
    known: dict[Text, Floats] = {}
    place = Path(tempfile.gettempdir())
    with explain_disk_errors(place), tempfile.TemporaryDirectory(prefix="tunesmith-vectors-") as name:

        def vectors(which: Text) -> Floats:
            if which not in known:
                embed = open_embed(corpus, which, embeddings, job, seed)
                known[which] = stored(corpus, which, embed, Path(name) / f"{which}.npy", job)
            return known[which]

        yield vectors


def open_embed(corpus: Corpus, which: Text, embeddings: str, job: Job, seed: int) -> Embed:
    """The embedder of this name, as a function of texts."""
    if embeddings == "words":
        return words_embedder(chunks(corpus, which), seed=seed)
    from tunesmith.runtime.embed import open_embedder  # here: it imports torch

    return open_embedder(embeddings, job.progress).embed


def stored(corpus: Corpus, which: Text, embed: Embed, path: Path, job: Job) -> Floats:
    """The vectors of a corpus in a file that is read where it is used."""
    width = embed([""]).shape[1]
    rows = len(corpus)
    progress = job.progress if rows >= SHOWN_FROM_ROWS else Silent()
    with (
        GrowingArray(path, "float32", width=width) as array,
        progress.task("embedding texts", total=rows, unit="rows") as task,
    ):
        for texts in chunks(corpus, which):
            array.extend(embed(texts))
            task.advance(len(texts))
    if not rows:
        return np.zeros((0, width), dtype=np.float32)
    return np.asarray(np.load(path, mmap_mode="r"))  # an array over the mapped file, not a copy


# --- vectors without a model ---------------------------------------------------------------------------


class Features(NamedTuple):
    """Hashed features of a block of texts: the text and the bucket of each, with repeats."""

    text: Ints
    bucket: Ints


def word_features(texts: Sequence[str]) -> Features:
    """Words and pairs of neighbouring words."""
    words = [WORD.findall(text) for text in texts]
    text = np.repeat(np.arange(len(texts)), [len(found) for found in words])
    hashes = np.fromiter(
        (zlib.crc32(word.encode("utf-8", "surrogatepass")) for found in words for word in found),
        dtype=np.uint64,
        count=len(text),
    )
    pairs = mixed(hashes[:-1] * np.uint64(31) + hashes[1:])[text[:-1] == text[1:]]
    inside = text[:-1][text[:-1] == text[1:]]
    return Features(np.concatenate([text, inside]), np.concatenate([mixed(hashes), pairs]))


def character_features(texts: Sequence[str]) -> Features:
    """Runs of four characters."""
    padded = [f" {text} " for text in texts]
    text = np.repeat(np.arange(len(texts)), [len(one) for one in padded])
    joined = "".join(padded).encode("utf-32-le", errors="surrogatepass")
    codes = np.frombuffer(joined, dtype=np.uint32).astype(np.uint64)
    runs = max(0, len(codes) - RUN_LENGTH + 1)
    hashes = np.zeros(runs, dtype=np.uint64)
    for shift in range(RUN_LENGTH):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[shift : shift + runs]
    whole = text[:runs] == text[RUN_LENGTH - 1 :]
    return Features(text[:runs][whole], mixed(hashes)[whole])


def mixed(hashes: NDArray[np.uint64]) -> Ints:
    """Buckets of hashes."""
    hashes = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (hashes >> np.uint64(32)).astype(np.int64) % NUM_BUCKETS


def words_embedder(corpus_texts: Iterator[list[str]], *, seed: int) -> Embed:
    """An embedder that knows how rare the words and runs of characters of a corpus are."""
    rows, kinds = 0, (word_features, character_features)
    frequency = [np.zeros(NUM_BUCKETS, dtype=np.int64) for _ in kinds]
    for texts in corpus_texts:
        normal = [normalise(text) for text in texts]
        rows += len(texts)
        for counts, features in zip(frequency, kinds, strict=True):
            found = features(normal)
            once = np.unique(found.text * NUM_BUCKETS + found.bucket) % NUM_BUCKETS
            counts += np.bincount(once, minlength=NUM_BUCKETS)
    rarity = [np.log1p(rows / (1.0 + counts)) for counts in frequency]
    draw = np.random.default_rng(seed)
    dims = draw.integers(0, WIDTH, (len(kinds), NUM_BUCKETS, NONZEROS))
    signs = draw.choice([-1.0, 1.0], (len(kinds), NUM_BUCKETS, NONZEROS))

    def embed(texts: Sequence[str]) -> Floats:
        normal = [normalise(text) for text in texts]
        total = np.zeros((len(texts), WIDTH))
        for kind, (features, share) in enumerate(zip(kinds, (1.0, CHARACTER_SHARE), strict=True)):
            found = features(normal)
            keys, times = np.unique(found.text * NUM_BUCKETS + found.bucket, return_counts=True)
            text, bucket = keys // NUM_BUCKETS, keys % NUM_BUCKETS
            weight = (1 + np.log(times)) * rarity[kind][bucket]
            place = text[:, None] * WIDTH + dims[kind][bucket]
            values = weight[:, None] * signs[kind][bucket]
            flat = np.bincount(place.ravel(), values.ravel(), minlength=len(texts) * WIDTH)
            total += share * unit(flat.astype(np.float64).reshape(len(texts), WIDTH))
        return unit(total).astype(np.float32)

    return embed


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows at length one; zeros stay zeros."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


# --- neighbours ----------------------------------------------------------------------------------------


def sample_positions(positions: Ints, most: int, *, seed: int) -> Ints:
    """At most so many positions, drawn uniformly, in rising order."""
    if len(positions) <= most:
        return positions
    return np.sort(np.random.default_rng(seed).choice(positions, most, replace=False))


class Pairs(NamedTuple):
    """Pairs of positions, and how alike they are."""

    left: Ints
    right: Ints
    similarity: Floats


def pairs_above(vectors_ND: Floats, positions: Ints, threshold: float, *, most: int) -> Pairs:
    """All pairs among some rows whose cosine is at least `threshold`; at most about `most`, the first found.

    Most pairs are ruled out in a few dimensions: with rest lengths r and s of two vectors outside the
    `LEADING` principal directions, their product is at most that of the leading parts plus r·s (Cauchy–
    Schwarz), so no pair is missed.  Time grows with the square of the rows, memory does not.
    """
    basis_DL = leading_directions(vectors_ND, positions)
    parts, found = [], 0
    short_NL = np.empty((len(positions), basis_DL.shape[1] + 1), dtype=np.float32)
    for start in range(0, len(positions), BLOCK):
        rows_BD = vectors_ND[positions[start : start + BLOCK]]
        lead_BL = rows_BD @ basis_DL
        rest_B = np.maximum((rows_BD**2).sum(1) - (lead_BL**2).sum(1), 0) ** 0.5
        short_NL[start : start + BLOCK] = np.concatenate([lead_BL, rest_B[:, None]], axis=1)
    for start in range(0, len(positions), BLOCK):
        for other in range(start, len(positions), BLOCK):
            bound = short_NL[start : start + BLOCK] @ short_NL[other : other + BLOCK].T
            left, right = np.nonzero(bound >= threshold - 1e-5)
            if start == other:
                left, right = left[left < right], right[left < right]
            pairs = exact(vectors_ND, positions[left + start], positions[right + other], threshold)
            parts.append(pairs)
            found += len(pairs.left)
        if found >= most:
            break
    empty = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    return Pairs(*(np.concatenate(column) for column in zip(empty, *parts, strict=True)))


def exact(vectors_ND: Floats, left: Ints, right: Ints, threshold: float) -> Pairs:
    """Those of some pairs that really reach the threshold."""
    similarity = np.empty(len(left), dtype=np.float32)
    for start in range(0, len(left), BLOCK * 8):
        part = slice(start, start + BLOCK * 8)
        similarity[part] = np.einsum("pd,pd->p", vectors_ND[left[part]], vectors_ND[right[part]])
    keep = similarity >= threshold
    return Pairs(left[keep], right[keep], similarity[keep])


def leading_directions(vectors_ND: Floats, positions: Ints) -> Floats:
    """The principal directions (D, L) of some rows, by their second moments."""
    width = vectors_ND.shape[1]
    moments_DD = np.zeros((width, width))
    for start in range(0, len(positions), BLOCK):
        rows_BD = vectors_ND[positions[start : start + BLOCK]]
        moments_DD += rows_BD.T @ rows_BD
    # eigh sorts its values from the smallest up
    return np.ascontiguousarray(np.linalg.eigh(moments_DD)[1][:, -LEADING:], dtype=np.float32)


class Neighbours(NamedTuple):
    """The nearest references of each query, the nearest first: their positions and cosines (Q, K)."""

    position: Ints
    similarity: Floats


def nearest(vectors_ND: Floats, queries: Ints, references: Ints, count: int) -> Neighbours:
    """The `count` references with the highest cosine to each query; a row is not its own neighbour.

    Where there are fewer, the places left over have position −1 and similarity 0.
    """
    place = np.full((len(queries), count), -1, dtype=np.int64)
    similarity = np.zeros((len(queries), count), dtype=np.float32)
    for start in range(0, len(queries), BLOCK):
        asked_B = queries[start : start + BLOCK]
        best = np.full((len(asked_B), count), -np.inf, dtype=np.float32)
        where = np.full((len(asked_B), count), -1, dtype=np.int64)
        for other in range(0, len(references), BLOCK):
            known_B = references[other : other + BLOCK]
            product = vectors_ND[asked_B] @ vectors_ND[known_B].T
            product[asked_B[:, None] == known_B[None, :]] = -np.inf
            best, where = merged(best, where, product, known_B, count)
        held = np.isfinite(best)
        place[start : start + BLOCK] = np.where(held, where, -1)
        similarity[start : start + BLOCK] = np.where(held, best, 0)
    return Neighbours(place, similarity)


def merged(best: Floats, where: Ints, product: Floats, known: Ints, count: int) -> tuple[Floats, Ints]:
    """The best `count` of those known so far and of a block."""
    if count == 1:
        column = product.argmax(1)
        value = product[np.arange(len(product)), column]
        better = value > best[:, 0]
        return np.where(better, value, best[:, 0])[:, None], np.where(better, known[column], where[:, 0])[
            :, None
        ]
    if product.shape[1] > count:
        column = np.argpartition(product, -count, axis=1)[:, -count:]
        product, names = np.take_along_axis(product, column, 1), known[column]
    else:
        names = np.broadcast_to(known, product.shape)
    values, names = np.concatenate([best, product], 1), np.concatenate([where, names], 1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(values, order, 1), np.take_along_axis(names, order, 1)
