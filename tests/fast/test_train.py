import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from train_folders import (
    StopAtOnce,
    data_set,
    greeting,
    greetings,
    job,
    loop_run,
    metrics,
    num_steps,
    recipe_file,
    same_numbers,
)

from tunesmith.core.conversation import chat
from tunesmith.core.errors import (
    CheckFailed,
    ConfigError,
    DataError,
    FolderError,
    Interrupted,
    OutOfSpace,
    StepFailed,
    UserError,
)
from tunesmith.core.fake import FakeModel
from tunesmith.core.files import read_json, read_jsonl, write_json
from tunesmith.core.progress import Silent
from tunesmith.core.recipe import InitFrom, Recipe, Source
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.runtime.step import ExampleLoss, StepReport
from tunesmith.train import TrainConfig, checkpoints, loop, train
from tunesmith.train.checkpoints import Bound
from tunesmith.train.choices import take_up
from tunesmith.train.door import work_of
from tunesmith.train.engines import ENGINES
from tunesmith.train.engines.fake import FakeEngine
from tunesmith.train.engines.port import EngineSetup
from tunesmith.train.order import EVENTS, WorkOrder
from tunesmith.train.runs import run_folders
from tunesmith.train.starts import find_start
from tunesmith.train.watching import Tail, Watcher, outcome
from tunesmith.train.worker import StopFlag, main


def events(folder: Path) -> list[str]:
    return [line.value["event"] for line in read_jsonl(folder / EVENTS)]


def fake_recipe(folder: Path, **changes: object) -> Recipe:
    settings = {"data": folder, "step_examples": 4, "evaluations": 2, "save_every_seconds": 1e9, **changes}
    return Recipe(**{"engine": "fake", "model": "fake", **settings})


def fake_run(
    folder: Path, *, stop_after: int | None = None, engine: type[FakeEngine] = FakeEngine, **changes: object
):
    """A loop on the fake engine in this process; returns the run and its engine."""
    folder.mkdir(exist_ok=True)
    recipe = fake_recipe(folder, **changes)
    opened = engine(EngineSetup(recipe, "fake", None))
    return loop_run(folder, recipe, opened, stop_after=stop_after), opened


def test_a_recipe_and_a_data_set_become_a_run_folder(tmp_path: Path):
    data = data_set(tmp_path)
    result = train(TrainConfig(recipe=recipe_file(tmp_path, data)), job(tmp_path))
    assert (result.steps, result.examples, result.model) == (6, 24, "fake")
    assert result.validation_loss is not None
    names = {path.name for path in result.folder.iterdir()}
    expected = {
        "recipe.yaml",
        "environment.json",
        "events.jsonl",
        "metrics.jsonl",
        "adapter",
        "tokens.json",
        "accounting.json",
        "card.md",
    }
    assert expected <= names
    assert "checkpoints" not in names
    assert [row["step"] for row in metrics(result.folder) if "loss" in row] == [1, 2, 3, 4, 5, 6]
    model = FakeModel.from_json(read_json(result.folder / "adapter" / "fake_model.json"))
    assert json.loads(model.reply("7 Elm St")) == {"number": "7", "street": "Elm St"}
    tokens = read_json(result.folder / "tokens.json")[0]["tokens"]
    assert "".join(token["text"] for token in tokens if token["supervised"]).startswith("{")
    recipe = (result.folder / "recipe.yaml").read_text()
    assert "auto" not in recipe.replace("auto_", "")
    assert "sleep while they wait" in read_json(result.folder / "environment.json")["wait_policy"]


