"""`tunesmith compare`: each candidate against the model to beat."""

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

from tunesmith.core.errors import ConfigError, nearest
from tunesmith.core.files import write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.stats import holm
from tunesmith.core.workspace import Input, WorkFolder
from tunesmith.evaluate.comparison.differences import (
    ALPHA,
    Deciding,
    all_differences,
    by_score,
    correct_others,
    correct_slices,
    slice_differences,
    verdict_of,
)
from tunesmith.evaluate.comparison.people import PEOPLE, JudgedPairs, by_people, judged_pairs
from tunesmith.evaluate.comparison.reports import (
    ItemKey,
    Report,
    changed_items,
    common_items,
    common_metrics,
    notes_on,
    open_report,
    refuse_other_definition,
)
from tunesmith.evaluate.comparison.schema import (
    ByPeople,
    Candidate,
    CompareConfig,
    CompareResult,
    Difference,
    SliceDifference,
    Verdict,
)
from tunesmith.evaluate.comparison.words import sentence_of, sentence_of_several
from tunesmith.evaluate.run import slug

BEST_FIRST: tuple[Verdict, ...] = ("better", "tied", "not enough data", "worse")


class Duel(NamedTuple):
    """One candidate beside the model to beat."""

    role: str
    a: Report
    b: Report
    common: list[ItemKey]
    people: JudgedPairs | None


class Found(NamedTuple):
    """What was measured of a duel."""

    duel: Duel
    deciding: Deciding
    people: ByPeople | None


def compare(config: CompareConfig, job: Job) -> CompareResult:
    """Every candidate against A on the items that both hold; a comparison folder.

    Raises DataError when two share fewer items than asked for, or people's verdicts are wanted and missing.
    """
    a = open_report(config.a, job)
    candidates = [open_report(path, job) for path in (config.b, *config.more)]
    check_different(a, candidates)
    primary = PEOPLE if config.people else primary_of(config, a, candidates)
    duels = [
        duel_of(role, a, b, config, job) for role, b in zip(ascii_lowercase[1:], candidates, strict=False)
    ]
    settings: dict[str, Any] = {name: vars(config)[name] for name in ("at_least", "margin", "seed")}
    settings |= settings_of_people(duels) if config.people else {"metric": primary}
    inputs: dict[str, Path | Input] = {"a": a.folder, **{duel.role: duel.b.folder for duel in duels}}
    name = candidates[0].label if len(candidates) == 1 else f"{len(candidates)}-candidates"
    with job.folder(
        verb="compare",
        kind="comparison",
        name=slug(f"{name}-against-{a.label}"),
        config=settings,
        inputs=inputs,
        seed=config.seed,
    ) as folder:
        result = result_of(config, [measure(duel, primary, config.seed) for duel in duels], folder)
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        facts = {key: value for key, value in folder.summary.items() if key != "differences"}
        write_json(folder / "comparison.json", {**facts, "scores": folder.summary["differences"]})
    return result


def settings_of_people(duels: Sequence[Duel]) -> dict[str, Any]:
    """What the outcome depends on when people decide: the prediction, and what they said of each pair."""
    pairs = [duel.people for duel in duels if duel.people is not None]
    return {"people": True, "judge": pairs[0].judge, "verdicts": [one.verdicts for one in pairs]}


def check_different(a: Report, candidates: Sequence[Report]) -> None:
    """Raise ConfigError when one of several reports is given twice: p would be corrected for nothing."""
    known: list[Path] = []
    for report in (a, *candidates) if len(candidates) > 1 else ():
        if report.folder in known:
            step = "give each report once, the model to beat first"
            raise ConfigError("this report is given twice", value=str(report.folder), next_step=step)
        known.append(report.folder)


def primary_of(config: CompareConfig, a: Report, candidates: Sequence[Report]) -> str:
    """The score that decides.  Raises ConfigError when a candidate does not share it with A."""
    primary = config.metric or str(candidates[0].manifest.summary["primary"])
    for b in candidates:
        metrics = common_metrics(a, b)
        if primary not in metrics:
            which = "the two reports have" if len(candidates) == 1 else f"A and {b.label} have"
            what = f"{which} no such score in common"
            raise ConfigError(what, value=primary, next_step=nearest(primary, metrics))
        refuse_other_definition(a, b, primary)
    return primary


