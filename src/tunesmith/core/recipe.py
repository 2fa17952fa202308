"""The recipe: what to train and how.  Importable without torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tunesmith.core.config import Schema

Decay = Annotated[float, Field(ge=0, lt=1)]


class Lora(Schema):
    """Low-rank adapters on every linear layer of the blocks (Hu et al. 2021)."""

    kind: Literal["lora"] = "lora"
    """The method's name."""
    rank: PositiveInt = 16
    """Rank of the update."""
    alpha: PositiveFloat = 32
    """The update is scaled by alpha / rank (alpha / √rank with `rslora`)."""
    rslora: bool = False
    """Scale by alpha / √rank (Kalajdzievski 2023)."""


class Optimiser(Schema):
    """AdamW and its schedule."""

    learning_rate: PositiveFloat = 2e-3
    """Highest learning rate of the schedule."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the rate falls after warm-up; linear and cosine end at zero."""
    warmup_share: float = Field(0.05, ge=0, lt=1)
    """Share of all steps over which the rate rises from zero."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Decay rates of AdamW's running means."""
    max_norm: float = Field(1.0, ge=0)
    """Gradients are clipped to this norm; 0 is off."""


class Recipe(Schema):
    """What to train, on what, how; `tunesmith train RECIPE` runs it."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Start of the run folder's name."""
    model: str = "smollm2-135m-instruct"
    """Base model: a name of `tunesmith models`, a folder, a GGUF file or a hub id."""
    data: Path
    """Data set folder (`tunesmith data prepare` makes it)."""
    engine: Literal["ragged", "fake"] = "ragged"
    """`fake` learns without a neural network, for trying the journey out."""
    method: Lora = Lora()
    """Which parameters learn."""
    optimiser: Optimiser = Optimiser()
    """How they learn."""
    epochs: PositiveFloat = 1.0
    """Passes over the training split."""
    max_steps: int = Field(0, ge=0)
    """Stop after so many steps, with the learning rate brought down by then; 0 is off."""
    step_examples: PositiveInt = 16
    """Examples in one optimiser step."""
    microbatch_tokens: PositiveInt = 2048
    """Tokens computed at once: memory only, never changes the gradient."""
    max_length: PositiveInt = 2048
    """Longest example in tokens; a longer one is refused, never cut."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Type of the frozen weights; auto is bfloat16 where the processor computes in it."""
    evaluations: int = Field(4, ge=0)
    """How many times the validation loss is measured, evenly spread, the end included; 0 is off."""
    save_every_seconds: PositiveFloat = 60.0
    """A checkpoint to resume from at least this often (and on Ctrl-C)."""
    threads: int = Field(0, ge=0)
    """Threads of the worker; 0 takes every core this process may use."""
    seed: int = Field(0, ge=0)
    """Seed of initialisation and data order."""
