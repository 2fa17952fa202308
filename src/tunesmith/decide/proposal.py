"""The recipe that a plan proposes: ready to run, from wherever it is run."""

from pathlib import Path

import yaml

from tunesmith.core.dataset import DataSet
from tunesmith.core.files import write_text
from tunesmith.core.recipe import AdamW, Lora, Recipe, Source
from tunesmith.decide.defaults import defaults_for
from tunesmith.decide.schema import DecideConfig
from tunesmith.runtime.catalogue import Located


def proposed_recipe(config: DecideConfig, data: DataSet, located: Located, train_rows: int) -> Recipe:
    """LoRA with the defaults for so many rows."""
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


def write_recipe(path: Path, recipe: Recipe) -> None:
    """A recipe's file."""
    write_text(path, f"# Run with: tunesmith train {path.name}\n" + as_yaml(recipe.to_json()))


def as_yaml(value: object) -> str:
    """YAML in the order given, readable."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))
