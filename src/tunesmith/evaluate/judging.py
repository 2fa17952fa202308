"""The judge's grades of a report's answers; each is kept when it is there, so that nothing is asked twice."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tunesmith.core.conversation import Message
from tunesmith.core.endpoint import Endpoint, in_parallel, key_in
from tunesmith.core.files import append_jsonl, keep_rows
from tunesmith.core.job import Job
from tunesmith.core.judge.asking import Grade, grade
from tunesmith.core.workspace import WorkFolder
from tunesmith.evaluate.asking import Key, Sample, key_of
from tunesmith.evaluate.plan import JUDGE, Plan, TaskPlan
from tunesmith.evaluate.suite import Judge
from tunesmith.launch.server import temporary_server

GRADES = "grades.jsonl"


def judged(
    plan: Plan, samples: Sequence[Sample], folder: WorkFolder, job: Job, *, concurrency: int
) -> list[Sample]:
    """The samples with the judge's score, or why there is none.

    An answer that did not come scores 0 without asking; a judge's reply without a verdict is counted and
    left out: it says nothing of the answer.
    """
    grades = kept_grades(folder)
    for task in plan.tasks:
        if task.task.judge is not None:
            mine = [sample for sample in samples if sample["task"] == task.task.name]
            grades |= grade_missing(task, task.task.judge, mine, grades, folder, job, concurrency)
    return [with_grade(plan, sample, grades) for sample in samples]


def kept_grades(folder: WorkFolder) -> dict[Key, dict[str, Any]]:
    """Grades in the folder; those that failed are asked again."""
    return {key_of(row): row for row in keep_rows(folder / GRADES, lambda row: row["score"] is not None)}


def grade_missing(
    task: TaskPlan,
    judge: Judge,
    samples: Sequence[Sample],
    grades: Mapping[Key, dict[str, Any]],
    folder: WorkFolder,
    job: Job,
    concurrency: int,
) -> dict[Key, dict[str, Any]]:
    """Ask the judge about every answer that has no grade yet.

    Raises ServerError when its server goes away; the grades that came are kept.
    """
    missing = [sample for sample in samples if sample["error"] is None and key_of(sample) not in grades]
    if not missing:
        return {}
    found = {}
    prompts = {item.id: item.example.prompt for item in task.found.items}
    with (
        judge_server(judge, job) as endpoint,
        job.progress.task("judging", total=len(missing), unit="answers") as bar,
    ):

        def ask(sample: Sample) -> Grade:
            prompt: Sequence[Message] = prompts[sample["id"]]
            return grade(endpoint.ask, prompt, sample["output"], judge.criteria, reference=sample["gold"])

        for place, said in in_parallel(ask, missing, concurrency=concurrency):
            sample = missing[place]
            row = {name: sample[name] for name in ("task", "id", "repeat")}
            row |= {"score": said.score, "error": said.error, "reply": said.reply}
            append_jsonl(folder / GRADES, row)
            found[key_of(row)] = row
            bar.advance(1)
        if any(row["error"] and not row["reply"] for row in found.values()):
            endpoint.models()  # raises when the server is gone: its silence says nothing of the answers
    return found


@contextmanager
def judge_server(judge: Judge, job: Job) -> Iterator[Endpoint]:
    """The server that has the judge: the one named, or one that lives as long as it is needed."""
    if judge.endpoint is not None:
        key = key_in(judge.api_key_variable, where="judge.api_key_variable")
        with Endpoint(judge.endpoint, judge.model, key) as endpoint:
            yield endpoint
        return
    job.progress.say(f"starting a server for the judge {judge.model}")
    with temporary_server(judge.model, job) as served, Endpoint(served.url, served.model) as endpoint:
        yield endpoint


def with_grade(plan: Plan, sample: Sample, grades: Mapping[Key, Mapping[str, Any]]) -> Sample:
    """The sample with its grade among the scores."""
    task = plan.by_name()[sample["task"]]
    if task.task.judge is None:
        return sample
    name = plan.score_name(task, JUDGE.name)
    if sample["error"] is not None:
        return {**sample, "scores": {**sample["scores"], name: 0.0}}
    row = grades[key_of(sample)]
    if row["score"] is None:
        return {**sample, "failed": {**sample["failed"], name: row["error"]}}
    return {**sample, "scores": {**sample["scores"], name: row["score"]}}
