"""Proofs on the rows: what became of each, and that nothing held out is learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tunesmith.core.dataset import BATCH_ROWS, DataSet
from tunesmith.train.preflight.context import PreflightContext
from tunesmith.train.preflight.schema import Finding

MOST_CUT_ROWS: Final = 0.05
"""Share of rows of a source that may be cut or left out for their length: more is no rare exception that a
limit may ignore, it is a part of the data (often the hardest part)."""
MOST_CUT_LEARNED: Final = 0.01
"""Share of learned tokens that may be cut away: those are the ends of answers, so each teaches to stop in
the middle."""
MOST_UNSUPERVISED: Final = 0.05
"""Share of rows without a token to learn: a few are slips, more means that `learn`, weights or the template
do not say what was meant."""
NUM_SHOWN: Final = 5


def check_rows(context: PreflightContext) -> Finding:
    """Each row was kept, cut, split or left out; too many of the last kinds fail."""
    accounting = context.train.accounting
    faults = [
        fault
        for name, account in accounting["sources"].items()
        for fault in faults_of(name, account, may_lose=may_lose_learned(accounting["limits"]))
    ]
    evidence = outcomes(accounting)
    if faults:
        return Finding("failed", f"{'; '.join(faults)} ({evidence})", accounting)
    return Finding("passed", evidence, accounting)


def outcomes(accounting: Mapping[str, Any]) -> str:
    """'1,024 rows: 1,020 kept, 4 truncated (lines 3, 9), 51,200 of 60,000 tokens learned, 12 cut'."""
    counts = accounting["total"]
    parts = [f"{counts['kept']:,} kept"]
    parts += [
        f"{counts[what]:,} {word} ({first_lines(accounting, what)})"
        for what, word in WORDS.items()
        if counts[what]
    ]
    cut = f", {counts['learned_tokens_cut']:,} of the learned cut" if counts["learned_tokens_cut"] else ""
    learned = f"{counts['learned_tokens']:,} of {counts['tokens']:,} tokens learned"
    return f"{counts['rows']:,} rows: {', '.join(parts)}; {learned}{cut}"


WORDS: Final = {
    "truncated": "truncated",
    "split": "split",
    "dropped": "dropped",
    "refused": "refused",
    "unsupervised": "without a learned token",
}


def first_lines(accounting: Mapping[str, Any], what: str) -> str:
    """The first rows with an outcome, by source."""
    places = [
        f"{name}: line{'' if account[what] == 1 else 's'} {', '.join(map(str, account['first_lines'][what]))}"
        + (", …" if account[what] > len(account["first_lines"][what]) else "")
        for name, account in accounting["sources"].items()
        if account[what]
    ]
    return "; ".join(places)


def may_lose_learned(limits: Mapping[str, Any]) -> bool:
    """Whether learned tokens that are lost are no answers cut short.

    Packed text loses each block's first token, by its nature; rows that are left out are so as a whole.
    """
    return bool(limits["block_length"]) or limits["too_long"] == "drop"


def faults_of(name: str, account: Mapping[str, Any], *, may_lose: bool) -> Iterator[str]:
    """What is above its limit in one source."""
    rows = max(1, account["rows"])
    cut = account["truncated"] + account["dropped"]
    if cut > MOST_CUT_ROWS * rows:
        limit = f"limit {MOST_CUT_ROWS:.0%}"
        yield f"{name}: {cut / rows:.0%} of rows are cut or left out for their length ({limit})"
    learned = account["learned_tokens"] + account["learned_tokens_cut"]
    if not may_lose and account["learned_tokens_cut"] > MOST_CUT_LEARNED * max(1, learned):
        share = account["learned_tokens_cut"] / max(1, learned)
        yield f"{name}: {share:.1%} of learned tokens are cut away (limit {MOST_CUT_LEARNED:.0%})"
    if account["unsupervised"] > MOST_UNSUPERVISED * rows:
        share = account["unsupervised"] / rows
        yield f"{name}: {share:.0%} of rows teach nothing (limit {MOST_UNSUPERVISED:.0%})"
    if account["rows"] and not account["learned_tokens"]:
        yield f"{name}: no token of it is learned"


class Identity(NamedTuple):
    """What a row is known by."""

    row_hash: str
    group_id: str
    line: int


class Leak(NamedTuple):
    """A held-out row that is learned from."""

    source: str
    split: str
    line: int
    shared: str


def check_leaks(context: PreflightContext) -> Finding:
    """No held-out row of any source has its row hash or its group in the rows that are learned, of any."""
    hashes: set[str] = set()
    groups: set[str] = set()
    num_train = 0
    for data in context.learned_data.values():
        for row in identities(data.folder / "train.parquet"):
            hashes.add(row.row_hash)
            groups.add(row.group_id)
            num_train += 1
    leaks: list[Leak] = []
    counts: dict[str, int] = {}
    for source, data in context.data.items():
        for split in held_out_splits(data):
            for row in identities(data.folder / f"{split}.parquet"):
                counts[split] = counts.get(split, 0) + 1
                shared = "row" if row.row_hash in hashes else "group" if row.group_id in groups else ""
                if shared:
                    leaks.append(Leak(source, split, row.line, shared))
    held_out = ", ".join(f"{count:,} {split}" for split, count in counts.items()) or "no held-out"
    details = {"training_rows": num_train, "held_out": counts, "leaks": len(leaks)}
    if leaks:
        return Finding("failed", f"{shown(leaks)}, of {held_out} rows", details)
    return Finding(
        "passed", f"{num_train:,} training rows share no row and no group with {held_out} rows", details
    )


def held_out_splits(data: DataSet) -> list[str]:
    """The splits that nobody may learn from."""
    return [name for name in data.split_names() if name != "train"]


def identities(path: Path) -> Iterator[Identity]:
    """Hash, group and line of every row, streaming; the examples themselves are not read."""
    import pyarrow.parquet as pq

    if not path.exists():
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(Identity._fields)):
            columns = (batch.column(name).to_pylist() for name in Identity._fields)
            yield from map(Identity, *columns)


def shown(leaks: Sequence[Leak]) -> str:
    """'3 held-out rows are in training (orders, test, line 4: row), …'."""
    places = "; ".join(
        f"{leak.source}, {leak.split}, line {leak.line}: same {leak.shared}" for leak in leaks[:NUM_SHOWN]
    )
    more = f"; and {len(leaks) - NUM_SHOWN:,} more" if len(leaks) > NUM_SHOWN else ""
    verb = "row shares" if len(leaks) == 1 else "rows share"
    return f"{len(leaks):,} held-out {verb} a row or group with training ({places}{more})"
