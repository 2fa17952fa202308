"""Checks for characters that came through the wrong encoding, or that nobody sees."""

import re
from collections import Counter
from collections.abc import Iterator

from tunesmith.data.check.port import Check, Found
from tunesmith.data.check.texts.parts import excerpt, found_at, parts_of
from tunesmith.data.corpus import CorpusRow

CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufffe\uffff\ud800-\udfff\ue000-\uf8ff]"
)
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e007f]|[\u200c\u200d]"
)
JOINED = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1800-\u18af\u2190-\u2bff\ufe0f\U0001f000-\U0001faff]"
)
"""Scripts and pictures in which joiners between characters are spelling."""
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2068\u2069"
"""Marks of direction: right where a text has letters of both directions."""
FLAG = "\U0001f3f4"
"""A black flag: regional flags are spelled with tag characters behind it."""


def find_mojibake(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Text that was decoded with the wrong table; ftfy says so, and how it should read."""
    for part in parts_of(row.example):
        if part.text.isascii():
            continue
        from ftfy import fix_encoding
        from ftfy.badness import BADNESS_RE

        matches = [match.span() for match in BADNESS_RE.finditer(part.text) if match[0].strip("\ufffd")]
        if len(matches) < max(1, threshold):
            continue
        start, end = max(0, matches[0][0] - 10), matches[0][1] + 20
        fixed = fix_encoding(part.text)
        is_fixed = fixed != part.text and not BADNESS_RE.search(fixed)
        more = {"reads": first_difference(part.text, fixed)} if is_fixed else {}
        yield found_at(part, start, end, "warning" if is_fixed else "note", len(matches), **more)


def first_difference(text: str, fixed: str) -> str:
    """The mended text where it first leaves the old one."""
    place = next((at for at, (a, b) in enumerate(zip(text, fixed, strict=False)) if a != b), 0)
    return excerpt(fixed, max(0, place - 10), place + 20)


def name_of(letter: str) -> str:
    """A character as U+XXXX."""
    return f"U+{ord(letter):04X}"


def find_controls(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Control characters, replacement characters, private and broken code points."""
    for part in parts_of(row.example):
        matches = CONTROLS.findall(part.text)
        if matches:
            match = CONTROLS.search(part.text)
            assert match is not None, "findall found one"
            counts = {name_of(letter): count for letter, count in Counter(matches).most_common(5)}
            shown = excerpt(part.text, match.start(), match.end())
            text = CONTROLS.sub(lambda found: f"⟨{name_of(found[0])}⟩", shown)
            yield Found(
                "warning", len(matches), {"pointer": part.pointer, "text": text, "characters": counts}
            )


def find_invisible(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Characters without a picture, where they are not spelling."""
    for part in parts_of(row.example):
        if part.text.isascii():
            continue
        matches = [
            match for match in INVISIBLE.finditer(part.text) if not is_spelling(part.text, match.start())
        ]
        if matches:
            counts = Counter(name_of(match[0]) for match in matches).most_common(5)
            shown = excerpt(part.text, matches[0].start(), matches[0].end())
            text = INVISIBLE.sub(lambda found: f"⟨{name_of(found[0])}⟩", shown)
            evidence = {"pointer": part.pointer, "text": text, "characters": dict(counts)}
            yield Found("note", len(matches), evidence)


def is_spelling(text: str, place: int) -> bool:
    """Whether an invisible character belongs there: joiners, marks of direction, tags of a flag."""
    letter, before = text[place], text[max(0, place - 8) : place]
    if letter in "\u200c\u200d":
        return bool(JOINED.search(before[-2:]))
    if letter in MARKS:
        return RIGHT_TO_LEFT.search(text) is not None
    return "\U000e0000" <= letter <= "\U000e007f" and FLAG in before


CHECKS = (
    Check(
        "mojibake",
        "Text that was decoded with the wrong table (Ã© for é): at least this many places that ftfy holds "
        "for broken; "
        "the finding shows how it reads when mended.",
        "answers",
        row=find_mojibake,
        threshold=1.0,
    ),
    Check(
        "control_characters",
        "Control characters, replacement characters (U+FFFD), private and broken code points.",
        "answers",
        row=find_controls,
    ),
    Check(
        "invisible_characters",
        "Zero-width characters, soft hyphens, marks of direction and tag characters where no script needs "
        "them: they "
        "split words for the tokenizer and can hide instructions.",
        "answers",
        row=find_invisible,
    ),
)
