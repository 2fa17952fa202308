import io
import json

import pytest
import yaml
from decide_steps import Laws, install
from folders import address, data_set
from rich.console import Console
from servers import completion, failure, last_user

from tunesmith.cli.show_decide import show_decide
from tunesmith.core.config import load
from tunesmith.core.conversation import chat
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.files import read_json
from tunesmith.core.prompts import PromptShape
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.decide import DecideConfig, DecideResult, decide, door
from tunesmith.decide import measure as measuring
from tunesmith.decide.budget import Budget
from tunesmith.decide.defaults import TABLE, defaults_for
from tunesmith.decide.schema import Measurement

TRAIN = [address(n) for n in range(1000, 1120)]
VALIDATION = [address(n) for n in range(60)]
GOLD = {row.prompt[-1].content: row.answer for row in VALIDATION}


def right(body):
    return completion(GOLD[last_user(body)])


def nothing(body):
    return completion("I do not know")


def prompted_only(body):
    """Right as soon as the prompt lists the keys."""
    return right(body) if "- city" in body["messages"][0]["content"] else nothing(body)


@pytest.fixture
def base(monkeypatch):
    """The base answers with a function; trainings follow laws."""
    return lambda answer, **laws: install(monkeypatch, answer, Laws(**laws))


@pytest.fixture
def data(job):
    return data_set(job, {"train": TRAIN, "validation": VALIDATION, "test": []})


@pytest.fixture
def on_losses(monkeypatch):
    """The model `fake` is taken for one that says how likely texts are."""
    monkeypatch.setattr("tunesmith.decide.door.tells_losses", lambda located: True)


def config(data, **more):
    return DecideConfig(data=data, model="fake", **{"shots": (2, 4), "limit": 50, **more})


def test_a_weak_base_with_enough_data_is_fine_tuned_by_what_the_probes_show(job, data, base, on_losses):
    base(nothing)
    result = decide(config(data), job)
    assert result.verdict == "fine_tune"
    assert [one.rows for one in result.probes] == [30, 60, 120, 120, 60, 30]
    assert [one.score is not None for one in result.probes] == [False, False, True, True, False, False]
    assert result.forecast[0].rows == 120
    assert result.forecast[0].score == pytest.approx(0.9, abs=0.05)
    assert result.forecast[0].gain_low > 0.5
    assert [gain.rows for gain in result.forecast] == [120, 240]
    assert "Fine-tune with lora: exact_json" in result.sentence
    assert result.target == pytest.approx(0.05)
    assert result.rows == {"train": 120, "validation": 60, "test": 0}
    assert len(result.hardest) == 5


def test_the_plan_folder_holds_all_that_was_promised(job, data, base, on_losses):
    base(nothing)
    result = decide(config(data), job)
    plan = yaml.safe_load((result.folder / "plan.yaml").read_text())
    assert plan["verdict"] == "fine_tune"
    assert [one["prompt"] for one in plan["measurements"]][:3] == ["as_is", "zero_shot", "terse"]
    recipe = load(result.folder / result.recipe, Recipe)
    assert (recipe.model, recipe.data[0].path, recipe.engine) == ("fake", data, "fake")
    assert recipe.method.rank == defaults_for(120).rank
    assert len(read_json(result.folder / "measurements.json")) == 7
    assert PromptShape.read(result.folder / result.best_prompt).name == "as_is"
    pool = PromptShape.read(result.folder / "prompts" / "similar_4.json").pool
    assert {shot.row_hash for shot in pool} == {row.row_hash for row in TRAIN}
    assert "- city" in PromptShape.read(result.folder / "prompts" / "zero_shot.json").instruction
    page = (result.folder / result.page).read_text()
    assert result.sentence.split(":")[0] in page
    assert "target 5" in page
    manifest = Manifest.read(result.folder)
    assert manifest.kind == "plan"
    assert DecideResult(**DecideResult.fields_from(manifest.summary, result.folder)) == result


def test_a_base_that_does_it_already_is_left_alone(job, data, base):
    base(right)
    result = decide(config(data, target=0.8), job)
    assert result.verdict == "base_is_enough"
    assert result.measurements[0].safe_low >= 0.8


def test_enough_means_the_lower_bound_and_not_the_estimate(job, data, base):
    def mostly(body):
        return right(body) if int(last_user(body).split()[0]) % 20 else nothing(body)

    base(mostly)
    result = decide(config(data, target=0.9, probe=False), job)
    assert max(one.value for one in result.measurements) > 0.9
    assert result.verdict == "fine_tune"
    assert decide(config(data, target=0.7, probe=False), job).verdict == "base_is_enough"


