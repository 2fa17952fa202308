"""The work order: what the door hands to the worker process through the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.config import build
from tunesmith.core.files import append_jsonl, read_json, write_json
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import now_iso

ORDER = "logs/order.json"
WORKER_LOG = "logs/worker.log"
EVENTS = "events.jsonl"
FINISHED, FAILED = "finished", "failed"


@dataclass(frozen=True)
class WorkOrder:
    """A resolved recipe with the places of its data and model on this machine."""

    recipe: Recipe
    data: Path
    model_name: str
    model_folder: Path | None
    num_threads: int

    def write(self, folder: Path) -> None:
        """Leave the order in the run folder."""
        model_folder = None if self.model_folder is None else str(self.model_folder)
        row = {
            "recipe": self.recipe.to_json(),
            "data": str(self.data),
            "model_name": self.model_name,
            "model_folder": model_folder,
            "num_threads": self.num_threads,
        }
        write_json(folder / ORDER, row)

    @classmethod
    def read(cls, folder: Path) -> WorkOrder:
        """Read the order of a run folder; raises DataError when there is none."""
        row = read_json(folder / ORDER)
        recipe = build(Recipe, row["recipe"], source=str(folder / ORDER))
        model_folder = None if row["model_folder"] is None else Path(row["model_folder"])
        return cls(recipe, Path(row["data"]), row["model_name"], model_folder, row["num_threads"])


def say(folder: Path, event: str, **facts: Any) -> None:
    """Append an event to the run's `events.jsonl`."""
    append_jsonl(folder / EVENTS, {"event": event, "time": now_iso(), **facts})
