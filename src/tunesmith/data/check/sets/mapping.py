"""A map: questions as points, near each other when their vectors are."""

import warnings
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.check.port import Check, Context, Fact, Floats
from tunesmith.data.check.sets import near
from tunesmith.data.check.sets.columns import Columns, Ints, clusters_of, columns
from tunesmith.data.check.sets.duplicates import NEAR_THRESHOLD
from tunesmith.data.check.sets.label_errors import judged_columns, suspects
from tunesmith.data.check.sets.topics import topics
from tunesmith.data.check.texts.personal import opening
from tunesmith.data.vectors import asked, sample_positions

MAP_ROWS: Final = 1_500
MIN_ROWS: Final = 3
TSNE_ROWS: Final = 60
"""Fewer rows are shown by their two principal components."""
COMPONENTS: Final = 50
PERPLEXITY: Final = 30
SHOWN_CHARACTERS: Final = 90


def map_of_rows(ctx: Context, threshold: float) -> Iterator[Fact]:
    """Two coordinates of a uniform sample of the rows, and what is known of each."""
    known = columns(ctx)
    rows = sample_positions(np.flatnonzero(known.asked_words > 0), MAP_ROWS, seed=ctx.options.seed)
    if len(rows) < MIN_ROWS:
        return
    method, points_N2 = coordinates(ctx.vectors("prompt")[rows], seed=ctx.options.seed)
    label = next(iter(known.labels), None)
    topic = topics(ctx).coded
    odd = remarkable(ctx, known)
    points = [
        {
            "x": round(float(x), 3),
            "y": round(float(y), 3),
            "row": ctx.corpus.row(position).place,
            "split": known.split.name(position),
            "label": known.labels[label].name(position) if label else "",
            "topic": topic.name(position),
            "finding": odd.get(position, ""),
            "text": flat(asked(ctx.corpus.row(position).example)),
        }
        for position, (x, y) in zip(rows.tolist(), points_N2, strict=True)
    ]
    yield Fact(
        "map",
        {
            "method": method,
            "embeddings": ctx.options.embeddings,
            "rows": len(rows),
            "of": len(ctx.corpus),
            "label": label,
            "topics": list(topic.names),
            "points": points,
        },
    )


def flat(text: str) -> str:
    """The start of a text on one line, with personal data and secrets hidden."""
    return " ".join(opening(text.lstrip(), 2 * SHOWN_CHARACTERS).split())[:SHOWN_CHARACTERS]


def coordinates(rows_ND: Floats, *, seed: int) -> tuple[str, NDArray[np.float64]]:
    """How the map is made, and its points (N, 2) within −1 … 1.

    t-SNE (van der Maaten & Hinton 2008) started from the principal components, so that far groups keep their
    places (Kobak & Linderman 2021); with a fixed seed the map is the same each time.
    """
    centred = rows_ND.astype(np.float64) - rows_ND.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    width = min(COMPONENTS, len(size))
    components = left[:, :width] * size[:width]
    if len(rows_ND) < TSNE_ROWS or size[1:2].sum() < 1e-6:
        flat_N2 = np.zeros((len(rows_ND), 2))
        flat_N2[:, : min(2, width)] = components[:, :2]
        return "principal components", scaled(flat_N2)
    return "t-SNE", scaled(tsne(components, seed=seed))


def tsne(components: NDArray[np.float64], *, seed: int) -> NDArray[np.float64]:
    """t-SNE of principal components."""
    from sklearn.manifold import TSNE

    start = components[:, :2] / max(1e-12, float(components[:, 0].std())) * 1e-4
    model = TSNE(
        perplexity=min(PERPLEXITY, (len(components) - 1) / 3), init=start, random_state=seed, max_iter=500
    )
    with warnings.catch_warnings():
        # an unfinished layout is still a map
        warnings.simplefilter("ignore")
        return np.asarray(model.fit_transform(components), dtype=np.float64)


def scaled(points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points around the middle, the farthest coordinate at ±1."""
    points_N2 = points_N2 - (points_N2.max(0) + points_N2.min(0)) / 2
    return np.asarray(points_N2 / max(1e-12, float(np.abs(points_N2).max())))


def remarkable(ctx: Context, known: Columns) -> dict[int, str]:
    """Rows with a finding that shows on a map: doubted labels before duplicates."""
    odd: dict[int, str] = {}
    for members in clusters_of(known.pair, known.asked_words + known.answered_words > 0):
        odd.update(dict.fromkeys(members.tolist(), "exact duplicate"))
    pairs = near.whole_pairs(ctx, NEAR_THRESHOLD)
    for position in np.union1d(pairs.left, pairs.right).tolist():
        odd.setdefault(position, "near-duplicate")
    for judged in judged_columns(ctx).values():
        if judged.is_learnable:
            doubted: Ints = judged.positions[suspects(judged.probability, judged.labels).row]
            odd.update(dict.fromkeys(doubted.tolist(), "doubted label"))
    return odd


CHECKS: tuple[Check, ...] = (
    Check(
        "map",
        "A map of the questions by their vectors, with label, topic, split and findings of each.",
        "coverage",
        whole=map_of_rows,
        needs=frozenset({"embeddings"}),
    ),
)
