"""Layouts of two published preference sets.

HH: Anthropic's helpful and harmless data (arXiv:2204.05862), whole dialogues as texts.  UltraFeedback
(arXiv:2310.01377): one instruction, several rated completions.
"""

import re
from itertools import pairwise
from statistics import mean
from typing import NamedTuple

from tunesmith.core.conversation import Example, Message
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.keys import SHARED_KEYS, check_keys, read_metadata, read_text
from tunesmith.core.formats.shapes.pairs import Side, read_pair
from tunesmith.core.formats.shapes.port import Row, Shape, explained

ANSWERS = ("chosen", "rejected")
TURN = re.compile(r"\n\n(Human|Assistant):")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
TOP_SCORE = 10
POOR_RATING = 2.5
"""Mean of the fine-grained ratings (1 to 5) at and below which an overall 10 is not believed."""


def fits_hh(row: Row) -> tuple[str, ...]:
    """Two dialogues as text."""
    found = all(isinstance(row.get(key), str) and TURN.match(str(row[key])) for key in ANSWERS)
    return explained(row, ANSWERS) if found else ()


def read_hh(row: Row, found: Findings) -> Example | None:
    """Two dialogues with one beginning."""
    check_keys(row, (*ANSWERS, *SHARED_KEYS), "", found)
    before = len(found.problems)
    sides = [Side(f"/{key}", read_dialogue(row.get(key), f"/{key}", found)) for key in ANSWERS]
    metadata = read_metadata(row, found)
    if len(found.problems) > before:
        return None
    sides = same_spaces(sides, found)
    return None if len(found.problems) > before else read_pair(Side("", ()), sides, found, metadata=metadata)


def read_dialogue(value: object, pointer: str, found: Findings) -> tuple[Message, ...]:
    r"""`\n\nHuman: …\n\nAssistant: …` as turns.

    A mark inside what somebody says cannot be told from a real one: two turns of one speaker in a row give it
    away, and the row is refused.
    """
    if not isinstance(value, str) or not TURN.match(value):
        found.refuse(pointer, "a dialogue must begin with an empty line and 'Human:'", value)
        return ()
    pieces = TURN.split(value)[1:]
    turns = [
        Message("user" if speaker == "Human" else "assistant", text.removeprefix(" "))
        for speaker, text in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    roles = [turn.role for turn in turns]
    if any(left == right for left, right in pairwise(roles)):
        found.refuse(pointer, "one speaker twice in a row: is 'Human:' or 'Assistant:' inside a text?", roles)
    elif roles[-1] != "assistant":
        found.refuse(pointer, "the dialogue does not end with the assistant", turns[-1].content)
    for turn in turns:
        if not (turn.content or "").strip():
            found.refuse(pointer, f"empty {turn.role} turn", turn.content)
    return tuple(turns)


def same_spaces(sides: list[Side], found: Findings) -> list[Side]:
    """Turns before the last that differ only in spaces are one; with --fix those of `chosen` are taken."""
    chosen, rejected = sides
    turns = list(rejected.turns)
    for place, (left, right) in enumerate(zip(chosen.turns[:-1], turns[:-1], strict=False)):
        same = left.role == right.role and (left.content or "").split() == (right.content or "").split()
        if not same:
            break
        fault, repair = "the dialogues differ in spaces before the answer", "spaces taken from chosen"
        if left != right and found.mend("/rejected", fault, repair, right.content):
            turns[place] = left
    return [chosen, Side(rejected.pointer, tuple(turns))]


class Rated(NamedTuple):
    """One completion and its score."""

    text: str
    score: float


def fits_ultrafeedback(row: Row) -> tuple[str, ...]:
    """An instruction and its completions."""
    completions = row.get("completions")
    first = completions[0] if isinstance(completions, list) and completions else None
    return explained(row, ("instruction", "completions")) if isinstance(first, dict) else ()


def read_ultrafeedback(row: Row, found: Findings) -> Example | None:
    """The best and the worst completion by overall score; the first of equals."""
    check_keys(row, ("instruction", "completions", *SHARED_KEYS), "", found)
    before = len(found.problems)
    question = read_text(row.get("instruction"), "/instruction", found)
    metadata = read_metadata(row, found)
    given = row.get("completions")
    rated = [
        read_completion(entry, f"/completions/{place}", found)
        for place, entry in enumerate(given if isinstance(given, list) else [])
    ]
    scored = [entry for entry in rated if entry is not None]
    if len(scored) < 2 and len(found.problems) == before:
        found.refuse("/completions", "a pair needs two completions", given)
    if len(found.problems) > before or question is None:
        return None
    best, worst = max(scored, key=lambda entry: entry.score), min(scored, key=lambda entry: entry.score)
    if best.score == worst.score:
        found.refuse("/completions", "all completions have one score: no preference", best.score)
        return None
    sides = [Side("/completions", (Message("assistant", entry.text),)) for entry in (best, worst)]
    known = {**metadata, "score_chosen": best.score, "score_rejected": worst.score}
    return read_pair(Side("/instruction", (Message("user", question),)), sides, found, metadata=known)


def read_completion(entry: object, pointer: str, found: Findings) -> Rated | None:
    """A completion with a score that can be believed.

    About 2,000 completions of the published set have an overall score of 10 that should be 1, which their own
    fine-grained ratings give away (OpenBMB/UltraFeedback issue 8).
    """
    if not isinstance(entry, dict):
        found.refuse(pointer, "a completion must be an object with response and overall_score", entry)
        return None
    text, score = read_text(entry.get("response"), f"{pointer}/response", found), entry.get("overall_score")
    if isinstance(score, bool) or not isinstance(score, int | float):
        found.refuse(f"{pointer}/overall_score", "a score must be a number", score)
        return None
    ratings = fine_ratings(entry.get("annotations"))
    if score == TOP_SCORE and ratings and mean(ratings) <= POOR_RATING:
        fault = f"overall score 10, and fine-grained ratings of {mean(ratings):.1f} of 5: meant is 1"
        score = (
            1.0 if found.mend(f"{pointer}/overall_score", fault, "overall score read as 1", score) else score
        )
    return None if text is None else Rated(text, float(score))


def fine_ratings(annotations: object) -> list[float]:
    """The numbers under `Rating`, one for each aspect."""
    aspects = annotations.values() if isinstance(annotations, dict) else []
    entries = [one for aspect in aspects for one in (aspect if isinstance(aspect, list) else [aspect])]
    ratings = [str(entry.get("Rating")) for entry in entries if isinstance(entry, dict)]
    return [float(rating) for rating in ratings if re.fullmatch(r"\d{1,2}(\.\d{1,6})?", rating)]


SHAPES = (
    Shape("hh", "chosen and rejected: dialogues of 'Human:' and 'Assistant:'", fits_hh, read_hh),
    Shape(
        "ultrafeedback",
        "instruction and rated completions: the best and the worst",
        fits_ultrafeedback,
        read_ultrafeedback,
    ),
)
