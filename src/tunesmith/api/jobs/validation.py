"""Whether the files of a job can be learned from: every fault of every line, the first in OpenAI's words."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunesmith.api.files.lines import numbered
from tunesmith.core.errors import UserError
from tunesmith.core.formats.problems import Problem
from tunesmith.core.formats.read import Reading, open_rows

FEW = 10
"""OpenAI refuses fewer examples; here the job is told that they are few."""
SHOWN = 100
"""Faults that the job's error lists; their number is always said."""


LAYOUTS = {"messages": "openai-chat", "prompt": "prompt-completion", "text": "text"}
"""Key of a row → the layout that all rows then have: another one in between is a fault of its line."""


class Unusable(Exception):
    """A file that no job can learn from; `error` is what the job shows."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.error = error
        super().__init__(error["message"])


def check_file(path: Path, param: str, layout: str | None) -> int:
    """Read every line; the number of examples.  Raises Unusable with every line that cannot be used."""
    examples, problems = read_all(path, param, layout)
    if problems:
        raise Unusable({**file_error(wording(problems), param), "x_tunesmith": listed(problems)})
    if not examples:
        raise Unusable(file_error("The file holds no example.", param))
    return examples


def read_all(path: Path, param: str, layout: str | None) -> tuple[int, list[Problem]]:
    """The number of examples, and what is wrong with the other lines.  Raises Unusable for no such file."""
    problems: list[Problem] = []
    examples = 0
    try:
        for row in open_rows(path, Reading(shape=layout)):
            problems += row.problems
            examples += row.example is not None
    except UserError as error:
        # Its place is one of this machine, and its advice is for who sits at it.
        raise Unusable(file_error(f"Unexpected file format: {error.what}.", param)) from error
    return examples, problems


def layout_of(path: Path) -> str | None:
    """What the keys of the first row say, as `data prepare --shape` takes it; None where that is nothing."""
    for _, line in numbered(path):
        with suppress(ValueError):
            row = json.loads(line)
            return next((LAYOUTS[key] for key in LAYOUTS if isinstance(row, dict) and key in row), None)
    return None


def file_error(message: str, param: str) -> dict[str, Any]:
    """The error of a job whose file is no good."""
    which = param.replace("_", " ")
    text = f"The job failed due to an invalid {which}. {message}"
    return {"code": f"invalid_{param}", "message": text, "param": param}


def wording(problems: Sequence[Problem]) -> str:
    """The first fault, and where the others are."""
    first = problems[0]
    lines = sorted({problem.line for problem in problems})
    where = f", {first.pointer}" if first.pointer else ""
    text = f"Invalid file format. Example {first.line}{where}: {first.reason}"
    text += f" (got {first.value})." if first.value else "."
    if len(lines) > 1:
        named = ", ".join(map(str, lines[:SHOWN]))
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        text += f" {len(lines)} lines cannot be used: {named}{more}."
    return text


def listed(problems: Sequence[Problem]) -> dict[str, Any]:
    """Every fault by line and JSON pointer, the first hundred of them."""
    return {
        "num_problems": len(problems),
        "problems": [problem.to_json() for problem in problems[:SHOWN]],
    }
