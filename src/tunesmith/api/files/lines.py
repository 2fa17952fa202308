"""Whether an uploaded file is JSON Lines: every line that is not blank an object."""

import json
from collections.abc import Iterator
from pathlib import Path

from tunesmith.serve.problems import ApiProblem

LONGEST_LINE = 64_000_000
"""Bytes of one example; more than any context holds."""
HINT_CHARACTERS = 5
MOST_NAMED = 20


def check_jsonl(path: Path) -> None:
    """Raise ApiProblem naming the lines that are none, in OpenAI's words for the first."""
    wrong: list[tuple[int, str]] = []
    number = 0
    for number, line in numbered(path):
        if (why := fault_of(line)) is not None:
            wrong.append((number, why))
    if wrong:
        raise ApiProblem(complaint(wrong), param=None)
    if not number:
        raise ApiProblem("The file is empty: expected JSON Lines, where every line is a JSON dictionary.")


def numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1; raises ApiProblem for one that has no end."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                message = f"Line {number} is longer than {LONGEST_LINE:,} bytes: is this JSON Lines?"
                raise ApiProblem(message)
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line


def fault_of(line: bytes) -> str | None:
    """Why a line is no JSON object; None when it is one."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        shown = line.decode("utf-8", errors="replace").strip()[:HINT_CHARACTERS]
        return f'(HINT: line starts with: "{shown}...")'
    return None if isinstance(value, dict) else f"(it is a JSON {type(value).__name__})"


def complaint(wrong: list[tuple[int, str]]) -> str:
    """OpenAI's sentence about the first, and the numbers of the others."""
    number, why = wrong[0]
    text = (
        "Expected file to have JSONL format, where every line is a JSON dictionary. "
        f"Line {number} is not a dictionary {why}."
    )
    if len(wrong) == 1:
        return text
    named = ", ".join(str(line) for line, _ in wrong[1 : MOST_NAMED + 1])
    more = f" and {len(wrong) - 1 - MOST_NAMED} more" if len(wrong) > MOST_NAMED + 1 else ""
    return f"{text} Neither are lines {named}{more}."
