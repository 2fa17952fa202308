"""Finds personal data and secrets in a text, and hides them.

`hide` is for reports: nothing of a value that could be used is shown.  `mask` is for data: each value becomes
a placeholder such as `<EMAIL_1>`, the same value the same placeholder.
"""

import json
import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple, get_args

from tunesmith.core.conversation import Example, Message
from tunesmith.data.check.texts.detectors import DETECTORS, Detector, Kind

KINDS: tuple[Kind, ...] = get_args(Kind)

TAGS: Mapping[Kind, str] = {
    "email_address": "EMAIL",
    "phone_number": "PHONE",
    "ip_address": "IP",
    "payment_card": "CARD",
    "bank_account": "IBAN",
    "national_id": "ID",
    "secret_key": "SECRET",
    "url_password": "PASSWORD",
    "random_string": "STRING",
}
"""What a placeholder calls a value."""

PLACEHOLDER = re.compile(rf"<(?:{'|'.join(TAGS.values())})_[0-9]{{1,6}}>")
"""What `mask` writes."""

HINT_DIGITS = "0123456789"
LONGEST_VALUE = 4096
"""A value that is cut by the end of a piece is recognised by so many characters behind it."""


class Span(NamedTuple):
    """One value in a text, as [start, end)."""

    kind: Kind
    start: int
    end: int


@lru_cache(maxsize=64)
def find(text: str) -> tuple[Span, ...]:
    """Every value, in the order of the text; they do not overlap.

    The detectors claim in their order: what is a card is no telephone number.
    """
    num_digits = sum(map(text.count, HINT_DIGITS))
    spans: list[Span] = []
    for detector in DETECTORS:
        if not may_have(text, num_digits, detector):
            continue
        for match in detector.pattern.finditer(text):
            start, end = match.span(detector.group)
            if is_free(spans, start, end) and detector.is_real(match):
                insort(spans, Span(detector.kind, start, end), key=start_of)
    return tuple(spans)


def start_of(span: Span) -> int:
    """Where a span starts: what spans are ordered by."""
    return span.start


def is_free(spans: Sequence[Span], start: int, end: int) -> bool:
    """Whether [start, end) touches none of the spans, which are in order and do not overlap."""
    place = bisect_left(spans, start, key=start_of)
    after = place == len(spans) or end <= spans[place].start
    return after and (place == 0 or spans[place - 1].end <= start)


def may_have(text: str, num_digits: int, detector: Detector) -> bool:
    """Whether it is worth while to look: most texts have no such value, and looking costs more."""
    if detector.hints:
        return any(hint in text for hint in detector.hints)
    return num_digits >= detector.digits


def show(kind: Kind, value: str) -> str:
    """A value as a report names it: enough to find the row's value again, not enough to use it."""
    if kind == "email_address":
        name, _, domain = value.partition("@")
        return f"{name[: min(2, len(name) // 2)]}***@{domain[:1]}***"
    return f"{value[: min(2, len(value) // 4)]}***"


def hide(text: str, start: int = 0, end: int | None = None) -> str:
    """The piece [start, end) of a text with every value in it, or cut by its edges, hidden."""
    end = len(text) if end is None else end
    pieces, place = [], start
    for span in find(text):
        if span.end > start and span.start < end:
            pieces += [text[place : max(place, span.start)], show(span.kind, text[span.start : span.end])]
            place = span.end
    return "".join(pieces) + text[min(place, end) if place > end else place : end]


def opening(text: str, length: int) -> str:
    """The beginning of a text with every value in it hidden, also one that the end cuts."""
    return hide(text[: length + LONGEST_VALUE], 0, min(length, len(text)))


class Masked(NamedTuple):
    """A text without its values, and how many of each kind there were."""

    text: str
    counts: Mapping[str, int]


@dataclass
class Placeholders:
    """The placeholders of one row: the same value has the same one in all of its texts."""

    taken: set[str] = field(default_factory=set)
    """Placeholders that stood in the row before."""
    names: dict[tuple[Kind, str], str] = field(default_factory=dict)
    """Placeholder by kind and value."""

    def name(self, kind: Kind, value: str) -> str:
        """The placeholder of a value; a new one when the value is new."""
        same = (kind, "".join(letter for letter in value.casefold() if letter not in " -.()/"))
        if same not in self.names:
            number = 1 + sum(known == kind for known, _ in self.names)
            while (made := f"<{TAGS[kind]}_{number}>") in self.taken:
                number += 1
            self.taken.add(made)
            self.names[same] = made
        return self.names[same]


def mask(text: str, placeholders: Placeholders | None = None, kinds: Collection[str] = KINDS) -> Masked:
    """A text with each value of these kinds replaced by its placeholder.

    Texts of one row share `placeholders`, so that a value keeps its name from turn to turn.  A text that was
    JSON stays JSON: a bare number becomes a quoted placeholder.  Masking twice changes nothing more.
    """
    known = placeholders or Placeholders()
    known.taken.update(PLACEHOLDER.findall(text))
    spans = [span for span in find(text) if span.kind in kinds]
    if not spans:
        return Masked(text, {})
    masked = replace_spans(text, spans, known, in_json=False)
    if is_json(text) and not is_json(masked):
        masked = replace_spans(text, spans, known, in_json=True)
    return Masked(masked, Counter(span.kind for span in spans))


def replace_spans(text: str, spans: Sequence[Span], known: Placeholders, *, in_json: bool) -> str:
    """The text with placeholders for spans; in JSON quoted where the value was a bare number."""
    pieces, place = [], 0
    for span in spans:
        name = known.name(span.kind, text[span.start : span.end])
        bare = in_json and text[: span.start].rstrip()[-1:] in (":", ",", "[")
        pieces += [text[place : span.start], f'"{name}"' if bare else name]
        place = span.end
    return "".join(pieces) + text[place:]


def is_json(text: str) -> bool:
    """Whether a text is one JSON object or list."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class MaskedExample(NamedTuple):
    """A row without its values, and how many of each kind there were."""

    example: Example
    counts: Mapping[str, int]


def mask_example(example: Example, kinds: Collection[str] = KINDS) -> MaskedExample:
    """A row with the values in all of its texts and tool arguments replaced, consistently.

    Metadata stay as they are.  The number of each kind counts every place, not every value.
    """
    known, counts = Placeholders(), Counter[str]()
    known.taken.update(PLACEHOLDER.findall(json.dumps(example.to_json(), ensure_ascii=False)))

    def masked(text: str) -> str:
        done = mask(text, known, kinds)
        counts.update(done.counts)
        return done.text

    def turn(message: Message) -> Message:
        parts = tuple((masked(text), weight) for text, weight in message.parts)
        content = "".join(text for text, _ in parts) if parts else message.content and masked(message.content)
        calls = tuple(masked_call(call) for call in message.tool_calls)
        reasoning = message.reasoning and masked(message.reasoning)
        return replace(message, content=content, parts=parts, tool_calls=calls, reasoning=reasoning)

    def masked_call(call: Mapping[str, Any]) -> Mapping[str, Any]:
        function = call["function"]
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            return call
        return {**call, "function": {**function, "arguments": masked(arguments)}}

    done = replace(
        example,
        messages=tuple(map(turn, example.messages)),
        chosen=tuple(map(turn, example.chosen)),
        rejected=tuple(map(turn, example.rejected)),
        steps=tuple(step._replace(text=masked(step.text)) for step in example.steps),
    )
    return MaskedExample(done, counts)
