"""The recipe itself."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from tunesmith.core.config import Schema
from tunesmith.core.recipe.methods import InitFrom, Lora, Method
from tunesmith.core.recipe.objectives import Objective, Sft
from tunesmith.core.recipe.optimisers import AdamW, Optimiser
from tunesmith.core.recipe.rules import RULES

Proof = Literal[
    "mask", "end_of_turn", "generation_prompt", "packing", "plain_step",
    "microbatches", "gradients", "rows", "memory", "leaks",
]  # fmt: skip
PROOFS: tuple[str, ...] = get_args(Proof)
"""The pre-flight's proofs, in the order they run."""
ENGINE_PROOFS: tuple[str, ...] = ("packing", "plain_step", "microbatches", "gradients", "memory")
"""Those that depend on model, method and settings, not on which rows are learned."""
TooLong = Literal["refuse", "drop", "truncate_left", "truncate_right", "split"]


class Source(Schema):
    """One data set of a mixture."""

    path: Path
    """Data set folder (`tunesmith data prepare` makes it)."""
    name: str = ""
    """Its name in metrics; left empty, the folder's."""
    weight: float = Field(1.0, ge=0)
    """How often an epoch sees each of its rows: 0.5 is another half in each epoch, 2 is twice; 0 only
    measures the loss on its validation split, before training and at each evaluation (what is forgotten)."""


def as_sources(value: Any) -> Any:
    """`data: FOLDER` is one source; a list may mix folders and sources."""
    if isinstance(value, str | Path | dict | Source):
        value = [value]
    if isinstance(value, list | tuple):
        return tuple({"path": entry} if isinstance(entry, str | Path) else entry for entry in value)
    return value


class Generation(Schema):
    """Answers to a fixed set of validation prompts, scored at each evaluation."""

    prompts: int = Field(0, ge=0)
    """How many prompts; 0 is off."""
    max_tokens: PositiveInt = 128
    """Longest answer."""


class Recipe(Schema):
    """What to train, on what, how; `tunesmith train RECIPE` runs it."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Start of the run folder's name."""
    model: str = "smollm2-135m-instruct"
    """Base model: a name of `tunesmith models`, a folder, a GGUF file or a hub id."""
    data: Annotated[tuple[Source, ...], BeforeValidator(as_sources), Field(min_length=1)]
    """Data set folder (`tunesmith data prepare` makes it), or a list of sources to mix."""
    require_review: bool = False
    """Refuse data sets that nobody signed off, and rows that no person accepted (`tunesmith data review`)."""
    engine: Literal["ragged", "fake"] = "ragged"
    """`fake` learns without a neural network, for trying the journey out."""
    method: Method = Lora()
    """Which parameters learn."""
    init_from: InitFrom | None = None
    """Begin from what an earlier run learned; None begins from the base model."""
    objective: Objective = Sft()
    """What the model learns from."""
    template: str = "model"
    """Chat template: `model` is the model's own, `chatml`, or a path of a Jinja file; tokens that the model
    lacks are added and learned."""
    optimiser: Optimiser = AdamW()
    """How they learn."""
    epochs: PositiveFloat = 1.0
    """Passes over the training data."""
    max_steps: int = Field(0, ge=0)
    """Stop after so many steps, with the learning rate brought down by then; 0 is off."""
    step_examples: PositiveInt = 16
    """Examples in one optimiser step."""
    step_tokens: int = Field(0, ge=0)
    """Tokens in one optimiser step, instead of examples: it is filled until the next would pass this;
    0 counts examples."""
    microbatch_tokens: PositiveInt | Literal["auto"] = "auto"
    """Tokens computed at once: memory only, never changes the gradient; `auto` is the longest example, but at
    least 1,024."""
    max_length: PositiveInt = 2048
    """Longest example in tokens."""
    too_long: TooLong = "refuse"
    """What becomes of a longer one: `refuse` stops the run; `drop` leaves it out; `truncate_left` and
    `truncate_right` cut tokens away at that side; `split` makes several examples of it.  Each is counted."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Type in which the model computes; auto is bfloat16 where the processor computes in it."""
    activation_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Compute activations again in the backward pass instead of keeping them; `auto`: if they do not fit."""
    evaluations: int = Field(4, ge=0)
    """How many times the validation loss is measured, evenly spread, the end included; 0 is off."""
    eval_every: int = Field(0, ge=0)
    """Measure it every so many steps instead; 0 is off."""
    generation: Generation = Generation()
    """Answers scored at each evaluation."""
    patience: int = Field(0, ge=0)
    """Stop early after so many evaluations without a lower validation loss; 0 is off."""
    publish: Literal["best", "last"] = "best"
    """Which state becomes the result: that of the lowest validation loss, or the last."""
    save_every_seconds: PositiveFloat = 60.0
    """A checkpoint to resume from at least this often (and on Ctrl-C)."""
    save_every: int = Field(0, ge=0)
    """A checkpoint every so many steps too; 0 is off."""
    keep_checkpoints: int = Field(0, ge=0)
    """How many checkpoints a finished run keeps, the newest ones; 0 keeps none, only the result."""
    waive: tuple[Proof, ...] = ()
    """Proofs of the pre-flight that may fail without refusing the run."""
    threads: int = Field(0, ge=0)
    """Threads of the worker; 0 takes every core this process may use."""
    seed: int = Field(0, ge=0)
    """Seed of initialisation and data order."""

    @model_validator(mode="after")
    def check_combinations(self) -> Self:
        """Refuse settings that contradict each other, so that none is silently ignored."""
        for rule in RULES:
            if wrong := rule(self):
                raise ValueError(wrong)
        return self
