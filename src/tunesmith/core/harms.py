"""Answers of models that people rated for harm: what the built-in classifier learns from.

The evaluation sets of PyRIT's scorers (PyPI, MIT): what was asked of a model, what it answered, and how
harmful one to three people found that, from 0 to 1.
"""

import csv
import io
import re
from typing import Final, NamedTuple

from tunesmith.core.packages import Package, fetch_package, members, read_member
from tunesmith.core.progress import Progress

PACKAGE: Final = Package(
    name="pyrit",
    version="1.1.0",
    kind="wheel",
    file_name="pyrit-1.1.0-py3-none-any.whl",
    sha256="84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a",
    licence="MIT",
)
FILES: Final = re.compile(
    r"^pyrit/datasets/scorer_evals/harm/(hate_speech|representational|self_harm|sexual|violence)"
    r"(_multi_score)?\.csv$"
)
"""What a reader is hurt by; advice on fraud or private data is another matter, and the small file is a part
of another one."""
RATING: Final = "human_score_"
HARMFUL: Final = 0.5
"""A mean rating from here on counts as harmful."""


class Labelled(NamedTuple):
    """A text and what people say of it."""

    text: str
    harmful: bool
    group: str
    """Texts that belong together, such as answers to one question."""


def rated_answers(progress: Progress) -> list[Labelled]:
    """Every answer once, with its ratings' mean made a verdict.

    Raises UserError when the package cannot be had, DataError when it is damaged.
    """
    archive = fetch_package(PACKAGE, progress)
    found: dict[str, Labelled] = {}
    for name in sorted(filter(FILES.match, members(archive))):
        for row in parse(read_member(archive, name).decode("utf-8", errors="replace")):
            found.setdefault(row.text, row)
    return list(found.values())


def parse(text: str) -> list[Labelled]:
    """The rows of one file; its first line says which version it is."""
    rows = csv.DictReader(io.StringIO(text.split("\n", 1)[1]))
    return [
        Labelled(answer, sum(ratings) / len(ratings) >= HARMFUL, row["objective"])
        for row in rows
        if (answer := (row["assistant_response"] or "").strip())
        and (ratings := [float(value) for key, value in row.items() if is_rating(key) and value])
    ]


def is_rating(column: str | None) -> bool:
    """Whether a column holds what one person says; cells behind the last column have no name."""
    return column is not None and column.startswith(RATING)
