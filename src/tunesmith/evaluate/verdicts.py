"""People's verdicts on a report's answers: which answers were drawn for them, and what was said."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from tunesmith.core.conversation import Example, Message
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ConfigError, nearest
from tunesmith.core.job import Job
from tunesmith.core.reviews.state import settle_all
from tunesmith.core.reviews.store import reviews_of
from tunesmith.core.workspace import Manifest
from tunesmith.evaluate.asking import Sample
from tunesmith.evaluate.comparison.reports import Report

ANSWERS = "answers"
"""The verb that draws."""


def answered_example(sample: Sample) -> Example:
    """What a model was asked and what it said; the right answer stands in the metadata."""
    prompt = tuple(Message.from_json(turn) for turn in sample["prompt"])
    said = Message("assistant", sample["output"], tool_calls=tuple(sample["tool_calls"]))
    return Example((*prompt, said), metadata={"right_answer": sample["gold"]})


def draw(samples: Sequence[Sample], number: int, seed: int) -> list[Sample]:
    """So many samples at random, by a hash of seed and item.

    Reports on the same items get the same ones drawn, so that verdicts on both can be compared; a larger
    sample holds the smaller one.
    """

    def place(sample: Sample) -> str:
        return hashlib.sha256(f"{seed}\n{sample['task']}\n{sample['id']}".encode()).hexdigest()

    return sorted(samples, key=place)[:number]


def drawn_hashes(report: Report, job: Job) -> set[str]:
    """Hashes of the answers of this report that `tunesmith answers` drew, in any draw."""
    return {
        row.row_hash
        for folder in job.workspace.folders("data-set")
        if is_draw_of(report, Manifest.read(folder))
        for row in DataSet.open(folder).split("test")
    }


def is_draw_of(report: Report, manifest: Manifest) -> bool:
    """Whether a data set is a sample of this report's answers."""
    return manifest.verb == ANSWERS and any(entry.id == report.manifest.id for entry in manifest.inputs)


def people_on_answers(hashes: Sequence[str], job: Job) -> tuple[Mapping[str, float], int]:
    """1 for answers that people accepted, 0 for those they edited or rejected; and open conflicts."""
    found: dict[str, float] = {}
    conflicts, wanted = 0, set(hashes)
    for state in settle_all(reviews_of(job.workspace).tasks_about(list(hashes))):
        if state.row_hash in wanted and state.state == "settled":
            found[state.row_hash] = float(state.action == "accept")
        conflicts += state.row_hash in wanted and state.state == "conflict"
    return found, conflicts


def judge_scores(report: Report) -> Iterator[str]:
    """Scores from 0 to 1 that have a better and a worse: what can be held against people."""
    return (name for name, score in report.scores.items() if score["kind"] != "number" and score["better"])


def judge_of(given: str | None, known: Sequence[str], primary: str) -> str:
    """The score held against people: the one named, else a judge's, else the primary one.

    Raises ConfigError for one that is not known.
    """
    judges = [name for name in known if name.split("/")[-1] == "judge"]
    name = given or (judges or [primary])[0]
    if name not in known:
        what = "there is no such score from 0 to 1"
        raise ConfigError(what, value=name, where="--judge", next_step=nearest(name, known))
    return name
