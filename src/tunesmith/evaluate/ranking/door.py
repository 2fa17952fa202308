"""Comparing answers two by two, and the order that follows."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunesmith.core.conversation import Message
from tunesmith.core.endpoint import in_parallel
from tunesmith.core.errors import ConfigError, DataError, nearest
from tunesmith.core.files import append_jsonl, keep_rows, write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.judge.asking import Ask, Choice, prefer
from tunesmith.core.judge.criteria import Criteria
from tunesmith.core.scorers.behaviour import BOLD, HEADING, LIST_LINE
from tunesmith.core.stats import ranking as strengths
from tunesmith.core.workspace import Input, WorkFolder
from tunesmith.evaluate.asking import was_answered
from tunesmith.evaluate.comparison.reports import ItemKey, Report, open_report
from tunesmith.evaluate.judging import judge_server
from tunesmith.evaluate.ranking.schema import RankConfig, Ranked, RankResult
from tunesmith.evaluate.run import slug
from tunesmith.evaluate.suite import Judge
from tunesmith.runtime.catalogue import locate

VERDICTS = "verdicts.jsonl"
FEATURES = ("words", "lists", "headings", "bold")
WON = {"first": 1.0, "second": 0.0, "tie": 0.5}


class Duel(NamedTuple):
    """Two reports' answers to one item."""

    item: ItemKey
    first: int
    second: int

    @property
    def key(self) -> str:
        """What tells it from the others."""
        return f"{self.item[0]}/{self.item[1]}/{self.first}/{self.second}"


class Verdict(NamedTuple):
    """What became of a duel: 1 when the first won, 0 when the second did, 0.5 for a tie; None without one."""

    duel: Duel
    won: float | None
    facts: Mapping[str, Any]


def rank(config: RankConfig, job: Job) -> RankResult:
    """The order of the reports' models; a ranking folder.

    Verdicts of a judge are kept as they come, so that a cut ranking goes on.  Raises DataError when the
    reports share no item.
    """
    reports = [open_report(Path(given), job) for given in config.reports]
    folders = [one.folder for one in reports]
    if twice := [folder for folder in folders if folders.count(folder) > 1]:
        raise ConfigError(
            "this report is given twice", value=str(twice[0]), next_step="give each report once"
        )
    decided_by = config.judge or metric_of(config, reports)
    duels = duels_of(reports, None if config.judge else decided_by, config.limit)
    settings = config.model_dump(
        mode="json", exclude={"reports", "api_key_variable", "concurrency", "metric", "judge"}
    )
    inputs: dict[str, Path | Input] = {f"report-{n}": one.folder for n, one in enumerate(reports, start=1)}
    if config.judge is not None and config.endpoint is None:
        inputs["judge"] = locate(config.judge, job).as_input()
    with job.folder(
        verb="rank",
        kind="ranking",
        name=slug(f"ranking-by-{decided_by}"),
        config={**settings, "decided_by": decided_by, "by_judge": config.judge is not None},
        inputs=inputs,
        seed=config.seed,
        resume=True,
    ) as folder:
        if config.judge is not None:
            verdicts = judged(config, reports, duels, folder, job)
        else:
            verdicts = scored(reports, duels, decided_by)
            write_jsonl(folder / VERDICTS, [row_of(one) for one in verdicts])
        result = result_of(config, reports, verdicts, decided_by, folder.path)
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        write_json(folder / "ranking.json", folder.summary)
    return result


def duels_of(reports: Sequence[Report], metric: str | None, limit: int | None) -> list[Duel]:
    """Every two reports on every item that all of them scored; for a judge (None), answered."""
    common = [
        item for item in reports[0].by_item if all(can_be_compared(one, item, metric) for one in reports)
    ]
    if not common:
        step = "evaluate the models on the same suite and split"
        raise DataError("the reports share no item", value=f"{len(reports)} reports", next_step=step)
    if limit is not None and limit < len(common):
        chosen = set(sorted(common, key=lambda item: item[1])[:limit])
        common = [item for item in common if item in chosen]
    return [Duel(item, *pair) for item in common for pair in combinations(range(len(reports)), 2)]


