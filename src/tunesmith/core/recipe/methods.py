"""`method:` of a recipe: which parameters learn.  A tagged union; the tag is `kind`, `lora` when left out."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from tunesmith.core.config import Schema, default_kind
from tunesmith.core.recipe.rules import changed


class Full(Schema):
    """Every parameter learns, with a float32 master for each."""

    kind: Literal["full"] = "full"
    """The method's name."""


class Freeze(Schema):
    """Chosen parameters of the model learn, the others stay."""

    kind: Literal["freeze"] = "freeze"
    """The method's name."""
    train: tuple[str, ...] = ()
    r"""Regular expressions, searched in parameter names, such as `layers\.(28|29)\.` or `norm`; what matches
    learns.  Each has to match something."""
    layers: int = Field(0, ge=0)
    """The top so many layers learn too; 0 is off."""


class LowRank(Schema):
    """What LoRA and QLoRA share."""

    rank: PositiveInt = 16
    """Rank of the update."""
    alpha: PositiveFloat = 32
    """The update is scaled by alpha / rank (alpha / √rank with `rslora`)."""
    rslora: bool = False
    """Scale by alpha / √rank (Kalajdzievski 2023, arXiv:2312.03732)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of a layer's inputs that its low-rank part does not see in a training step."""
    lora_plus_ratio: PositiveFloat = 1.0
    """Learning rate of B over that of A (LoRA+, Hayou et al. 2024, arXiv:2402.12354; 16 is their advice)."""
    target_modules: tuple[str, ...] = ()
    """Endings of layer names, such as `q_proj`, or regular expressions for whole names; none given: every
    linear layer of the blocks."""
    layers: int = Field(0, ge=0)
    """Only the top so many layers; 0 takes all.  Nothing is computed backwards below the lowest."""
    rank_pattern: dict[str, PositiveInt] = Field(default_factory=dict)
    """Other ranks for layers whose name matches a regular expression (PEFT's meaning)."""
    alpha_pattern: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Other alphas likewise."""
    modules_to_save: tuple[str, ...] = ()
    """Endings of module names that learn whole beside the low-rank parts, and are saved with the adapter."""
    trainable_tokens: tuple[str, ...] = ()
    """Tokens whose embedding rows learn; a token that is new is added (tied output rows follow)."""


class Lora(LowRank):
    """Low-rank adapters on every linear layer of the blocks (Hu et al. 2021, arXiv:2106.09685)."""

    kind: Literal["lora"] = "lora"
    """The method's name."""


class Qlora(LowRank):
    """LoRA on a base held in 4 or 8 bits (Dettmers et al. 2023, arXiv:2305.14314)."""

    kind: Literal["qlora"] = "qlora"
    """The method's name."""
    bits: Literal[4, 8] = 4
    """Bits of a frozen weight."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """Number format of 4 bits."""
    double_quantisation: bool = True
    """The scales of 4-bit blocks are held in 8 bits themselves."""

    @model_validator(mode="after")
    def check_combinations(self) -> Self:
        """8 bits have one number format and one scale a row."""
        for field in ("quant_type", "double_quantisation"):
            if self.bits == 8 and changed(self, field):
                raise ValueError(f"{field} belongs to 4 bits: leave it out, or set bits to 4")
        return self


Placement = Literal["houlsby", "pfeiffer", "parallel"]
NonLinearity = Literal["relu", "gelu", "silu", "tanh", "leaky_relu"]


class Adapter(Schema):
    """Bottleneck adapters: a narrow layer with a residual beside it, inside every block."""

    kind: Literal["adapter"] = "adapter"
    """The method's name."""
    placement: Placement = "pfeiffer"
    """`houlsby`: after attention and after the feed-forward part (Houlsby et al. 2019, arXiv:1902.00751);
    `pfeiffer`: after the feed-forward part (Pfeiffer et al. 2021, arXiv:2005.00247);
    `parallel`: beside the feed-forward part (He et al. 2022, arXiv:2110.04366)."""
    reduction_factor: PositiveFloat = 16
    """Hidden width over bottleneck width."""
    non_linearity: NonLinearity = "relu"
    """Between the two layers."""
    scale: PositiveFloat = 1.0
    """Factor on the adapter's output (4 is He et al.'s advice for `parallel`)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the bottleneck that is dropped in a training step."""
    layers: int = Field(0, ge=0)
    """Only the top so many layers; 0 takes all."""


class Peft(Schema):
    """Any other method of the PEFT library, by its own configuration."""

    kind: Literal["peft"] = "peft"
    """The method's name."""
    peft_type: str
    """PEFT's name of it, such as `IA3`, `LOHA`, `OFT`, `VERA`, `PREFIX_TUNING`; LoRA's variants (DoRA, PiSSA,
    OLoRA, EVA, LoftQ) are `LORA` with their own `config`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Arguments of that type's configuration class, as PEFT names them."""

    @property
    def begins_from_data(self) -> bool:
        """Whether its first values are found from training examples."""
        return self.config.get("init_lora_weights") in ("eva", "corda", "lora_ga")


Method = Annotated[
    Lora | Qlora | Full | Freeze | Adapter | Peft,
    BeforeValidator(default_kind("lora")),
    Field(discriminator="kind"),
]


class InitFrom(Schema):
    """Begin from what an earlier run learned."""

    path: str
    """A run (folder, name or id), or an adapter folder."""
    mode: Literal["continue", "merge_then_new", "stack"] = "continue"
    """`continue`: its parameters go on learning; `merge_then_new`: it is merged into the base and a new
    adapter starts; `stack`: it stays as it is, frozen, under a new adapter."""
