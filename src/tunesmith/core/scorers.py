"""Scorers: small pure functions of the right answer and the model's, each a number from 0 to 1."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from tunesmith.core.conversation import Example
from tunesmith.core.errors import ConfigError, nearest
from tunesmith.core.files import canonical_json

FENCE = re.compile(r"\A```[A-Za-z]*\n(.*?)(?:\n?```)?\Z", re.DOTALL)
"""An answer wrapped in a Markdown code block, closed or not: any client takes it off."""


MAX_DEPTH = 64
MAX_STARTS = 64
"""An answer with more brackets than this before its first JSON value is a model that loops."""


class NotJSON(ValueError):
    """The text holds no JSON value."""


def reject_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's."""
    raise NotJSON(name)


DECODER = json.JSONDecoder(parse_constant=reject_constant)


def parse_json(text: str) -> Any:
    """The value when the whole text, white space at its ends apart, is one JSON value; else NotJSON."""
    stripped = text.strip()
    try:
        value, end = DECODER.raw_decode(stripped)
    except (ValueError, RecursionError) as error:
        raise NotJSON(str(error)) from None
    if end != len(stripped):
        raise NotJSON("text after the value")
    return value


def unfenced(text: str) -> str:
    """The text inside a code block that wraps the whole answer, or the text itself."""
    found = FENCE.match(text.strip())
    return found.group(1) if found else text


def first_json(text: str) -> Any:
    """The first JSON object or list anywhere in the text; NotJSON when there is none."""
    for start in [found.start() for found in re.finditer(r"[{\[]", text)][:MAX_STARTS]:
        try:
            return DECODER.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    raise NotJSON("no object or list")


def trimmed(value: Any, *, depth: int = 0) -> Any:
    """The value with white space cut from both ends of every text and key; 1.0 becomes 1, as in JSON.

    NotJSON for what cannot be compared: numbers too large for a float, nesting beyond any real answer.
    """
    if depth > MAX_DEPTH:
        raise NotJSON("nested too deep")
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        return {key.strip(): trimmed(below, depth=depth + 1) for key, below in value.items()}
    if isinstance(value, list):
        return [trimmed(below, depth=depth + 1) for below in value]
    if isinstance(value, float):
        if not isfinite(value):
            raise NotJSON("number too large")
        return int(value) if value.is_integer() else value
    return value


def fields_of(value: Any, path: tuple[str | int, ...] = ()) -> Counter[str]:
    """Every (path, value) pair of a JSON value; an empty object or list is a value too."""
    below: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        below = value.items()
    elif isinstance(value, list):
        below = enumerate(value)
    pairs = [pair for key, part in below for pair in fields_of(part, (*path, key)).elements()]
    if pairs or (value in ({}, []) and not path):
        return Counter(pairs)
    return Counter([canonical_json([list(path), value])])


def normalised(text: str) -> str:
    """Lower case, compatibility characters folded, punctuation and symbols as spaces, single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if unicodedata.category(c)[0] not in "PS" else " " for c in folded).split())


def overlap_f1(gold: Counter[str], output: Counter[str]) -> float:
    """F1 of two multisets: 1 when both are empty, 0 when only one is."""
    if not gold and not output:
        return 1.0
    return 2 * (gold & output).total() / (gold.total() + output.total())


def exact(gold: str, output: str) -> float:
    """1 when the texts are equal, white space at the ends apart."""
    return float(gold.strip() == output.strip())


def normalised_exact(gold: str, output: str) -> float:
    """1 when the texts are equal without case, punctuation and repeated white space."""
    return float(normalised(gold) == normalised(output))


def token_f1(gold: str, output: str) -> float:
    """F1 of the words in both texts, normalised, order ignored."""
    return overlap_f1(Counter(normalised(gold).split()), Counter(normalised(output).split()))


def exact_json(gold: str, output: str) -> float:
    """1 when both are the same JSON value: order of keys ignored, texts trimmed, a code block taken off."""
    try:
        right, said = trimmed(parse_json(gold)), trimmed(parse_json(unfenced(output)))
        return float(canonical_json(right) == canonical_json(said))
    except NotJSON:
        return 0.0


def field_f1(gold: str, output: str) -> float:
    """F1 of the fields (key with its value) of the right answer and of the first JSON value in the output."""
    try:
        return overlap_f1(fields_of(trimmed(parse_json(gold))), fields_of(trimmed(first_json(output))))
    except NotJSON:
        return 0.0


def json_valid(gold: str, output: str) -> float:
    """1 when the whole output is one JSON value of the right answer's kind (object, list, …)."""
    try:
        return float(type(parse_json(output)) is type(parse_json(gold)))
    except NotJSON:
        return 0.0


@dataclass(frozen=True, slots=True)
class Scorer:
    """A scorer by name; `share` says that it gives only 0 or 1."""

    name: str
    function: Callable[[str, str], float]
    share: bool


SCORERS = {
    scorer.name: scorer
    for scorer in (
        Scorer("exact", exact, share=True),
        Scorer("normalised_exact", normalised_exact, share=True),
        Scorer("exact_json", exact_json, share=True),
        Scorer("field_f1", field_f1, share=False),
        Scorer("json_valid", json_valid, share=True),
        Scorer("token_f1", token_f1, share=False),
    )
}


def scorer(name: str) -> Scorer:
    """A scorer by its name; ConfigError names the nearest known one."""
    if name not in SCORERS:
        raise ConfigError("unknown scorer", value=name, where="--scorers", next_step=nearest(name, SCORERS))
    return SCORERS[name]


def is_container(text: str) -> bool:
    """Whether a text is a JSON object or list."""
    try:
        return isinstance(parse_json(text), dict | list)
    except NotJSON:
        return False


def choose_scorers(examples: Sequence[Example]) -> list[str]:
    """Scorers for a set of examples by what their answers are; the first is the primary one."""
    if examples and all(is_container(example.answer) for example in examples):
        return ["exact_json", "field_f1", "json_valid"]
    return ["exact", "token_f1"]


def score_all(names: Sequence[str], gold: str, output: str) -> dict[str, float]:
    """Every named scorer's value for one answer."""
    return {name: scorer(name).function(gold, output) for name in names}
