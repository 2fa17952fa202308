"""Where each row goes: exact repeats and near-duplicates left out, groups drawn into splits."""

import hashlib
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import SPLITS
from tunesmith.core.errors import DataError
from tunesmith.core.progress import counted
from tunesmith.core.similarity import normalise, shingle_sets
from tunesmith.core.similarity.groups import equal_runs
from tunesmith.core.similarity.near import ShingleSets
from tunesmith.data.differences import facts_of
from tunesmith.data.intake import (
    ORIGINS,
    SOURCE,
    Account,
    Columns,
    Contradictions,
    Dropped,
    Intake,
    prompt_text,
)
from tunesmith.data.parcels import answer_text
from tunesmith.data.split import GroupTable, Plan, assign_table

LEFT_OUT = -1
SHOWN = 5
TRAIN = SPLITS.index("train")


class Placed(NamedTuple):
    """Where each row goes, its group, and what the groups are like."""

    splits: NDArray[np.int8]
    """Places in `SPLITS`; -1: left out."""
    roots: NDArray[np.int64]
    dropped: list[Dropped]
    contradictions: Contradictions
    num_groups: int
    largest_group: int
    num_near: int
    notes: list[str]


def place(
    intake: Intake,
    columns: Columns,
    accounts: Mapping[str, Account],
    plan: Plan,
    *,
    where: Path,
    deduplicate: bool,
    drop_near: bool,
) -> Placed:
    """Leave repeats out, draw a split for every group; rows grouped with a held-out row are withheld."""
    roots = intake.groups.roots()
    dropped: list[Dropped] = []
    used = np.ones(columns.num_rows, dtype=bool)
    withhold_synthetic(columns, used, accounts, dropped)
    if deduplicate:
        drop_exact(columns, used, accounts, dropped)
    withhold(columns, roots, used, accounts, dropped)
    if drop_near and intake.near is not None:
        drop_near_duplicates(intake, columns, roots, used, accounts, dropped)
    ours = used & (columns.origins == SOURCE)
    if not ours.any():
        what = "every row is like a held-out row: nothing is left to train on"
        step = "give other rows, or other ones with --held-out: what is held out is never trained on"
        raise DataError(what, where=where, next_step=step)
    trained = columns.synthetic | shown_to_a_teacher(columns, intake.seeds)
    leaders, table = group_table(columns, roots, ours, trained, len(intake.strata))
    try:
        drawn = assign_table(table, plan)
    except DataError as error:
        raise DataError(error.what, value=error.value, where=where, next_step=error.next_step) from None
    splits = np.full(columns.num_rows, LEFT_OUT, dtype=np.int8)
    splits[ours] = drawn[np.searchsorted(leaders, roots[ours])]
    for code, origin in enumerate(ORIGINS):
        if code != SOURCE:
            splits[used & (columns.origins == code)] = SPLITS.index(origin)
    rewritten = differently_worded(columns, roots, ours)
    notes = missing_notes(intake) + synthetic_notes(columns, splits, trained)
    near = int(table.rows[np.isin(leaders, rewritten)].sum())
    contradictions = find_contradictions(columns, ours)
    largest = int(table.rows.max())
    dropped.sort(key=lambda row: (ORIGINS.index(row.origin), row.line))
    return Placed(splits, roots, dropped, contradictions, len(leaders), largest, near, notes)


def leave_out(
    columns: Columns, account: Account, row: int, reason: str, like: int, dropped: list[Dropped]
) -> None:
    """A row that could be used is left out because of another one."""
    if columns.changed[row]:
        account.changed -= 1
    else:
        account.kept -= 1
    origin = ORIGINS[columns.origins[row]]
    dropped.append(Dropped(origin, int(columns.lines[row]), reason, int(columns.lines[like])))


def drop_exact(
    columns: Columns, used: NDArray[np.bool_], accounts: Mapping[str, Account], dropped: list[Dropped]
) -> None:
    """Of rows with one hash the first of its origin stays."""
    origins = np.zeros((columns.num_rows, 8), dtype=np.uint8)
    origins[:, 0] = columns.origins
    order, is_first = equal_runs(np.concatenate([origins, columns.hashes], axis=1))
    firsts = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    for later, first in zip(order[~is_first].tolist(), order[firsts[~is_first]].tolist(), strict=True):
        used[later] = False
        account = accounts[ORIGINS[columns.origins[later]]]
        account.duplicate += 1
        leave_out(columns, account, later, "repeats an earlier row", first, dropped)


