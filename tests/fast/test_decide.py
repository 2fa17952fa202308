import io
import json
from contextlib import contextmanager

import pytest
import yaml
from folders import address, data_set
from rich.console import Console
from servers import completion, failure, last_user, server

from tunesmith.cli.show_decide import show_decide
from tunesmith.core.config import load
from tunesmith.core.conversation import chat
from tunesmith.core.errors import DataError
from tunesmith.core.files import read_json
from tunesmith.core.job import Job
from tunesmith.core.prompts import PromptShape
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.decide import DecideConfig, DecideResult, decide
from tunesmith.decide import measure as measuring
from tunesmith.decide import speed as timing
from tunesmith.decide.defaults import TABLE, defaults_for
from tunesmith.decide.schema import Measurement
from tunesmith.evaluate import EvaluateConfig, EvaluateResult, evaluate
from tunesmith.launch.server import Served
from tunesmith.train.schema import SpeedResult, TrainConfig

TRAIN = [address(n) for n in range(1000, 1120)]
VALIDATION = [address(n) for n in range(60)]
GOLD = {row.prompt[-1].content: row.answer for row in VALIDATION}


def right(body):
    return completion(GOLD[last_user(body)])


def nothing(body):
    return completion("I do not know")


def prompted_only(body):
    """Right as soon as the prompt says more than the data's own system turn."""
    return right(body) if len(body["messages"][0]["content"]) > 20 else nothing(body)


@pytest.fixture
def base(monkeypatch):
    """Replaces server and step processes by ones in this process; the base answers with a function."""

    def install(answer):
        asked = []

        @contextmanager
        def serve(model, job):
            with server(answer) as script:
                yield Served(script.url, "fake")

        def run(step, job):
            assert step.verb == "evaluate"
            asked.append(step.name)
            try:
                return evaluate(EvaluateConfig(**step.config), Job(job.workspace)).to_json()
            except AlreadyDone as done:
                fields = EvaluateResult.fields_from(Manifest.read(done.folder).summary, done.folder)
                return EvaluateResult(**fields).to_json()

        def train(step, job):
            assert step.verb == "train"
            asked_for = TrainConfig.model_validate(step.config)
            return SpeedResult(
                name="set",
                model="fake",
                steps=asked_for.time_steps,
                tokens=4000,
                tokens_per_second=100.0,
                seconds_per_step=10.0,
            ).to_json()

        monkeypatch.setattr(measuring, "temporary_server", serve)
        monkeypatch.setattr(measuring, "run_step", run)
        monkeypatch.setattr(timing, "run_step", train)
        return asked

    return install


@pytest.fixture
def data(job):
    return data_set(job, {"train": TRAIN, "validation": VALIDATION, "test": []})


def test_a_weak_base_with_enough_data_is_fine_tuned(job, data, base):
    asked = base(nothing)
    result = decide(DecideConfig(data=data, model="fake"), job)
    assert result.verdict == "fine_tune"
    assert asked == ["as_is", "zero_shot", "few_shot_4", "few_shot_8"]
    assert [one.n for one in result.measurements] == [50] * 4
    assert "0.0%" in result.sentence
    assert "120 training rows" in result.sentence
    assert result.rows == {"train": 120, "validation": 60, "test": 0}
    assert any(
        "as_is: exact_json 0.0% (95 % interval 0.0–7.1%, 50 validation items)" in r for r in result.reasons
    )


def test_the_plan_folder_holds_all_that_was_promised(job, data, base):
    base(nothing)
    result = decide(DecideConfig(data=data, model="fake"), job)
    plan = yaml.safe_load((result.folder / "plan.yaml").read_text())
    assert plan["verdict"] == "fine_tune"
    assert [one["prompt"] for one in plan["measurements"]] == [
        "as_is",
        "zero_shot",
        "few_shot_4",
        "few_shot_8",
    ]
    recipe = load(result.folder / result.recipe, Recipe)
    assert (recipe.model, recipe.data[0].path, recipe.engine) == ("fake", data, "fake")
    assert recipe.method.rank == defaults_for(120).rank
    assert len(read_json(result.folder / "measurements.json")) == 4
    assert PromptShape.read(result.folder / result.best_prompt).name in ("as_is", "zero_shot")
    shots = PromptShape.read(result.folder / "prompts" / "few_shot_8.json").shots
    assert {shot.row_hash for shot in shots} <= {row.row_hash for row in TRAIN}
    assert "- city" in PromptShape.read(result.folder / "prompts" / "zero_shot.json").instruction
    manifest = Manifest.read(result.folder)
    assert manifest.kind == "plan"
    assert DecideResult(**DecideResult.fields_from(manifest.summary, result.folder)) == result


def test_a_base_that_does_it_already_is_left_alone(job, data, base):
    base(right)
    result = decide(DecideConfig(data=data, model="fake"), job)
    assert result.verdict == "base_is_enough"
    assert result.measurements[0].safe_low >= 0.85


def test_enough_means_the_lower_bound_and_not_the_estimate(job, data, base):
    def mostly(body):
        return right(body) if int(last_user(body).split()[0]) % 20 else nothing(body)

    base(mostly)
    result = decide(DecideConfig(data=data, model="fake"), job)
    assert max(one.value for one in result.measurements) > 0.9
    assert result.verdict == "fine_tune"
    assert decide(DecideConfig(data=data, model="fake", target=0.7), job).verdict == "base_is_enough"