def duel_of(role: str, a: Report, b: Report, config: CompareConfig, job: Job) -> Duel:
    """The items that both hold, and people's verdicts on them when they are wanted."""
    common = common_items(a, b, config.at_least)
    people = judged_pairs(a, b, common, config.judge, job) if config.people else None
    return Duel(role, a, b, common, people)


def measure(duel: Duel, primary: str, seed: int) -> Found:
    """What decides between the two."""
    if duel.people is not None:
        return Found(duel, *by_people(duel.people, seed))
    return Found(duel, by_score(duel.a, duel.b, duel.common, primary, seed), None)


def result_of(config: CompareConfig, found: Sequence[Found], folder: WorkFolder) -> CompareResult:
    """Each candidate with its corrections, and the foremost one above them; the changed items on disk."""
    corrected = with_holm(found)
    differences = [
        all_differences(duel.a, duel.b, duel.common, common_metrics(duel.a, duel.b), deciding, config.seed)
        for duel, deciding, _ in corrected
    ]
    correct_others(differences, found[0].deciding.name)
    slices = correct_slices(
        [slice_differences(duel.b, duel.common, deciding) for duel, deciding, _ in corrected]
    )
    candidates = [
        candidate_of(one, every, parts, config, len(found), folder)
        for one, every, parts in zip(corrected, differences, slices, strict=True)
    ]
    leader = min(candidates, key=lambda one: (BEST_FIRST.index(one.verdict), -gain(one.difference)))
    facts = dict(leader)
    if len(candidates) > 1:
        facts["sentence"] = sentence_of_several(leader.a, candidates, leader)
    return CompareResult(folder=folder.path, **facts, candidates=candidates if len(candidates) > 1 else [])


def with_holm(found: Sequence[Found]) -> list[Found]:
    """The deciding p-values corrected over the candidates; a single one stands by itself."""
    corrected = []
    adjusted = holm([one.deciding.difference.p_value for one in found])
    for one, p_value in zip(found, adjusted, strict=True):
        difference = one.deciding.difference.model_copy(update={"adjusted_p": p_value})
        corrected.append(one._replace(deciding=one.deciding._replace(difference=difference)))
    return corrected


def gain(difference: Difference) -> float:
    """The difference, turned so that more is better."""
    return -difference.value if difference.better == "lower" else difference.value


def candidate_of(
    found: Found,
    differences: dict[str, Difference],
    slices: list[SliceDifference],
    config: CompareConfig,
    candidates: int,
    folder: WorkFolder,
) -> Candidate:
    """A candidate's verdict with all that it rests on."""
    duel, deciding, people = found
    a, b, difference = duel.a, duel.b, deciding.difference
    groups = len(set(deciding.pairs.groups))
    wide = difference.low, difference.high
    if candidates > 1 and (paired := deciding.measure(duel.common, 1 - ALPHA / candidates)) is not None:
        wide = paired.interval.low, paired.interval.high
    verdict = verdict_of(difference, groups, config.margin, wide)
    fixes, regressions = changed_items(a, b, deciding.pairs, difference.better)
    ending = f"-{duel.role}" if candidates > 1 else ""
    write_jsonl(folder / f"fixes{ending}.jsonl", fixes)
    write_jsonl(folder / f"regressions{ending}.jsonl", regressions)
    notes = notes_on(a, b, len(duel.common))
    return Candidate(
        a=a.label,
        b=b.label,
        verdict=verdict,
        sentence=sentence_of(
            verdict,
            a.label,
            b.label,
            deciding.name,
            difference,
            config.margin,
            people=people,
            candidates=candidates,
        ),
        primary=deciding.name,
        n=difference.n,
        groups=groups,
        only_a=len(a.by_item) - len(duel.common),
        only_b=len(b.by_item) - len(duel.common),
        difference=difference,
        differences=differences,
        slices=slices,
        fixes=len(fixes),
        regressions=len(regressions),
        notes=notes if duel.people is None else [*notes, *duel.people.notes],
        role=duel.role,
        people=people,
    )
