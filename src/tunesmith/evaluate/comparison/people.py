"""People's verdicts on both answers in the place of a score, with the judge's scores as predictions."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from tunesmith.core.errors import DataError
from tunesmith.core.files import hash_json
from tunesmith.core.job import Job
from tunesmith.core.stats import (
    JudgedDifference,
    PairedDifference,
    Verdicts,
    judged_difference,
    required_items,
)
from tunesmith.core.workspace import name_for_commands
from tunesmith.evaluate.asking import Sample
from tunesmith.evaluate.comparison.differences import Deciding, as_difference
from tunesmith.evaluate.comparison.reports import ItemKey, Pairs, Report
from tunesmith.evaluate.comparison.schema import Alone, ByPeople
from tunesmith.evaluate.verdicts import (
    answered_example,
    drawn_hashes,
    judge_of,
    judge_scores,
    people_on_answers,
)

PEOPLE = "people"
"""What decides, where a score's name would stand."""


class Side(NamedTuple):
    """One report's answers that the judge scored."""

    samples: Mapping[ItemKey, Sample]
    hashes: Mapping[ItemKey, str]
    drawn: set[str]
    said: Mapping[str, float]


class JudgedPairs(NamedTuple):
    """Items whose two answers the judge scored, those that people judged first."""

    judge: str
    items: list[ItemKey]
    first: Verdicts
    second: Verdicts
    groups: list[str]
    drawn: int
    """Items that were drawn from both reports."""
    notes: list[str]

    @property
    def judged(self) -> int:
        """Items that people judged."""
        return len(self.first.human)

    @property
    def verdicts(self) -> str:
        """Identity of what people said and of what predicts it: more verdicts are other work."""
        human = [self.first.human.tolist(), self.second.human.tolist()]
        return hash_json([self.judge, self.items[: self.judged], *human])

    def on(self, wanted: Sequence[ItemKey]) -> "JudgedPairs":
        """The same on some of the items."""
        chosen = set(wanted)
        keep = np.array([item in chosen for item in self.items])
        judged, others = keep[: self.judged], keep[self.judged :]
        first, second = (
            Verdicts(side.human[judged], side.judged[judged], side.judged_only[others])
            for side in (self.first, self.second)
        )
        places = np.flatnonzero(keep).tolist()
        return self._replace(
            items=[self.items[place] for place in places],
            first=first,
            second=second,
            groups=[self.groups[place] for place in places],
        )


def judged_pairs(a: Report, b: Report, common: Sequence[ItemKey], judge: str | None, job: Job) -> JudgedPairs:
    """People's verdicts on answers that were drawn at random from both reports, beside the judge's scores.

    Raises DataError when no answers were drawn from one of them, no item from both, or nobody judged one.
    """
    known = [name for name in judge_scores(b) if name in set(judge_scores(a))]
    name = judge_of(judge, known, str(b.manifest.summary["primary"]))
    first, second = (side_of(report, common, name, job) for report in (a, b))
    both = [item for item in common if item in first.samples and item in second.samples]
    drawn = [item for item in both if is_drawn(first, item) and is_drawn(second, item)]
    spoken = [item for item in both if is_judged(first, item) and is_judged(second, item)]
    judged = [item for item in drawn if item in set(spoken)]
    check_drawn(a, b, len(drawn), len(judged))
    items = [*judged, *(item for item in both if item not in set(judged))]
    sign = -1.0 if b.scores[name]["better"] == "lower" else 1.0
    scored = sum(name_in(a, item, name) and name_in(b, item, name) for item in common)
    notes = notes_on(a, b, name, len(drawn), len(judged), len(spoken) - len(judged), scored - len(both))
    groups = [second.samples[item]["group_id"] for item in items]
    return JudgedPairs(
        judge=name,
        items=items,
        first=verdicts_of(first, items, len(judged), name, sign),
        second=verdicts_of(second, items, len(judged), name, sign),
        groups=groups,
        drawn=len(drawn),
        notes=notes,
    )


def side_of(report: Report, common: Sequence[ItemKey], judge: str, job: Job) -> Side:
    """A report's answers that the judge scored.  Raises DataError when none was drawn for people."""
    samples = {
        item: sample
        for item in common
        if (sample := report.by_item[item][0])["error"] is None and judge in sample["scores"]
    }
    hashes = {item: answered_example(sample).row_hash for item, sample in samples.items()}
    drawn = drawn_hashes(report, job)
    if not drawn:
        what = "no answers of this report were drawn for people"
        step = f"{ask_for(report)}; with one --seed the same items are drawn of both reports"
        raise DataError(what, where=report.folder, next_step=step)
    said, _ = people_on_answers(sorted(set(hashes.values())), job)
    return Side(samples, hashes, drawn, said)


def ask_for(report: Report) -> str:
    """The commands that bring verdicts on a report's answers."""
    return f"tunesmith answers {name_for_commands(report.folder)}, then review the data set it makes"


