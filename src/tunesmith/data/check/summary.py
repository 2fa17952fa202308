"""From what the checks found to what the command says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from tunesmith.core.stats import wilson
from tunesmith.core.workspace import MANIFEST, name_for_commands
from tunesmith.data.check.given import Given
from tunesmith.data.check.run import RANKS, Tally
from tunesmith.data.check.schema import CheckConfig, CheckOutcome, CheckResult, NotRun
from tunesmith.data.corpus import Corpus

EXAMPLE_CHARACTERS = 160


def summarise(
    tallies: Sequence[Tally], corpus: Corpus, given: Given, config: CheckConfig, folder: Path, page: str
) -> CheckResult:
    """Counts, shares, the verdict, and what to do next."""
    ran = [outcome_of(tally) for tally in tallies if not tally.reason]
    not_run = [
        NotRun(check=tally.check.name, family=tally.check.family, reason=tally.reason)
        for tally in tallies
        if tally.reason
    ]
    errors, warnings = sum(part.errors for part in ran), sum(part.warnings for part in ran)
    asked_in_vain = {part.check for part in not_run} & set(config.only)
    found = {"error": errors, "warning": errors + warnings, "never": 0}[config.fail_on]
    return CheckResult(
        folder=folder,
        passed=not found and not asked_in_vain,
        data=given.name,
        rows=len(corpus),
        unreadable=corpus.num_unreadable,
        errors=errors,
        warnings=warnings,
        notes=sum(part.notes for part in ran),
        rows_with_errors=num_rows_with_errors(tallies),
        checks=ran,
        not_run=not_run,
        sampled=sampled_in_words(ran, len(corpus)),
        next=next_commands(given, config),
        page=page,
    )


def outcome_of(tally: Tally) -> CheckOutcome:
    """One check's counts; an interval when it looked at a sample."""
    rows, looked = tally.num_rows, tally.looked
    low: float | None = None
    high: float | None = None
    if looked < tally.of:
        low, high = wilson(rows, looked)
    return CheckOutcome(
        check=tally.check.name,
        family=tally.check.family,
        about=tally.check.about,
        threshold=tally.threshold,
        errors=tally.counts["error"],
        warnings=tally.counts["warning"],
        notes=tally.counts["note"],
        rows=rows,
        looked_at=looked,
        share=rows / looked if looked else 0.0,
        low=low,
        high=high,
        example=in_words(tally.worst[0].line) if tally.worst else "",
    )


def num_rows_with_errors(tallies: Sequence[Tally]) -> int:
    """Rows with at least one finding that does harm."""
    if not tallies:
        return 0
    harmed = np.zeros_like(tallies[0].ranks, dtype=bool)
    for tally in tallies:
        harmed |= tally.ranks == RANKS["error"]
    return int(harmed.sum()) + len(set().union(*(tally.lines for tally in tallies)))


def in_words(line: Mapping[str, Any]) -> str:
    """A finding as one line: where it is, what was measured, what shows it."""
    evidence, value = line["evidence"], line["value"]
    plain = (f"{name} {part}" for name, part in evidence.items() if isinstance(part, str | int | float))
    text = " ".join(str(evidence.get("text") or ", ".join(plain)).split())
    parts = [place_in_words(line["row"]), value if isinstance(value, str) else "", text]
    words = ": ".join(part for part in dict.fromkeys(parts) if part)
    return words if len(words) <= EXAMPLE_CHARACTERS else words[: EXAMPLE_CHARACTERS - 1] + "…"


def place_in_words(row: Mapping[str, Any] | None) -> str:
    """'train line 12', 'line 12', or nothing for the whole set."""
    return "" if row is None else f"{row['split']} line {row['line']}".strip()


def sampled_in_words(outcomes: Sequence[CheckOutcome], num_rows: int) -> str:
    """'checks that need a model looked at 512 to 1,513 of 20,000 rows'."""
    looked = sorted({part.looked_at for part in outcomes if part.low is not None})
    if not looked:
        return ""
    counts = f"{looked[0]:,}" if len(looked) == 1 else f"{looked[0]:,} to {looked[-1]:,}"
    return f"checks that need a model looked at {counts} of {num_rows:,} rows, drawn at random"


def next_commands(given: Given, config: CheckConfig) -> list[str]:
    """What can be pasted next."""
    is_set = (given.path / MANIFEST).is_file()
    data = quote(name_for_commands(given.path) if is_set else str(given.path))
    how = reading_in_words(config)
    commands = []
    if given.located is None:
        commands.append(f"tunesmith data check {quote(config.data)} --model smollm2-135m-instruct{how}")
    if is_set:
        commands.append(f"tunesmith data clean {data}")
    else:
        commands += [f"tunesmith data selftest {data}{how}", f"tunesmith data prepare {data}{how}"]
    return commands


def reading_in_words(config: CheckConfig) -> str:
    """The options that read a file in the same way again."""
    said = {"shape": config.shape, "mapping": config.mapping}
    options = [f" --{name} {quote(str(value))}" for name, value in said.items() if value is not None]
    return "".join([*options, " --fix" * config.fix])
