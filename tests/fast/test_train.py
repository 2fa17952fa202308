import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from train_folders import data_set, greeting, job, recipe_file

from tunesmith.core.conversation import chat
from tunesmith.core.errors import CheckFailed, DataError, FolderError, Interrupted, OutOfSpace, UserError
from tunesmith.core.fake import FakeModel
from tunesmith.core.files import read_json, read_jsonl, write_json
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import AlreadyDone
from tunesmith.runtime.step import StepReport
from tunesmith.train import TrainConfig, checkpoints, loop, train
from tunesmith.train.engines import ENGINES
from tunesmith.train.engines.fake import FakeEngine
from tunesmith.train.engines.port import EngineSetup, Item
from tunesmith.train.order import EVENTS, WorkOrder
from tunesmith.train.schedule import plan
from tunesmith.train.worker import main


def metrics(folder: Path) -> list[dict]:
    return [line.value for line in read_jsonl(folder / "metrics.jsonl")]


def events(folder: Path) -> list[str]:
    return [line.value["event"] for line in read_jsonl(folder / EVENTS)]


def fake_run(
    folder: Path, *, stop_after: int | None = None, engine: FakeEngine | None = None, **changes: object
):
    """A loop on the fake engine in this process; returns the run and its engine."""
    folder.mkdir(exist_ok=True)
    settings = {"step_examples": 4, "evaluations": 2, "save_every_seconds": 1e9, **changes}
    recipe = Recipe(data=folder, engine="fake", model="fake", **settings)
    engine = engine or FakeEngine(EngineSetup(recipe, "fake", None))
    items = [Item(row.row_hash, row, engine.encode(row)) for row in map(greeting, range(24))]
    seen = []
    run = loop.Run(
        folder=folder,
        recipe=recipe,
        schedule=plan(recipe, num_examples=len(items), fingerprint="f"),
        train=items,
        validation=items[:4],
        say=seen.append,
        should_stop=lambda: stop_after is not None and len(metrics(folder)) >= stop_after,
    )
    return run, engine


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
        "card.md",
    }
    assert expected <= names
    assert "checkpoints" not in names
    assert [row["step"] for row in metrics(result.folder) if "loss" in row] == [1, 2, 3, 4, 5, 6]
    model = FakeModel.from_json(read_json(result.folder / "adapter" / "fake_model.json"))
    assert json.loads(model.reply("7 Elm St")) == {"number": "7", "street": "Elm St"}
    tokens = read_json(result.folder / "tokens.json")[0]["tokens"]
    assert "".join(token["text"] for token in tokens if token["supervised"]).startswith("{")


def test_the_same_recipe_and_data_are_not_trained_twice(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    train(TrainConfig(recipe=recipe), job(tmp_path))
    with pytest.raises(AlreadyDone):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def test_a_resumed_run_equals_the_unbroken_one(tmp_path: Path):
    whole, engine = fake_run(tmp_path / "whole", epochs=2)
    ended = loop.train(whole, engine)
    cut, engine_before = fake_run(tmp_path / "cut", epochs=2, stop_after=5)
    with pytest.raises(Interrupted):
        loop.train(cut, engine_before)
    rest, engine_after = fake_run(tmp_path / "cut", epochs=2)
    resumed = loop.train(rest, engine_after)
    assert engine_after.model.to_json() == engine.model.to_json()
    assert (resumed.step, resumed.num_tokens, resumed.best_loss) == (
        ended.step,
        ended.num_tokens,
        ended.best_loss,
    )
    keep = ("step", "loss", "validation_loss", "learning_rate")
    rows = [[{key: row.get(key) for key in keep} for row in metrics(run.folder)] for run in (whole, rest)]
    assert rows[0] == rows[1]


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
    """Its loss is not a number from the fourth step on."""

    steps = 0

    def forward_backward(self, items):
        self.steps += 1
        return super().forward_backward(items) if self.steps < 4 else StepReport(float("nan"), 1, 1)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path):
    run, _ = fake_run(tmp_path, save_every_seconds=1e-9)
    setup = EngineSetup(run.recipe, "fake", None)
    with pytest.raises(CheckFailed, match="step 4: the loss is nan"):
        loop.train(run, Diverging(setup))
    fresh = FakeEngine(setup)
    assert checkpoints.load(run.checkpoints, fresh).step == 3
    assert fresh.model.answers


class FullDisk(FakeEngine):
    """Has no room for the second checkpoint."""

    saved = 0

    def save_state(self, folder):
        self.saved += 1
        if self.saved > 1:
            raise OSError(28, "No space left on device")
        super().save_state(folder)