def is_drawn(side: Side, item: ItemKey) -> bool:
    """Whether the item's answer was drawn at random for people."""
    return side.hashes[item] in side.drawn


def is_judged(side: Side, item: ItemKey) -> bool:
    """Whether people have a settled verdict on the item's answer."""
    return side.hashes[item] in side.said


def name_in(report: Report, item: ItemKey, name: str) -> bool:
    """Whether an item is one that the judge was asked about."""
    sample = report.by_item[item][0]
    return name in sample["scores"] or name in sample["failed"]


def check_drawn(a: Report, b: Report, drawn: int, judged: int) -> None:
    """Raise DataError where there is nothing to rest on."""
    if not drawn:
        what = (
            "no item was drawn from both reports: verdicts on different items say little about a difference"
        )
        raise DataError(
            what, where=b.folder, next_step=f"{ask_for(b)}, with the --seed that A was drawn with"
        )
    if not judged:
        what = f"people judged both answers of none of the {drawn} items drawn from both reports"
        step = "review the data sets that `tunesmith answers` made of both"
        raise DataError(what, where=f"{a.folder}, {b.folder}", next_step=step)


def verdicts_of(side: Side, items: Sequence[ItemKey], judged: int, name: str, sign: float) -> Verdicts:
    """People's verdicts and the judge's scores; a score of which less is better is turned round."""
    scores = [sign * side.samples[item]["scores"][name] for item in items]
    human = [side.said[side.hashes[item]] for item in items[:judged]]
    return Verdicts.of(human, scores[:judged], scores[judged:])


def notes_on(
    a: Report, b: Report, judge: str, drawn: int, judged: int, undrawn: int, unanswered: int
) -> list[str]:
    """What a reader should know of the verdicts."""
    notes = []
    if drawn > judged:
        said = f"{drawn - judged} of {drawn} items drawn from both reports lack a settled verdict"
        notes.append(f"{said}: if they were left open for what they are, the difference is off")
    if undrawn:
        notes.append(f"verdicts on {undrawn} items that were not drawn from both reports were left out")
    if unanswered:
        said = f"{unanswered} items lack an answer, or a score of {judge}, in one report"
        notes.append(f"{said}: people's difference leaves them out")
    if judged_by(a, judge) != judged_by(b, judge):
        notes.append(f"{judge} was not given by the same judge in both reports")
    return notes


def judged_by(report: Report, name: str) -> Any:
    """The judge behind a score, as the manifest holds it; None for a score that is no judge's."""
    task, _, own = name.rpartition("/")
    config = report.manifest.config
    settings = (
        config.get("tasks", {}).get(task) if task else next(iter(config.get("tasks", {}).values()), config)
    )
    return (settings or {}).get("judge") if own == "judge" else None


def by_people(pairs: JudgedPairs, seed: int) -> tuple[Deciding, ByPeople]:
    """People's verdicts as what decides, and what they rest on."""

    def measure(items: Sequence[ItemKey], confidence: float) -> PairedDifference | None:
        some = pairs.on(items)
        return measured(some, seed, confidence).found if some.judged else None

    found = measured(pairs, seed)
    difference = as_difference(
        found.found, found.first, found.second, items_needed(pairs, found), better="higher", kind="share"
    )
    judged = pairs.judged
    carried = Pairs(
        pairs.items[:judged],
        pairs.first.human.tolist(),
        pairs.second.human.tolist(),
        pairs.groups[:judged],
        [1.0] * judged,
    )
    return Deciding(PEOPLE, difference, carried, measure), facts_of(pairs, found)


def measured(pairs: JudgedPairs, seed: int, confidence: float = 0.95) -> JudgedDifference:
    """The difference, and people alone."""
    return judged_difference(pairs.first, pairs.second, pairs.groups, confidence=confidence, seed=seed)


def items_needed(pairs: JudgedPairs, found: JudgedDifference) -> int | None:
    """Items that people would have to judge to see a difference of this size four times in five."""
    size = abs(found.found.interval.value)
    if not size:
        return None
    if found.weight == 0:
        differing = float((pairs.first.human != pairs.second.human).mean())
        return required_items(size, differing)
    return ceil(pairs.judged * (found.found.detectable / size) ** 2)


def facts_of(pairs: JudgedPairs, found: JudgedDifference) -> ByPeople:
    """What the difference rests on, and what people alone would say."""
    alone, both = found.alone.interval, found.found.interval
    return ByPeople(
        judge=pairs.judge,
        judged=pairs.judged,
        drawn=pairs.drawn,
        others=len(pairs.first.judged_only),
        weight=found.weight,
        alone=Alone(
            value=alone.value,
            low=alone.low,
            high=alone.high,
            method=alone.method,
            p_value=found.alone.p_value,
            test=found.alone.test,
        ),
        narrower=1 - (both.high - both.low) / (alone.high - alone.low),
    )
