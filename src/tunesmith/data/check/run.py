"""Runs checks over a corpus: row checks together in one pass, then those over the whole.

Findings go to `findings.jsonl` as they come; in memory stay counts, a byte for each row and check, and the
worst few of each check.
"""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.errors import ConfigError, DataError, FolderError, OutOfSpace, UserError
from tunesmith.core.files import explain_disk_errors
from tunesmith.data.check.plain import plain
from tunesmith.data.check.port import Check, Context, Fact, Finding, Looked, Severity
from tunesmith.data.check.texts.personal import KINDS, mask
from tunesmith.data.corpus import Corpus

RANKS: Mapping[Severity, int] = {"note": 1, "warning": 2, "error": 3}
HIDDEN = frozenset(KINDS) - {"random_string"}
PLACES = frozenset({"row", "cluster"})
"""Evidence that says where other rows stand: hashes look like keys."""
OF_MODELS = frozenset({"torch", "transformers", "tokenizers", "safetensors", "gguf"})
"""Packages that the extra `train` brings; what else may be missing comes with `data`."""
SHOWN = 8
"""Findings of a check that stay in memory for the report."""


class Shown(NamedTuple):
    """A finding as its line in findings.jsonl, and the row's number in the corpus."""

    position: int | None
    line: Mapping[str, Any]


@dataclass
class Tally:
    """What one check found, counted."""

    check: Check
    threshold: float
    ranks: NDArray[np.uint8]
    """For each row 0, or the rank of its worst finding."""
    counts: Counter[str] = field(default_factory=Counter)
    """Findings by severity."""
    facts: dict[str, Any] = field(default_factory=dict)
    looked: int = 0
    """Rows that were looked at."""
    of: int = 0
    """Rows that there was anything to look at in."""
    lines: set[int] = field(default_factory=set)
    """Lines with a finding that could not be read."""
    reason: str = ""
    """Why it did not run; empty when it did."""
    heap: list[tuple[tuple[int, float, int], Shown]] = field(default_factory=list)

    @property
    def worst(self) -> list[Shown]:
        """The worst findings, the worst first."""
        return [shown for _, shown in sorted(self.heap, key=lambda entry: entry[0], reverse=True)]

    @property
    def num_rows(self) -> int:
        """Rows with a finding."""
        return int(np.count_nonzero(self.ranks)) + len(self.lines)

    def keep(self, shown: Shown) -> None:
        """Remember a finding if it is among the worst: by severity, by distance from the threshold."""
        value = shown.line["value"]
        distance = abs(value - self.threshold) if isinstance(value, int | float) else 0.0
        key = RANKS[shown.line["severity"]], float(distance), -self.counts.total()
        push = heapq.heappush if len(self.heap) < SHOWN else heapq.heappushpop
        push(self.heap, (key, shown))

    def fail(self, reason: str) -> None:
        """The check did not run to its end: nothing that it found counts."""
        self.reason, self.looked, self.of = reason, 0, 0
        self.ranks[:] = 0
        self.counts.clear()
        self.facts.clear()
        self.heap.clear()
        self.lines.clear()


@dataclass(frozen=True)
class Ledger:
    """Writes findings and counts them."""

    corpus: Corpus
    file: IO[str]

    def add(self, tally: Tally, finding: Finding, place: Mapping[str, Any] | None) -> None:
        """One finding; `place` is its row's."""
        line = {
            "check": tally.check.name,
            "row": place,
            "severity": finding.severity,
            "value": masked(plain(finding.value)),
            "threshold": tally.threshold,
            "evidence": masked(plain(finding.evidence)),
        }
        self.file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        tally.counts[finding.severity] += 1
        if finding.position is not None:
            at = finding.position
            tally.ranks[at] = max(tally.ranks[at], RANKS[finding.severity])
        elif finding.line is not None:
            tally.lines.add(finding.line)
        tally.keep(Shown(finding.position, line))


def masked(value: Any) -> Any:
    """Evidence and facts without personal data and secrets, whichever check gave them: they are passed on."""
    if isinstance(value, str):
        return mask(value, kinds=HIDDEN).text
    if isinstance(value, dict):
        return {name: masked(part) for name, part in value.items() if name not in PLACES} | {
            name: value[name] for name in PLACES & value.keys()
        }
    return [masked(part) for part in value] if isinstance(value, list) else value


