"""Reading a judge's reply: the last verdict line, or nothing."""

import re
from typing import Literal

Better = Literal["first", "second", "tie"]

VERDICT = re.compile(
    r"verdict\s*(?:is)?\s*[:=]?\s*[\[({<\"'*_`\s]*([A-Za-z]+|\d+)(?![\w.,]*\d)", re.IGNORECASE
)
WORDS: dict[str, Better] = {"a": "first", "b": "second", "tie": "tie", "c": "tie"}


def last_verdict(reply: str) -> str | None:
    """What stands behind the last 'Verdict'."""
    plain = reply.replace("**", "").replace("__", "")
    found = VERDICT.findall(plain)
    return found[-1] if found else None


def read_grade(reply: str, highest: int) -> int | None:
    """The grade of a pointwise judge; None for a reply without one from 1 to `highest`.

    A bare number is read too: small judges often answer with nothing else.
    """
    said = last_verdict(reply)
    if said is None and re.fullmatch(r"\s*\d+(?:\s*/\s*\d+)?\.?\s*", reply):
        said = re.findall(r"\d+", reply)[0]
    if said is None or not said.isdigit():
        return None
    grade = int(said)
    return grade if 1 <= grade <= highest else None


def read_choice(reply: str) -> Better | None:
    """The choice of a pairwise judge; None for a reply without one."""
    said = last_verdict(reply)
    if said is None and reply.strip().strip(".[]*").lower() in WORDS:
        said = reply.strip().strip(".[]*")
    return WORDS.get(said.lower()) if said is not None else None
