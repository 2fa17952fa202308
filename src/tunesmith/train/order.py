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
METRICS = "metrics.jsonl"
FINISHED, FAILED = "finished", "failed"


@dataclass(frozen=True)
class WorkOrder:
    """A recipe that the door has resolved, with the places of its model and its start on this machine."""

    recipe: Recipe
    model_name: str
    model_folder: Path | None
    adapter: Path | None = None
    """Folder of the adapter that the run begins from."""
    check: bool = False
    """Only the pre-flight."""

    def write(self, folder: Path) -> None:
        """Leave the order in the run folder."""
        row = {
            "recipe": self.recipe.to_json(),
            "model_name": self.model_name,
            "model_folder": None if self.model_folder is None else str(self.model_folder),
            "adapter": None if self.adapter is None else str(self.adapter),
            "check": self.check,
        }
        write_json(folder / ORDER, row)

    @classmethod
    def read(cls, folder: Path) -> WorkOrder:
        """Read the order of a run folder; raises DataError when there is none."""
        row = read_json(folder / ORDER)
        recipe = build(Recipe, row["recipe"], source=str(folder / ORDER))
        return cls(recipe, row["model_name"], place(row["model_folder"]), place(row["adapter"]), row["check"])


def place(path: str | None) -> Path | None:
    """A path, or none."""
    return None if path is None else Path(path)


def say(folder: Path, event: str, **facts: Any) -> None:
    """Append an event to the run's `events.jsonl`."""
    append_jsonl(folder / EVENTS, {"event": event, "time": now_iso(), **facts})
