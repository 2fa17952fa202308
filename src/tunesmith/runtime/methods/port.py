"""What a method makes of a loaded model: the port between the methods and the training session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor, nn
from transformers import PreTrainedModel

if TYPE_CHECKING:
    from tunesmith.runtime.models import Loaded


@dataclass(frozen=True)
class Trainable:
    """One parameter that learns.  The session keeps a float32 master beside a parameter of another type."""

    name: str
    """Unique, and the same in every process: it names the tensor in checkpoints and messages."""
    parameter: nn.Parameter
    rate_factor: float = 1.0
    """Its learning rate over the run's (LoRA+)."""
    decay: bool = True
    """Whether weight decay touches it: not norms, biases and embeddings."""
    orthogonal: bool = False
    """Whether Muon orthogonalises its momentum: matrices between hidden states, not embeddings or heads."""

    def with_parameter(self, parameter: nn.Parameter) -> Trainable:
        """The same entry for another tensor (its float32 master)."""
        return replace(self, parameter=parameter)


@dataclass(frozen=True)
class Begin:
    """Where a method starts."""

    seed: int
    base_name: str
    """What the adapter's configuration calls its base model."""
    new_token_ids: tuple[int, ...] = ()
    """Embedding rows that have to learn because their tokens are new."""
    adapter: Path | None = None
    """Folder of an earlier adapter to begin from."""
    mode: Literal["continue", "merge_then_new", "stack"] = "continue"
    num_steps: int | None = None
    """Optimiser steps of the run, where known (AdaLoRA plans its ranks by it)."""
    sample_rows: tuple[tuple[int, ...], ...] = ()
    """Token ids of some training examples, for methods that begin from data (EVA, CorDA, LoRA-GA)."""


def nothing_before_step() -> None:
    """Most methods add nothing to the data's gradient."""


def no_state() -> Mapping[str, Tensor]:
    """Most methods keep nothing between steps beside what learns."""
    return {}


def nothing_to_take_up(state: Mapping[str, Tensor]) -> None:
    """The other end of `no_state`."""


def nothing_after_step(step: int) -> None:
    """Most methods have nothing to do between steps."""


@dataclass(frozen=True)
class Attached:
    """A model set up to learn by one method."""

    model: PreTrainedModel
    """The transformers model, with the method's modules inside."""
    trainable: Sequence[Trainable]
    publish: Callable[[Path], None]
    """Write what a server loads: an adapter folder, or a model folder."""
    expected_parameters: int
    """How many numbers learn by the method's own formula; a proof compares it with what does."""
    layout: Literal["ragged", "padded"] = "ragged"
    forward: nn.Module | None = None
    """What is called in the padded layout (PEFT's wrapper); None is the model itself."""
    unchanged_at_start: bool = True
    """Whether the method promises that step 0 equals the base model."""
    before_step: Callable[[], None] = nothing_before_step
    """Called when a step's gradient is complete, before it is clipped: it may add its own term's gradient."""
    after_step: Callable[[int], None] = nothing_after_step
    """Called after optimiser step n (AdaLoRA moves its ranks here)."""
    state: Callable[[], Mapping[str, Tensor]] = no_state
    """What the method itself carries from step to step, for checkpoints."""
    take_up: Callable[[Mapping[str, Tensor]], None] = nothing_to_take_up
    """Take up what `state` gave."""


class Attach(Protocol):
    """Set a loaded model up for a method; `settings` is the recipe's `method` section."""

    def __call__(self, loaded: Loaded, settings: Any, begin: Begin) -> Attached:
        """Freeze what does not learn, put in what does; the global random state stays untouched."""
