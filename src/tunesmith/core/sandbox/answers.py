"""The code in a model's answer."""

import re

FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([\w+.-]*)[^`]*")
PYTHON = {"", "python", "py", "python3"}


def code_in(answer: str) -> str:
    """The first block in a code fence of Python or of no language, closed or not; else the whole answer."""
    lines, at = answer.splitlines(), 0
    while at < len(lines):
        opening = FENCE.fullmatch(lines[at])
        if opening is None:
            at += 1
            continue
        end = closing(lines, at + 1, opening[1])
        if opening[2].lower() in PYTHON:
            return "\n".join(lines[at + 1 : end])
        at = end + 1
    return answer


def closing(lines: list[str], start: int, fence: str) -> int:
    """Where a block ends: the first line of its own fence alone, or behind the last line."""
    for number, line in enumerate(lines[start:], start):
        mark = line.strip()
        if len(mark) >= len(fence) and mark == fence[0] * len(mark):
            return number
    return len(lines)