def test_a_prompt_that_does_it_is_enough(job, data, base):
    base(prompted_only)
    result = decide(config(data, target=0.8), job)
    assert result.verdict == "prompt_is_enough"
    assert "zero_shot" in result.sentence
    assert result.best_prompt == "prompts/zero_shot.json"


def test_half_of_the_prompts_drop_out_after_each_round_and_the_datas_own_never(job, data, base):
    steps = base(prompted_only).asked
    result = decide(config(data, limit=48, probe=False), job)
    asked = {one.prompt: one.n for one in result.measurements}
    assert asked == {
        "as_is": 48, "zero_shot": 48, "terse": 12, "few_shot_2": 48, "similar_2": 24, "few_shot_4": 12,
        "similar_4": 12,
    }  # fmt: skip
    assert steps[:7] == list(asked)


def test_the_best_prompt_is_not_chosen_by_one_lucky_item():
    def measured(name, exact, fields, high, n=50):
        return Measurement(
            prompt=name, model="m", file=name, shots=0, value=exact, low=0, high=high, safe_low=0, n=n,
            errors=0,
            scores={"exact_json": exact, "field_f1": fields}, prompt_tokens=9, seconds=1, report="r",
            finalist=n == 50,
        )  # fmt: skip

    lucky, steady = measured("lucky", 0.02, 0.1, 0.1), measured("steady", 0.0, 0.4, 0.07)
    assert measuring.best_of([lucky, steady]).prompt == "steady"
    good = measured("good", 0.6, 0.1, 0.7)
    assert measuring.best_of([lucky, steady, good]).prompt == "good"
    assert measuring.best_of([lucky, measured("early", 1.0, 1.0, 1.0, n=12)]).prompt == "lucky"


def test_the_bound_is_stricter_than_one_prompts_own_interval(job, data, base):
    base(prompted_only)
    result = decide(config(data, probe=False), job)
    assert all(one.safe_low < one.low for one in result.measurements if one.value == 1)


def test_too_few_rows_ask_for_more_data(job, base, on_losses):
    folder = data_set(job, {"train": TRAIN[:20], "validation": VALIDATION[:20]}, name="small")
    base(nothing)
    result = decide(config(folder, target=0.5), job)
    assert result.verdict == "better_data"
    assert "20 training rows" in result.sentence
    assert len(result.warnings) == 2
    assert any("no three sizes" in text for text in result.skipped)
    assert load(result.folder / result.recipe, Recipe).step_examples == TABLE[0].step_examples


def test_the_number_of_rows_that_the_target_needs_is_said(job, data, base, on_losses):
    base(nothing, loss=lambda rows: 5 * rows**-0.5, score=lambda rows: rows / 480)
    result = decide(config(data, target=0.6), job)
    assert result.verdict == "better_data"
    assert 120 < result.rows_needed <= 16 * 120
    assert f"about {result.rows_needed:,} training rows" in result.sentence


def test_faulty_rows_are_mended_before_more_are_collected(job, data, base, on_losses):
    base(nothing, faulty_rows=40, score=lambda rows: 0.0, loss=lambda rows: 3.0)
    result = decide(config(data, target=0.6), job)
    assert result.verdict == "better_data"
    assert "Clean the data first: 40 of 180 rows (22%)" in result.sentence
    assert "no answer in row 3" in result.sentence


def test_a_target_out_of_reach_of_any_number_of_rows_wants_a_bigger_model(job, data, base, on_losses):
    base(nothing, loss=lambda rows: 3.0, score=lambda rows: 0.1)
    result = decide(config(data, target=0.9), job)
    assert result.verdict == "bigger_model"
    assert result.rows_needed is None
    assert "--bigger" in result.sentence


def test_a_bigger_model_is_measured_where_it_runs(job, data, base, monkeypatch):
    from servers import server

    base(nothing, loss=lambda rows: 3.0, score=lambda rows: 0.1)
    monkeypatch.setattr("tunesmith.decide.door.tells_losses", lambda located: True)
    with server(right, models=("large",)) as large:
        more = {"bigger": "large", "bigger_endpoint": large.url, "target": 0.7}
        result = decide(config(data, **more), job)
    assert [(one.model, one.value) for one in result.bigger] == [("large", 1.0)]
    assert result.verdict == "bigger_model"
    assert "large reaches as_is: exact_json 100.0%" in result.sentence


def test_the_best_prompts_of_a_round_are_the_first_of_the_next(job, data, base, monkeypatch):
    base(prompted_only)
    asked, run_step = [], measuring.run_step
    monkeypatch.setattr(
        measuring,
        "run_step",
        lambda step, job: asked.append((step.name, step.config["limit"])) or run_step(step, job),
    )
    decide(config(data, probe=False), job)
    assert asked[0] == ("as_is", 12)
    for limit in (25, 50):
        assert next(name for name, items in asked if items == limit) == "zero_shot"


