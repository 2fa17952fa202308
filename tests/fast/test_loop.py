"""The training loop on the fake engine: what it asks of the engine, what it shows, what breaks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from train_folders import data_set, job, loop_run, metrics, recipe_file

from tunesmith.core.errors import CheckFailed, Interrupted, OutOfSpace, UserError
from tunesmith.core.files import read_jsonl
from tunesmith.core.progress import LineTask
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.step import ExampleLoss
from tunesmith.train import TrainConfig, checkpoints, loop, train
from tunesmith.train.engines.fake import FakeEngine
from tunesmith.train.engines.port import EngineSetup
from tunesmith.train.rates import learning_rate


class Recording(FakeEngine):
    """Remembers what each optimiser step was asked for."""

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self.asked: list[tuple[float, float | None]] = []

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        self.asked.append((learning_rate, max_norm))
        return super().optim_step(learning_rate=learning_rate, max_norm=max_norm)


def opened(folder: Path, engine: type[FakeEngine] = Recording, **changes: object):
    """A run of six steps, and its engine."""
    settings = {"data": folder, "step_examples": 4, "evaluations": 2, "save_every_seconds": 1e9, **changes}
    recipe = Recipe.model_validate({"engine": "fake", "model": "fake", **settings})
    made = engine(EngineSetup(recipe, "fake", None))
    return loop_run(folder, recipe, made), made


SCHEDULES = [
    {"schedule": "constant", "warmup_share": 0.5},
    {"schedule": "linear"},
    {"schedule": "cosine"},
    {"schedule": "wsd", "decay_share": 0.5},
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["schedule"])
def test_each_step_gets_the_rate_of_its_schedule_and_writes_it_down(tmp_path: Path, schedule: dict):
    run, engine = opened(tmp_path, optimiser={"learning_rate": 0.5, **schedule})
    loop.train(run, engine)
    wanted = [learning_rate(run.recipe.optimiser, step=step, num_steps=6) for step in range(1, 7)]
    assert [rate for rate, _ in engine.asked] == wanted
    assert [row["learning_rate"] for row in metrics(tmp_path) if "loss" in row] == wanted
    assert max(wanted) == 0.5


def test_max_steps_brings_the_rate_down_by_then(tmp_path: Path):
    run, engine = opened(tmp_path, max_steps=3, optimiser={"schedule": "linear", "warmup_share": 0})
    assert loop.train(run, engine).step == 3
    first, second, third = (rate for rate, _ in engine.asked)
    assert first == 2e-3
    assert third == pytest.approx(first / 3)
    assert first > second > third


@pytest.mark.parametrize(("max_norm", "handed"), [(0.25, 0.25), (0, None)], ids=["a limit", "off"])
def test_the_limit_of_the_gradient_is_the_recipes(tmp_path: Path, max_norm: float, handed: float | None):
    run, engine = opened(tmp_path, optimiser={"max_norm": max_norm})
    loop.train(run, engine)
    assert {limit for _, limit in engine.asked} == {handed}


def test_a_step_counted_in_tokens_never_passes_its_limit(tmp_path: Path):
    data = data_set(tmp_path)
    result = train(
        TrainConfig(recipe=recipe_file(tmp_path, data, step_tokens=70, step_examples=16)), job(tmp_path)
    )
    tokens = [row["tokens"] for row in metrics(result.folder) if "loss" in row]
    assert len(tokens) == result.steps > 2
    assert max(tokens) <= 70
    assert sum(tokens) == result.tokens


# What is shown


class Notes:
    """Progress that keeps every note beside the bar."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0.0

    def heading(self, text: str) -> None:
        """Not kept."""

    def say(self, text: str) -> None:
        """Not kept."""

    @contextmanager
    def task(self, title: str, *, total: float, unit: str) -> Iterator["Notes"]:
        self.title, self.total, self.unit = title, total, unit
        yield self

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self.done += amount
        self.notes.append(note)


def test_the_bar_shows_steps_loss_validation_speed_and_memory(tmp_path: Path):
    shown = Notes()
    recipe = recipe_file(tmp_path, data_set(tmp_path))
    train(TrainConfig(recipe=recipe), replace(job(tmp_path), progress=shown))
    assert (shown.title, shown.total, shown.unit, shown.done) == ("training", 6, "steps", 6)
    for words in ("loss ", "validation ", " tokens/s", " GB"):
        assert words in shown.notes[-1], words


def test_a_bar_in_lines_says_how_much_time_is_left():
    task = LineTask("training", total=10, unit="steps", started=100.0, done=4)
    assert task.line(140.0, "loss 1.0") == "  training: 4/10 steps (40%, about 1 min 00 s left)  loss 1.0"
    assert "took 40 s" in replace(task, done=10).line(140.0, "")


# What breaks