def test_the_same_recipe_and_data_are_not_trained_twice(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    train(TrainConfig(recipe=recipe), job(tmp_path))
    with pytest.raises(AlreadyDone):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def two_sources(root: Path) -> list[dict]:
    first, second = data_set(root, greetings(12)), data_set(root, greetings(8, first=100))
    return [{"path": str(first), "name": "first"}, {"path": str(second), "name": "second", "weight": 0.5}]


def test_every_source_has_its_own_losses_and_stands_in_the_lineage(tmp_path: Path):
    sources = two_sources(tmp_path)
    result = train(TrainConfig(recipe=recipe_file(tmp_path, sources, epochs=2)), job(tmp_path))
    assert [(source.name, source.examples) for source in result.sources] == [("first", 12), ("second", 8)]
    assert all(source.validation_loss is not None for source in result.sources)
    steps = [row for row in metrics(result.folder) if "loss" in row]
    assert {name for row in steps for name in row["loss_by_source"]} == {"first", "second"}
    measured = next(row for row in metrics(result.folder) if "validation_loss" in row)
    assert set(measured["validation_by_source"]) == {"first", "second"}
    assert sum(row["tokens"] for row in steps) < 2 * 20 * 20  # half of the second source in each epoch
    roles = {entry.role: entry.id for entry in Manifest.read(result.folder).inputs}
    assert roles["data.first"] == Manifest.read(Path(sources[0]["path"])).id


def test_another_weight_or_other_rows_make_another_run(tmp_path: Path):
    sources = two_sources(tmp_path)
    first = train(TrainConfig(recipe=recipe_file(tmp_path, sources)), job(tmp_path))
    heavier = [sources[0], {**sources[1], "weight": 1.0}]
    second = train(TrainConfig(recipe=recipe_file(tmp_path, heavier)), job(tmp_path))
    assert first.folder != second.folder
    moved = [{**sources[0], "path": sources[0]["path"] + "/."}, sources[1]]
    with pytest.raises(AlreadyDone):
        train(TrainConfig(recipe=recipe_file(tmp_path, moved)), job(tmp_path))


def test_two_sources_of_one_name_are_refused(tmp_path: Path):
    sources = [{**source, "name": "same"} for source in two_sources(tmp_path)]
    with pytest.raises(ConfigError, match="two sources are called 'same'"):
        train(TrainConfig(recipe=recipe_file(tmp_path, sources)), job(tmp_path))


def test_a_resumed_run_equals_the_unbroken_one(tmp_path: Path):
    whole, engine = fake_run(tmp_path / "whole", epochs=2)
    ended = loop.train(whole, engine)
    cut, engine_before = fake_run(tmp_path / "cut", epochs=2, stop_after=5)
    with pytest.raises(Interrupted):
        loop.train(cut, engine_before)
    rest, engine_after = fake_run(tmp_path / "cut", epochs=2)
    resumed = loop.train(rest, engine_after)
    assert engine_after.model.to_json() == engine.model.to_json()
    timeless = [replace(position, seconds=0.0, step_seconds=0.0) for position in (resumed, ended)]
    assert timeless[0] == timeless[1]
    assert same_numbers(tmp_path / "cut") == same_numbers(tmp_path / "whole")


def test_metrics_after_the_last_checkpoint_are_written_only_once(tmp_path: Path):
    run, engine = fake_run(tmp_path, stop_after=3)
    with pytest.raises(Interrupted):
        loop.train(run, engine)
    with (tmp_path / "metrics.jsonl").open("a") as file:  # a kill after a step that no checkpoint holds
        file.write('{"step": 4, "loss": 9.0}\n{"step": 5, "lo')
    run, engine = fake_run(tmp_path)
    loop.train(run, engine)
    assert [row["step"] for row in metrics(tmp_path) if "loss" in row] == [1, 2, 3, 4, 5, 6]


class Diverging(FakeEngine):
    """Its loss is not a number from the fourth step on, because of the third example of the step."""

    steps = 0

    def forward_backward(self, items):
        self.steps += 1
        report = super().forward_backward(items)
        if self.steps < 4:
            return report
        broken = tuple(ExampleLoss(nll, 0) for nll in (0.0, 0.0, float("nan"), 0.0))
        return report._replace(loss=float("nan"), examples=broken)


def test_a_loss_that_is_not_a_number_stops_and_names_the_example(tmp_path: Path):
    run, engine = fake_run(tmp_path, engine=Diverging, save_every_seconds=1e-9)
    with pytest.raises(
        CheckFailed, match=r"step 4: the loss is nan(?s:.*)greetings, line \d+ \(row"
    ) as caught:
        loop.train(run, engine)
    assert str(caught.value).count("line ") == 1
    assert "step-000003" in str(caught.value)
    event = [line.value for line in read_jsonl(tmp_path / EVENTS)][-1]
    assert (event["event"], len(event["examples"])) == ("diverged", 1)
    fresh = FakeEngine(EngineSetup(run.recipe, "fake", None))
    assert checkpoints.load(run.checkpoints, fresh).step == 3
    assert fresh.model.answers


class FullDisk(FakeEngine):
    """Has no room for the second checkpoint."""

    saved = 0

    def save_state(self, folder):
        self.saved += 1
        if self.saved > 1:
            (folder / "half").write_text("half of it")
            raise OSError(28, "No space left on device")
        super().save_state(folder)


def test_a_full_disk_says_so_and_keeps_the_checkpoint_before(tmp_path: Path):
    run, engine = fake_run(tmp_path, engine=FullDisk, save_every_seconds=1e-9)
    with pytest.raises(OutOfSpace):
        loop.train(run, engine)
    assert checkpoints.load(run.checkpoints, FakeEngine(EngineSetup(run.recipe, "fake", None))).step == 1
    assert not list(run.checkpoints.glob("*.part"))


class OutOfMemory(FakeEngine):
    """Fails as torch does on a processor, at the part of the work that is named."""

    part = "forward_backward"

    def forward_backward(self, items):
        self.fail("forward_backward")
        return super().forward_backward(items)

    def losses(self, items):
        if not self.gathered:
            self.fail("losses")
        return super().losses(items)

    def fail(self, part):
        if part == self.part:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9"
            )


