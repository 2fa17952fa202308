"""Each recipe in `recipes/`, trained on a tiny model with its own settings: a newcomer's first command."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_model_folder
from train_folders import data_set, greetings, metrics

from tunesmith.core.config import read_mapping
from tunesmith.core.conversation import Example, Message
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.models import load_for_inference
from tunesmith.train import loop, worker
from tunesmith.train.checkpoints import best_folder
from tunesmith.train.engines.ragged import RaggedEngine
from tunesmith.train.order import WorkOrder
from tunesmith.train.preflight import memory
from tunesmith.train.preflight.memory import Trial

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
}
"""Its narrowest layer gives 64 numbers: the largest rank in the recipes."""
WHOLE = ("full", "freeze")
"""Methods that publish a model folder."""


class NeverStop:
    is_set = False


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model") / "tiny", **SHAPE)


def documents(first: int) -> dict[str, list[Example]]:
    def text(number: int) -> Example:
        return Example((Message("text", f"def add_{number}(x):\n    return x + {number}\n"),))

    return {
        "train": [text(number) for number in range(first, first + 16)],
        "validation": [text(number) for number in range(first + 90, first + 93)],
    }


def on_tiny_things(path: Path, root: Path, model: Path) -> Recipe:
    """The recipe as it stands, but for the model and the data."""
    value: dict[str, Any] = dict(read_mapping(path)[0])
    text = value.get("objective", {}).get("kind") == "text"
    starts = count(0, 5000)

    def small() -> str:
        return str(data_set(root, documents(next(starts)) if text else greetings(16, first=next(starts))))

    sources = value["data"] if isinstance(value["data"], list) else [{"name": "mine"}]
    data = [{**source, "path": small()} for source in sources]
    fake = value.get("engine") == "fake"
    place = {"model": "fake" if fake else str(model), "dtype": "float32", "threads": 1}
    return Recipe.model_validate({**value, **place, "data": data, "epochs": 2})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_each_recipe_passes_the_proofs_trains_and_gives_what_can_be_loaded(
    tmp_path: Path, model: Path, path: Path, monkeypatch
):
    fits = Trial(True, {}, "save", 1, {})  # the child that tries the memory is tried elsewhere
    monkeypatch.setattr(memory, "try_in_child", lambda *_args, **_limit: fits)
    recipe = on_tiny_things(path, tmp_path, model)
    order = WorkOrder(recipe, "tiny", None if recipe.engine == "fake" else model)
    ready = worker.prove(tmp_path, worker.prepare(tmp_path, order, None), NeverStop())
    before = learned(ready.engine)
    position = worker.train(tmp_path, ready, NeverStop())
    assert position.step == ready.schedule.num_steps >= 1
    assert [row["step"] for row in metrics(tmp_path) if "loss" in row] == [*range(1, position.step + 1)]
    after = learned(ready.engine)
    assert all(not torch.equal(after[name], value) for name, value in before.items())
    published = best_folder(tmp_path / "checkpoints", loop.published_step(ready.recipe, position))
    if recipe.engine == "fake":
        assert (published / "fake_model.json").exists()
    elif recipe.method.kind in WHOLE:
        assert load_for_inference(published, dtype="float32").tokenizer.chat_template
    else:
        assert load_for_inference(model, adapter=published, dtype="float32").tokenizer.chat_template


def learned(engine: object) -> dict[str, torch.Tensor]:
    """Every number that learns; the fake engine has none."""
    if not isinstance(engine, RaggedEngine):
        return {}
    return {entry.name: entry.parameter.detach().clone() for entry in engine.session.masters.entries}
