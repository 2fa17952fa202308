import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_model_folder
from train_folders import data_set, greeting, job

from tunesmith.core.errors import FolderError, Interrupted
from tunesmith.core.files import canonical_json, read_json, read_jsonl, write_text
from tunesmith.core.recipe import Lora, Recipe
from tunesmith.runtime.lora import WEIGHTS_NAME
from tunesmith.train import TrainConfig, checkpoints, loop, train
from tunesmith.train.engines.port import EngineSetup, Item
from tunesmith.train.engines.ragged import RaggedEngine
from tunesmith.train.order import WorkOrder
from tunesmith.train.schedule import plan

SETTINGS = {
    "method": {"kind": "lora", "rank": 4, "alpha": 8},
    "optimiser": {"learning_rate": 0.03, "schedule": "linear"},
    "step_examples": 6,
    "microbatch_tokens": 200,
    "epochs": 2,
    "evaluations": 2,
    "dtype": "float32",
    "threads": 1,
    "seed": 5,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model") / "tiny")


def recipe_of(root: Path, data: Path, model: Path, **changes: object) -> Recipe:
    return Recipe.model_validate({"data": str(data), "model": str(model), **SETTINGS, **changes})


def run_in_process(
    root: Path, model: Path, *, stop_after: int | None = None
) -> tuple[loop.Run, RaggedEngine]:
    """A loop on a tiny model in this process, stopping when so many steps are written down."""
    recipe = recipe_of(root, root, model)
    engine = RaggedEngine(EngineSetup(recipe, "tiny", model))
    items = [Item(row.row_hash, row, engine.encode(row)) for row in map(greeting, range(18))]
    root.mkdir(exist_ok=True)
    run = loop.Run(
        folder=root,
        recipe=recipe,
        schedule=plan(recipe, num_examples=len(items), fingerprint="f"),
        train=items,
        validation=items[:3],
        say=lambda event: None,
        should_stop=lambda: stop_after is not None and num_steps(root) >= stop_after,
    )
    return run, engine


def rows(folder: Path) -> list[dict]:
    path = folder / "metrics.jsonl"
    return [line.value for line in read_jsonl(path)] if path.exists() else []


def num_steps(folder: Path) -> int:
    return sum("loss" in row for row in rows(folder))


def losses(folder: Path) -> list[float]:
    return [row.get("loss", row.get("validation_loss")) for row in rows(folder)]


def test_a_resumed_run_equals_the_unbroken_one_to_the_bit(tmp_path: Path, model: Path):
    whole, engine = run_in_process(tmp_path / "whole", model)
    loop.train(whole, engine)
    cut, before = run_in_process(tmp_path / "cut", model, stop_after=2)
    with pytest.raises(Interrupted):
        loop.train(cut, before)
    rest, after = run_in_process(tmp_path / "cut", model)
    loop.train(rest, after)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for found, wanted in zip(after.session.trainable, engine.session.trainable, strict=True):
        assert torch.equal(found, wanted)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path, model: Path):
    run, engine = run_in_process(tmp_path, model)
    loop.train(run, engine)
    other = run.recipe.model_copy(update={"method": Lora(rank=2)})
    with pytest.raises(FolderError, match="another adapter or model"):
        checkpoints.load(run.checkpoints, RaggedEngine(EngineSetup(other, "tiny", model)))


def test_the_whole_way_from_recipe_to_adapter(tmp_path: Path, model: Path):
    settings = {"data": str(data_set(tmp_path)), "model": str(model), **SETTINGS}
    write_text(tmp_path / "recipe.yaml", canonical_json(settings))
    result = train(TrainConfig(recipe=tmp_path / "recipe.yaml"), job(tmp_path))
    assert result.last_loss < result.first_loss
    assert result.validation_loss is not None
    adapter = load_file(result.folder / "adapter" / WEIGHTS_NAME)
    assert len(adapter) == 2 * 7 * 2
    assert all(tensor.dtype == torch.float32 for tensor in adapter.values())
    tokens = read_json(result.folder / "tokens.json")[0]["tokens"]
    assert "".join(token["text"] for token in tokens if token["supervised"]).endswith("}<|im_end|>")
    assert read_json(result.folder / "environment.json")["environment"]["OMP_WAIT_POLICY"] == "PASSIVE"


def start_worker(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "tunesmith.train.worker", str(folder)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)


def wait_for_step(folder: Path, child: subprocess.Popen, step: int) -> None:
    while num_steps(folder) < step:
        assert child.poll() is None, child.stderr.read().decode()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, model: Path) -> Path:
    """A run that nobody stopped; its order is what the stopped ones get too."""
    root = tmp_path_factory.mktemp("unbroken")
    data = data_set(root)
    # Saving after every step: a kill at any moment finds a checkpoint that is not far behind.
    recipe = recipe_of(root, data, model, epochs=20, save_every_seconds=1e-9)
    WorkOrder(recipe, data, "tiny", model, 1).write(root / "run")
    _, complaint = start_worker(root / "run").communicate(timeout=120)
    assert num_steps(root / "run") == 80, complaint.decode()
    return root / "run"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_worker_that_is_stopped_goes_on_where_it_was(
    tmp_path: Path, unbroken: Path, signum: int, code: int
):
    WorkOrder.read(unbroken).write(tmp_path)
    child = start_worker(tmp_path)
    wait_for_step(tmp_path, child, 5)
    child.send_signal(signum)
    child.communicate(timeout=60)
    assert child.returncode == code
    assert 5 <= num_steps(tmp_path) < 80
    _, complaint = start_worker(tmp_path).communicate(timeout=120)
    assert losses(tmp_path) == losses(unbroken), complaint.decode()
    resumed, whole = (load_file(folder / "adapter" / WEIGHTS_NAME) for folder in (tmp_path, unbroken))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_the_door_reports_an_interrupt_and_goes_on_when_called_again(tmp_path: Path, model: Path):
    settings = {"data": str(data_set(tmp_path)), "model": str(model), **SETTINGS, "epochs": 20}
    write_text(tmp_path / "recipe.yaml", canonical_json(settings))
    config = TrainConfig(recipe=tmp_path / "recipe.yaml")

    class StopAtOnce:
        """Progress that acts as the user's Ctrl-C at the first step it is told of."""

        def heading(self, text):
            pass

        def say(self, text):
            pass

        def task(self, title, *, total, unit):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="goes on from there"):
        train(config, replace(job(tmp_path), progress=StopAtOnce()))
    result = train(TrainConfig(recipe=tmp_path / "recipe.yaml", resume=True), job(tmp_path))
    assert result.steps == 80
    assert "resumed" in [line.value["event"] for line in read_jsonl(result.folder / "events.jsonl")]
