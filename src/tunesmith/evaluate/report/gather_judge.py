"""From validation and ranking folders to facts: people against the judge, what order and length do to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.files import read_json
from tunesmith.core.stats import share_interval
from tunesmith.core.workspace import Manifest
from tunesmith.evaluate.report import folders
from tunesmith.evaluate.report.facts_judge import Measure, RankedFacts, RankingFacts, ValidationFacts
from tunesmith.evaluate.report.facts_models import ModelFacts, Score

Row = Mapping[str, Any]


class Shown(NamedTuple):
    """A report that is on the page: its folder, and the name it has there."""

    folder: Path
    label: str


def shown_reports(reports: Sequence[Path], models: Sequence[ModelFacts]) -> dict[str, Shown]:
    """The reports of the page by content id; the first name counts."""
    found: dict[str, Shown] = {}
    for folder, model in zip(reports, models, strict=True):
        found.setdefault(Manifest.read(folder).id, Shown(folder, model.label))
    return found


def validation_facts(folder: Path, shown: Mapping[str, Shown]) -> ValidationFacts:
    """What a validation folder shows."""
    manifest = folders.opened(folder, "validation", "--validation")
    value = read_json(folder / "validation.json")
    here = next((shown[entry.id] for entry in manifest.inputs if entry.id in shown), None)
    said = value["confusion"]
    return ValidationFacts(
        label=here.label if here else value["report"],
        is_shown=here is not None,
        judge=value["judge"],
        threshold=manifest.config["threshold"],
        num_items=value["items"],
        num_reviewed=value["reviewed"],
        num_conflicts=value["open_conflicts"],
        people=share("people", value["people"]),
        alone=share(value["judge"], value["judge_alone"]),
        corrected=share("corrected", value["corrected"]),
        method=value["corrected"]["method"],
        kappa=measure(value["kappa"]),
        ac1=measure(value["ac1"]),
        both_right=said["both_right"],
        too_kind=said["judge_too_kind"],
        too_strict=said["judge_too_strict"],
        both_wrong=said["both_wrong"],
        length_bias=Measure(value["length_bias"], value["length_bias_low"], value["length_bias_high"]),
    )


def share(name: str, part: Row) -> Score:
    """A share or a mean from 0 to 1."""
    return Score(name, part["value"], part["low"], part["high"], part["n"])


def measure(part: Row) -> Measure:
    """A coefficient."""
    return Measure(part["value"], part["low"], part["high"])


def ranking_facts(folder: Path, shown: Mapping[str, Shown]) -> RankingFacts:
    """What a ranking folder shows; position and length bias are counted in its verdicts."""
    manifest = folders.opened(folder, "ranking", "--ranking")
    value = read_json(folder / "ranking.json")
    reports = [entry for entry in manifest.inputs if entry.role.startswith("report-")]
    labels = {Path(entry.path).name: shown[entry.id].label for entry in reports if entry.id in shown}
    by_judge = manifest.config["by_judge"]
    rows = [row for row in folders.maybe_rows(folder / "verdicts.jsonl") if row["won"] is not None]
    known = [samples_of(shown[entry.id].folder) if entry.id in shown else {} for entry in reports]
    groups = {key: row["group_id"] for samples in known for key, row in samples.items()}
    asked = [row for row in rows if by_judge and row["replies"] != ["", ""]]  # equal answers were not asked
    return RankingFacts(
        decided_by=folders.public(value["decided_by"]),
        by_judge=by_judge,
        question=manifest.config["question"] if by_judge else None,
        num_items=value["items"],
        num_comparisons=value["comparisons"],
        num_unread=value["unread"],
        ranked=tuple(ranked(part, labels) for part in value["ranked"]),
        consistent=counted("consistent", [(key(row), row["consistent"]) for row in asked], groups),
        first_favoured=counted("first", singles(asked), groups),
        longer_favoured=counted("longer", longer_won(rows, known), groups),
        style=tuple(value["style"].items()),
    )


def ranked(part: Row, labels: Mapping[str, str]) -> RankedFacts:
    """One model's place."""
    return RankedFacts(
        label=labels.get(part["report"], part["label"]),
        strength=part["strength"],
        low=part["low"],
        high=part["high"],
        chance=part["chance"],
        best_rank=part["best_rank"],
        worst_rank=part["worst_rank"],
        wins=part["wins"],
        ties=part["ties"],
        losses=part["losses"],
    )


def key(row: Row) -> str:
    """The item of a sample or a verdict."""
    return f"{row['task']}/{row['id']}"


def samples_of(folder: Path) -> dict[str, Row]:
    """The first answer to each item, as a ranking takes it."""
    rows = folders.maybe_rows(folder / "samples.jsonl")
    return {key(row): row for row in rows if row["repeat"] == 0}


def singles(asked: Sequence[Row]) -> list[tuple[str, bool]]:
    """For each single verdict that is no tie, whether it named the answer seen first; one of each order."""
    found = []
    for row in asked:
        straight, swapped = row["said"]
        found += [
            (key(row), said == seen)
            for said, seen in ((straight, "first"), (swapped, "second"))
            if said != "tie"
        ]
    return found


def longer_won(rows: Sequence[Row], known: Sequence[Mapping[str, Row]]) -> list[tuple[str, bool]]:
    """For each decided comparison of answers of unequal length, whether the one with more words won."""
    found = []
    for row in rows:
        pair = [known[row[side]].get(key(row)) for side in ("first", "second")]
        if row["won"] == 0.5 or None in pair:
            continue
        first, second = (len(one["output"].split()) for one in pair if one is not None)
        if first != second:
            found.append((key(row), (first > second) == (row["won"] == 1)))
    return found


def counted(name: str, found: Sequence[tuple[str, bool]], groups: Mapping[str, str]) -> Score | None:
    """A share with its interval over groups of items; None of nothing."""
    if not found:
        return None
    kinds = [groups.get(item, item) for item, _ in found]
    interval = share_interval([float(yes) for _, yes in found], kinds)
    return Score(name, interval.value, interval.low, interval.high, interval.n)