class OutOfMemoryInEvaluation(OutOfMemory):
    part = "losses"

    def forward_backward(self, items):
        return StepReport(1.0, 1, 1, (ExampleLoss(1.0, 0),) * len(items))


@pytest.mark.parametrize(
    ("engine", "part"),
    [
        (OutOfMemory, "the forward and backward pass of step 1"),
        (OutOfMemoryInEvaluation, "the evaluation after step 3"),
    ],
)
def test_out_of_memory_says_in_which_part_and_what_would_fit(tmp_path: Path, engine, part: str):
    run, opened = fake_run(tmp_path, engine=engine, microbatch_tokens=4096)
    with pytest.raises(UserError, match=part) as caught:
        loop.train(run, opened)
    longest = max(run.schedule.lengths)
    assert f"microbatch_tokens: {longest} (the longest example)" in str(caught.value)
    assert "activation_checkpointing: on" in str(caught.value)
    assert "qlora" in str(caught.value)


def test_an_error_that_is_not_about_memory_stays_what_it_is(tmp_path: Path):
    class Broken(FakeEngine):
        def forward_backward(self, items):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    run, engine = fake_run(tmp_path, engine=Broken)
    with pytest.raises(RuntimeError, match="shapes cannot"):
        loop.train(run, engine)


def test_libraries_that_do_not_fit_into_memory_are_one_clear_error(tmp_path: Path, monkeypatch, capsys):
    def no_room(threads):
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setattr("tunesmith.train.worker.apply_threads", no_room)
    order(tmp_path / "run", data_set(tmp_path), engine="ragged", model="tiny")
    assert worker(tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert said.startswith("out of memory in starting: 'libtorch_cpu.so: failed to map segment")
    assert "raise the memory limit of this process" in said
    assert "Traceback" not in said


class Worsening(FakeEngine):
    """Its validation loss is at its lowest at the first look."""

    def __init__(self, setup):
        super().__init__(setup)
        self.measured = iter([0.2, 0.9, 0.8, 0.7, 0.6, 0.5])
        self.published = 0

    def forward_backward(self, items):
        return StepReport(1.0, 1, 1, (ExampleLoss(1.0, 0),) * len(items))

    def losses(self, items):
        loss = next(self.measured)
        return [ExampleLoss(loss * item.encoded.num_supervised, 0) for item in items]

    def publish(self, folder):
        self.published += 1
        super().publish(folder)


def test_the_lowest_validation_loss_is_the_one_that_is_published(tmp_path: Path):
    run, engine = fake_run(tmp_path, engine=Worsening)
    ended = loop.train(run, engine)
    assert (ended.best_step, ended.best_loss, engine.published) == (3, pytest.approx(0.2), 1)
    assert loop.published_step(run.recipe, ended) == 3
    assert checkpoints.best_folder(run.checkpoints, 3).is_dir()


def test_publish_last_publishes_the_last_state_only(tmp_path: Path):
    run, engine = fake_run(tmp_path, engine=Worsening, publish="last", save_every=1)
    ended = loop.train(run, engine)
    assert (ended.best_step, engine.published, loop.published_step(run.recipe, ended)) == (3, 1, 6)
    assert [path.name for path in run.checkpoints.glob("best-*")] == ["best-000006"]


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path):
    run, engine = fake_run(tmp_path, engine=Worsening, evaluations=6, patience=2)
    ended = loop.train(run, engine)
    assert (ended.step, ended.best_step, ended.worse_in_a_row) == (3, 1, 2)
    text = [line.value.get("text", "") for line in read_jsonl(tmp_path / EVENTS)]
    assert any("stopped early after step 3" in line for line in text)


