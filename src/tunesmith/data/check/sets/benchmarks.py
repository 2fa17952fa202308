"""Training rows that hold the items of a benchmark."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tunesmith.core.errors import DataError
from tunesmith.data.check.port import Check, Context, Fact, Finding, Looked, Severity
from tunesmith.data.check.sets import near
from tunesmith.data.check.sets.columns import Ints, columns, hash_of
from tunesmith.data.check.sets.duplicates import short
from tunesmith.data.check.sets.grams import words_of
from tunesmith.data.check.sets.hashed_index import covered_by, installed_indices, read_index
from tunesmith.data.check.sets.overlap import Blocks, Hit, Index, covered
from tunesmith.data.corpus import open_corpus
from tunesmith.data.vectors import CHUNK_ROWS, asked, entire

RUNS: Final[dict[int, Severity]] = {8: "error", 5: "warning"}
"""Length of the runs, and how bad it is when they cover an item."""
SET_SHARE: Final = 0.02
"""A benchmark is contaminated when more of its items are (Tülu 3)."""
WHOLE_WORDS: Final = 3
"""An item with fewer words is not compared."""


class Item(NamedTuple):
    """One item of a benchmark."""

    line: int
    text: str


class Overlap(NamedTuple):
    """A row of train that holds an item."""

    hit: Hit
    severity: Severity
    by: str


def benchmark_overlap(ctx: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Rows of train that hold items of the benchmarks that were given, or whose indices are installed."""
    files = [path for path in ctx.options.benchmarks if path.suffix != ".idx"]
    hashed = [path for path in ctx.options.benchmarks if path.suffix == ".idx"] + installed_indices()
    if not files and not hashed:
        yield Looked(0)
        return
    known = columns(ctx)
    firsts = near.first_of_each(known.pair)
    rows = firsts[known.is_train[firsts]]
    facts: dict[str, Any] = {}
    for path in files:
        items = read_items(path, ctx)
        overlaps = overlaps_with(ctx, items, rows, threshold)
        yield from findings(path.name, overlaps, [item._asdict() for item in items])
        facts[path.name] = summary(len(items), overlaps) | {
            "too_short": sum(len(words_of(item.text)) < WHOLE_WORDS for item in items)
        }
    if hashed:
        indices = [read_index(path) for path in hashed]
        texts = ((int(at), entire(ctx.corpus.row(int(at)).example)) for at in rows)
        found = covered_by(indices, texts, threshold)
        for index in indices:
            overlaps = [Overlap(hit, "error", "runs of 8 words, hashed") for hit in found[index.name]]
            yield from findings(index.name, overlaps, [{"number": at} for at in range(len(index.sizes))])
            facts[index.name] = summary(len(index.sizes), overlaps)
    yield Fact("benchmarks", facts)


def read_items(path: Path, ctx: Context) -> list[Item]:
    """The questions of a file of rows.  Raises DataError when none can be read."""
    with open_corpus(path, ctx.job) as corpus:
        items = [Item(row.line, asked(row.example)) for row in corpus]
        problem = str(corpus.problems[0].reason) if corpus.problems else "it is empty"
    if not items:
        step = "give rows of any shape that `tunesmith data prepare` reads"
        raise DataError("no row of the benchmark can be read", where=path, value=problem, next_step=step)
    return items


def overlaps_with(ctx: Context, items: Sequence[Item], rows: Ints, threshold: float) -> list[Overlap]:
    """For each row the items that it holds, by the longest runs that show it."""
    item_words = [words_of(item.text) for item in items]
    blocks = blocks_of(ctx, rows)
    found: dict[tuple[int, int], Overlap] = {}
    for length, severity in RUNS.items():
        index = Index(item_words, length)
        for hit in covered(index, blocks, threshold):
            found.setdefault((hit.row, hit.item), Overlap(hit, severity, f"runs of {length} words"))
    # what is too short for runs is compared whole
    by_hash: dict[int, list[int]] = {}
    for position in rows.tolist():
        by_hash.setdefault(int(columns(ctx).asked[position]), []).append(position)
    for number, (item, words) in enumerate(zip(items, item_words, strict=True)):
        if WHOLE_WORDS <= len(words) < max(RUNS):
            for position in by_hash.get(hash_of(item.text), ()):
                hit = Hit(position, number, 1.0)
                found[position, number] = Overlap(hit, "error", "the whole question")
    return [found[key] for key in sorted(found)]


def blocks_of(ctx: Context, rows: Ints) -> Blocks:
    """The words of rows of train, a block at a time."""

    def blocks() -> Iterator[tuple[Ints, list[list[str]]]]:
        for start in range(0, len(rows), CHUNK_ROWS):
            some = rows[start : start + CHUNK_ROWS]
            yield some, [words_of(entire(ctx.corpus.row(int(at)).example)) for at in some]

    return blocks


def findings(name: str, overlaps: Sequence[Overlap], items: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """One finding for each row: the item that it holds most of."""
    by_row: dict[int, list[Overlap]] = {}
    for overlap in overlaps:
        by_row.setdefault(overlap.hit.row, []).append(overlap)
    for position, found in by_row.items():
        best = max(found, key=lambda one: (one.severity == "error", one.hit.coverage))
        item = dict(items[best.hit.item])
        if "text" in item:
            item["text"] = short(item["text"])
        evidence = {"benchmark": name, "item": item, "by": best.by, "items": len(found)}
        yield Finding(position, best.severity, round(best.hit.coverage, 4), evidence)


def summary(num_items: int, overlaps: Sequence[Overlap]) -> dict[str, Any]:
    """How many items of a benchmark stand in train, and whether that spoils it."""
    sure = {overlap.hit.item for overlap in overlaps if overlap.severity == "error"}
    likely = {overlap.hit.item for overlap in overlaps} - sure
    share = len(sure) / max(1, num_items)
    return {
        "items": num_items,
        "contaminated": len(sure),
        "to_review": len(likely),
        "share": round(share, 4),
        "is_contaminated": share > SET_SHARE,
    }


CHECKS: tuple[Check, ...] = (
    Check(
        "benchmark_overlap",
        "The row holds an item of a benchmark: runs of eight words of this one row cover more than this "
        "share of the item's words (an error; runs of five: a warning).  Scores on it would measure memory.",
        "leakage",
        whole=benchmark_overlap,
        threshold=0.5,
    ),
)
