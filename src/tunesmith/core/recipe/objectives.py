"""`objective:` of a recipe: what the model learns from.  A tagged union; `sft` when the tag is left out."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tunesmith.core.config import Schema, default_kind


class TokenLoss(Schema):
    """What the supervised objectives share: a loss on each token that is learned."""

    loss: Literal["nll", "dft"] = "nll"
    """`nll`: negative log-likelihood; `dft`: the same weighted by the probability that the model already
    gives (Dynamic Fine-Tuning, Wu et al. 2025, arXiv:2508.05629)."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over the whole vocabulary (Szegedy et al. 2016); 0 is off."""
    z_loss: float = Field(0.0, ge=0)
    """Factor on the square of the log-normaliser (PaLM, Chowdhery et al. 2022, uses 1e-4); 0 is off."""
    neftune_alpha: float = Field(0.0, ge=0)
    """Noise on the embeddings in training (NEFTune, Jain et al. 2023, arXiv:2310.05914; 5 is usual); 0 is
    off."""

    @model_validator(mode="after")
    def check_combinations(self) -> Self:
        """DFT's factor is the probability of the one right token; a smoothed target has no such token."""
        if self.loss == "dft" and self.label_smoothing:
            raise ValueError("loss dft and label_smoothing exclude each other: keep one of the two")
        return self


class Sft(TokenLoss):
    """Supervised fine-tuning on conversations, or on prompts with completions."""

    kind: Literal["sft"] = "sft"
    """The objective's name."""
    learn: Literal["assistant", "last", "all"] = "assistant"
    """`assistant`: every assistant turn; `last`: the last one only; `all`: every token.  A turn with weight
    0, or a part of one, is never learned.  In rows of plain text every part with another weight is."""


class FillInTheMiddle(Schema):
    """Rearranged documents, so that a model learns to fill gaps (Bavarian et al. 2022, arXiv:2207.14255)."""

    rate: float = Field(0.5, ge=0, le=1)
    """Share of documents that are rearranged."""
    spm_rate: float = Field(0.5, ge=0, le=1)
    """Of those, the share with the suffix first (SPM); the others keep the prefix first (PSM)."""
    prefix: str = "<|fim_prefix|>"
    """Token before the prefix; added to the tokenizer if absent."""
    middle: str = "<|fim_middle|>"
    """Token before the middle."""
    suffix: str = "<|fim_suffix|>"
    """Token before the suffix."""


class Text(TokenLoss):
    """Continued pre-training on raw text: documents end to end, packed to full length."""

    kind: Literal["text"] = "text"
    """The objective's name."""
    block_length: int = Field(1024, ge=8)
    """Tokens of one packed block, the unit that `step_examples` counts."""
    fill_in_the_middle: FillInTheMiddle | None = None
    """Rearrange documents of code; None is off."""


Objective = Annotated[Sft | Text, BeforeValidator(default_kind("sft")), Field(discriminator="kind")]
