"""Steps that drop rows for what a check found, for their length, or for their language."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.errors import (
    ConfigError,
    DataError,
    FolderError,
    MissingPackage,
    ModelError,
    nearest,
)  # fmt: skip
from tunesmith.core.workspace import Manifest
from tunesmith.data.clean.duplicates import near_text
from tunesmith.data.clean.port import KEPT, Decide, Stage, Verdict, dropped
from tunesmith.data.clean.schema import Decontaminate, DropFlagged, DropTooLong, KeepLanguage, RemoveRefusals
from tunesmith.data.corpus import CorpusRow

FINDINGS = "findings.jsonl"
LANGUAGE_CHARACTERS = 2000
"""More text does not tell the language better."""
GIVE_FINDINGS = "run `tunesmith data check` on this data set and give its folder with --findings"


ABOUT_OTHERS = frozenset({
    "exact_duplicates", "near_duplicates", "semantic_duplicates", "repeated_answers", "conflicting_answers",
    "label_conflicts", "split_leakage", "train_similarity",
})  # fmt: skip
"""Checks that find a row for its likeness to another: they name the later of the two, not the worse one."""


class Flag(NamedTuple):
    """A finding about one row."""

    check: str
    severity: str
    value: Any


def findings_about_rows(folder: Path) -> Iterator[tuple[tuple[str, int], Flag]]:
    """((split, line), finding) of each finding that is about a row, streaming."""
    path = folder / FINDINGS
    if not path.is_file():
        raise FolderError("no findings in this folder", where=path, next_step=GIVE_FINDINGS)
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                found = json.loads(line)
                if found["row"] is not None:
                    place = str(found["row"]["split"]), int(found["row"]["line"])
                    yield place, Flag(str(found["check"]), str(found["severity"]), found["value"])
            except (ValueError, KeyError, TypeError) as error:
                step = "give a folder that `tunesmith data check` made"
                raise DataError(
                    "not a finding", where=f"{path}:{number}", value=str(error), next_step=step
                ) from None


def check_findings(folder: Path, data_id: str) -> None:
    """Refuse findings about other data: lines would mean other rows."""
    manifest = Manifest.read(folder)
    about = {entry.id for entry in manifest.inputs if entry.kind == "data-set"}
    if data_id not in about:
        raise FolderError(
            "these findings are about other data", where=folder, value=manifest.name, next_step=GIVE_FINDINGS
        )


def drop_flagged(stage: Stage, settings: DropFlagged) -> Decide:
    """Rows with a finding of the checks and severities named."""
    return flagged(stage, settings.severities, set(settings.checks) or None, "a check found something")


def decontaminate(stage: Stage, settings: Decontaminate) -> Decide:
    """Rows that a check of the family `leakage` found."""
    from tunesmith.data.check.registry import CHECKS

    checks = {name for name, check in CHECKS.items() if check.family == "leakage"}
    return flagged(stage, settings.severities, checks, "leaks into a benchmark or another split")


def flagged(stage: Stage, severities: Collection[str], checks: Collection[str] | None, reason: str) -> Decide:
    """Drop rows by their findings."""
    if stage.findings is None:
        raise ConfigError("this step needs the findings of a check", next_step=GIVE_FINDINGS)
    found: defaultdict[tuple[str, int], list[Flag]] = defaultdict(list)
    seen = set()
    for place, flag in findings_about_rows(stage.findings):
        seen.add(flag.check)
        if flag.severity in severities and (checks is None or flag.check in checks):
            found[place].append(flag)
    check_names(checks or (), seen)

    def decide(row: CorpusRow) -> Verdict:
        flags = found.get((row.split, row.line))
        if flags is None:
            return KEPT
        names = sorted({flag.check for flag in flags})
        return dropped(f"{reason}: {', '.join(names)}", findings=[flag._asdict() for flag in flags])

    return decide


def check_names(checks: Collection[str], seen: Collection[str]) -> None:
    """Refuse a check that nobody knows; one that is known and found nothing is fine."""
    from tunesmith.data.check.registry import CHECKS

    for name in checks:
        if name not in seen and name not in CHECKS:
            step = nearest(name, {*CHECKS, *seen})
            raise ConfigError("no check of this name", value=name, next_step=step)


def too_long(stage: Stage, settings: DropTooLong) -> Decide:
    """Rows beyond a number of tokens, as they are trained, or of characters."""
    num_tokens = token_counter(stage, settings) if settings.max_tokens else None

    def decide(row: CorpusRow) -> Verdict:
        characters = num_characters(row)
        if settings.max_characters and characters > settings.max_characters:
            return dropped(f"longer than {settings.max_characters:,} characters", characters=characters)
        if num_tokens is not None and (tokens := num_tokens(row)) > settings.max_tokens:
            return dropped(f"longer than {settings.max_tokens:,} tokens", tokens=tokens)
        return KEPT

    return decide


def num_characters(row: CorpusRow) -> int:
    """Characters of all turns; of a pair the longer side."""
    sides = [
        sum(len(turn.content or "") for turn in side) for side in (row.example.chosen, row.example.rejected)
    ]
    steps = sum(len(step.text) for step in row.example.steps)
    return sum(len(turn.content or "") for turn in row.example.messages) + max(sides) + steps


def token_counter(stage: Stage, settings: DropTooLong) -> Callable[[CorpusRow], int]:
    """Counts a row's tokens as training on the model would."""
    from tunesmith.core.recipe import Recipe, Source
    from tunesmith.runtime.catalogue import locate
    from tunesmith.runtime.encoding import open_encoder
    from tunesmith.runtime.models import read_tokenizer
    from tunesmith.runtime.vocabulary import tokenizer_folder

    located = locate(str(settings.model), stage.job)
    if located.model_folder is None:
        step = "give a model with a tokenizer, or max_characters"
        raise ModelError("the fake model has no tokenizer", value=located.name, next_step=step)
    recipe = Recipe(model=str(settings.model), data=(Source(path=Path("none")),))
    encoder = open_encoder(recipe, read_tokenizer(tokenizer_folder(located.model_folder, located.adapter)))
    return lambda row: len(encoder.encode(row.example, key=row.row_hash[:32]).token_ids)


def remove_refusals(stage: Stage, settings: RemoveRefusals) -> Decide:
    """Rows with an answer that the check of refusals finds."""
    from tunesmith.data.check.texts.phrases import find_refusals

    def decide(row: CorpusRow) -> Verdict:
        found = next(iter(find_refusals(row, 0.0)), None)
        return KEPT if found is None else dropped("the answer is a refusal", **found.evidence)

    return decide


def keep_language(stage: Stage, settings: KeepLanguage) -> Decide:
    """Rows whose text is in one of some languages, as the n-grams of py3langid tell (Lui & Baldwin 2012).

    Raises MissingPackage where it is not installed, ConfigError for a code that it does not know.
    """
    try:
        from py3langid import classify, rank
    except ImportError:
        step = "pip install 'tunesmith[data]'"
        raise MissingPackage("telling languages needs py3langid", next_step=step) from None
    known = {str(code) for code, _ in rank("")}
    for code in settings.languages:
        if code not in known:
            raise ConfigError(
                "no such language", value=code, where="languages", next_step=nearest(code, known)
            )

    def decide(row: CorpusRow) -> Verdict:
        text = near_text(row.example, settings.text)
        text = text[:LANGUAGE_CHARACTERS]
        if sum(map(str.isalpha, text)) < settings.min_letters:
            return KEPT
        language = str(classify(text)[0])
        return KEPT if language in settings.languages else dropped(f"its language is {language}")

    return decide