def test_evaluations_come_every_so_many_steps_and_at_the_end(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path), eval_every=4)
    result = train(TrainConfig(recipe=recipe), job(tmp_path))
    assert [row["step"] for row in metrics(result.folder) if "validation_loss" in row] == [4, 6]


def test_generated_answers_are_scored_at_each_evaluation_and_kept(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path), generation={"prompts": 3}, evaluations=2)
    result = train(TrainConfig(recipe=recipe), job(tmp_path))
    assert {"exact_json", "field_f1", "json_valid", "mean_characters"} == set(result.generation)
    rows = [row for row in metrics(result.folder) if "generation" in row]
    assert [row["step"] for row in rows] == [3, 6]
    samples = [line.value for line in read_jsonl(result.folder / "samples.jsonl")]
    assert [sample["step"] for sample in samples] == [3, 3, 3, 6, 6, 6]
    assert [sample["row_hash"] for sample in samples[:3]] == [sample["row_hash"] for sample in samples[3:]]
    mean = sum(sample["scores"]["field_f1"] for sample in samples[3:]) / 3
    assert result.generation["field_f1"] == pytest.approx(mean)


def test_generation_without_an_answer_to_compare_with_is_refused(tmp_path: Path):
    splits = {"train": [greeting(1), greeting(2)]}
    recipe = recipe_file(tmp_path, data_set(tmp_path, splits), generation={"prompts": 3})
    with pytest.raises(UserError, match="no validation row with an answer"):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def test_a_finished_run_keeps_the_newest_checkpoints_that_it_was_asked_to(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path), save_every=1, keep_checkpoints=2)
    result = train(TrainConfig(recipe=recipe), job(tmp_path))
    kept = sorted(path.name for path in (result.folder / "checkpoints").iterdir())
    assert kept == ["last.json", "step-000005", "step-000006"]
    published = result.folder / "checkpoints" / "step-000005" / "published"
    assert FakeModel.from_json(read_json(published / "fake_model.json")).answers


def order(folder: Path, data: Path, **changes: object) -> None:
    recipe = fake_recipe(folder, dtype="float32", threads=1, **changes)
    sources = (Source(path=data, name="data"),)
    WorkOrder(recipe.model_copy(update={"data": sources}), "fake", None).write(folder)


