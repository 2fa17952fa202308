"""What the pre-flight is handed by the worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import Interrupted
from tunesmith.core.recipe import Recipe
from tunesmith.train.corpus import Corpus
from tunesmith.train.engines.port import Engine, EngineSetup
from tunesmith.train.preflight.sampling import ShownRows


@dataclass(frozen=True)
class PreflightContext:
    """A run that is about to make its first step."""

    recipe: Recipe
    """Resolved."""
    setup: EngineSetup
    """What the engine was opened with: the memory trial opens another one in a child process."""
    engine: Engine
    train: Corpus
    validation: Corpus | None
    data: Mapping[str, DataSet]
    """Data sets by the name of their source, in the recipe's order."""
    folder: Path
    """The run folder; `preflight.json` is written into it."""
    planned_tokens: int
    """Tokens that all steps of the run will compute together; sets the time that the pre-flight may take."""
    say: Callable[[Mapping[str, Any]], None]
    """Takes events; each proof's line is a `message` with the fields of its result."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked between proofs and during the memory trial; True raises Interrupted."""

    @property
    def learned_data(self) -> dict[str, DataSet]:
        """The data sets that are learned from; one of weight 0 is only measured."""
        return {
            name: data
            for (name, data), source in zip(self.data.items(), self.recipe.data, strict=True)
            if source.weight
        }

    @cached_property
    def shown(self) -> ShownRows:
        """Training rows for the proofs that look at what the model is shown."""
        return ShownRows(self.learned_data, self.engine)

    def stop_here(self) -> None:
        """Raise Interrupted when asked to stop: nothing has been learned yet."""
        if self.should_stop():
            raise Interrupted("stopped in the pre-flight; the same command begins again")

    def sample(self, count: int) -> Sequence[int]:
        """At most `count` indices, spread evenly over the training corpus, first and last among them."""
        total = len(self.train)
        if total <= count:
            return range(total)
        return sorted({round(place * (total - 1) / (count - 1)) for place in range(count)})