def test_a_full_disk_says_so_and_keeps_the_checkpoint_before(tmp_path: Path):
    run, _ = fake_run(tmp_path, save_every_seconds=1e-9)
    setup = EngineSetup(run.recipe, "fake", None)
    with pytest.raises(OutOfSpace):
        loop.train(run, FullDisk(setup))
    assert checkpoints.load(run.checkpoints, FakeEngine(setup)).step == 1


class Worsening(FakeEngine):
    """Its validation loss (four rows) is at its lowest at the first look."""

    def __init__(self, setup):
        super().__init__(setup)
        self.losses = iter([0.2, 0.9])
        self.published = 0

    def forward_backward(self, items):
        return StepReport(1.0, 1, 1)

    def evaluate(self, items):
        return next(self.losses)

    def publish(self, folder):
        self.published += 1
        super().publish(folder)


def test_the_lowest_validation_loss_is_the_one_that_is_published(tmp_path: Path):
    run, _ = fake_run(tmp_path)
    engine = Worsening(EngineSetup(run.recipe, "fake", None))
    ended = loop.train(run, engine)
    assert (ended.best_step, ended.best_loss, engine.published) == (3, 0.2, 1)


def order(folder: Path, data: Path) -> None:
    recipe = Recipe(data=data, engine="fake", model="fake", dtype="float32", step_examples=4)
    WorkOrder(recipe, data, "fake", None, 1).write(folder)


def test_rows_of_another_split_among_the_training_rows_are_refused(tmp_path: Path, capsys):
    data = data_set(tmp_path)
    (data / "test.parquet").write_bytes((data / "train.parquet").read_bytes())
    order(tmp_path / "run", data)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert main([str(tmp_path / "run")]) == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "the test split shares a row with the training split" in capsys.readouterr().err
    assert events(tmp_path / "run")[-1] == "failed"


def test_the_workers_complaint_reaches_the_user(tmp_path: Path):
    splits = {"train": [greeting(1), greeting(2)], "validation": [greeting(3)]}
    recipe = recipe_file(tmp_path, data_set(tmp_path, splits), max_length=3)
    with pytest.raises(UserError, match="more than the limit of 3"):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def test_an_example_with_nothing_to_learn_is_refused(tmp_path: Path):
    example = chat([("user", "hello"), ("assistant", "")])
    recipe = recipe_file(tmp_path, data_set(tmp_path, {"train": [example]}))
    with pytest.raises(UserError, match="nothing in this example is learned"):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def interrupted(folder: Path, key: str, settings: dict, inputs: dict) -> None:
    state = {"key": key, "kind": "run", "verb": "train", "updated": "2026-01-01", "status": "running"}
    write_json(folder / "state.json", {**state, "settings": settings, "inputs": inputs})


def test_resuming_with_another_recipe_says_what_differs(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    settings = {"optimiser": {"learning_rate": 0.5}}
    interrupted(tmp_path / "workspace" / "runs" / "run-00000000", "other", settings, {"data": "other data"})
    with pytest.raises(FolderError, match=r"the data changed.*optimiser.learning_rate: 0.5 → 0.002"):
        train(TrainConfig(recipe=recipe, resume=True), job(tmp_path))
    result = train(TrainConfig(recipe=recipe), job(tmp_path))
    assert result.steps == 6


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


def test_settings_can_be_replaced_on_the_way_in(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    result = train(TrainConfig(recipe=recipe, set=("epochs=2", "evaluations=0")), job(tmp_path))
    assert (result.steps, result.validation_loss, result.best_step) == (12, None, 12)


def test_every_engine_of_the_recipe_can_be_opened():
    assert set(ENGINES) == {"ragged", "fake"}


def test_an_empty_training_split_is_refused(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path, {"train": [], "validation": [greeting(1)]}))
    with pytest.raises(UserError, match="the training split is empty"):
        train(TrainConfig(recipe=recipe), job(tmp_path))


def test_a_broken_row_is_named_by_its_line(tmp_path: Path):
    from tunesmith.core.dataset import Row
    from tunesmith.train.worker import encode

    class Refusing(FakeEngine):
        def encode(self, example):
            raise DataError("content is null", where="messages/1/content")

    recipe = Recipe(data=tmp_path, engine="fake", model="fake")
    rows = [Row(greeting(1), "hash", "group", 17)]
    with pytest.raises(DataError, match="line 17 of the source, messages/1/content"):
        encode(rows, Refusing(EngineSetup(recipe, "fake", None)), 100)
