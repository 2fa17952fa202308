"""What people said of the items of a hold-out: verdicts from the store that every room shares."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from tunesmith.core.agreement import Coefficient, codes_of, kappa
from tunesmith.core.errors import DataError
from tunesmith.core.job import Job
from tunesmith.core.reviews.acts import NEEDED, REVIEWS, Task
from tunesmith.core.reviews.state import settle
from tunesmith.core.workspace import name_for_commands
from tunesmith.evaluate.items import Items
from tunesmith.evaluate.schema import PeopleFacts
from tunesmith.evaluate.suite import People


class ItemVerdicts(NamedTuple):
    """What people say of one item."""

    accepted: bool
    """A person accepted it or edited it into what it is, and nobody's verdict against it holds."""
    by_reviewer: tuple[str, ...]
    """The actions of different people who looked at the same row, in the order of their looks."""


def verdicts_on(hashes: Sequence[str], job: Job) -> dict[str, ItemVerdicts]:
    """Verdicts by row hash; rows that nobody looked at are missing."""
    if not (job.workspace.root / REVIEWS).exists():
        return {}
    from tunesmith.core.reviews.store import reviews_of  # here: few evaluations need the database

    found: dict[str, list[tuple[bool, tuple[str, ...]]]] = {}
    wanted = set(hashes)
    tasks = reviews_of(job.workspace).tasks_about(list(hashes))
    for _, of_row in groupby(tasks, key=lambda task: (task.queue, task.row_hash)):
        looks = list(of_row)
        state = settle(looks)
        if state.state != "settled":
            continue
        actions = said(looks)
        if state.after_hash in wanted:
            found.setdefault(str(state.after_hash), []).append((True, actions))
        if state.row_hash in wanted and state.after_hash != state.row_hash:
            found.setdefault(state.row_hash, []).append((False, actions))
    return {
        row: ItemVerdicts(all(is_good for is_good, _ in of_row), max((said for _, said in of_row), key=len))
        for row, of_row in found.items()
    }


def said(tasks: Iterable[Task]) -> tuple[str, ...]:
    """The action of each person that was asked and has answered."""
    return tuple(str(task.action) for task in tasks if task.purpose in NEEDED and task.state == "done")


def people_on(found: Items, demanded: People | None, job: Job) -> PeopleFacts | None:
    """How many items people accepted, how many two looked at, and how far these agree.

    None when nobody looked at any and nothing is demanded.  Raises DataError for less than is demanded.
    """
    verdicts = verdicts_on([item.id for item in found.items], job)
    if not verdicts and demanded is None:
        return None
    twice = [one.by_reviewer for one in verdicts.values() if len(one.by_reviewer) > 1]
    agreed = agreement([pair[:2] for pair in twice]) if twice else None
    facts = PeopleFacts(
        accepted=sum(one.accepted for one in verdicts.values()),
        refused=sum(not one.accepted for one in verdicts.values()),
        items=len(found.items),
        twice=len(twice),
        kappa=agreed.value if agreed is not None else None,
        kappa_low=agreed.low if agreed is not None else None,
        kappa_high=agreed.high if agreed is not None else None,
    )
    if demanded is not None:
        check_demands(facts, demanded, found)
    return facts


def agreement(pairs: Sequence[tuple[str, ...]]) -> Coefficient:
    """Cohen's kappa of the two people who looked at each item."""
    codes, _ = codes_of(pairs)
    return kappa(codes[:, 0], codes[:, 1])


def check_demands(facts: PeopleFacts, demanded: People, found: Items) -> None:
    """Raise DataError with the counts and the next command."""
    split = f" --split {found.split}" if found.split else ""
    step = f"tunesmith data review {name_for_commands(found.path)}{split}"
    if facts.accepted < facts.items:
        missing = facts.items - facts.accepted - facts.refused
        what = f"{missing} of {facts.items} items have no person's verdict"
        what += f", and {facts.refused} were not accepted"
        raise DataError(what, where=found.name, next_step=step)
    if facts.twice < demanded.twice * facts.items:
        what = f"two people looked at {facts.twice} of {facts.items} items"
        step = f"{step} --overlap {demanded.twice:g}"
        raise DataError(what, where=found.name, value=f"{demanded.twice:.0%} demanded", next_step=step)
    if demanded.kappa is not None and (facts.kappa is None or facts.kappa < demanded.kappa):
        agreed = "undefined" if facts.kappa is None else f"{facts.kappa:.2f}"
        what = f"the two people's agreement (kappa) is {agreed}"
        step = "sharpen the guideline, and let conflicts be decided: --adjudicate"
        raise DataError(what, where=found.name, value=f"{demanded.kappa:g} demanded", next_step=step)
