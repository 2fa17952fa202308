"""Which layout a file has, by what is in its rows; and the evidence for it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.core.conversation import Example
from tunesmith.core.errors import ConfigError, DataError, nearest
from tunesmith.core.formats.containers.port import RawRow
from tunesmith.core.formats.problems import Findings, shorten
from tunesmith.core.formats.shapes.keys import missing_key
from tunesmith.core.formats.shapes.port import Row, Shape
from tunesmith.core.formats.shapes.registry import SHAPES, fitting
from tunesmith.core.progress import counted
from tunesmith.core.similarity import text_hash

SAMPLE_ROWS = 200
SAMPLE_BYTES = 4 << 20
"""The layout is decided on the first rows, up to either of these; rows behind them are held to it."""
MIXED_SHARE = 0.05
"""A second layout with more than this share of the sample makes the file a mixture."""
MIXED = "mixed"
"""Name that stands for: each row by its own layout."""
SHOWN_LINES = 3
SHOWN_KEYS = 12
LOPSIDED_SHARE = 0.95
"""More pairs than this with the longer answer chosen teach length (arXiv:2310.03716)."""
LOPSIDED_ROWS = 20

GO_ON = (
    "say how to read it: --shape NAME (rows laid out otherwise are then refused by name), --shape mixed "
    "(each row by its own layout), or --mapping FILE (options of `tunesmith data show`, `prepare`, `check` "
    "and `convert`)"
)
MAP_IT = (
    "name the columns in a mapping and give it with --mapping FILE, for example:\n"
    "    prompt: 'Which topic is this?\\n\\n{text}'\n    answer: label"
)


@dataclass
class Layout:
    """The layout of a file: which, why, and how its rows kept to it."""

    name: str
    chosen_by: str
    """content, --shape, or the mapping's file."""
    keys: Counter[str] = field(default_factory=Counter)
    """Keys that the layout explains, and in how many rows of the sample."""
    sampled: int = 0
    """Rows that the decision was made on."""
    rows: int = 0
    """Rows read so far, blank ones aside."""
    others: Counter[str] = field(default_factory=Counter)
    """Rows that were laid out otherwise, by their own layout's name ("none": by none that is known)."""
    wanted: Counter[bool] = field(default_factory=Counter)
    """Rated rows by label."""
    pairs: int = 0
    longer_chosen: int = 0
    contradicting: list[tuple[int, int]] = field(default_factory=list)
    """Lines with one answer and two labels."""
    _labels: dict[str, tuple[bool, int]] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The layout and its evidence."""
        fit = self.rows - sum(self.others.values())
        keys = "+".join(self.keys) or SHAPES[self.name].about if self.name in SHAPES else ""
        have = f": {fit:,} of {self.rows:,} rows have {keys}" if keys else f": {self.rows:,} rows"
        return f"{self.name}{have} (by {self.chosen_by})"

    @property
    def findings(self) -> list[str]:
        """What the rows show only together."""
        found = [
            f"{counted(count, 'row')} {'is' if count == 1 else 'are'} laid out as {name}"
            for name, count in self.others.most_common()
        ]
        if len(self.wanted) == 1:
            found.append(f"every label is {str(next(iter(self.wanted))).lower()}: nothing to compare with")
        if self.contradicting:
            shown = ", ".join(f"{first} and {second}" for first, second in self.contradicting[:SHOWN_LINES])
            times = counted(len(self.contradicting), "time")
            found.append(f"an answer stands there again with the other label {times} (lines {shown})")
        if self.pairs >= LOPSIDED_ROWS and self.longer_chosen > LOPSIDED_SHARE * self.pairs:
            found.append(
                f"the chosen answer is the longer one in {self.longer_chosen:,} of {self.pairs:,} pairs"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """The layout as accounting.json holds it."""
        return {
            "name": self.name,
            "chosen_by": self.chosen_by,
            "evidence": self.sentence,
            "sampled": self.sampled,
            "keys": dict(self.keys),
            "others": dict(self.others),
            "findings": self.findings,
        }

    def watch(self, line: int, example: Example) -> None:
        """Count what shows only over many rows: labels, lengths of the answers of pairs."""
        if example.chosen:
            chosen, rejected = (
                sum(len(turn.content or "") for turn in side) for side in (example.chosen, example.rejected)
            )
            self.pairs += 1
            self.longer_chosen += chosen > rejected
        if example.label is not None:
            self.wanted[example.label] += 1
            said = [turn.to_json() for turn in example.messages]
            known = self._labels.setdefault(text_hash(json.dumps(said)), (example.label, line))
            if known[0] != example.label:
                self.contradicting.append((known[1], line))


def named(name: str) -> Shape | None:
    """The layout of a name; None for `mixed`.  Raises ConfigError for an unknown one."""
    if name == MIXED:
        return None
    if name not in SHAPES:
        step = f"{nearest(name, [*SHAPES, MIXED])}; all of them: {', '.join([*SHAPES, MIXED])}"
        raise ConfigError("unknown layout of rows", value=name, where="--shape", next_step=step)
    return SHAPES[name]


def detect(sample: Sequence[RawRow], file: str) -> Layout:
    """The layout that a file's first rows have.

    Raises DataError when none fits, when two fit the same rows, or when the file mixes layouts.
    """
    rows = [(raw.line, raw.value) for raw in sample if isinstance(raw.value, dict)]
    lines: dict[str, list[int]] = {}
    keys: dict[str, Counter[str]] = {}
    for line, row in rows:
        shapes = fitting(row)
        name = " or ".join(shape.name for shape in shapes)
        if shapes:
            lines.setdefault(name, []).append(line)
            keys.setdefault(name, Counter()).update(shapes[0].fits(row))
    if not lines:
        if rows:
            refuse_unknown([row for _, row in rows], rows[0][0], file)
        return Layout("openai-chat", "default: no row can be parsed")
    name = max(lines, key=lambda known: len(lines[known]))
    total = sum(map(len, lines.values()))
    if " or " in name:
        refuse_tie(name, lines[name], total, file)
    if total - len(lines[name]) > MIXED_SHARE * total:
        refuse_mixture(lines, file)
    if name == "labelled-text":
        what = "texts with labels: what is asked, and how the answer is written, only you can say"
        raise DataError(what, where=file, value=shorten(str(rows[0][1])), next_step=MAP_IT)
    needed = Counter({key: count for key, count in keys[name].items() if count == len(lines[name])})
    return Layout(name, "content", needed, sampled=len(rows))


def refuse_unknown(rows: Sequence[Row], line: int, file: str) -> None:
    """No layout fits: say which keys there are, and which may be meant."""
    counts = Counter(key for row in rows for key in row)
    shown = ", ".join(f"{shorten(key)} ({count})" for key, count in counts.most_common(SHOWN_KEYS))
    hint = missing_key(rows[0], "messages").partition("; ")[2]
    what = f"no known layout has these keys: {shown or 'none at all'} ({len(rows)} rows looked at)"
    step = f"{hint} Or {MAP_IT}" if hint else MAP_IT
    raise DataError(what, where=f"{file}:{line}", next_step=step)


def refuse_tie(names: str, lines: Sequence[int], total: int, file: str) -> None:
    """Two layouts fit the same rows."""
    shown = ", ".join(map(str, lines[:SHOWN_LINES]))
    what = f"two layouts fit the same rows: {names} ({len(lines)} of {total} rows looked at, lines {shown} …)"
    raise DataError(what, where=file, next_step=GO_ON)


def refuse_mixture(lines: dict[str, list[int]], file: str) -> None:
    """One file, several layouts."""
    parts = [
        f"{name}: {len(found)} (first lines {', '.join(map(str, found[:SHOWN_LINES]))})"
        for name, found in sorted(lines.items(), key=lambda entry: -len(entry[1]))
    ]
    raise DataError(f"the file mixes layouts of rows: {'; '.join(parts)}", where=file, next_step=GO_ON)


def read_any(row: object, found: Findings) -> Example | None:
    """Read one row by its own layout; refused when none fits, or more than one."""
    if not isinstance(row, dict):
        found.refuse("", 'a row must be an object: {"messages": […]}', row)
        return None
    shapes = fitting(row)
    if len(shapes) == 1:
        return shapes[0].read(row, found)
    if shapes:
        found.refuse("", f"two layouts fit: {' or '.join(shape.name for shape in shapes)}", row)
    elif "messages" in row or not row:
        return SHAPES["openai-chat"].read(row, found)
    else:
        found.refuse("", f"no known layout has these keys: {missing_key(row, 'messages')}", row)
    return None
