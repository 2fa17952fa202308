"""The work order: what the door hands to the worker process through the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.files import append_jsonl, read_json, write_json
from tunesmith.core.recipe import Recipe
from tunesmith.core.recipe.recipe import PROOFS
from tunesmith.core.workspace import now_iso
from tunesmith.train.engines.port import EngineSetup

ORDER = "logs/order.json"
WORKER_LOG = "logs/worker.log"
EVENTS = "events.jsonl"
METRICS = "metrics.jsonl"
EXAMPLES = "examples.jsonl"
"""How well each example of each step was predicted, just before it was learned."""
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
    proofs: tuple[str, ...] = PROOFS
    """Those of the pre-flight that are tried; fewer where nothing is kept of what is trained."""
    proved_by: Path | None = None
    """A run of the same engine whose proofs stand for this one."""

    @property
    def setup(self) -> EngineSetup:
        """What the engine is opened with."""
        return EngineSetup(self.recipe, self.model_name, self.model_folder, self.adapter)

    def write(self, folder: Path) -> None:
        """Leave the order in the run folder."""
        row = {**self.setup.to_json(), "check": self.check, "proofs": list(self.proofs)}
        write_json(folder / ORDER, row | {"proved_by": self.proved_by and str(self.proved_by)})

    @classmethod
    def read(cls, folder: Path) -> WorkOrder:
        """Read the order of a run folder; raises DataError when there is none."""
        row = read_json(folder / ORDER)
        setup = EngineSetup.from_json(row, source=folder / ORDER)
        return cls(
            setup.recipe,
            setup.model_name,
            setup.model_folder,
            setup.adapter,
            row["check"],
            tuple(row["proofs"]),
            row["proved_by"] and Path(row["proved_by"]),
        )


def say(folder: Path, event: str, **facts: Any) -> None:
    """Append an event to the run's `events.jsonl`."""
    append_jsonl(folder / EVENTS, {"event": event, "time": now_iso(), **facts})