def withhold_synthetic(
    columns: Columns, used: NDArray[np.bool_], accounts: Mapping[str, Account], dropped: list[Dropped]
) -> None:
    """Synthetic rows of a file to test on are left out: a teacher's rows say nothing about the real ones."""
    for row in np.flatnonzero(columns.synthetic & (columns.origins != SOURCE)).tolist():
        used[row] = False
        account = accounts[ORIGINS[columns.origins[row]]]
        account.withheld += 1
        leave_out(columns, account, row, "synthetic: it is never tested on", row, dropped)


def shown_to_a_teacher(columns: Columns, seeds: Set[bytes]) -> NDArray[np.bool_]:
    """Rows that synthetic ones were made from: tested on, they would be known from those."""
    if not seeds:
        return np.zeros(columns.num_rows, dtype=bool)
    return np.array([row.tobytes() in seeds for row in columns.hashes], dtype=bool)


def withhold(
    columns: Columns,
    roots: NDArray[np.int64],
    used: NDArray[np.bool_],
    accounts: Mapping[str, Account],
    dropped: list[Dropped],
) -> None:
    """Leave out rows of the source whose group holds a row that has its split already."""
    led = used & (columns.origins == SOURCE) & (columns.origins[roots] != SOURCE)
    for row in np.flatnonzero(led).tolist():
        used[row] = False
        accounts["source"].withheld += 1
        origin = ORIGINS[columns.origins[roots[row]]]
        reason = f"too like a {origin.replace('_', '-')} row"
        leave_out(columns, accounts["source"], row, reason, int(roots[row]), dropped)


def group_table(
    columns: Columns,
    roots: NDArray[np.int64],
    ours: NDArray[np.bool_],
    trained: NDArray[np.bool_],
    num_strata: int,
) -> tuple[NDArray[np.int64], GroupTable]:
    """The roots of the source's groups, ascending, and what a draw needs of each group."""
    leaders, of_row, rows = np.unique(roots[ours], return_inverse=True, return_counts=True)
    synthetic = np.zeros(len(leaders), dtype=bool)
    np.logical_or.at(synthetic, of_row, trained[ours])
    times = np.full(len(leaders), -np.inf)
    np.fmax.at(times, of_row, columns.times[ours])
    strata = majority(of_row, columns.strata[ours], num_strata, len(leaders))
    return leaders, GroupTable(columns.group_keys(leaders), rows, strata, times, synthetic)


