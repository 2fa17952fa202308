"""Known faults, planted into copies of rows; every plant is a plain function.

A plant gives the rows with a fault, each with the row it was made of and the checks that should find it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

from tunesmith.core.conversation import Example, Message
from tunesmith.data.check.texts.synthetic import CARRIERS, plant
from tunesmith.data.corpus import CorpusRow

TEST, TRAIN = "test", "train"
LABEL_CHARACTERS, MOST_LABELS = 40, 40
"""A longer answer is no label, and more different ones are none."""
FEWEST_CHARACTERS = 40
"""A shorter answer cannot be cut so that anybody could see it."""


class CannotPlant(Exception):
    """These rows do not have what the fault is made of."""


class Planted(NamedTuple):
    """A row with a fault."""

    source: int
    """Which of the rows it was made of."""
    example: Example
    checks: tuple[str, ...]
    """Any of them should find it."""
    is_copy: bool = False
    """It stands beside its source instead of in its place."""
    split: str | None = None
    """Split it stands in; None is its source's."""


Plant = Callable[[Sequence[CorpusRow], Random, int], Iterator[Planted]]
"""Rows, a source of chance, and how many faults."""


def exact_duplicates(rows: Sequence[CorpusRow], random: Random, count: int) -> Iterator[Planted]:
    """Rows that stand there twice."""
    for at in drawn(rows, random, count):
        yield Planted(at, rows[at].example, ("exact_duplicates",), is_copy=True)


def near_duplicates(rows: Sequence[CorpusRow], random: Random, count: int) -> Iterator[Planted]:
    """Rows that stand there again with one or two words of the prompt dropped, doubled or swapped."""
    checks = ("near_duplicates", "semantic_duplicates")
    for at in drawn(rows, random, count, lambda row: len(prompt_of(row.example).split()) >= 4):
        edited = with_prompt(rows[at].example, lightly_edited(prompt_of(rows[at].example), random))
        yield Planted(at, edited, checks, is_copy=True)


def leaked_rows(rows: Sequence[CorpusRow], random: Random, count: int) -> Iterator[Planted]:
    """Rows of the train split that stand in the test split too."""
    if not any(row.split == TRAIN for row in rows):
        raise CannotPlant("no row stands in a train split")
    for at in drawn(rows, random, count, lambda row: row.split == TRAIN):
        yield Planted(at, rows[at].example, ("split_leakage",), is_copy=True, split=TEST)


