"""`optimiser:` of a recipe: how the parameters learn.  A tagged union; `adamw` when the tag is left out."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from tunesmith.core.config import Schema, default_kind
from tunesmith.core.recipe.rules import changed

Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimiserBase(Schema):
    """The schedule and the limits that every optimiser has."""

    learning_rate: PositiveFloat | Literal["auto"] = 2e-3
    """Highest learning rate of the schedule; `auto` takes it from a published rule, which is printed."""
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    """How the rate falls after warm-up: `constant`: never; `linear` and `cosine`: to zero; `wsd` (warm-up,
    stable, decay; Hu et al. 2024, arXiv:2404.06395): held, then to zero over the last `decay_share`."""
    warmup_share: float = Field(0.05, ge=0, lt=1)
    """Share of all steps over which the rate rises from zero."""
    decay_share: float = Field(0.2, gt=0, le=1)
    """With `wsd`: share of all steps over which the rate falls at the end."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay: each step takes this times the learning rate off every matrix that learns, not
    off norms, biases and embeddings."""
    max_norm: float = Field(1.0, ge=0)
    """Gradients are clipped to this norm; 0 is off."""

    @model_validator(mode="after")
    def check_combinations(self) -> Self:
        """The decay belongs to one schedule, and has to fit behind the warm-up."""
        if self.schedule != "wsd":
            if changed(self, "decay_share"):
                raise ValueError("decay_share belongs to schedule wsd: leave it out")
        elif self.warmup_share + self.decay_share > 1:
            raise ValueError("warmup_share and decay_share are more than all steps together")
        return self


class AdamW(OptimiserBase):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), fused."""

    kind: Literal["adamw"] = "adamw"
    """The optimiser's name."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Decay rates of the running means."""


class AdamW8bit(OptimiserBase):
    """AdamW with running means in 8 bits (Dettmers et al. 2022, arXiv:2110.02861), by bitsandbytes."""

    kind: Literal["adamw8bit"] = "adamw8bit"
    """The optimiser's name."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Decay rates of the running means."""


class Muon(OptimiserBase):
    """Orthogonalised momentum for matrices (Jordan et al. 2024), AdamW for everything else.

    Its steps are scaled to AdamW's root mean square (Liu et al. 2025, arXiv:2502.16982), so that AdamW's
    learning rate serves.  Each matrix of a LoRA pair counts as a matrix of its own.
    """

    kind: Literal["muon"] = "muon"
    """The optimiser's name."""
    momentum: Decay = 0.95
    """Decay rate of the momentum."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Decay rates of AdamW's running means, for embeddings, norms and biases."""


class Adafactor(OptimiserBase):
    """Factored second moments (Shazeer & Stern 2018, arXiv:1804.04235).

    Of a matrix one mean by row and one by column is kept.  The rate is absolute, as AdamW's is.
    """

    kind: Literal["adafactor"] = "adafactor"
    """The optimiser's name."""


class Sgd(OptimiserBase):
    """Plain gradient descent, with momentum if asked; its learning rates lie far above AdamW's."""

    kind: Literal["sgd"] = "sgd"
    """The optimiser's name."""
    momentum: Decay = 0.0
    """Decay rate of the momentum; 0 is off."""


Optimiser = Annotated[
    AdamW | AdamW8bit | Muon | Adafactor | Sgd,
    BeforeValidator(default_kind("adamw")),
    Field(discriminator="kind"),
]
