"""Whether to fine-tune: count, measure, decide, and write the plan."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from tunesmith.core.conversation import check_conversations
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.files import write_json, write_text
from tunesmith.core.job import Job
from tunesmith.core.progress import duration
from tunesmith.core.recipe import AdamW, Lora, Recipe, Source
from tunesmith.decide.defaults import defaults_for
from tunesmith.decide.measure import Measured, best_of, measure, probes_for
from tunesmith.decide.schema import DecideConfig, DecideResult, Measurement, Training, Verdict
from tunesmith.decide.speed import measure_training
from tunesmith.runtime.catalogue import Located, locate

FEWEST_ROWS = 50
"""OpenAI's guide: start with 50 well-made examples; with fewer, more data is the better investment."""
WARNED_ROWS = 100
"""OpenAI's guide: gains are usually clear from 50 to 100 examples on; below that they are luck."""
FEWEST_MEASURED = 30
"""With fewer validation items every interval is wide."""


class Decision(NamedTuple):
    """The verdict, its one sentence, and the reasons."""

    verdict: Verdict
    sentence: str
    reasons: list[str]


def decide(config: DecideConfig, job: Job) -> DecideResult:
    """Measure the base on the validation split and say whether to fine-tune, and with what; a plan folder.

    Raises DataError when there is nothing to measure on.
    """
    data = DataSet.find(config.data, job.workspace)
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
    del settings["data"], settings["model"]
    with job.folder(
        verb="decide",
        kind="plan",
        name=data.manifest.name,
        config=settings,
        inputs={"data": data.folder, "model": located.as_input()},
        seed=config.seed,
    ) as plan:
        probes, ruled_out = probes_for([row.example for row in data.split("train")], config.shots)
        for probe in probes:
            probe.shape.write(plan / probe.file)
        measured = measure(probes, config, data.folder, plan.path, job)
        decision = decision_of(measured, rows, config.target)
        recipe = proposed_recipe(config, data, located, rows["train"])
        write_recipe(plan.path, recipe)
        training = timed(recipe, rows["train"], config, plan.path, job)
        result = DecideResult(
            folder=plan.path,
            verdict=decision.verdict,
            sentence=decision.sentence,
            reasons=[*decision.reasons, *time_in_words(training)],
            warnings=warnings_on(rows, measured.measurements),
            model=config.model,
            primary=measured.primary,
            target=config.target,
            rows=rows,
            measurements=measured.measurements,
            skipped=[*ruled_out, *measured.skipped],
            best_prompt=best_of(measured.measurements).file,
            training=training,
            recipe="recipe.yaml",
            seconds=measured.seconds,
        )
        plan.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        write_plan(plan.path, result)
    return result


def decision_of(measured: Measured, rows: Mapping[str, int], target: float) -> Decision:
    """The verdict.  "Enough" needs the lower bound to reach the target, not the estimate."""
    best = best_of(measured.measurements)
    bare = measured.measurements[0]
    reasons = [in_words(one, measured.primary) for one in measured.measurements]
    wanted = f"the target of {target:.0%}"
    if bare.safe_low >= target:
        claim = (
            f"The base model does it already: {in_words(bare, measured.primary)}, and even its lower bound"
        )
        return Decision("base_is_enough", f"{claim} ({bare.safe_low:.1%}) reaches {wanted}.", reasons)
    if (enough := surest(measured.measurements)).safe_low >= target:
        claim = f"A prompt is enough: {in_words(enough, measured.primary)}, and even its lower bound"
        return Decision("prompt_is_enough", f"{claim} ({enough.safe_low:.1%}) reaches {wanted}.", reasons)
    reasons.append(f"no lower bound reaches {wanted} (the highest is {enough.safe_low:.1%})")
    total = rows["train"]
    if total < FEWEST_ROWS:
        reasons.append(f"{total} training rows are fewer than {FEWEST_ROWS}")
        claim = f"Collect more data first: {total} training rows are too few (at least {FEWEST_ROWS})"
        return Decision("collect_more_data", f"{claim}; the best prompt reaches {best.value:.1%}.", reasons)
    reasons.append(f"there are {total:,} training rows to learn from")
    claim = f"Fine-tune: the best prompt ({in_words(best, measured.primary)}) leaves {wanted} out of reach"
    return Decision("fine_tune", f"{claim}, and {total:,} training rows can teach the rest.", reasons)


