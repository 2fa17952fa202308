"""One pass over a corpus: what its checks compare, as a few numbers a row.

Hashes are 64 bits: among a million different texts two share one with a probability below one in ten million.
"""

import hashlib
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.conversation import Example
from tunesmith.core.prompts import flat_object
from tunesmith.core.similarity import normalise
from tunesmith.data.check.port import Context
from tunesmith.data.check.sets.once import once
from tunesmith.data.corpus import Corpus
from tunesmith.data.vectors import WORD, answered, asked, has_prompt

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

MAX_LABELS: Final = 100
"""A field with more different values is no label."""
ROWS_PER_LABEL: Final = 5
"""…nor is one whose values have fewer rows on average."""
MAX_SEEN: Final = 1000
"""A field with more different values than this is given up while reading."""
MAX_LABEL_CHARACTERS: Final = 80
MAX_JSON_CHARACTERS: Final = 20_000
LABEL_KEYS: Final = frozenset({"label", "labels", "class", "category", "intent", "topic", "sentiment"})
"""Keys of the metadata that name what a row is; the last four also stand for its kind of task."""
SOURCE_KEYS: Final = ("source", "dataset", "origin")
TASK_KEYS: Final = ("task", "task_type", "category")
NOTHING: Final = -1
"""Code of a row that lacks a field."""
POINTS: Final = re.compile(r"""(?<!\d)[.,;:!?'"“”‘’…-]+(?!\d)""")
FIRST_WORD: Final = re.compile(r"[^\W\d_]+")


@dataclass
class Field:
    """The values of one field, each as a number."""

    codes: "array[int]"
    names: dict[str, int]
    """Value → number, in the order of first appearance."""

    def add(self, position: int, value: str) -> None:
        """The value of one row; rows passed over lack the field."""
        self.codes.extend([NOTHING] * (position - len(self.codes)))
        self.codes.append(self.names.setdefault(value, len(self.names)))


@dataclass(frozen=True)
class Coded:
    """A field of every row (N,): the number of its value, or −1, and the values."""

    codes: Ints
    names: tuple[str, ...]

    def counts(self) -> Ints:
        """Rows of each value."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    def name(self, position: int) -> str:
        """The value of one row; empty when it has none."""
        code = int(self.codes[position])
        return "" if code == NOTHING else self.names[code]


@dataclass(frozen=True)
class Columns:
    """A few numbers for each row (N,)."""

    asked: Hashes
    """Hash of the question's normal form."""
    answered: Hashes
    pair: Hashes
    """Hash of question and answer without the punctuation between words."""
    has_prompt: NDArray[np.bool_]
    asked_words: Ints
    answered_words: Ints
    turns: Ints
    split: Coded
    fields: Mapping[str, Coded]
    """Fields with few values: `answer`, `answer.KEY` of JSON answers, `metadata.KEY`, and what is made of
    them: `source`, `task`."""

    @property
    def is_train(self) -> NDArray[np.bool_]:
        """Rows that are trained on: those of the train split, or all of a file."""
        known = [number for number, name in enumerate(self.split.names) if name in ("train", "")]
        return np.isin(self.split.codes, known)

    @property
    def labels(self) -> dict[str, Coded]:
        """The fields that are labels of the rows: few values, and several rows for each."""
        return {name: coded for name, coded in self.fields.items() if is_label(name, coded)}


def is_label(name: str, coded: Coded) -> bool:
    """Whether a field is a label: an answer with few values, or a key that says so."""
    known = int((coded.codes >= 0).sum())
    few = 2 <= len(coded.names) <= MAX_LABELS and known >= ROWS_PER_LABEL * len(coded.names)
    named = name == "answer" or name.startswith("answer.") or name.removeprefix("metadata.") in LABEL_KEYS
    return few and named


def columns(ctx: Context) -> Columns:
    """The columns of a corpus, read once."""
    return once(ctx, "columns", lambda: read_columns(ctx.corpus))