def test_a_prompt_that_does_it_is_enough(job, data, base):
    base(prompted_only)
    result = decide(DecideConfig(data=data, model="fake", target=0.85), job)
    assert result.verdict == "prompt_is_enough"
    assert result.best_prompt == "prompts/zero_shot.json"


def test_the_best_prompt_is_not_chosen_by_one_lucky_item():
    def measured(name, exact, fields, high):
        return Measurement(
            prompt=name, file=name, shots=0, value=exact, low=0, high=high, safe_low=0, n=50, errors=0,
            scores={"exact_json": exact, "field_f1": fields}, prompt_tokens=9, seconds=1, report="r",
        )  # fmt: skip

    lucky, steady = measured("lucky", 0.02, 0.1, 0.1), measured("steady", 0.0, 0.4, 0.07)
    assert measuring.best_of([lucky, steady]).prompt == "steady"
    good = measured("good", 0.6, 0.1, 0.7)
    assert measuring.best_of([lucky, steady, good]).prompt == "good"


def test_the_bound_is_stricter_than_one_prompts_own_interval(job, data, base):
    base(prompted_only)
    result = decide(DecideConfig(data=data, model="fake"), job)
    assert all(one.safe_low < one.low for one in result.measurements if one.value == 1)


def test_too_few_rows_ask_for_more_data(job, base):
    folder = data_set(job, {"train": TRAIN[:20], "validation": VALIDATION[:20]}, name="small")
    base(nothing)
    result = decide(DecideConfig(data=folder, model="fake"), job)
    assert result.verdict == "collect_more_data"
    assert "20 training rows" in result.sentence
    assert len(result.warnings) == 2
    assert load(result.folder / result.recipe, Recipe).step_examples == TABLE[0].step_examples


def test_a_plan_that_was_cut_takes_the_reports_that_are_there(job, data, base):
    asked = base(nothing)
    decide(DecideConfig(data=data, model="fake", shots=(2,)), job)
    with pytest.raises(AlreadyDone):
        decide(DecideConfig(data=data, model="fake", shots=(2,)), job)
    assert len(asked) == 3
    more = decide(DecideConfig(data=data, model="fake", shots=(2, 3)), job)
    assert len(more.measurements) == 4
    assert len(job.workspace.folders("report")) == 4


def test_a_spent_budget_leaves_prompts_out_by_name(job, data, base):
    base(nothing)
    result = decide(DecideConfig(data=data, model="fake", budget_minutes=1e-6), job)
    assert [one.prompt for one in result.measurements] == ["as_is", "zero_shot"]
    assert [text.split(":")[0] for text in result.skipped] == ["few_shot_4", "few_shot_8"]


def test_what_the_data_rules_out_is_said(job, base):
    rows = [chat([("user", f"q {n}"), ("assistant", f"text {n}")]) for n in range(12)]
    folder = data_set(job, {"train": rows[:5], "validation": rows[5:]}, name="texts")
    base(nothing)
    result = decide(DecideConfig(data=folder, model="fake"), job)
    assert [one.prompt for one in result.measurements] == ["as_is", "few_shot_4"]
    assert [text.split(":")[0] for text in result.skipped] == ["zero_shot", "few_shot_8"]


def test_a_prompt_that_the_model_cannot_take_is_measured_as_that(job, data, base):
    base(lambda body: failure(400, "context") if len(body["messages"]) > 6 else nothing(body))
    result = decide(DecideConfig(data=data, model="fake"), job)
    assert result.measurements[-1].errors == 50
    assert any("50 of 50 items have no answer" in text for text in result.warnings)


def test_nothing_to_measure_on_is_refused(job, base):
    folder = data_set(job, {"train": TRAIN, "validation": []}, name="unsplit")
    with pytest.raises(DataError, match="validation"):
        decide(DecideConfig(data=folder, model="fake"), job)


@pytest.mark.parametrize("rows", [1, 250, 251, 5000, 10**7])
def test_every_number_of_rows_has_defaults_that_make_a_recipe(rows, tmp_path):
    found = defaults_for(rows)
    Recipe(data=tmp_path, epochs=found.epochs, step_examples=found.step_examples)
    assert rows <= found.rows


def test_the_terminal_shows_verdict_and_next_step(job, data, base):
    base(nothing)
    result = decide(DecideConfig(data=data, model="fake"), job)
    console = Console(width=140, file=io.StringIO())
    show_decide(result, console)
    shown = console.file.getvalue()
    assert "fine-tune" in shown
    assert "few_shot_8" in shown
    assert "tunesmith train" in shown
    assert json.loads(json.dumps(result.to_json()))["verdict"] == "fine_tune"


def test_a_recipe_is_cut_to_the_steps_that_fit_the_time(job, data, base):
    base(nothing)
    whole = decide(DecideConfig(data=data, model="fake", train_minutes=1000), job)
    assert whole.training.steps == whole.training.steps_wanted
    assert load(whole.folder / "recipe.yaml", Recipe).max_steps == 0
    cut = decide(DecideConfig(data=data, model="fake", train_minutes=2), job)
    assert cut.training.seconds_per_step == 10
    assert cut.training.steps == 10 < cut.training.steps_wanted
    assert load(cut.folder / "recipe.yaml", Recipe).max_steps == 10
    assert any("fit into the time allowed" in reason for reason in cut.reasons)
    untimed = decide(DecideConfig(data=data, model="fake", train_minutes=0), job)
    assert untimed.training is None
    assert not (cut.folder / "probe").exists()
