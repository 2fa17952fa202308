"""A sample of answers for people, and what their verdicts say."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tunesmith.core.agreement import Coefficient, ac1, kappa
from tunesmith.core.dataset import Writer
from tunesmith.core.errors import ConfigError, DataError, nearest
from tunesmith.core.files import hash_json, write_json
from tunesmith.core.job import Job
from tunesmith.core.stats import Floats, Interval, Verdicts, bootstrap_mean, judged_mean, share_interval
from tunesmith.core.workspace import name_for_commands
from tunesmith.evaluate.asking import Sample, was_answered
from tunesmith.evaluate.comparison.reports import Report, open_report
from tunesmith.evaluate.run import slug
from tunesmith.evaluate.schema import Score
from tunesmith.evaluate.validate.schema import (
    Agreement,
    AnswersConfig,
    AnswersResult,
    Confusion,
    Measured,
    ValidateConfig,
    ValidateResult,
)
from tunesmith.evaluate.verdicts import (
    ANSWERS,
    answered_example,
    draw,
    judge_of,
    judge_scores,
    people_on_answers,
)

FEWEST_FOR_BIAS = 10
RESAMPLES = 1000


def answers(config: AnswersConfig, job: Job) -> AnswersResult:
    """A data set of the report's answers.  Raises DataError when there is none to look at."""
    report = open_report(config.report, job)
    firsts = [sample for sample in report.samples if sample["repeat"] == 0]
    if config.task is not None:
        firsts = of_task(firsts, config.task)
    asked = [sample for sample in firsts if sample["error"] or was_answered(sample)]  # and not only scored
    good = [sample for sample in asked if sample["error"] is None]
    answered = list({answered_example(sample).row_hash: sample for sample in good}.values())
    if not answered:
        raise DataError("the report has no answer to look at", where=report.folder)
    drawn = draw(answered, config.sample, config.seed)
    settings = {"sample": config.sample, "task": config.task, "seed": config.seed}
    with job.folder(
        verb=ANSWERS,
        kind="data-set",
        name=slug(f"answers-of-{report.label}"),
        config=settings,
        inputs={"report": report.folder},
        seed=config.seed,
    ) as folder:
        with Writer(folder.path, ["test"]) as writer:
            for line, sample in enumerate(drawn, start=1):
                one = answered_example(sample)
                text = json.dumps(one.to_json(), ensure_ascii=False)
                writer.add(
                    "test", example_json=text, row_hash=one.row_hash, group_id=sample["group_id"], line=line
                )
        result = AnswersResult(
            folder=folder.path,
            rows=len(drawn),
            answered=len(answered),
            left_out=len(asked) - len(good),
            report=report.label,
            fingerprint=str(writer.proof["fingerprint"]),
        )
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        folder.summary |= {"splits": {"test": len(drawn)}, "findings": []}
    return result


def of_task(samples: Sequence[Sample], task: str) -> list[Sample]:
    """The samples of one task.  Raises ConfigError for a task that the report has not."""
    known = sorted({sample["task"] for sample in samples})
    if task not in known:
        step = nearest(task, known)
        raise ConfigError("the report has no such task", value=task, where="--task", next_step=step)
    return [sample for sample in samples if sample["task"] == task]


class Looked(NamedTuple):
    """The judge's scores and people's verdicts, in one order: reviewed items first."""

    human: Floats
    judge: Floats
    groups: list[str]
    words: Floats
    """Length of each answer in words."""
    conflicts: int
    left_out: int

    @property
    def judge_there(self) -> Floats:
        """The judge's scores of the reviewed items."""
        return self.judge[: len(self.human)]


def validate(config: ValidateConfig, job: Job) -> ValidateResult:
    """Hold the judge against people.  Raises DataError when nobody reviewed an answer of the report."""
    report = open_report(config.report, job)
    name = judge_of(config.judge, list(judge_scores(report)), str(report.manifest.summary["primary"]))
    looked = look(report, name, job)
    if not len(looked.human):
        step = f"tunesmith answers {name_for_commands(report.folder)}, then review the data set it makes"
        raise DataError(
            "no answer of this report has a person's verdict", where=report.folder, next_step=step
        )
    verdicts = hash_json(looked.human.tolist())  # more verdicts are other work
    with job.folder(
        verb="validate",
        kind="validation",
        name=slug(report.label),
        config={"judge": name, "threshold": config.threshold, "seed": config.seed, "verdicts": verdicts},
        inputs={"report": report.folder},
        seed=config.seed,
    ) as folder:
        found = measure(looked, config.threshold, config.seed)
        sentence = sentence_of(report.label, name, looked, found)
        result = ValidateResult(
            folder=folder.path,
            report=report.label,
            judge=name,
            items=len(looked.judge),
            reviewed=len(looked.human),
            open_conflicts=looked.conflicts,
            left_out=looked.left_out,
            **dict(found),
            sentence=sentence,
        )
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        write_json(folder / "validation.json", folder.summary)
    return result


