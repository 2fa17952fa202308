"""What people want of a shell, and the command that does it: the pages of `eg` (PyPI, MIT).

A page is Markdown: a sentence that says what is wanted, then the command, indented.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tunesmith.core.packages import Package

PACKAGE: Final = Package(
    name="eg",
    version="1.2.3",
    kind="sdist",
    file_name="eg-1.2.3.tar.gz",
    sha256="31f221b24701a9fc4b034d9593f081859d943b14bf26b2e98190509b64e2622b",
    licence="MIT",
)
PAGES: Final = re.compile(r"^eg-[^/]+/eg/examples/([^/]+)\.md$")
INSTRUCTION: Final = "Write the shell command. Answer with the command alone."
LONGEST: Final = 300
"""Characters of a wish: longer paragraphs explain, they do not ask."""


class Found(NamedTuple):
    """Rows of a page, and the blocks that no row was made of."""

    rows: list[dict[str, Any]]
    left_out: list[dict[str, Any]]


def rows_of(page: str, tool: str) -> Found:
    """A row for every wish that one command follows."""
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for wish, block in pairs(page):
        if reason := reason_against(wish, block):
            left_out.append({"tool": tool, "wish": wish, "block": block, "reason": reason})
            continue
        question = f"{tool}: {wish.rstrip(':.')}"
        turns = [("system", INSTRUCTION), ("user", question), ("assistant", block[0].removeprefix("$ "))]
        messages = [{"role": role, "content": content} for role, content in turns]
        rows.append({"messages": messages, "metadata": {"tool": tool}})
    return Found(rows, left_out)


def reason_against(wish: str, block: list[str]) -> str:
    """Why a pair makes no row; empty when it does."""
    if len(block) != 1:
        return f"{len(block)} lines: what it prints stands with it"
    if not wish:
        return "nothing says what it does"
    return f"longer than {LONGEST} characters" if len(wish) > LONGEST else ""


def pairs(page: str) -> Iterator[tuple[str, list[str]]]:
    """Every indented block with the paragraph before it, headings aside."""
    wish = ""
    for part in re.split(r"\n\s*\n", page):
        lines = part.strip("\n").split("\n")
        if all(line.startswith("    ") for line in lines):
            yield wish, [line.strip() for line in lines]
            wish = ""
        elif lines[0].startswith("#"):
            wish = " ".join(" ".join(lines[1:]).split())
        else:
            wish = " ".join(" ".join(lines).split())