def truncated_answers(rows: Sequence[CorpusRow], random: Random, count: int) -> Iterator[Planted]:
    """Answers that stop in the middle."""
    checks = ("cut_structures", "unfinished_answers")
    for at in drawn(rows, random, count, lambda row: len(row.example.answer) >= FEWEST_CHARACTERS):
        answer = rows[at].example.answer.rstrip()
        stop = random.randint(len(answer) * 3 // 10, len(answer) * 8 // 10)
        yield Planted(at, with_answer(rows[at].example, answer[:stop].rstrip()), checks)


def shuffled_answers(rows: Sequence[CorpusRow], random: Random, count: int) -> Iterator[Planted]:
    """Answers that were given to another row's prompt."""
    chosen = list(drawn(rows, random, count, lambda row: bool(row.example.prompt)))
    for at, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
        answer = rows[other].example.answer
        if answer != rows[at].example.answer:
            yield Planted(at, with_answer(rows[at].example, answer), ("mismatched_pairs", "odd_pairs"))


def flipped_labels(rows: Sequence[CorpusRow], random: Random, count: int) -> Iterator[Planted]:
    """Labels that were changed into another one."""
    labels = sorted({label_of(row.example) for row in rows if row.example.prompt})
    short = all(len(label) <= LABEL_CHARACTERS for label in labels)
    if not short or not 2 <= len(labels) <= min(MOST_LABELS, len(rows) // 4):
        raise CannotPlant("the answers are no labels: too many are different, or too long")
    for at in drawn(rows, random, count, lambda row: bool(row.example.prompt)):
        example = rows[at].example
        label = random.choice([label for label in labels if label != label_of(example)])
        flipped = with_answer(example, label)
        if "label" in example.metadata:
            flipped = replace(flipped, metadata={**example.metadata, "label": label})
        yield Planted(at, flipped, ("label_errors",))


def personal_data(rows: Sequence[CorpusRow], random: Random, count: int) -> Iterator[Planted]:
    """Made-up personal data and secrets of every kind, in a sentence of their own behind the prompt."""
    kinds = [kind for kind in CARRIERS if kind != "random_string"]
    each = max(2, count // len(kinds))
    for number, at in enumerate(drawn(rows, random, each * len(kinds))):
        kind = kinds[number % len(kinds)]
        text = plant(prompt_of(rows[at].example), kind, random).text
        yield Planted(at, with_prompt(rows[at].example, text), (kind,))


PLANTS: Mapping[str, Plant] = {
    "exact_duplicates": exact_duplicates,
    "near_duplicates": near_duplicates,
    "leaked_rows": leaked_rows,
    "truncated_answers": truncated_answers,
    "flipped_labels": flipped_labels,
    "personal_data": personal_data,
    "shuffled_answers": shuffled_answers,
}
RANKED: Mapping[str, float | None] = {"label_errors": -1.0, "mismatched_pairs": None, "odd_pairs": None}
"""Checks whose value puts rows in order, so that an area under the curve says how well; the value of a row
that they looked at and did not name, or None where they name every row that they looked at."""


def drawn(
    rows: Sequence[CorpusRow],
    random: Random,
    count: int,
    fits: Callable[[CorpusRow], bool] = lambda row: True,
) -> list[int]:
    """Some of the rows that fit, in random order.  Raises CannotPlant when there are fewer than two."""
    fitting = [at for at, row in enumerate(rows) if has_answer(row.example) and fits(row)]
    if len(fitting) < 2:
        raise CannotPlant("fewer than two rows have what this fault is made of")
    return random.sample(fitting, min(count, len(fitting)))


def has_answer(example: Example) -> bool:
    """Plain conversations and texts: what is planted into is one answer."""
    return not (example.chosen or example.steps) and any(
        message.role in ("assistant", "text") for message in example.messages
    )


def last_answer(example: Example) -> int:
    """Where the last answer stands."""
    return max(at for at, message in enumerate(example.messages) if message.role in ("assistant", "text"))


def asking_turn(example: Example) -> int:
    """Where the last prompt stands; of plain text without one, the text."""
    asked = [at for at, message in enumerate(example.messages) if message.role == "user"]
    return asked[-1] if asked else 0


def prompt_of(example: Example) -> str:
    """The text that is asked last."""
    return example.messages[asking_turn(example)].content or ""


def label_of(example: Example) -> str:
    """The answer as a label."""
    return " ".join(example.answer.split())


def with_prompt(example: Example, text: str) -> Example:
    """The row with another prompt."""
    return with_content(example, asking_turn(example), text)


def with_answer(example: Example, text: str) -> Example:
    """The row with another answer."""
    return with_content(example, last_answer(example), text)


def with_content(example: Example, at: int, text: str) -> Example:
    """The row with another text in one turn."""
    turns: list[Message] = list(example.messages)
    turns[at] = replace(turns[at], content=text, parts=())
    return replace(example, messages=tuple(turns))


def lightly_edited(text: str, random: Random) -> str:
    """One or two words dropped, doubled or swapped with their neighbour."""
    words = text.split()
    for _ in range(1 if len(words) < 12 else 2):
        at = random.randrange(len(words) - 1)
        edit = random.choice(("drop", "double", "swap"))
        if edit == "drop":
            del words[at]
        elif edit == "double":
            words.insert(at, words[at])
        else:
            words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)