def run_checks(
    checks: Sequence[Check], limits: Mapping[str, float], context: Context, path: Path
) -> list[Tally]:
    """Run checks; their findings go to `path`.  What fails for want of a model or a package says so."""
    num_rows = len(context.corpus)
    counts = applicable(checks, context.corpus)
    tallies = [
        Tally(check, limits[check.name], np.zeros(num_rows, np.uint8), looked=count, of=count)
        for check, count in zip(checks, counts, strict=True)
    ]
    with explain_disk_errors(path):
        with path.open("w", encoding="utf-8") as file:
            ledger = Ledger(context.corpus, file)
            run_row_checks([tally for tally in tallies if tally.check.row], ledger, context)
            run_set_checks([tally for tally in tallies if tally.check.whole], ledger, context)
        drop_lines(path, {tally.check.name for tally in tallies if tally.reason})
    return tallies


def applicable(checks: Sequence[Check], corpus: Corpus) -> list[int]:
    """How many rows each check can say anything about."""
    rules = {check.applies for check in checks if check.applies is not None}
    counts = Counter(rule for row in corpus for rule in rules if rule(row.example)) if rules else Counter()
    return [counts[check.applies] if check.applies else len(corpus) for check in checks]


def run_row_checks(tallies: Sequence[Tally], ledger: Ledger, context: Context) -> None:
    """One pass over the rows for all of them."""
    if not tallies:
        return
    with context.job.progress.task("checking rows", total=len(ledger.corpus), unit="rows") as task:
        for row in ledger.corpus:
            for tally in tallies:
                if tally.reason:
                    continue
                assert tally.check.row is not None
                try:
                    for found in tally.check.row(row, tally.threshold):
                        ledger.add(tally, Finding(row.position, *found), row.place)
                except (UserError, ImportError) as error:
                    tally.fail(why_not(error))
            task.advance()


def run_set_checks(tallies: Sequence[Tally], ledger: Ledger, context: Context) -> None:
    """One after the other."""
    if not tallies:
        return
    with context.job.progress.task("checking the whole set", total=len(tallies), unit="checks") as task:
        for tally in tallies:
            task.advance(0, note=tally.check.name)
            run_set_check(tally, ledger, context)
            task.advance(note=tally.check.name)


def run_set_check(tally: Tally, ledger: Ledger, context: Context) -> None:
    """All that one check says of the whole corpus."""
    assert tally.check.whole is not None
    if reason := lacking(tally.check, context):
        tally.fail(reason)
        return
    try:
        for said in tally.check.whole(context, tally.threshold):
            if isinstance(said, Fact):
                tally.facts[said.name] = masked(plain(said.value))
            elif isinstance(said, Looked):
                tally.looked = said.rows
                tally.of = tally.of if said.rows else 0
            else:
                ledger.add(tally, said, place_of(said, context.corpus))
    except (UserError, ImportError) as error:
        tally.fail(why_not(error))


def place_of(finding: Finding, corpus: Corpus) -> dict[str, Any] | None:
    """Where the row stands; None for a finding on the whole corpus."""
    if finding.position is not None:
        return corpus.row(finding.position).place
    return None if finding.line is None else {"split": "", "line": finding.line, "row_hash": ""}


def lacking(check: Check, context: Context) -> str:
    """What a check needs and nobody gave."""
    if not len(context.corpus) and check.name != "unreadable":
        return "no row can be read"
    if check.needs & {"tokenizer", "model"} and context.options.model is None:
        return "no model was named: give the one that will be trained with --model"
    return ""


def why_not(error: UserError | ImportError) -> str:
    """The reason for a check that cannot run; the user's own mistakes and broken places are raised again."""
    if isinstance(error, DataError | ConfigError | FolderError | OutOfSpace):
        raise error
    if isinstance(error, UserError):
        return error.message().replace("\n  → ", "; ")
    extra = "train" if (error.name or "").split(".")[0] in OF_MODELS else "data"
    instead = ", or compare texts without a model: --embeddings words" if extra == "train" else ""
    return f"the package {error.name or error} is not installed; pip install 'tunesmith[{extra}]'{instead}"


def drop_lines(path: Path, names: Iterable[str]) -> None:
    """Take the findings of checks that did not run to their end out of the file."""
    names = set(names)
    if not names:
        return
    part = path.with_suffix(".part")
    with path.open(encoding="utf-8") as old, part.open("w", encoding="utf-8") as new:
        new.writelines(line for line in old if json.loads(line)["check"] not in names)
    part.replace(path)
