"""The port between the training loop and whatever computes: the loop holds no tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tunesmith.core.config import build
from tunesmith.core.conversation import Example
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.step import Encoded, ExampleLoss, StepReport


class Item(NamedTuple):
    """One example of a corpus, encoded by the engine that will learn it."""

    row_hash: str
    source: str
    """Name of the data set it came from."""
    encoded: Encoded


@dataclass(frozen=True)
class EngineSetup:
    """What an engine is opened with; every `auto` of the recipe is resolved."""

    recipe: Recipe
    model_name: str
    model_folder: Path | None
    """Folder of the base model; None for an engine that needs none."""
    adapter: Path | None = None
    """Folder of the adapter that `init_from` names."""

    def to_json(self) -> dict[str, Any]:
        """As a file holds it for another process."""
        return {
            "recipe": self.recipe.to_json(),
            "model_name": self.model_name,
            "model_folder": None if self.model_folder is None else str(self.model_folder),
            "adapter": None if self.adapter is None else str(self.adapter),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any], *, source: Path) -> EngineSetup:
        """What `to_json` made; `source` is the file for complaints about the recipe."""
        folder, adapter = (
            None if row[key] is None else Path(row[key]) for key in ("model_folder", "adapter")
        )
        return cls(build(Recipe, row["recipe"], source=str(source)), row["model_name"], folder, adapter)


class Engine(Protocol):
    """A model in training.  `optim_step` applies what `forward_backward` gathered."""

    num_trainable: int
    context_tokens: int | None
    encoding_key: str
    """Equal keys encode alike, so that a corpus may be used again; empty: never."""

    def encode(self, example: Example, key: str) -> Encoded:
        """Token ids and weights; `key` names the row.  Raises DataError or ModelError if nothing can be."""

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token, for people."""

    def forward_backward(self, items: Sequence[Item]) -> StepReport:
        """Gather the gradient of one whole step."""

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        """Apply it; returns its norm before clipping."""

    def losses(self, items: Sequence[Item]) -> list[ExampleLoss]:
        """How well each item's learned tokens are predicted, without learning from them."""

    def generate(self, examples: Sequence[Example], max_tokens: int) -> list[str]:
        """Greedy answers to the prompts of examples, off the training's random state."""

    def set_microbatch_tokens(self, num_tokens: int) -> None:
        """Compute so many tokens at once."""

    def recompute_activations(self) -> None:
        """From now on compute activations again in the backward pass: memory only, the gradient is the same.

        Raises ModelError for a model that cannot.
        """

    def save_state(self, folder: Path) -> None:
        """Write all that the next step depends on."""

    def load_state(self, folder: Path) -> None:
        """Take up what `save_state` wrote."""

    def publish(self, folder: Path) -> None:
        """Write what a server loads."""