def majority(
    of_row: NDArray[np.int64], strata: NDArray[np.int64], num_strata: int, num_groups: int
) -> NDArray[np.int64]:
    """The commonest stratum of each group, the earliest seen where several are."""
    if num_strata < 2:
        return np.zeros(num_groups, dtype=np.int64)
    pairs, counts = np.unique(of_row * num_strata + strata, return_counts=True)
    order = np.lexsort((pairs % num_strata, -counts, pairs // num_strata))
    groups, first = np.unique(pairs[order] // num_strata, return_index=True)
    found = np.zeros(num_groups, dtype=np.int64)
    found[groups] = pairs[order][first] % num_strata
    return found


def differently_worded(
    columns: Columns, roots: NDArray[np.int64], ours: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Roots of the groups whose prompts differ."""
    rows = np.flatnonzero(ours)
    prompts = np.ascontiguousarray(columns.prompts).view(np.uint64)
    differs = (prompts[rows] != prompts[roots[rows]]).any(axis=1)
    return np.unique(roots[rows[differs]])


def find_contradictions(columns: Columns, ours: NDArray[np.bool_]) -> Contradictions:
    """Whole prompts that have several answers."""
    rows = np.flatnonzero(ours & columns.contexts.any(axis=1))
    order, is_first = equal_runs(columns.contexts[rows])
    rows, run = rows[order], np.cumsum(is_first) - 1
    starts = np.flatnonzero(is_first)
    answers = np.ascontiguousarray(columns.answers).view(np.uint64)
    differs = (answers[rows] != answers[rows[starts[run]]]).any(axis=1)
    faulty = np.unique(run[differs])
    ends = np.append(starts[1:], len(rows))
    lines = sorted(sorted(columns.lines[rows[starts[one] : ends[one]]].tolist()) for one in faulty)
    return Contradictions(len(faulty), [found[:SHOWN] for found in lines[:SHOWN]])


def missing_notes(intake: Intake) -> list[str]:
    """Rows without a metadata key that was asked for."""
    return [
        f"{count:,} rows have no usable {key!r}, which the split asks for"
        for key, count in (+intake.missing).items()
    ]


def synthetic_notes(columns: Columns, splits: NDArray[np.int8], trained: NDArray[np.bool_]) -> list[str]:
    """Synthetic rows are said, and where they and the rows that they were made from went."""
    synthetic = columns.synthetic & (splits == TRAIN)
    seeds = trained & ~columns.synthetic & (splits == TRAIN)
    withheld = columns.synthetic & (columns.origins != SOURCE)
    found = {
        "all of them in train": (synthetic, "synthetic row"),
        "in train, for synthetic ones were made from them": (seeds, "row"),
        "left out of what is tested on": (withheld, "synthetic row"),
    }
    return [
        f"{counted(count, noun)}, {where}"
        for where, (rows, noun) in found.items()
        if (count := int(np.count_nonzero(rows)))
    ]


def drop_near_duplicates(
    intake: Intake,
    columns: Columns,
    roots: NDArray[np.int64],
    used: NDArray[np.bool_],
    accounts: Mapping[str, Account],
    dropped: list[Dropped],
) -> None:
    """In each group, from the best row down, leave out what is like a row that stays, prompt and answer.

    The best: not mended, then with the longest answer, then the earliest.  A group can chain different rows
    through rows between them, so a row goes only for its likeness to a row that stays; and a row with another
    number or negation is another row.
    """
    assert intake.near is not None
    sets = intake.near.sets()
    places = place_of_rows(columns, intake, sets)
    for members in groups_of_many(roots, used & (columns.origins == SOURCE)):
        examples = list(read_examples(intake.spool, columns, members))
        texts = [answer_text(example) for example in examples]
        asked = [prompt_text(example) for example in examples]
        facts = numbered(facts_of(f"{prompt}\n{text}") for prompt, text in zip(asked, texts, strict=True))
        lengths = np.array([len(text) for text in texts])
        order = np.lexsort((members, -lengths, columns.changed[members]))
        answers = ShingleSets(*shingle_sets([normalise(text) for text in texts]), np.arange(len(texts)))
        left = order
        while len(left) > 1:
            best, rest = left[0], left[1:]
            like = alike(sets, places[members], best, rest, intake.near_duplicates)
            like &= facts[rest] == facts[best]
            like[like] = same_answers(answers, texts, best, rest[like], intake.near_duplicates)
            for one in rest[like].tolist():
                row = int(members[one])
                used[row] = False
                accounts["source"].near_duplicate += 1
                reason = "nearly the same as a row that stays"
                leave_out(columns, accounts["source"], row, reason, int(members[best]), dropped)
            left = rest[~like]


def numbered(values: Iterable[Hashable]) -> NDArray[np.int64]:
    """Equal values get equal numbers."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)


def alike(
    sets: ShingleSets, places: NDArray[np.int64], best: np.int64, rest: NDArray[np.int64], threshold: float
) -> NDArray[np.bool_]:
    """Which prompts of `rest` are like that of `best`."""
    first = np.full(len(rest), places[best])
    found: NDArray[np.bool_] = sets.similarities(first, places[rest], threshold) >= threshold
    found |= first == places[rest]
    return found


def same_answers(
    answers: ShingleSets, texts: list[str], best: np.int64, rest: NDArray[np.int64], threshold: float
) -> NDArray[np.bool_]:
    """Which answers of `rest` are like that of `best`."""
    found: NDArray[np.bool_] = answers.similarities(np.full(len(rest), best), rest, threshold) >= threshold
    found |= np.array([texts[one] == texts[best] for one in rest], dtype=bool)
    return found


def place_of_rows(columns: Columns, intake: Intake, sets: ShingleSets) -> NDArray[np.int64]:
    """Where the shingles of each row's prompt stand in `sets`."""
    order, is_first = equal_runs(columns.prompts)
    place_of = np.zeros(columns.num_rows, dtype=np.int64)
    place_of[np.frombuffer(intake.near_rows, dtype=np.int64)] = np.arange(len(sets))
    found = np.empty(columns.num_rows, dtype=np.int64)
    found[order] = place_of[order[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]]
    return found


def groups_of_many(roots: NDArray[np.int64], used: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Members of each group of two or more, ascending."""
    rows = np.flatnonzero(used)
    order = rows[np.argsort(roots[rows], kind="stable")]
    cuts = np.flatnonzero(np.diff(roots[order])) + 1
    starts, ends = np.append(0, cuts), np.append(cuts, len(order))
    for one in np.flatnonzero(ends - starts > 1).tolist():
        yield order[starts[one] : ends[one]]


def read_examples(spool: IO[bytes], columns: Columns, rows: NDArray[np.int64]) -> Iterator[Example]:
    """Examples of some rows from the spool."""
    for row in rows.tolist():
        spool.seek(int(columns.offsets[row]))
        yield Example.from_json(json.loads(spool.readline()))


def group_id(key: str) -> str:
    """64-bit hexadecimal name of a group."""
    return hashlib.blake2b(key.encode("utf-8", errors="surrogatepass"), digest_size=8).hexdigest()
