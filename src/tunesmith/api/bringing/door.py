"""The door of `tunesmith import openai`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tunesmith.api.bringing.remote import Gone, Remote, connected, plain_table
from tunesmith.api.bringing.schema import BroughtJob, ImportOpenaiConfig, ImportOpenaiResult
from tunesmith.api.jobs.recipes import Start, rate_of, recipe_of
from tunesmith.api.jobs.schema import AUTO
from tunesmith.api.jobs.starting import RECIPE, steps_of
from tunesmith.api.jobs.validation import Unusable, check_file, layout_of
from tunesmith.core.endpoint import key_in
from tunesmith.core.errors import ConfigError, ServerError
from tunesmith.core.files import append_jsonl, hash_json, read_json, write_json, write_text
from tunesmith.core.job import Job
from tunesmith.core.progress import counted
from tunesmith.core.workspace import AlreadyDone, Manifest, WorkFolder
from tunesmith.launch.steps import run_step
from tunesmith.runtime.catalogue import locate

FILES = ("training_file", "validation_file")
SUPERVISED = "supervised"
ASKED = ("n_epochs", "batch_size", "learning_rate_multiplier")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
Facts = Mapping[str, Any]


def import_openai(config: ImportOpenaiConfig, job: Job) -> ImportOpenaiResult:
    """Fetch every job, and train them here when that is wanted.

    Raises ServerError for a service that does not answer, ConfigError for a key that is not there and for
    jobs that the service does not know.
    """
    locate(config.model, job)
    with connected(config.endpoint, key_in(config.api_key_variable)) as remote:
        result = fetched(remote, config, job)
    ready = [one for one in result.jobs if one.obstacle is None]
    if ready and (config.train or agreed(ready, config)):
        trained = {one.id: train_here(one, result.folder, config, job) for one in ready}
        return result.model_copy(update={"jobs": [trained.get(one.id, one) for one in result.jobs]})
    return result


def fetched(remote: Remote, config: ImportOpenaiConfig, job: Job) -> ImportOpenaiResult:
    """Everything in a folder; nothing is fetched again while the jobs there say what they said before."""
    found = chosen(list(remote.jobs()), config.job)
    check_ids(found, config.endpoint)
    settings = {"endpoint": config.endpoint, "model": config.model, "jobs": hash_json(found)}
    try:
        with job.folder(
            verb="import openai", kind="import", name="openai", config=settings, inputs={}
        ) as folder:
            brought = [bring(remote, one, folder, config, job) for one in found]
            folder.summary = {"endpoint": config.endpoint, "jobs": [one.to_json() for one in brought]}
            path, summary = folder.path, dict[str, Any](folder.summary)
    except AlreadyDone as done:
        path, summary = done.folder, dict(Manifest.read(done.folder).summary)
    return ImportOpenaiResult(**ImportOpenaiResult.fields_from(summary, path))


def check_ids(jobs: Sequence[Facts], endpoint: str) -> None:
    """Refuse ids that would not be names of folders: a server may be anybody's.  Raises ServerError."""
    for one in jobs:
        if not NAME.fullmatch(str(one["id"])):
            step = "this is no server with OpenAI's API"
            raise ServerError("this id of a job is no name", value=one["id"], where=endpoint, next_step=step)


def chosen(jobs: Sequence[Facts], wanted: Sequence[str]) -> list[Facts]:
    """The jobs that were asked for; raises ConfigError for one that is not there."""
    known = {one["id"] for one in jobs}
    for name in wanted:
        if name not in known:
            step = "leave --job out to see all of them"
            raise ConfigError("the service knows no such job", value=name, where="--job", next_step=step)
    return [one for one in jobs if not wanted or one["id"] in wanted]


def bring(
    remote: Remote, facts: Facts, folder: WorkFolder, config: ImportOpenaiConfig, job: Job
) -> BroughtJob:
    """Fetch a job's files, results and events, and write its recipe where it can be trained here."""
    place = folder / facts["id"]
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / "job.json", dict(facts))
    missing = fetch_files(remote, facts, place)
    for event in remote.events(facts["id"]):
        append_jsonl(place / "events.jsonl", event)
    method = (facts.get("method") or {}).get("type", SUPERVISED)
    examples, obstacle = usable(facts, place, method)
    rate = None
    if obstacle is None:
        rate = write_job_recipe(facts, place, home(job, facts["id"]), config, job, examples=examples or 0)
    job.progress.say(f"{facts['id']}: {obstacle or counted(examples or 0, 'example')}")
    return BroughtJob(
        id=facts["id"],
        model=facts["model"],
        status=facts["status"],
        method=method,
        fine_tuned_model=facts["fine_tuned_model"],
        examples=examples,
        missing=missing,
        obstacle=obstacle,
        learning_rate=rate,
    )


