"""Verdicts become a data set: edited rows in, rejected ones out; or a file, with their audit trail."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import UserError
from tunesmith.core.files import explain_disk_errors, hash_json, read_json, write_json
from tunesmith.core.job import Job
from tunesmith.core.reviews.guard import REVIEW
from tunesmith.core.reviews.state import RowState
from tunesmith.core.reviews.store import Reviews
from tunesmith.core.rounds import ROUND
from tunesmith.core.similarity import text_hash
from tunesmith.core.workspace import name_for_commands
from tunesmith.data.corpus import CorpusRow
from tunesmith.data.review.rows import Rows, is_answered, open_rows
from tunesmith.data.review.schema import ReviewConfig, ReviewResult
from tunesmith.data.review.session import queue_of
from tunesmith.data.review.status import judged, status
from tunesmith.data.steps import Ledger, derived, summary_of, with_example, write_rows
from tunesmith.data.vectors import asked


def apply(config: ReviewConfig, data: DataSet, reviews: Reviews, job: Job) -> ReviewResult:
    """Make the data set as the reviewers want it; each row is kept, changed, or dropped with the reason.

    Raises UserError while two people differ on a row, and where no row was decided.
    """
    queue = queue_of(data.fingerprint)
    states = {one.row_hash: one for one in judged(reviews, queue).states}
    command = f"tunesmith data review {name_for_commands(data.folder)}"
    conflicts = sum(one.state == "conflict" for one in states.values())
    if conflicts:
        what = f"two people differ on {conflicts} rows"
        raise UserError(what, where=data.manifest.name, next_step=f"{command} --adjudicate")
    settled = {row_hash: one for row_hash, one in states.items() if one.state == "settled"}
    if not settled:
        raise UserError("no row was reviewed yet", where=data.manifest.name, next_step=command)
    signed = reviews.signed_off(queue)
    verdicts = {one.row_hash: [one.action, one.after_hash] for one in settled.values()}
    facts = {"verdicts": hash_json(verdicts), "signed_off": signed.number if signed else None}
    with (
        derived(job, data, verb="data review", config=facts) as folder,
        open_rows(data, None, job) as rows,
        Ledger(folder.path) as ledger,
    ):
        after = Edits(rows, reviews, queue, settled)
        written = write_rows(folder, data.split_names(), reviewed_rows(after, ledger))
        changed, dropped = ledger.changes.total(), ledger.drops.total()
        num_rows = len(rows.corpus)
        undecided = num_rows - after.num_decided
        notes = [f"{reason}: {count} rows" for reason, count in ledger.drops.items()]
        if undecided:
            notes.append(f"{undecided} of {num_rows} rows have no verdict")
        write_json(folder / REVIEW, {
            "parent": data.fingerprint,
            "sign_off": signed.value | {"by": signed.reviewer, "time": signed.time, "note": signed.note}
            if signed else None,
            "rows": {one.after_hash: {"action": one.action, "before": one.row_hash, "by": one.reviewers}
                     for one in settled.values() if one.after_hash is not None},
        })  # fmt: skip
        if (data.folder / ROUND).exists():
            write_json(folder / ROUND, round_after(read_json(data.folder / ROUND), rows, settled))
        folder.summary = summary_of(
            data, written, rows=num_rows, changed=changed, dropped=dropped, notes=notes
        )
        result = status(data, reviews, folder=folder.path, splits=written.splits, notes=notes)
        folder.summary["review"] = result.model_dump(mode="json", exclude={"folder", "splits"})
    return result


def round_after(before: Mapping[str, Any], rows: Rows, settled: Mapping[str, RowState]) -> dict[str, Any]:
    """The state of active learning with the prompts that nobody could answer: no round offers them again."""
    rejected = [row_hash for row_hash, state in settled.items() if state.action == "reject"]
    prompts = {text_hash(asked(rows.by_hash(row_hash).example)) for row_hash in rejected}
    return {**before, "rejected": sorted({*before.get("rejected", ()), *prompts})}


class Edits:
    """What the verdicts make of each row."""

    def __init__(self, rows: Rows, reviews: Reviews, queue: str, settled: Mapping[str, RowState]) -> None:
        self.rows, self.settled = rows, settled
        self._reviews, self._queue = reviews, queue
        self.num_decided = 0
        self.made: dict[str, str] = {}
        """Hash of an edited row → the split it is in."""

    def example(self, state: RowState) -> Example:
        """The edited row, from the audit trail."""
        for event in reversed(self._reviews.events(self._queue, row_hash=state.row_hash)):
            if event.action == "edit" and event.after_hash == state.after_hash:
                return Example.from_json(event.value)
        raise AssertionError(state)

    def clash(self, after_hash: str, split: str) -> str | None:
        """Another split that holds the edited row already."""
        there = [self.rows.corpus.row(at) for at in self.rows.index.find(after_hash)]
        here = {row.split for row in there if row.row_hash == after_hash}
        here |= {self.made.setdefault(after_hash, split)}
        return next(iter(sorted(here - {split})), None)


def reviewed_rows(after: Edits, ledger: Ledger) -> Iterator[CorpusRow]:
    """The rows that go on, as they go on."""
    for row in after.rows.corpus:
        state = after.settled.get(row.row_hash)
        after.num_decided += state is not None
        if state is None or state.action == "accept":
            if is_answered(row.example):
                yield row
            else:
                ledger.drop("review", row.place, "nobody answered it")
        elif state.action == "reject":
            ledger.drop("review", row.place, "rejected by a reviewer", by=list(state.reviewers))
        else:
            assert state.after_hash is not None
            if other := after.clash(state.after_hash, row.split):
                ledger.drop("review", row.place, f"as it was edited, it stands in the {other} split already")
                continue
            ledger.change(
                "review", row.place, "edited by a reviewer", by=list(state.reviewers), after=state.after_hash
            )
            yield with_example(row, after.example(state))


def export(path: Path, data: DataSet, reviews: Reviews, job: Job) -> Counter[str]:
    """Write each row of the review with its verdict and everything that was done to it; counts by state."""
    queue = queue_of(data.fingerprint)
    counts: Counter[str] = Counter()
    if path.exists():
        raise UserError("this file is there already", where=path, next_step="give another one with --export")
    with explain_disk_errors(path, instead="--export"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_rows(data, None, job) as rows, path.open("w", encoding="utf-8") as file:
            for state in judged(reviews, queue).states:
                counts[state.state] += 1
                file.write(json.dumps(exported(state, rows, reviews, queue), ensure_ascii=False) + "\n")
    return counts


def exported(state: RowState, rows: Rows, reviews: Reviews, queue: str) -> dict[str, Any]:
    """One row as the file has it."""
    row = rows.by_hash(state.row_hash)
    events = [vars(event) for event in reviews.events(queue, row_hash=state.row_hash)]
    return {
        **row.place,
        "example": row.example.to_json(),
        "review_status": state.state,
        "action": state.action,
        "row_hash_after": state.after_hash,
        "reviewed_by": list(state.reviewers),
        "events": [{key: value for key, value in event.items() if key != "queue"} for event in events],
    }