def look(report: Report, name: str, job: Job) -> Looked:
    """Scores and verdicts of every answer that has a score, those with a verdict first."""
    scored = [one for one in report.samples if one["repeat"] == 0 and name in one["scores"]]
    samples = [one for one in scored if one["error"] is None]  # nobody can look at what never came
    hashes = {answered_example(sample).row_hash: sample for sample in samples}
    human, conflicts = people_on_answers(list(hashes), job)
    ordered = [row for row in hashes if row in human] + [row for row in hashes if row not in human]
    return Looked(
        np.array([human[row] for row in ordered if row in human], dtype=float),
        np.array([hashes[row]["scores"][name] for row in ordered], dtype=float),
        [hashes[row]["group_id"] for row in ordered],
        np.array([len(hashes[row]["output"].split()) for row in ordered], dtype=float),
        conflicts,
        len(scored) - len(samples),
    )


def measure(looked: Looked, threshold: float, seed: int) -> Measured:
    """People alone, the judge alone, both together; agreement and bias."""
    human, judge = looked.human, looked.judge
    n = len(human)
    said = (looked.judge_there >= threshold).astype(float)
    is_share = set(judge.tolist()) <= {0.0, 1.0}
    alone = (
        share_interval(judge, looked.groups) if is_share else bootstrap_mean(judge, looked.groups, seed=seed)
    )
    together = judged_mean(
        Verdicts.of(human, looked.judge_there, judge[n:]), looked.groups, shares=True, seed=seed
    )
    bias, low, high = length_bias(looked, seed)
    return Measured(
        people=as_score(share_interval(human, looked.groups[:n])),
        judge_alone=as_score(alone),
        corrected=as_score(together),
        kappa=agreement(kappa(human, said, seed=seed)),
        ac1=agreement(ac1(human, said, seed=seed)),
        confusion=confusion(human, said),
        length_bias=bias,
        length_bias_low=low,
        length_bias_high=high,
    )


def agreement(found: Coefficient) -> Agreement:
    """A coefficient as results show it."""
    return Agreement(value=found.value, low=found.low, high=found.high)


def as_score(interval: Interval) -> Score:
    """An interval as results show it."""
    return Score(**interval.to_json())


def confusion(human: Floats, said: Floats) -> Confusion:
    """How often each pair of verdicts was given."""
    counts = {(h, s): int(((human == h) & (said == s)).sum()) for h in (0, 1) for s in (0, 1)}
    return Confusion(
        both_right=counts[1, 1],
        judge_too_kind=counts[0, 1],
        judge_too_strict=counts[1, 0],
        both_wrong=counts[0, 0],
    )


def length_bias(looked: Looked, seed: int) -> tuple[float | None, float | None, float | None]:
    """Slope of (judge − people) over log2 of the words, with its bootstrap interval; None for few answers."""
    error = looked.judge_there - looked.human
    doublings = np.log2(1 + looked.words[: len(error)])
    if len(error) < FEWEST_FOR_BIAS or np.ptp(doublings) == 0:
        return None, None, None
    generator = np.random.default_rng(seed)
    slopes = []
    for _ in range(RESAMPLES):
        index = generator.integers(len(error), size=len(error))
        if np.ptp(doublings[index]) > 0:
            slopes.append(slope(doublings[index], error[index]))
    low, high = np.quantile(slopes, [0.025, 0.975])
    return slope(doublings, error), float(low), float(high)


def slope(x: Floats, y: Floats) -> float:
    """Least squares."""
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def sentence_of(label: str, judge: str, looked: Looked, found: Measured) -> str:
    """The outcome in one sentence."""
    fixed, alone = found.corrected, found.judge_alone
    agreed = "undefined" if found.kappa.value is None else f"{found.kappa.value:.2f}"
    return (
        f"People would accept {fixed.value:.1%} of the answers of {label} (95 % interval {fixed.low:.1%} to"
        f" {fixed.high:.1%}; {fixed.method}); {judge} alone says {alone.value:.1%}, and agrees with people on"
        f" {len(looked.human)} answers with a kappa of {agreed}."
    )
