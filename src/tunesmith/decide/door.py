"""Whether to fine-tune: measure prompts, time methods, probe, decide, and write the plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunesmith.core.conversation import check_conversations
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.files import read_json, write_json, write_text
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import WorkFolder
from tunesmith.decide.budget import Budget
from tunesmith.decide.expecting import expectation
from tunesmith.decide.measure import SAMPLE, Measured, Race, best_of, measure, read_samples
from tunesmith.decide.methods import training_of, weigh
from tunesmith.decide.page import PAGE, page_of
from tunesmith.decide.probing import Probing, hardest, probe_all
from tunesmith.decide.prompting import candidates_for
from tunesmith.decide.proposal import as_yaml, proposed_recipe, write_recipe
from tunesmith.decide.quality import quality_of
from tunesmith.decide.schema import DecideConfig, DecideResult, MethodCost, Quality
from tunesmith.decide.verdict import Evidence, decide_by, default_target, enough, reasons_for, warnings_on
from tunesmith.launch.steps import Step, run_step
from tunesmith.runtime.catalogue import Located, locate

KEPT_FOR_CHECKS = 0.02
"""Share of the budget that has to be left for looking at the data."""


@dataclass
class Plan:
    """What is under way."""

    config: DecideConfig
    data: DataSet
    rows: Mapping[str, int]
    located: Located
    folder: WorkFolder
    budget: Budget
    job: Job
    skipped: list[str] = field(default_factory=list)


def decide(config: DecideConfig, job: Job) -> DecideResult:
    """Measure the base on the validation split, probe what tuning brings, and say what to do; a plan folder.

    Raises DataError when there is nothing to measure on, ConfigError for a score that no target can be set
    for.
    """
    budget = Budget(60 * config.budget_minutes)
    data = data_of(config.data, job)
    rows = {name: len(data.split(name)) for name in data.split_names()}
    if not rows.get("validation") or not rows.get("train"):
        step = "prepare the data with a training and a validation split"
        raise DataError(
            "the base can only be measured with training and validation rows", value=rows, next_step=step
        )
    for name in ("train", "validation"):
        check_conversations((row.example for row in data.rows(name)), data.folder)
    located = locate(config.model, job)
    settings = config.to_json()
    for name in ("data", "model", "documents"):
        del settings[name]
    documents = {"documents": config.documents} if config.documents is not None else {}
    with job.folder(
        verb="decide",
        kind="plan",
        name=data.manifest.name,
        config=settings,
        inputs={"data": data.folder, "model": located.as_input(), **documents},
        seed=config.seed,
        resume=True,
    ) as folder:
        plan = Plan(config, data, rows, located, folder, budget, job)
        result = made(plan)
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        write_plan(folder.path, result)
    return result


def data_of(given: Path, job: Job) -> DataSet:
    """The data set; a file of examples is prepared first."""
    if given.is_file():
        config = {"source": str(given.resolve())}
        step = Step("prepare", "Check, group and split the examples", "data prepare", config)
        return DataSet.open(Path(run_step(step, job)["folder"]))
    return DataSet.find(given, job.workspace)


def made(plan: Plan) -> DecideResult:
    """Everything in order, and the verdict on it."""
    config = plan.config
    measured = measure_prompts(plan)
    target = config.target if config.target is not None else default_target(measured.measurements)
    evidence = Evidence(
        primary=measured.primary,
        target=target,
        target_from="asked for" if config.target is not None else "5 points more than the best prompt",
        rows=plan.rows,
        measurements=measured.measurements,
        bigger=measured.bigger,
        probed=config.probe,
        unasked=measured.unasked,
    )
    recipe = proposed_recipe(config, plan.data, plan.located, plan.rows["train"])
    if enough(evidence):
        plan.skipped.append("training: nothing has to be learned for the target")
        write_recipe(plan.folder / "recipe.yaml", recipe)
        return result_of(plan, evidence, None)
    return with_training(plan, measured, evidence, recipe)


def with_training(plan: Plan, measured: Measured, evidence: Evidence, recipe: Recipe) -> DecideResult:
    """What training takes and brings, and what is wrong with the data."""
    config, folder = plan.config, plan.folder.path
    costs, left_out = weigh(recipe, plan.rows["train"], config, folder, plan.budget, plan.job)
    plan.skipped += left_out
    chosen = training_of(costs, recipe, plan.rows["train"], config.train_minutes)
    training, final = chosen if chosen is not None else (None, recipe)
    write_recipe(folder / "recipe.yaml", final)
    state = probes(plan, final, measured, costs) if training is not None else None
    expected = None
    if state is not None and training is not None:
        seen = round(plan.rows["train"] * training.steps / training.steps_wanted)
        expected = expectation(state, prompted(measured, plan), evidence.target, seen)
    known = replace(
        evidence,
        methods=costs,
        training=training,
        forecast=expected.gains if expected else (),
        rows_needed=expected.rows_needed if expected else None,
        quality=look_at_data(plan),
    )
    return result_of(plan, known, state)


def measure_prompts(plan: Plan) -> Measured:
    """The race of the prompts."""
    train = [row.example for row in plan.data.split("train")]
    candidates, ruled_out = candidates_for(train, plan.config)
    plan.skipped += ruled_out
    for candidate in candidates:
        candidate.shape.write(plan.folder / candidate.file)
    rows = plan.data.split("validation")
    race = Race(
        config=plan.config,
        data=plan.data.folder,
        plan=plan.folder.path,
        examples=[row.example for row in rows[:SAMPLE]],
        items=min(plan.config.limit, len(rows)),
        context=context_of(plan.located),
        budget=plan.budget,
        job=plan.job,
    )
    measured = measure(candidates, race)
    plan.skipped += measured.skipped
    write_json(plan.folder / "measurements.json", [one.to_json() for one in measured.measurements])
    return measured


def context_of(located: Located) -> int | None:
    """Tokens that the model can read, by its own configuration."""
    folder = located.model_folder
    if folder is None or not (folder / "config.json").exists():
        return None
    found: Any = read_json(folder / "config.json").get("max_position_embeddings")
    return found if isinstance(found, int) else None


def tells_losses(located: Located) -> bool:
    """Whether a model says how likely a given text is; the fake one does not."""
    return located.kind != "fake"


def probes(plan: Plan, recipe: Recipe, measured: Measured, costs: list[MethodCost]) -> Probing | None:
    """Short trainings on parts of the data, as far as the time goes."""
    if not plan.config.probe:
        plan.skipped.append("probes: --no-probe")
        return None
    cost = next(one for one in costs if one.fits and one.seconds_per_step is not None)
    state = Probing(
        config=plan.config,
        data=plan.data.folder,
        rows=plan.rows["train"],
        recipe=recipe,
        primary=measured.primary,
        seconds_per_step=cost.seconds_per_step or 0.0,
        plan=plan.folder.path,
        budget=plan.budget,
        job=plan.job,
        has_losses=tells_losses(plan.located),
    )
    probe_all(state)
    plan.skipped += state.skipped
    return state


def prompted(measured: Measured, plan: Plan) -> dict[str, float]:
    """Scores of the best prompt by item."""
    report = plan.job.workspace.resolve(best_of(measured.measurements).report, "report")
    samples = read_samples({"folder": report})
    return {sample["id"]: sample["scores"][measured.primary] for sample in samples}


def look_at_data(plan: Plan) -> Quality | None:
    """What is wrong with the data, when there is time to look."""
    if not plan.config.probe:
        plan.skipped.append("faults of the data: --no-probe (tunesmith data check looks for them)")
        return None
    if plan.budget.left(1.0) < KEPT_FOR_CHECKS * plan.budget.seconds:
        plan.skipped.append(
            "faults of the data: no time was left to look for them (tunesmith data check does)"
        )
        return None
    return quality_of(plan.data.folder, plan.job)


def result_of(plan: Plan, evidence: Evidence, state: Probing | None) -> DecideResult:
    """The verdict with all that it stands on."""
    decision = decide_by(evidence)
    return DecideResult(
        folder=plan.folder.path,
        verdict=decision.verdict,
        sentence=decision.sentence,
        reasons=reasons_for(evidence),
        warnings=warnings_on(evidence),
        model=plan.config.model,
        data=plan.data.manifest.name,
        primary=evidence.primary,
        target=evidence.target,
        target_from=evidence.target_from,
        rows=dict(evidence.rows),
        measurements=list(evidence.measurements),
        bigger=list(evidence.bigger),
        skipped=plan.skipped,
        best_prompt=evidence.best.file,
        methods=list(evidence.methods),
        probes=list(state.probes) if state else [],
        forecast=list(evidence.forecast),
        rows_needed=evidence.rows_needed,
        hardest=hardest(state) if state else [],
        quality=evidence.quality,
        training=evidence.training,
        recipe="recipe.yaml",
        page=PAGE,
        seconds=round(plan.budget.spent, 1),
    )


def write_plan(folder: Path, result: DecideResult) -> None:
    """`plan.yaml` with everything, and the page."""
    value = result.to_json()
    del value["folder"]
    write_text(folder / "plan.yaml", as_yaml(value))
    write_text(folder / PAGE, page_of(result))
