"""Which replies become rows: in the seeds' form, without faults, new, and unlike anything tested on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.prompts import flat_object
from tunesmith.core.similarity import jaccard, shingles
from tunesmith.data.corpus import CorpusRow
from tunesmith.data.intake import prompt_text

JUDGING = frozenset({"format", "answers", "privacy"})
"""Families of checks whose errors discard a row."""


@dataclass
class Known:
    """The prompts of some rows, to compare new ones with; 8 KiB of a long prompt at most."""

    what: str
    values: list[NDArray[np.uint32]] = field(default_factory=list)

    def add(self, example: Example) -> None:
        """Another prompt."""
        self.values.append(shingles(prompt_text(example)))

    def likeness(self, values: NDArray[np.uint32]) -> float:
        """Similarity to the nearest of them."""
        return max((jaccard(values, other) for other in self.values), default=0.0)


@dataclass
class Sieve:
    """Lets an example through or says why not."""

    similar: float
    tested: Known
    """Prompts of every split that is tested on."""
    there: Known
    """Prompts of training rows and of rows let through."""
    keys: frozenset[str] | None
    """Keys of the seeds' answers when all are flat JSON objects."""

    def reason_against(self, example: Example) -> str | None:
        """Why an example cannot be used; None lets it through, and remembers it."""
        if self.keys is not None:
            found = flat_object(example.answer)
            if found is None:
                return "the answer is no JSON object like those of the seeds"
            if not set(found) <= self.keys:
                return "the answer has keys that no seed has"
        if fault := next(faults(example), None):
            return f"a check found a fault: {fault}"
        values = shingles(prompt_text(example))
        for known in (self.tested, self.there):
            if known.likeness(values) >= self.similar:
                return f"too like {known.what}"
        self.there.values.append(values)
        return None


def sieve_for(data: DataSet, seeds: Iterable[Example], similar: float) -> Sieve:
    """What new rows of a data set have to be unlike, and what form their answers have."""
    tested, there = Known("a row that is tested on"), Known("a row that is there")
    for name in data.split_names():
        for row in data.rows(name):
            (there if name == "train" else tested).add(row.example)
    answers = [flat_object(example.answer) for example in seeds]
    objects = [answer for answer in answers if answer is not None]
    keys = frozenset(key for answer in objects for key in answer) if len(objects) == len(answers) else None
    return Sieve(similar, tested, there, keys)


def faults(example: Example) -> Iterator[str]:
    """Names of the checks that find an error in a row; a refusal is never worth learning anew."""
    from tunesmith.data.check.registry import CHECKS
    from tunesmith.data.check.texts.phrases import find_refusals

    row = CorpusRow(0, "train", 1, example.row_hash, "", example)
    if any(find_refusals(row, 0.0)):
        yield "refusals"
    for check in CHECKS.values():
        if check.row is None or check.family not in JUDGING or check.needs:
            continue
        if any(found.severity == "error" for found in check.row(row, check.threshold)):
            yield check.name