def test_only_the_first_probe_tries_what_does_not_depend_on_its_rows(job, data, base, on_losses):
    base(nothing)
    result = decide(config(data), job)
    runs = [result.folder / one.run for one in result.probes]
    earlier = [read_json(run / "config.json").get("proved_by") for run in runs]
    assert earlier == [None, *map(str, runs[:-1])]


def test_a_model_without_likelihoods_is_judged_by_the_answers_of_every_probe(job, data, base):
    base(nothing, score=lambda rows: 1 - 4 * rows**-0.5)
    result = decide(config(data), job)
    assert all(one.score is not None and one.loss is None for one in result.probes)
    assert result.forecast[0].loss is None
    assert result.verdict == "fine_tune"


def test_no_method_that_fits_wants_a_bigger_machine(job, data, base):
    base(nothing, peak_bytes=10**10)
    result = decide(config(data, memory_gb=4), job)
    assert result.verdict == "bigger_model"
    assert "it takes 10.0 GB of memory, and 4.0 GB are allowed" in result.sentence
    assert result.training is None
    assert result.probes == []


def test_a_method_that_cannot_run_gives_way_to_one_that_can(job, data, base, monkeypatch):
    monkeypatch.setattr("tunesmith.decide.methods.has_one_method", lambda recipe: False)
    base(nothing, fails=("lora",))
    result = decide(config(data, probe=False), job)
    assert [(one.method, one.fits) for one in result.methods] == [("lora", False), ("qlora", True)]
    assert result.training.method == "qlora"
    assert load(result.folder / "recipe.yaml", Recipe).method.kind == "qlora"
    probed = decide(config(data), job)
    assert [one.fits for one in probed.methods] == [False, True, True]
    assert load(probed.folder / "recipes" / "full.yaml", Recipe).method.kind == "full"


def test_a_plan_that_was_cut_takes_the_reports_that_are_there(job, data, base):
    laws = base(nothing)
    decide(config(data, shots=(2,), probe=False), job)
    with pytest.raises(AlreadyDone):
        decide(config(data, shots=(2,), probe=False), job)
    reports = len(job.workspace.folders("report"))
    decide(config(data, shots=(2,), probe=False, target=0.5), job)
    assert len(job.workspace.folders("report")) == reports
    assert laws.asked.count("as_is") == 6


def test_a_spent_budget_leaves_prompts_and_probes_out_by_name(job, data, base):
    base(nothing)
    result = decide(config(data, budget_minutes=1e-6), job)
    assert {one.prompt for one in result.measurements} == {"as_is", "zero_shot"}
    assert any(text.startswith("few_shot_2 on 12 items: the time") for text in result.skipped)
    assert any(text.startswith("probes: ") for text in result.skipped)
    assert result.quality is None
    assert result.verdict == "cannot_say"
    assert "--budget-minutes" in result.sentence


def test_every_prompt_is_asked_a_little_before_any_is_asked_more(job, data, base, monkeypatch):
    """On a slow machine three prompts without a single right answer once took the time of all."""
    base(nothing)
    now, run_step, asked = [0.0], measuring.run_step, []

    def slowly(step, job):
        asked.append((step.name, step.config["limit"]))
        now[0] += 10.0
        return run_step(step, job)

    monkeypatch.setattr(measuring, "run_step", slowly)
    monkeypatch.setattr(door, "Budget", lambda seconds: Budget(seconds, clock=lambda: now[0]))
    result = decide(config(data, probe=False, budget_minutes=2.8), job)
    first = [name for name, items in asked if items == 12]
    assert asked[: len(first)] == [(name, 12) for name in first]
    assert set(first) == {one.prompt for one in result.measurements} > {"few_shot_2", "similar_2"}
    result = decide(config(data, probe=False, budget_minutes=0.5, seed=1), job)
    assert result.sentence.endswith("could not be asked in the time: allow more with --budget-minutes.")


def test_a_phase_takes_over_the_time_that_earlier_ones_left():
    now = [0.0]
    budget = Budget(100, clock=lambda: now[0])
    assert budget.left(0.35) == 35
    now[0] = 10
    assert budget.left(0.95) == 85
    now[0] = 40
    assert budget.left(0.35) == pytest.approx(-5)


def test_what_the_data_rules_out_is_said(job, base):
    rows = [chat([("user", f"q {n}"), ("assistant", f"text {n}")]) for n in range(12)]
    folder = data_set(job, {"train": rows[:5], "validation": rows[5:]}, name="texts")
    base(nothing)
    result = decide(config(folder, shots=(4, 8), probe=False), job)
    assert [one.prompt for one in result.measurements] == ["as_is", "terse", "few_shot_4", "similar_4"]
    assert [text.split(":")[0] for text in result.skipped][:2] == ["zero_shot", "few_shot_8, similar_8"]


