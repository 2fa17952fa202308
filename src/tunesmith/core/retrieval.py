"""Texts most like another one, by BM25 over words: worked examples and passages for a question.

The ranking is bm25s's (Lucene's variant); needs no model, and is the same on every machine.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tunesmith.core.values import normalised

NOTHING = "\x00"
"""Stands for a text without words; no question has it."""


class Retriever:
    """An index over texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index the texts; at least one."""
        from bm25s import BM25

        self._index = BM25(method="lucene")
        self._index.index([words(text) or [NOTHING] for text in texts], show_progress=False)

    def nearest(self, query: str, k: int) -> list[int]:
        """Places of the `k` texts most like the query, the nearest first; of equals the earlier one."""
        asked = words(query)
        if not asked:
            return list(range(k))
        order = np.argsort(-self._index.get_scores(asked), kind="stable")
        return [int(place) for place in order[:k]]


def words(text: str) -> list[str]:
    """The words of a text, as they are compared."""
    return normalised(text).split()


@lru_cache(maxsize=8)
def retriever_for(texts: tuple[str, ...]) -> Retriever:
    """The index over these texts, built once."""
    return Retriever(texts)