def can_be_compared(report: Report, item: ItemKey, metric: str | None) -> bool:
    """Whether a report has what decides on an item."""
    if item not in report.by_item:
        return False
    if metric is not None:
        return report.score(item, metric) is not None
    first = report.by_item[item][0]
    return was_answered(first) and first["error"] is None


def metric_of(config: RankConfig, reports: Sequence[Report]) -> str:
    """The score that decides.  Raises ConfigError when a report lacks it, or it has no better and worse."""
    name = config.metric or str(reports[0].manifest.summary["primary"])
    known = [
        one
        for one, score in reports[0].scores.items()
        if score["better"] and all(one in report.scores for report in reports)
    ]
    if name not in known:
        what = "the reports have no such score in common"
        raise ConfigError(what, value=name, where="--metric", next_step=nearest(name, known))
    return name


def scored(reports: Sequence[Report], duels: Sequence[Duel], metric: str) -> list[Verdict]:
    """The higher (or lower, where that is better) score wins."""
    sign = -1 if reports[0].scores[metric]["better"] == "lower" else 1
    found = []
    for duel in duels:
        first, second = (reports[place].score(duel.item, metric) for place in (duel.first, duel.second))
        assert first is not None, duel
        assert second is not None, duel
        found.append(Verdict(duel, 0.5 + 0.5 * float(np.sign(sign * (first - second))), {}))
    return found


def judged(
    config: RankConfig, reports: Sequence[Report], duels: Sequence[Duel], folder: WorkFolder, job: Job
) -> list[Verdict]:
    """The judge's verdict on every duel; those that are there already are not asked again."""
    kept = kept_verdicts(folder)
    missing = [duel for duel in duels if duel.key not in kept]
    judge = Judge(
        model=str(config.judge),
        endpoint=config.endpoint,
        api_key_variable=config.api_key_variable,
        question=config.question,
        with_reference=not config.without_reference,
    )
    if missing:
        with judge_server(judge, job) as endpoint:
            ask = asker(endpoint.ask, reports, judge.criteria)
            with job.progress.task("comparing", total=len(duels), unit="pairs") as bar:
                bar.advance(len(kept))
                for place, choice in in_parallel(ask, missing, concurrency=config.concurrency):
                    row = row_of(verdict_of(missing[place], choice))
                    append_jsonl(folder / VERDICTS, row)
                    kept[missing[place].key] = row
                    bar.advance(1)
            if any(row["error"] and not any(row["replies"]) for row in kept.values()):
                endpoint.models()  # raises when the server is gone: its silence decides nothing
    return [Verdict(duel, kept[duel.key]["won"], kept[duel.key]) for duel in duels]


def asker(ask: Ask, reports: Sequence[Report], criteria: Criteria) -> Callable[[Duel], Choice]:
    """A function that has one duel judged."""

    def judge_one(duel: Duel) -> Choice:
        first, second = (reports[place].by_item[duel.item][0] for place in (duel.first, duel.second))
        prompt = tuple(Message.from_json(turn) for turn in first["prompt"])
        return prefer(ask, prompt, first["output"], second["output"], criteria, reference=first["gold"])

    return judge_one


def verdict_of(duel: Duel, choice: Choice) -> Verdict:
    """A judge's choice as an outcome."""
    facts = {
        "consistent": choice.consistent,
        "said": [choice.said_first, choice.said_swapped],
        "replies": list(choice.replies),
        "error": choice.error,
    }
    return Verdict(duel, WON[choice.better] if choice.better is not None else None, facts)


def row_of(verdict: Verdict) -> dict[str, Any]:
    """One line of `verdicts.jsonl`."""
    task, item = verdict.duel.item
    places = {"first": verdict.duel.first, "second": verdict.duel.second}
    return {"key": verdict.duel.key, "task": task, "id": item, **places, "won": verdict.won, **verdict.facts}


def kept_verdicts(folder: WorkFolder) -> dict[str, dict[str, Any]]:
    """Verdicts in the folder; those that failed are asked again."""
    return {row["key"]: row for row in keep_rows(folder / VERDICTS, lambda row: row["won"] is not None)}