def test_the_task_in_words_and_passages_are_tried(job, base, tmp_path):
    facts = {f"Where is item {n}?": f"shelf {n}" for n in range(40)}
    rows = [chat([("user", question), ("assistant", answer)]) for question, answer in facts.items()]
    folder = data_set(job, {"train": rows[:20], "validation": rows[20:]}, name="shelves")
    notes = tmp_path / "notes.txt"
    notes.write_text(
        "\n\n".join(f"Item {n} lies on shelf {n}. " + "So it was written. " * 60 for n in range(40))
    )

    def reader(body):
        number = last_user(body).split()[-1].rstrip("?")
        found = f"Item {number} lies" in body["messages"][0]["content"]
        return completion(f"shelf {number}" if found else "no idea")

    base(reader)
    result = decide(config(folder, documents=notes, task="Say where it is.", target=0.6, probe=False), job)
    by_name = {one.prompt: one.value for one in result.measurements}
    assert by_name["terse_passages"] == 1.0
    assert by_name["as_is"] == 0.0
    assert result.verdict == "prompt_is_enough"
    assert PromptShape.read(result.folder / "prompts" / "described.json").instruction == "Say where it is."


def test_passages_that_are_no_texts_are_refused(job, data, base, tmp_path):
    base(nothing)
    wrong = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    wrong.write_text(json.dumps({"messages": turns}) + "\n")
    with pytest.raises(DataError, match="passages come from texts"):
        decide(config(data, documents=wrong), job)


def test_a_prompt_longer_than_the_model_can_read_is_left_out(job, data, base, monkeypatch):
    base(nothing)
    monkeypatch.setattr("tunesmith.decide.door.context_of", lambda located: 60)
    result = decide(config(data, probe=False), job)
    assert {one.prompt for one in result.measurements} == {"as_is", "zero_shot"}
    assert any("do not fit into the model's 60" in text for text in result.skipped)


def test_a_prompt_that_the_model_cannot_take_is_measured_as_that(job, data, base):
    base(lambda body: failure(400, "context") if len(body["messages"]) > 2 else nothing(body))
    result = decide(config(data, probe=False), job)
    assert result.measurements[-1].errors == result.measurements[-1].n
    assert any("items have no answer" in text for text in result.warnings)


def test_a_score_that_no_target_can_be_set_for_is_refused(job, data, base):
    base(nothing)
    with pytest.raises(ConfigError, match="no target can be set for this score: 'length_words'"):
        decide(config(data, metric="length_words"), job)


def test_nothing_to_measure_on_is_refused(job, base):
    folder = data_set(job, {"train": TRAIN, "validation": []}, name="unsplit")
    with pytest.raises(DataError, match="validation"):
        decide(config(folder), job)


@pytest.mark.parametrize(
    "more", [{"bigger": "x"}, {"bigger_endpoint": "http://x/v1"}, {"bigger_key_variable": "K"}]
)
def test_half_a_bigger_model_is_refused(tmp_path, more):
    with pytest.raises(ValueError, match="--bigger"):
        DecideConfig(data=tmp_path, **more)


@pytest.mark.parametrize("rows", [1, 250, 251, 5000, 10**7])
def test_every_number_of_rows_has_defaults_that_make_a_recipe(rows, tmp_path):
    found = defaults_for(rows)
    Recipe(data=tmp_path, epochs=found.epochs, step_examples=found.step_examples)
    assert rows <= found.rows


def test_the_terminal_shows_verdict_and_next_step(job, data, base, on_losses):
    base(nothing)
    result = decide(config(data), job)
    console = Console(width=140, file=io.StringIO())
    show_decide(result, console)
    shown = console.file.getvalue()
    assert "Fine-tune" in shown
    assert "similar_4" in shown
    assert "expected after training, from 6 short ones" in shown
    assert "tunesmith train" in shown
    assert json.loads(json.dumps(result.to_json()))["verdict"] == "fine_tune"


def test_a_recipe_is_cut_to_the_steps_that_fit_the_time(job, data, base):
    base(nothing, seconds_per_step=10.0)
    whole = decide(config(data, train_minutes=1000, probe=False), job)
    assert whole.training.steps == whole.training.steps_wanted
    assert load(whole.folder / "recipe.yaml", Recipe).max_steps == 0
    cut = decide(config(data, train_minutes=2, probe=False), job)
    assert cut.training.seconds_per_step == 10
    assert cut.training.steps == 10 < cut.training.steps_wanted
    assert load(cut.folder / "recipe.yaml", Recipe).max_steps == 10
    assert any("fit into the time allowed" in reason for reason in cut.reasons)