def surest(measurements: Sequence[Measurement]) -> Measurement:
    """The prompt with the highest lower bound."""
    return max(measurements, key=lambda one: (one.safe_low, -one.prompt_tokens))


def in_words(one: Measurement, primary: str) -> str:
    """'few_shot_4: exact_json 12.0% (95 % interval 5.6–23.8%, 50 validation items)'."""
    interval = f"95 % interval {100 * one.low:.1f}–{100 * one.high:.1f}%"
    return f"{one.prompt}: {primary} {one.value:.1%} ({interval}, {one.n} validation items)"


def warnings_on(rows: Mapping[str, int], measurements: Sequence[Measurement]) -> list[str]:
    """What makes the plan less sure."""
    warnings = []
    total = sum(count for name, count in rows.items() if name != "held_out")
    if total < WARNED_ROWS:
        warnings.append(f"only {total} examples in all: gains are usually clear from {WARNED_ROWS} on")
    if (asked := measurements[0].n) < FEWEST_MEASURED:
        warnings.append(f"only {asked} validation items were asked: the intervals are wide")
    silent = [one for one in measurements if one.errors]
    return warnings + [
        f"{one.prompt}: {one.errors} of {one.n} items have no answer and score 0" for one in silent
    ]


def proposed_recipe(config: DecideConfig, data: DataSet, located: Located, train_rows: int) -> Recipe:
    """A recipe that can be run as it is, from wherever it is run."""
    start = defaults_for(train_rows)
    here = Path(config.model)
    return Recipe(
        name=data.manifest.name,
        model=str(here.resolve()) if here.exists() else config.model,
        data=(Source(path=data.folder),),
        engine="fake" if located.kind == "fake" else "ragged",
        method=Lora(rank=start.rank, alpha=start.alpha),
        optimiser=AdamW(learning_rate=start.learning_rate),
        step_examples=start.step_examples,
        epochs=start.epochs,
        seed=config.seed,
    )


def timed(recipe: Recipe, rows: int, config: DecideConfig, plan: Path, job: Job) -> Training | None:
    """Time a few steps; the recipe in the plan is cut to those that fit into the time allowed."""
    if not config.train_minutes:
        return None
    training = measure_training(recipe, rows, minutes=config.train_minutes, plan=plan, job=job)
    if training.steps < training.steps_wanted:
        write_recipe(plan, recipe.model_copy(update={"max_steps": training.steps}))
    return training


def time_in_words(training: Training | None) -> list[str]:
    """The expected time, and what was cut for it."""
    if training is None:
        return []
    speed = f"{training.tokens_per_second:,.0f} tokens/s measured on a few steps"
    sentence = f"training takes about {duration(60 * training.minutes)} here ({speed})"
    if training.steps < training.steps_wanted:
        sentence += (
            f"; {training.steps:,} of the {training.steps_wanted:,} steps wanted fit into the time allowed"
        )
    return [sentence]


def write_plan(folder: Path, result: DecideResult) -> None:
    """`plan.yaml` and `measurements.json`."""
    value = result.to_json()
    measurements = value.pop("measurements")
    del value["folder"]
    value["measurements"] = [
        {key: one[key] for key in ("prompt", "file", "value", "low", "high", "n", "scores")}
        for one in measurements
    ]
    write_json(folder / "measurements.json", measurements)
    write_text(folder / "plan.yaml", as_yaml(value))


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """`recipe.yaml`, ready to run."""
    heading = "# Run with: tunesmith train recipe.yaml\n"
    write_text(folder / "recipe.yaml", heading + as_yaml(recipe.to_json()))


def as_yaml(value: object) -> str:
    """YAML in the order given, readable."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))
