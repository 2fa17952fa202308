"""What a reader of another harness's files gives: one row for each answer, or why there is none."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.errors import DataError
from tunesmith.core.files import hash_text

NO_NUMBER = "it is no single number"
HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""A half of a character in JSON; with the other half behind it a whole one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One answer to one item, scored."""

    where: str
    """File, and line or sample."""
    model: str
    way: str
    """How it was asked: what reports call the prompt."""
    task: str
    item: str
    """Identity of the item: `identity` of its question."""
    prompt: list[dict[str, Any]]
    """The messages that were sent."""
    gold: str
    output: str
    scores: Mapping[str, float]
    unscored: Mapping[str, str] = field(default_factory=dict)
    """Scores without a number, and why."""
    lower: frozenset[str] = frozenset()
    """Scores of which less is better."""
    repeat: int | None = None
    """Which of several answers to the item; None counts them as they come."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    finish_reason: str | None = None
    latency_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Refused(NamedTuple):
    """An answer that cannot be taken."""

    where: str
    reason: str


class Note(NamedTuple):
    """What the harness says of a whole file."""

    text: str


Found = Iterator[Row | Refused | Note]
MALFORMED = (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)
"""What reading a row of another shape raises."""


def identity(question: object) -> str:
    """Hash of a question as JSON; a document of lm-eval may hold NaN."""
    return hash_text(json.dumps(question, sort_keys=True, ensure_ascii=False))


def malformed(where: str, error: Exception) -> Refused:
    """A row that is not what the harness writes."""
    return Refused(where, f"not a row as this harness writes it ({type(error).__name__}: {error})")


def messages_of(text: str) -> list[dict[str, Any]]:
    """A prompt as messages: those that are written in it as JSON, or the text as one question."""
    if text.startswith("["):
        try:
            turns = json.loads(text)
        except ValueError:
            turns = None
        if isinstance(turns, list) and turns and all(map(is_turn, turns)):
            return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    return [{"role": "user", "content": text}]


def is_turn(value: object) -> bool:
    """Whether a value is a message of plain text."""
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def number(value: object) -> float | None:
    """A finite number; None for anything else."""
    try:
        return float(value) if isinstance(value, bool | int | float) and isfinite(value) else None
    except OverflowError:  # a whole number that no float can hold
        return None


def mapping(value: object) -> Mapping[str, Any]:
    """A mapping, empty for nothing.  Raises TypeError for anything else."""
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"keys and values are expected, not {value!r:.60}")
    return value


def parsed(text: str) -> Any:
    """A JSON value, NaN included; halves of characters, which no file can hold, are replaced."""
    value = json.loads(text)
    if HALF.search(text):
        whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
        value = json.loads(whole)
    return value


def json_file(path: Path) -> dict[str, Any]:
    """The object of a JSON file that another program wrote, NaN included.  Raises DataError."""
    try:
        value = parsed(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8", where=path, value=str(error)) from None
    except json.JSONDecodeError as error:
        raise DataError("not valid JSON", where=f"{path}:{error.lineno}", value=error.msg) from None
    except (RecursionError, ValueError) as error:  # nested too deeply, a number of thousands of digits
        raise DataError("JSON that cannot be read", where=path, value=str(error)) from None
    if not isinstance(value, dict):
        raise DataError("not the results of a harness: no JSON object", where=path)
    return value
