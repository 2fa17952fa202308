"""Train: a recipe and a data set go in, a run folder comes out.

In: a recipe (YAML, `core.recipe`) that names a base model and a data set folder.
Out: a run folder with the adapter (PEFT files), the resolved recipe, metrics of every step, a token view of
what was learned from, and a card.  Training runs in a process of its own (`python -m tunesmith.train.worker
RUN_FOLDER`); an interrupted run goes on exactly where it stopped.
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "train": "tunesmith.train.door",
    "TrainConfig": "tunesmith.train.schema",
    "TrainResult": "tunesmith.train.schema",
}

__all__ = ["TrainConfig", "TrainResult", "train"]


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for, so that importing the room costs nothing."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