def result_of(
    config: RankConfig, reports: Sequence[Report], verdicts: Sequence[Verdict], decided_by: str, folder: Path
) -> RankResult:
    """Strengths, ranks, and what is known of the judge."""
    read = [one for one in verdicts if one.won is not None]
    if not read:
        raise DataError("no comparison has a verdict", where=folder, next_step="look at verdicts.jsonl")
    found = strengths.rank(
        comparisons(reports, read, style=config.style),
        len(reports),
        [reports[0].by_item[one.duel.item][0]["group_id"] for one in read],
        seed=config.seed,
    )
    ranked = [ranked_of(reports, place, one, read) for place, one in enumerate(found.strengths)]
    ranked.sort(key=lambda one: -one.strength)
    return RankResult(
        folder=folder,
        ranked=ranked,
        items=len({one.duel.item for one in verdicts}),
        comparisons=len(verdicts),
        unread=len(verdicts) - len(read),
        **about_judge(read) if config.judge is not None else {"consistent": None, "first_favoured": None},
        style=dict(zip(FEATURES, found.style_S.tolist(), strict=True)) if config.style else {},
        decided_by=decided_by,
        sentence=sentence_of(ranked, decided_by, len(read)),
    )


def comparisons(
    reports: Sequence[Report], verdicts: Sequence[Verdict], *, style: bool
) -> strengths.Comparisons:
    """The verdicts as arrays, with differences of style when they are wanted."""
    first = [one.duel.first for one in verdicts]
    second = [one.duel.second for one in verdicts]
    features = None
    if style:
        sides = [
            [
                style_of(reports[place].by_item[one.duel.item][0]["output"])
                for one, place in zip(verdicts, places, strict=True)
            ]
            for places in (first, second)
        ]
        features = strengths.style_difference(sides[0], sides[1])
    won = [one.won for one in verdicts if one.won is not None]
    return strengths.Comparisons.of(first, second, won, features)


def style_of(text: str) -> list[float]:
    """Words, items of lists, headings, pieces of bold text."""
    patterns = (LIST_LINE, HEADING, BOLD)
    return [float(len(text.split())), *(float(len(pattern.findall(text))) for pattern in patterns)]


def about_judge(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """How often its verdict did not turn with the order, and how often it named what stood first."""
    asked = [
        one.facts for one in verdicts if one.facts["replies"] != ["", ""]
    ]  # equal answers were not asked
    firsts = 0
    named = 0
    for facts in asked:
        straight, swapped = facts["said"]
        firsts += (straight == "first") + (swapped == "second")
        named += (straight != "tie") + (swapped != "tie")
    consistent = sum(facts["consistent"] for facts in asked) / len(asked) if asked else None
    return {"consistent": consistent, "first_favoured": firsts / named if named else None}


def ranked_of(
    reports: Sequence[Report], place: int, strength: strengths.Strength, verdicts: Sequence[Verdict]
) -> Ranked:
    """One model's place, with its wins."""
    results = [one.won for one in verdicts if one.duel.first == place and one.won is not None]
    results += [1 - one.won for one in verdicts if one.duel.second == place and one.won is not None]
    return Ranked(
        label=reports[place].label,
        report=reports[place].folder.name,
        strength=strength.value,
        low=strength.low,
        high=strength.high,
        chance=strength.chance,
        best_rank=strength.best_rank,
        worst_rank=strength.worst_rank,
        wins=results.count(1.0),
        ties=results.count(0.5),
        losses=results.count(0.0),
    )


def sentence_of(ranked: Sequence[Ranked], decided_by: str, number: int) -> str:
    """The outcome in one sentence."""
    best = ranked[0]
    equals = [one.label for one in ranked[1:] if one.best_rank == 1]
    basis = f"by {decided_by} over {number:,} comparisons"
    if equals:
        return f"{best.label} stands first, but cannot be told from {', '.join(equals)} {basis}."
    claim = f"{best.label} is the best of {len(ranked)} {basis}"
    return f"{claim}: its answer is preferred to the average one's with a probability of {best.chance:.0%}."