def worker(folder: Path) -> int:
    """The worker in this process, the signal handlers of the tests put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return main([str(folder)])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_split_that_was_changed_after_its_leak_proof_is_refused(tmp_path: Path, capsys):
    data = data_set(tmp_path)
    (data / "validation.parquet").write_bytes((data / "train.parquet").read_bytes())
    order(tmp_path / "run", data)
    assert worker(tmp_path / "run") == 2
    assert "validation.parquet: this file of the data set was changed" in capsys.readouterr().err
    assert events(tmp_path / "run")[-1] == "failed"


def test_a_validation_row_of_one_source_among_the_training_rows_of_another_is_refused(tmp_path: Path):
    first = data_set(tmp_path, {"train": [greeting(1), greeting(2)], "validation": [greeting(3)]})
    second = data_set(tmp_path, {"train": [greeting(3), greeting(4)]})
    sources = [{"path": str(first), "name": "first"}, {"path": str(second), "name": "second"}]
    with pytest.raises(CheckFailed, match=r"refuses the run(?s:.*)first, validation, line 1: same row"):
        train(TrainConfig(recipe=recipe_file(tmp_path, sources)), job(tmp_path))


def test_the_workers_complaint_reaches_the_user(tmp_path: Path):
    splits = {"train": [greeting(1), greeting(2)], "validation": [greeting(3)]}
    recipe = recipe_file(tmp_path, data_set(tmp_path, splits), max_length=3)
    with pytest.raises(UserError, match="more tokens than the limit of 3"):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def test_data_with_nothing_to_learn_is_refused(tmp_path: Path):
    example = chat([("user", "hello"), ("assistant", "")])
    recipe = recipe_file(tmp_path, data_set(tmp_path, {"train": [example]}))
    with pytest.raises(UserError, match="nothing in the training split is learned"):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def test_rows_that_are_dropped_are_counted_and_said(tmp_path: Path):
    long = chat([("user", "word " * 40), ("assistant", "q r s t")])
    data = data_set(tmp_path, {"train": [greeting(1), greeting(2), long], "validation": [greeting(3)]})
    recipe = recipe_file(tmp_path, data, max_length=30, too_long="drop", waive=["rows"])
    result = train(TrainConfig(recipe=recipe), job(tmp_path))
    counts = read_json(result.folder / "accounting.json")["train"]["total"]
    assert (counts["kept"], counts["dropped"], result.examples) == (2, 1, 2)
    text = [line.value.get("text", "") for line in read_jsonl(result.folder / EVENTS)]
    assert any("1 dropped as too long" in line for line in text)


def interrupted(folder: Path, key: str, settings: dict, inputs: dict) -> None:
    state = {"key": key, "kind": "run", "verb": "train", "updated": "2026-01-01", "status": "running"}
    write_json(folder / "state.json", {**state, "settings": settings, "inputs": inputs})


def test_resuming_with_another_recipe_says_what_differs(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    settings = {
        "optimiser": {"learning_rate": 0.5},
        "method": {"kind": "full"},
        "objective": {"learn": "last"},
    }
    interrupted(tmp_path / "workspace" / "runs" / "run-00000000", "other", settings, {"data": "other data"})
    with pytest.raises(FolderError) as caught:
        train(TrainConfig(recipe=recipe, resume=True), job(tmp_path))
    said = str(caught.value)
    for difference in (
        "the data changed",
        "optimiser.learning_rate: 0.5 → 0.002",
        "method.kind: full → lora",
        "objective.learn: last → assistant",
    ):
        assert difference in said
    result = train(TrainConfig(recipe=recipe), job(tmp_path))
    assert result.steps == 6


def test_resuming_with_a_source_more_says_so(tmp_path: Path):
    recipe = recipe_file(tmp_path, two_sources(tmp_path))
    had = {"data": [{"name": "first", "weight": 1.0}]}
    interrupted(tmp_path / "workspace" / "runs" / "run-00000000", "other", had, {"data.first": "x"})
    with pytest.raises(FolderError, match=r"data.second was added.*data.1.name: None → second"):
        train(TrainConfig(recipe=recipe, resume=True), job(tmp_path))


def test_resuming_what_never_started_is_refused(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    with pytest.raises(FolderError, match="no interrupted run"):
        train(TrainConfig(recipe=recipe, resume=True), job(tmp_path))


def test_an_out_folder_of_another_run_is_left_alone(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    interrupted(tmp_path / "mine", "other", {"epochs": 9.0}, {})
    with pytest.raises(FolderError, match=r"epochs: 9.0 → 1.0"):
        train(TrainConfig(recipe=recipe), replace(job(tmp_path), out=tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["state.json"]


def stopped_run(root: Path) -> Path:
    """A run of many steps that somebody stopped at its beginning."""
    recipe = recipe_file(root, data_set(root), epochs=400)
    with pytest.raises(Interrupted, match="goes on from there"):
        train(TrainConfig(recipe=recipe), replace(job(root), progress=StopAtOnce()))
    return next((root / "workspace" / "runs").iterdir())


@pytest.mark.parametrize("by", ["folder", "name"])
def test_an_interrupted_run_can_be_given_to_go_on(tmp_path: Path, by: str):
    folder = stopped_run(tmp_path)
    done = num_steps(folder)
    assert 0 < done < 2400
    given = folder if by == "folder" else Path(folder.name)
    result = train(TrainConfig(recipe=given, resume=True), job(tmp_path))
    assert (result.folder, result.steps) == (folder, 2400)
    assert num_steps(folder) == 2400
    assert "resumed" in events(folder)
    assert "interrupted" in events(folder)  # the history of the first part is kept


def test_a_checkpoint_of_another_recipe_is_refused_by_the_worker_too(tmp_path: Path, capsys):
    folder = stopped_run(tmp_path)
    given = WorkOrder.read(folder)
    replace(given, recipe=given.recipe.model_copy(update={"step_examples": 5})).write(folder)
    assert worker(folder) == 2
    assert "of another recipe or other data: step_examples: 4 → 5" in capsys.readouterr().err


def test_a_finished_run_cannot_be_given_to_go_on(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    folder = train(TrainConfig(recipe=recipe), job(tmp_path)).folder
    for given in (folder, Path(folder.name)):
        with pytest.raises(FolderError, match=r"this run has finished(?s:.*)init_from"):
            train(TrainConfig(recipe=given), job(tmp_path))


def test_going_on_and_beginning_again_at_once_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="give one"):
        TrainConfig(recipe=tmp_path / "recipe.yaml", resume=True, restart=True)


def test_a_resume_takes_the_thread_count_of_the_checkpoint(tmp_path: Path):
    folder = stopped_run(tmp_path)
    given = WorkOrder.read(folder)
    other = given.recipe.threads + 1
    replace(given, recipe=given.recipe.model_copy(update={"threads": other, "max_steps": 0})).write(folder)
    assert worker(folder) == 0
    text = [line.value.get("text", "") for line in read_jsonl(folder / EVENTS)]
    assert any(f"going on with {given.recipe.threads} threads instead of {other}" in line for line in text)
    assert read_json(folder / "environment.json")["threads"] == given.recipe.threads


def test_a_new_beginning_forgets_what_was_done(tmp_path: Path):
    folder = stopped_run(tmp_path)
    recipe = recipe_file(tmp_path, Path(WorkOrder.read(folder).recipe.data[0].path), epochs=400)
    result = train(TrainConfig(recipe=recipe, restart=True), job(tmp_path))
    assert (result.steps, num_steps(folder)) == (2400, 2400)
    assert "resumed" not in events(folder)


def test_settings_can_be_replaced_on_the_way_in(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    result = train(TrainConfig(recipe=recipe, set=("epochs=2", "evaluations=0")), job(tmp_path))
    assert (result.steps, result.validation_loss, result.best_step) == (12, None, 12)


def test_the_check_tries_the_proofs_and_leaves_nothing(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    result = train(TrainConfig(recipe=recipe, check=True), job(tmp_path))
    assert result.passed
    assert [proof.name for proof in result.proofs][-1] == "leaks"
    assert not (tmp_path / "workspace" / "runs").exists()
    assert not list((tmp_path / "workspace").glob(".check-*"))


def test_the_check_shows_the_proof_that_fails(tmp_path: Path):
    first = data_set(tmp_path, {"train": [greeting(1), greeting(2)], "validation": [greeting(3)]})
    second = data_set(tmp_path, {"train": [greeting(3), greeting(4)]})
    sources = [{"path": str(first), "name": "first"}, {"path": str(second), "name": "second"}]
    result = train(TrainConfig(recipe=recipe_file(tmp_path, sources), check=True), job(tmp_path))
    assert not result.passed
    assert [proof.name for proof in result.proofs if proof.outcome == "failed"] == ["leaks"]
    assert "refuses the run" in result.message


def test_steps_can_be_timed_without_a_run(tmp_path: Path):
    said: list[str] = []

    class Telling(Silent):
        def say(self, text):
            said.append(text)

    recipe = recipe_file(tmp_path, data_set(tmp_path), generation={"prompts": 2}, keep_checkpoints=2)
    timed = replace(job(tmp_path), progress=Telling())
    result = train(TrainConfig(recipe=recipe, time_steps=3), timed)
    assert (result.steps, result.tokens > 0, result.seconds_per_step > 0) == (3, True, True)
    assert said[0] == (
        "only timing 3 steps: the proofs mask, end_of_turn, generation_prompt, packing, plain_step, "
        "microbatches, gradients, rows, leaks are left to the run itself"
    )
    assert not (tmp_path / "workspace" / "runs").exists()
    assert not list((tmp_path / "workspace").glob(".check-*"))


@pytest.mark.parametrize("other", ["check", "resume", "restart"])
def test_timing_steps_does_nothing_else(other):
    with pytest.raises(ValueError, match="time-steps"):
        TrainConfig(recipe=Path("r"), time_steps=3, **{other: True})


def test_rows_of_a_growing_file_are_read_once_and_whole(tmp_path: Path):
    tail = Tail(tmp_path / "rows.jsonl")
    assert tail.new_rows() == []
    tail.path.write_text('{"a": 1}\n{"a"')
    assert tail.new_rows() == [{"a": 1}]
    assert tail.new_rows() == []
    with tail.path.open("a") as file:
        file.write(': 2}\n{"a": 3}\n')
    assert tail.new_rows() == [{"a": 2}, {"a": 3}]


def test_checkpoints_are_ordered_by_number_beyond_a_million_steps(tmp_path: Path):
    for name in ("step-999999", "step-1000000", "step-1000001.part"):
        (tmp_path / name).mkdir()
    checkpoints.tidy(tmp_path, keep=1, result_step=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1000000", "step-1000001.part"]


def test_only_finished_runs_are_suggested_to_begin_from(tmp_path: Path):
    first = train(TrainConfig(recipe=recipe_file(tmp_path, data_set(tmp_path))), job(tmp_path))
    refused = first.folder.parent / "run-unfinished"
    refused.mkdir()
    write_json(refused / "state.json", {"kind": "run"})
    assert refused in run_folders(job(tmp_path).workspace)
    with pytest.raises(FolderError) as caught:
        find_start(InitFrom(path="run-unfinishe"), job(tmp_path))
    assert "run-unfinished" not in str(caught.value)
    assert first.folder.name in str(caught.value)


def test_a_killed_worker_is_said_to_be_killed_with_where_it_was_and_what_would_fit(tmp_path: Path):
    order(tmp_path, data_set(tmp_path), microbatch_tokens=4096)
    watcher = Watcher(tmp_path, job(tmp_path), part="training, after step 7")
    with pytest.raises(StepFailed) as caught:
        outcome(-signal.SIGKILL, watcher)
    for part in ("SIGKILL", "training, after step 7", "microbatch_tokens", "activation_checkpointing: on"):
        assert part in str(caught.value)


def test_a_stop_before_the_first_step_is_not_waited_for(tmp_path: Path, monkeypatch):
    order(tmp_path, data_set(tmp_path))
    monkeypatch.setattr(StopFlag, "__init__", lambda self: setattr(self, "is_set", True))
    assert main([str(tmp_path)]) == 130
    assert events(tmp_path)[-1] == "interrupted"
    assert num_steps(tmp_path) == 0


def test_every_engine_of_the_recipe_can_be_opened():
    assert set(ENGINES) == {"ragged", "fake"}


def test_an_empty_training_split_is_refused(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path, {"train": [], "validation": [greeting(1)]}))
    with pytest.raises(UserError, match="the training split is empty"):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def test_the_fake_engine_goes_on_from_what_a_fake_run_learned_and_from_nothing_else(tmp_path: Path):
    first = train(TrainConfig(recipe=recipe_file(tmp_path, data_set(tmp_path))), job(tmp_path))
    known = read_json(first.folder / "adapter" / "fake_model.json")["answers"]
    others = {"train": [chat([("user", f"new {n}?"), ("assistant", f"answer {n}")]) for n in range(12)]}
    more = data_set(tmp_path, others)
    begun = {"path": first.folder.name}
    second = train(TrainConfig(recipe=recipe_file(tmp_path, more, init_from=begun)), job(tmp_path))
    learned = read_json(second.folder / "adapter" / "fake_model.json")["answers"]
    assert known.items() < learned.items()
    assert learned["new 3?"] == "answer 3"
    recipe = recipe_file(tmp_path, more, init_from={**begun, "mode": "merge_then_new"})
    with pytest.raises(UserError, match="the fake engine has no adapters"):
        train(TrainConfig(recipe=recipe), job(tmp_path))
    real = tmp_path / "real"
    real.mkdir()
    (real / "adapter_config.json").write_text("{}")
    recipe = recipe_file(tmp_path, more, init_from={"path": str(real)})
    with pytest.raises(UserError, match="begins only from a fake run"):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def test_the_card_names_data_method_proofs_and_limits(tmp_path: Path):
    result = train(TrainConfig(recipe=recipe_file(tmp_path, two_sources(tmp_path))), job(tmp_path))
    card = (result.folder / "card.md").read_text()
    for source in result.sources:
        assert f"`{source.fingerprint[:16]}`" in card
    assert "lora: rank 16" in card
    assert "| leaks | passed |" in card
    assert "nothing is known about longer ones" in card


def test_a_broken_row_is_named_by_its_source_and_line(tmp_path: Path):
    class Refusing(FakeEngine):
        def encode(self, example, key):
            raise DataError("content is null", where="messages/1/content")

    with pytest.raises(DataError, match="greetings, line 1, messages/1/content"):
        fake_run(tmp_path, engine=Refusing)


def test_a_source_of_weight_0_is_measured_before_and_after_and_decides_nothing(tmp_path: Path):
    learned, kept = data_set(tmp_path, greetings(12)), data_set(tmp_path, greetings(12, first=5000))
    sources = [{"path": str(learned), "name": "learned"}, {"path": str(kept), "name": "kept", "weight": 0}]
    recipe = recipe_file(tmp_path, sources, evaluations=2)
    result = train(TrainConfig(recipe=recipe), job(tmp_path))
    found = metrics(result.folder)
    measured = [row for row in found if "validation_loss" in row]
    assert [row["step"] for row in measured] == [0, 2, 3]
    for row in measured:
        assert row["validation_by_source"].keys() == {"learned", "kept"}
        assert row["validation_loss"] == row["validation_by_source"]["learned"]
    assert result.examples == 12
    assert result.best_step > 0
    assert all(row["loss_by_source"].keys() == {"learned"} for row in found if "loss_by_source" in row)


def test_a_run_that_was_killed_before_its_first_checkpoint_measures_its_beginning_once(tmp_path: Path):
    sources = [Source(path=tmp_path, name="greetings"), Source(path=tmp_path, name="kept", weight=0)]
    run, engine = fake_run(tmp_path, data=sources)
    loop.measure(run, engine, step=0)
    loop.train(run, engine)
    assert [row["step"] for row in metrics(tmp_path) if "validation_loss" in row].count(0) == 1


def test_after_running_out_of_memory_activation_checkpointing_may_change_and_the_micro_batch_not(
    tmp_path: Path,
):
    data = data_set(tmp_path)
    order(tmp_path, data, activation_checkpointing="off", microbatch_tokens=4096)
    had = WorkOrder.read(tmp_path).recipe
    bound = Bound(had.to_json(), {"greetings": "f"}, threads=1)
    asked = had.model_copy(update={"activation_checkpointing": "on"})
    assert take_up(asked, bound.fingerprints, bound, tmp_path).activation_checkpointing == "on"
    still = had.model_copy(update={"activation_checkpointing": "auto"})
    assert take_up(still, bound.fingerprints, bound, tmp_path).activation_checkpointing == "off"
    smaller = had.model_copy(update={"microbatch_tokens": 1024})
    with pytest.raises(FolderError, match="microbatch_tokens: 4096 → 1024"):
        take_up(smaller, bound.fingerprints, bound, tmp_path)
    works = [work_of(recipe, job(tmp_path)) for recipe in (had, asked, smaller)]
    assert works[0].settings == works[1].settings != works[2].settings
