"""How far a review is: counts, agreement, error rate, who signed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from shlex import quote
from statistics import median
from typing import Any, NamedTuple

from tunesmith.core.agreement import alpha, by_label, by_rater, codes_of, kappa, percent
from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import UserError
from tunesmith.core.reviews.acceptance import error_rate, rows_needed, upper_bound
from tunesmith.core.reviews.acts import NEEDED, VERDICTS, Event, Task
from tunesmith.core.reviews.state import RowState, answers_again, settle_all
from tunesmith.core.reviews.store import Reviews
from tunesmith.core.workspace import name_for_commands
from tunesmith.data.review.schema import Agreed, Rate, ReviewConfig, ReviewResult
from tunesmith.data.review.session import queue_of, reviewer_of

BOUND = 0.05
"""An error rate that a sample without errors should rule out: the size that is proposed."""


SHORT_ANSWER = 60
"""Characters of an edited answer that names its verdict."""
FEWEST_VERDICTS = 2
"""A verdict that was given once says nothing about agreement."""


class Judged(NamedTuple):
    """Everything that the store says about a data set."""

    tasks: list[Task]
    states: list[RowState]

    def count(self, action: str) -> int:
        """Rows on which this verdict holds."""
        return sum(state.action == action for state in self.states)

    def count_state(self, name: str) -> int:
        """Rows in this state."""
        return sum(state.state == name for state in self.states)


def judged(reviews: Reviews, queue: str) -> Judged:
    """Read a queue."""
    tasks = reviews.tasks(queue)
    return Judged(tasks, list(settle_all(tasks)))


def status(data: DataSet, reviews: Reviews, **facts: Any) -> ReviewResult:
    """How far the review of a data set is."""
    queue = queue_of(data.fingerprint)
    found = judged(reviews, queue)
    events = [event for event in reviews.events(queue) if event.action in VERDICTS]
    seconds = [event.seconds for event in events if event.seconds is not None]
    signed = reviews.signed_off(queue)
    skipped = sum(state.skipped for state in found.states)
    done = Counter(task.reviewer or "" for task in found.tasks if task.state == "done")
    fields: dict[str, Any] = {
        "data": data.manifest.name,
        "fingerprint": data.fingerprint,
        "total": sum(data.num_rows(name) for name in data.split_names()),
        "queued": len(found.states),
        "accepted": found.count("accept"),
        "edited": found.count("edit"),
        "rejected": found.count("reject"),
        "conflicts": found.count_state("conflict"),
        "open": found.count_state("open"),
        "skipped": skipped,
        "reviewers": dict(sorted(done.items())),
        "median_seconds": median(seconds) if seconds else None,
        "sample": rate_of(found.states),
        "agreement": agreement_of(found.tasks, events),
        "signed_off": f"{signed.reviewer}, {signed.time}" if signed else "",
    }
    result = ReviewResult(**(fields | facts))
    return result.model_copy(update={"next": next_steps(data, result)})


def next_steps(data: DataSet, result: ReviewResult) -> list[str]:
    """What to do now."""
    if result.folder is not None:
        return [f"tunesmith data show {quote(name_for_commands(result.folder))}"]
    command = f"tunesmith data review {quote(name_for_commands(data.folder))}"
    if result.conflicts:
        return [f"{command} --adjudicate"]
    if not result.queued:
        return [command, f"{command} --sample {rows_needed(BOUND)}"]
    if result.open:
        return [command]
    if not result.signed_off:
        return [f"{command} --sign-off"]
    return [f"{command} --apply"] if result.edited or result.rejected else []


def rate_of(states: Sequence[RowState]) -> Rate | None:
    """The error rate of the rows that were drawn at random."""
    drawn = [state for state in states if state.sampled]
    if not drawn:
        return None
    decided = [state for state in drawn if state.state == "settled"]
    errors = sum(state.action != "accept" for state in decided)
    rate = error_rate(errors, len(decided))
    return Rate(
        rows=len(decided), errors=errors, undecided=len(drawn) - len(decided), value=rate.value,
        low=rate.low, high=rate.high, exact_low=rate.exact_low, exact_high=rate.exact_high,
        below=upper_bound(errors, len(decided)) if decided else 1.0,
    )  # fmt: skip


def agreement_of(tasks: Sequence[Task], events: Sequence[Event]) -> Agreed | None:
    """Agreement on the rows that two people judged, and of each person with themselves.

    Two edits agree when they make the same row; what they are called is the answer that they give.
    """
    answers = edited_answers(events)
    table: list[dict[str, str]] = []
    for _, found in groupby(tasks, key=lambda task: task.row_hash):
        said = {
            task.reviewer or "": answers.get(str(task.after_hash), str(task.action))
            for task in found
            if task.purpose in NEEDED and task.state == "done"
        }
        if len(said) > 1:
            table.append(said)
    again = answers_again(tasks)
    if not table and not again:
        return None
    people = sorted({name for said in table for name in said})
    codes, labels = codes_of([[said.get(name) for name in people] for said in table])
    equal = percent(codes) if table else None
    together = alpha(codes) if table else None
    return Agreed(
        rows=len(table),
        percent=equal.value if equal else None,
        percent_low=equal.low if equal else None,
        percent_high=equal.high if equal else None,
        alpha=together.value if together else None,
        alpha_low=together.low if together else None,
        alpha_high=together.high if together else None,
        kappa=kappa(codes[:, 0], codes[:, 1], resamples=1).value if len(people) == 2 else None,
        by_reviewer={
            name: one.value
            for name, one in zip(people, by_rater(codes, resamples=1) if table else [], strict=True)
            if one.value is not None
        },
        by_verdict={
            str(labels[int(code)]): one.value
            for code, one in (by_label(codes, resamples=1) if table else {}).items()
            if (codes == code).sum() >= FEWEST_VERDICTS
        },
        again=len(again),
        again_equal=sum(first == second for first, second in again),
    )


def edited_answers(events: Iterable[Event]) -> dict[str, str]:
    """Hash of an edited row → what it is called: by its answer if that is short, else by its hash."""
    found = {}
    for event in events:
        if event.action == "edit" and event.after_hash is not None and event.value is not None:
            answer = " ".join(Example.from_json(event.value).answer.split())
            name = answer if len(answer) <= SHORT_ANSWER else event.after_hash[:12]
            found[event.after_hash] = f"edit: {name}"
    return found


def sign_off(config: ReviewConfig, data: DataSet, reviews: Reviews) -> ReviewResult:
    """Write down who answers for the data set, with the counts of this moment.

    Raises UserError while a row that is to be reviewed is open, or two people differ on one.
    """
    before = status(data, reviews)
    undone = {"open": before.open, "in conflict": before.conflicts}
    if not before.queued or any(undone.values()):
        counts = " and ".join(f"{count} {name}" for name, count in undone.items() if count)
        what = "no row was reviewed" if not before.queued else f"of {before.queued} rows {counts}"
        raise UserError(
            "this data set cannot be signed off yet", where=data.manifest.name, value=what,
            next_step="; ".join(before.next),
        )  # fmt: skip
    names = ("total", "queued", "accepted", "edited", "rejected", "reviewers", "sample", "agreement")
    counts_now = {name: value for name, value in before.to_json().items() if name in names}
    value = {"fingerprint": data.fingerprint, **counts_now}
    reviews.sign_off(queue_of(data.fingerprint), reviewer_of(config), value, config.note)
    return status(data, reviews)
