"""Train: a recipe and a data set go in, a run folder comes out.

In: a recipe (YAML, `core.recipe`) that names a base model and one or more data set folders.
Out: a run folder with the adapter or the weights, the resolved recipe, metrics of every step, the proofs of
the pre-flight, a token view of what was learned from, and a card.  Training runs in a process of its own
(`python -m tunesmith.train.worker RUN_FOLDER`); an interrupted run goes on exactly where it stopped, and a
finished one can be repeated (`replay`).
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "train": "tunesmith.train.door",
    "replay": "tunesmith.train.replaying",
    "list_runs": "tunesmith.train.runs",
    "show_run": "tunesmith.train.runs",
    "compare_runs": "tunesmith.train.runs",
    "plot_runs": "tunesmith.train.runs",
    "TrainConfig": "tunesmith.train.schema",
}

__all__ = ["TrainConfig", "compare_runs", "list_runs", "plot_runs", "replay", "show_run", "train"]


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for, so that importing the room costs nothing."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