def fetch_files(remote: Remote, facts: Facts, place: Path) -> list[str]:
    """Fetch what a job learned from, and its tables; what is gone, and why."""
    tables = {f"results-{number}": file for number, file in enumerate(facts.get("result_files") or ())}
    missing = []
    for name, file in ({param: facts.get(param) for param in FILES} | tables).items():
        if not file:
            continue
        path = place / (f"{name}.csv" if name in tables else f"{name}.jsonl")
        try:
            remote.download(file, path)
        except Gone as error:
            missing.append(f"{name.replace('_', ' ')} {file}: {error}")
            continue
        if name in tables:
            plain_table(path)
    return missing


def usable(facts: Facts, place: Path, method: str) -> tuple[int | None, str | None]:
    """The number of training examples, and why a job cannot be trained here (None when it can)."""
    training, validation = (place / f"{param}.jsonl" for param in FILES)
    if not training.exists():
        return None, "its training file is gone from the service"
    layout = layout_of(training)
    try:
        examples = check_file(training, "training_file", layout)
        if validation.exists():
            check_file(validation, "validation_file", layout)
    except Unusable as error:
        return None, str(error.error["message"])
    if method != SUPERVISED:
        return examples, f"the method {method} is not there yet"
    return examples, None


def home(job: Job, job_id: str) -> Path:
    """Where a job that was brought is trained."""
    return job.workspace.root / "brought" / job_id


def row_of(facts: Facts, place: Path, config: ImportOpenaiConfig) -> dict[str, Any]:
    """A job of the service as our own jobs are written down."""
    given = facts.get("hyperparameters") or {}
    validation = place / "validation_file.jsonl"
    return {
        "id": facts["id"],
        "hyperparameters": {name: given.get(name, AUTO) for name in ASKED},
        "training_file": facts["training_file"],
        "validation_file": facts.get("validation_file") if validation.exists() else None,
        "seed": facts.get("seed") or 0,
        "recipe": {},
        "evaluate": config.evaluate if validation.exists() else None,
        "resolved": {"layout": layout_of(place / "training_file.jsonl"), "base": config.model},
    }


def write_job_recipe(
    facts: Facts, place: Path, run_at: Path, config: ImportOpenaiConfig, job: Job, *, examples: int
) -> float:
    """Write the recipe that a job means here; its learning rate."""
    row = row_of(facts, place, config)
    rate = rate_of(config.model, job=job)
    recipe = recipe_of(row, Start(config.model), run_at / "data", examples=examples, rate=rate)
    write_text(place / RECIPE, yaml.safe_dump(recipe.to_json(), sort_keys=False, allow_unicode=True))
    assert isinstance(recipe.optimiser.learning_rate, float), "a job's rate is a number"
    return recipe.optimiser.learning_rate


def agreed(ready: Sequence[BroughtJob], config: ImportOpenaiConfig) -> bool:
    """Whether somebody at a terminal wants them trained; elsewhere nobody is asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    examples = sum(one.examples or 0 for one in ready)
    text = (
        f"Train {counted(len(ready), 'job')} ({counted(examples, 'example')}) on {config.model} now? [y/N] "
    )
    print(text, end="", file=sys.stderr, flush=True)  # noqa: T201  a question to whoever sits here
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def train_here(brought: BroughtJob, folder: Path, config: ImportOpenaiConfig, job: Job) -> BroughtJob:
    """Run a job's steps; finished ones are not done again."""
    source = folder / brought.id
    results = {}
    row = row_of(read_json(source / "job.json"), source, config)
    for step in steps_of(source, row, home(job, brought.id)):
        job.progress.heading(f"{brought.id}: {step.title}")
        results[step.name] = run_step(step, job)
    verdict = results["compare"]["sentence"] if "compare" in results else None
    return brought.model_copy(update={"run": Path(results["train"]["folder"]), "verdict": verdict})
