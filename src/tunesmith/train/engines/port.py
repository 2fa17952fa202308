"""The port between the training loop and whatever computes: the loop holds no tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from tunesmith.core.conversation import Example
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.step import Encoded, StepReport


class Item(NamedTuple):
    """One example of a split, encoded by the engine that will learn it."""

    row_hash: str
    example: Example
    encoded: Encoded


@dataclass(frozen=True)
class EngineSetup:
    """What an engine is opened with; `recipe.dtype` is resolved."""

    recipe: Recipe
    model_name: str
    model_folder: Path | None
    """Folder of the base model; None for an engine that needs none."""


class Engine(Protocol):
    """A model in training.  `optim_step` applies what `forward_backward` gathered."""

    num_trainable: int
    context_tokens: int | None

    def encode(self, example: Example) -> Encoded:
        """Token ids and loss mask; raises DataError or ModelError for an example that cannot be learned."""

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token, for people."""

    def forward_backward(self, items: Sequence[Item]) -> StepReport:
        """Gather the gradient of one whole step."""

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        """Apply it; returns its norm before clipping."""

    def evaluate(self, items: Sequence[Item]) -> float:
        """Mean loss on examples, without learning from them."""

    def save_state(self, folder: Path) -> None:
        """Write all that the next step depends on."""

    def load_state(self, folder: Path) -> None:
        """Take up what `save_state` wrote."""

    def publish(self, folder: Path) -> None:
        """Write what a server loads."""