def hash_of(*texts: str) -> int:
    """64-bit hash of the normal forms of some texts."""
    joined = "\0".join(normalise(text) for text in texts)
    return int.from_bytes(hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def loosely(text: str) -> str:
    """A text without the punctuation between words: a hyphen or a full stop more does not make another row.

    Next to digits, and in a text that has nothing else, it stays.
    """
    return POINTS.sub(" ", text) if any(map(str.isalnum, text)) else text


class Fields:
    """Collects the fields of rows; one with too many values is forgotten."""

    def __init__(self) -> None:
        self._known: dict[str, Field] = {}
        self._given_up: set[str] = set()

    def add(self, position: int, name: str, value: str) -> None:
        """The value of a field in one row."""
        if name in self._given_up:
            return
        if len(value) > MAX_LABEL_CHARACTERS:
            value = value[: MAX_LABEL_CHARACTERS - 1] + "…"
        field = self._known.setdefault(name, Field(array("q"), {}))
        field.add(position, value)
        if len(field.names) > MAX_SEEN:
            del self._known[name]
            self._given_up.add(name)

    def coded(self, rows: int) -> dict[str, Coded]:
        """What was collected of so many rows."""
        found = {}
        for name, field in self._known.items():
            codes = np.full(rows, NOTHING, dtype=np.int64)
            codes[: len(field.codes)] = field.codes
            found[name] = Coded(codes, tuple(field.names))
        return found


def read_columns(corpus: Corpus) -> Columns:
    """One pass over the rows."""
    rows = len(corpus)
    hashes = np.zeros((3, rows), dtype=np.uint64)
    numbers = np.zeros((3, rows), dtype=np.int64)
    with_prompt = np.zeros(rows, dtype=bool)
    fields, split = Fields(), Field(array("q"), {})
    for row in corpus:
        at, example = row.position, row.example
        question, answer = asked(example), answered(example)
        with_prompt[at] = has_prompt(example)
        hashes[:, at] = hash_of(question), hash_of(answer), hash_of(loosely(question), loosely(answer))
        numbers[:, at] = len(WORD.findall(question)), len(WORD.findall(answer)), num_turns(example)
        split.add(at, row.split)
        for name, value in fields_of(example, question, answer):
            fields.add(at, name, value)
    return Columns(
        hashes[0],
        hashes[1],
        hashes[2],
        with_prompt,
        numbers[0],
        numbers[1],
        numbers[2],
        Coded(np.asarray(split.codes, dtype=np.int64), tuple(split.names)),
        fields.coded(rows),
    )


def num_turns(example: Example) -> int:
    """Turns without the system turns, of a pair with its better answer."""
    turns = [turn for turn in example.messages if turn.role not in ("system", "developer")]
    return len(turns) + len(example.chosen)


def fields_of(example: Example, question: str, answer: str) -> list[tuple[str, str]]:
    """Names and values of the fields of one row; of several with one name the last counts."""
    found = {}
    if has_prompt(example) and answer.strip():
        value = answer.strip()
        flat = flat_object(value) if value.startswith("{") and len(value) <= MAX_JSON_CHARACTERS else None
        found = {f"answer.{key}": str(part) for key, part in flat.items()} if flat else {"answer": value}
    metadata = example.metadata
    found |= {
        f"metadata.{key}": shown for key, value in metadata.items() if (shown := scalar(value)) is not None
    }
    if source := first(metadata, SOURCE_KEYS):
        found["source"] = source
    found["task"] = first(metadata, TASK_KEYS) or first_word(question if has_prompt(example) else "")
    if example.label is not None:
        found["rating"] = "wanted" if example.label else "unwanted"
    return [(name, value) for name, value in found.items() if value]


def scalar(value: Any) -> str | None:
    """A value of the metadata as a label; None for lists, objects and nothing."""
    return None if value is None or isinstance(value, list | dict) else str(value)


def first(metadata: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """The first of some keys that has a value."""
    return next((shown for key in keys if (shown := scalar(metadata.get(key)))), "")


def first_word(text: str) -> str:
    """The first word of a question, which of an instruction mostly is its verb."""
    found = FIRST_WORD.search(text)
    return found.group().casefold() if found else ""


def clusters_of(hashes: Hashes, wanted: NDArray[np.bool_]) -> list[Ints]:
    """Positions of the wanted rows that share a hash, two or more, in rising order, by their first."""
    positions = np.flatnonzero(wanted)
    order = np.argsort(hashes[positions], kind="stable")
    ordered = positions[order]
    cuts = np.flatnonzero(np.diff(hashes[ordered].astype(np.uint64)) != 0) + 1
    found = [part for part in np.split(ordered, cuts) if len(part) > 1]
    return sorted(found, key=lambda part: int(part[0]))