class NoNorm(FakeEngine):
    """From the third step on its gradients are infinite, though every loss is a number."""

    steps = 0

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        self.steps += 1
        norm = super().optim_step(learning_rate=learning_rate, max_norm=max_norm)
        return norm if self.steps < 3 else float("inf")


class NoValidation(FakeEngine):
    """Its validation loss is no number."""

    def losses(self, items):
        return [ExampleLoss(float("nan"), 0) for _ in items] if not self.gathered else super().losses(items)

    def forward_backward(self, items):
        self.gathered = [("", "")]
        return super().forward_backward(items)


def test_a_gradient_that_is_not_finite_stops_and_names_the_step_s_examples(tmp_path: Path):
    run, engine = opened(tmp_path, NoNorm, save_every=1)
    with pytest.raises(
        CheckFailed, match=r"step 3: the gradient norm is inf(?s:.*)greetings, line \d+"
    ) as caught:
        loop.train(run, engine)
    assert str(caught.value).count(", line ") == 4
    assert "the last good checkpoint is kept: " in str(caught.value)
    assert [row["step"] for row in metrics(tmp_path) if "loss" in row] == [1, 2]
    assert checkpoints.load(run.checkpoints, FakeEngine(EngineSetup(run.recipe, "fake", None))).step == 2


def test_a_validation_loss_that_is_not_a_number_stops_before_that_state_is_published(tmp_path: Path):
    run, engine = opened(tmp_path, NoValidation, save_every=1)
    with pytest.raises(CheckFailed, match="step 3: the validation loss is nan"):
        loop.train(run, engine)
    assert not list(run.checkpoints.glob("best-*"))
    assert checkpoints.newest(run.checkpoints).name == "step-000002"


class NoMemory(FakeEngine):
    """Python itself has no memory left, in a part of the work that a test names."""

    part = "optim_step"

    def fail(self, part: str) -> None:
        if part == self.part:
            raise MemoryError

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        self.fail("optim_step")
        return super().optim_step(learning_rate=learning_rate, max_norm=max_norm)

    def save_state(self, folder: Path) -> None:
        self.fail("save_state")
        super().save_state(folder)

    def generate(self, examples, max_tokens):
        self.fail("generate")
        return super().generate(examples, max_tokens)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("optim_step", "the optimiser's step 1"),
        ("save_state", "saving after step 1"),
        ("generate", "generation after step 3"),
    ],
)
def test_every_part_of_the_loop_is_named_when_memory_runs_out(tmp_path: Path, part: str, says: str):
    engine = type("NoMemoryThere", (NoMemory,), {"part": part})
    save_every = 1 if part == "save_state" else 0
    run, made = opened(tmp_path, engine, save_every=save_every, generation={"prompts": 1})
    with pytest.raises(UserError, match=f"out of memory in {says}") as caught:
        loop.train(run, made)
    assert "activation_checkpointing: on" in str(caught.value)


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
def test_a_full_disk_under_the_metrics_is_one_message_and_keeps_the_checkpoints(tmp_path: Path, name: str):
    run, engine = opened(tmp_path, save_every=1, generation={"prompts": 1})

    def fill_the_disk() -> bool:
        """Asked after each step: from the first one on nothing can be appended any more."""
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to("/dev/full")
        return False

    with pytest.raises(OutOfSpace, match="no space left"):
        loop.train(replace(run, should_stop=fill_the_disk), engine)
    last = 1 if name == "metrics.jsonl" else 2
    assert checkpoints.load(run.checkpoints, FakeEngine(EngineSetup(run.recipe, "fake", None))).step == last


def test_an_interrupted_evaluation_history_is_read_back_whole(tmp_path: Path):
    """Patience counts across a stop: what was worse before it is not forgotten."""

    class Worsening(FakeEngine):
        measured = (0.2, 0.9, 0.8, 0.7, 0.6, 0.5)

        def losses(self, items):
            step = sum("validation_loss" in row for row in metrics(tmp_path))
            return [
                ExampleLoss(self.measured[min(step, 5)] * item.encoded.num_supervised, 0) for item in items
            ]

    settings = {"evaluations": 6, "patience": 3, "publish": "last"}
    run, engine = opened(tmp_path, Worsening, **settings)

    def measured() -> bool:
        return sum("validation_loss" in row for row in metrics(tmp_path)) >= 3

    with pytest.raises(Interrupted, match="stopped after step 3"):
        loop.train(replace(run, should_stop=measured), engine)
    rest, after = opened(tmp_path, Worsening, **settings)
    ended = loop.train(rest, after)
    assert (ended.step, ended.best_step, ended.worse_in_a_row) == (4, 1, 3)
    assert any(
        "stopped early after step 4" in str(line.value) for line in read_jsonl(tmp_path / "events.jsonl")
    )
