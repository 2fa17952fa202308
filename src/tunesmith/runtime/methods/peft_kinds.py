"""The methods of the PEFT library (0.21), one line each: how we run them, and how many numbers they learn.

The page `docs/peft.md` is this table, tried out (`scripts/peft_table.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, Literal, NamedTuple

Start = Literal["exactly", "to rounding", "no"]


class Target(NamedTuple):
    """A layer that carries the method: its name, inputs and outputs (a norm: its width twice)."""

    name: str
    inputs: int
    outputs: int


Formula = Callable[[Any, Sequence[Target]], int]
"""PEFT's configuration and the targets → numbers that learn, by the method's own arithmetic."""


@dataclass(frozen=True)
class PeftKind:
    """How one of PEFT's methods is run."""

    formula: Formula | None = None
    """None: the method's shapes are searched for while it is set up; what it declares is counted."""
    layout: Literal["ragged", "padded"] = "ragged"
    """`padded`: rows go through its wrapper."""
    learns_prompt: bool = False
    """Its wrapper puts tokens, or keys and values, of its own before each row."""
    start: Start = "exactly"
    """Whether step 0 equals the base model, with the configuration's own initial values."""
    targets: Literal["linear", "own"] = "linear"
    """What carries it where `target_modules` is left out: the blocks' linear layers, or PEFT's own choice."""
    wide: bool = False
    """Its tensors are float32 and it computes in that: the library's code fails or errs in bfloat16."""
    merges: bool = True
    """Whether PEFT can merge it into the base's weights."""
    needs: tuple[str, ...] = ()
    """Arguments that have no sensible default."""
    continues: bool = True
    """Whether a saved adapter can go on learning: PEFT saves only the result of a learned prompt."""
    package: str = ""
    """A package that it needs beside PEFT."""
    refused: str = ""
    """Why it is refused."""


def low_rank(config: Any, targets: Sequence[Target]) -> int:
    """R rows of inputs and r columns of outputs."""
    return int(sum(config.r * (target.inputs + target.outputs) for target in targets))


def lora(config: Any, targets: Sequence[Target]) -> int:
    """Hu et al. 2021; DoRA adds a length for each output, `lora_bias` a bias."""
    extra = bool(config.use_dora) + bool(config.lora_bias)
    return low_rank(config, targets) + extra * outputs(config, targets)


def outputs(config: Any, targets: Sequence[Target]) -> int:
    """One number for each output."""
    return sum(target.outputs for target in targets)


def ia3(config: Any, targets: Sequence[Target]) -> int:
    """One factor for each output, or for each input of a feed-forward layer."""
    forward = tuple(config.feedforward_modules or ())
    return sum(
        target.inputs if target.name.rpartition(".")[2] in forward else target.outputs for target in targets
    )


def oft(config: Any, targets: Sequence[Target]) -> int:
    """Skew-symmetric blocks along the inputs."""
    block = config.oft_block_size
    return int(sum(target.inputs // block * (block * (block - 1) // 2) for target in targets))


def poly(config: Any, targets: Sequence[Target]) -> int:
    """`n_skills` low-rank parts and a router over them for each task."""
    routers = len(targets) * config.n_tasks * config.n_splits * config.n_skills
    return int(config.n_skills * low_rank(config, targets) + routers)


def vblora(config: Any, targets: Sequence[Target]) -> int:
    """A bank of vectors, and for each part of a low-rank matrix a score for each of them."""
    parts = sum((target.inputs + target.outputs) // config.vector_length for target in targets)
    return int(config.num_vectors * (config.vector_length + config.r * parts))


def randlora(config: Any, targets: Sequence[Target]) -> int:
    """Two diagonals for each of as many random bases as full rank takes."""
    narrow = [min(target.inputs, target.outputs) for target in targets]
    return sum(ceil(width / config.r) * (config.r + width) for width in narrow)


def supertuning(config: Any, targets: Sequence[Target]) -> int:
    """The chosen share of each matrix."""
    return sum(max(1, int((1 - config.sparsity) * target.inputs * target.outputs)) for target in targets)


def prompt(config: Any, targets: Sequence[Target]) -> int:
    """A vector for each virtual token."""
    return int(config.num_virtual_tokens * config.token_dim)


def multitask(config: Any, targets: Sequence[Target]) -> int:
    """The shared prompt, and rank-wise factors for each task."""
    own = config.num_tasks * config.num_ranks * (config.num_virtual_tokens + config.token_dim)
    return prompt(config, targets) + int(own)


def p_tuning(config: Any, targets: Sequence[Target]) -> int:
    """The prompt and three linear layers of its encoder."""
    width, hidden = config.token_dim, config.encoder_hidden_size
    layers = (width + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * width
    return prompt(config, targets) + int(layers)


def prefix(config: Any, targets: Sequence[Target]) -> int:
    """A key and a value for each virtual token and layer."""
    return int(2 * config.num_layers * prompt(config, targets))


def cartridge(config: Any, targets: Sequence[Target]) -> int:
    """The same, but for the tokens that are held."""
    held = config.num_virtual_tokens - config.num_frozen_tokens
    return int(2 * config.num_layers * config.token_dim * held)


def learned_prompt(formula: Formula, needs: str = "num_virtual_tokens") -> PeftKind:
    """A method that learns tokens, or keys and values, that stand before each row."""
    return PeftKind(
        formula,
        layout="padded",
        learns_prompt=True,
        start="no",
        merges=False,
        needs=(needs,),
        continues=False,
    )


KINDS: Final[dict[str, PeftKind]] = {
    "LORA": PeftKind(lora),
    "ADALORA": PeftKind(lambda c, ts: sum(c.init_r * (t.inputs + t.outputs + 1) for t in ts), wide=True),
    "ADAMSS": PeftKind(package="scikit-learn"),
    "BOFT": PeftKind(lambda c, ts: sum(c.boft_block_size * t.inputs + t.outputs for t in ts)),
    "ADAPTION_PROMPT": PeftKind(
        lambda c, ts: sum(c.adapter_len * t.outputs + 1 for t in ts),
        targets="own",
        merges=False,
        needs=("adapter_len", "adapter_layers"),
    ),
    "IA3": PeftKind(ia3, targets="own"),
    "BEFT": PeftKind(outputs, targets="own", merges=False),
    "LILY": PeftKind(
        refused="Lily averages its router over every token of a batch, later ones and other examples' too: it"
        " would learn to look ahead, and answer otherwise token by token"
    ),
    "LOHA": PeftKind(lambda c, ts: 2 * low_rank(c, ts)),
    "LOKR": PeftKind(),
    "OFT": PeftKind(oft),
    "POLY": PeftKind(poly, merges=False),
    "LN_TUNING": PeftKind(outputs, targets="own"),
    "VERA": PeftKind(lambda c, ts: sum(c.r + t.outputs for t in ts)),
    "PVERA": PeftKind(lambda c, ts: sum(2 * c.r + t.outputs for t in ts)),
    "FROD": PeftKind(start="to rounding"),
    "FOURIERFT": PeftKind(lambda c, ts: c.n_frequency * len(ts), start="no"),
    "WAVEFT": PeftKind(lambda c, ts: c.n_frequency * len(ts)),
    "GLORA": PeftKind(),
    "XLORA": PeftKind(
        refused="X-LoRA mixes finished LoRA adapters in a second pass over each input, which this engine does"
        " not run"
    ),
    "HRA": PeftKind(lambda c, ts: sum(c.r * t.inputs for t in ts), start="to rounding"),
    "VBLORA": PeftKind(vblora, start="no"),
    "UNILORA": PeftKind(lambda c, ts: c.theta_d_length, start="no"),
    "MISS": PeftKind(lambda c, ts: sum(c.r * t.outputs for t in ts)),
    "RANDLORA": PeftKind(randlora),
    "ROAD": PeftKind(lambda c, ts: int(str(c.variant)[-1]) * outputs(c, ts)),
    "TRAINABLE_TOKENS": PeftKind(
        lambda c, ts: len(c.token_indices) * sum(t.outputs for t in ts[:1]),
        targets="own",
        needs=("token_indices",),
    ),
    "HIRA": PeftKind(low_rank),
    "SHIRA": PeftKind(low_rank),
    "C3A": PeftKind(lambda c, ts: sum(t.inputs * t.outputs // c.block_size for t in ts), start="no"),
    "OSF": PeftKind(start="to rounding"),
    "DELORA": PeftKind(lambda c, ts: low_rank(c, ts) + len(ts)),
    "GRALORA": PeftKind(low_rank),
    "TINYLORA": PeftKind(lambda c, ts: c.u * len(ts)),
    "PSOFT": PeftKind(lambda c, ts: len(ts) * (c.r * (c.r - 1) // 2 + 2 * c.r)),
    "PEANUT": PeftKind(lambda c, ts: sum(2 * c.r * t.outputs for t in ts)),
    "SHADOW": PeftKind(targets="own", layout="padded", merges=False),
    "SUPERTUNING": PeftKind(supertuning),
    "DEFT": PeftKind(low_rank, start="to rounding"),
    "PROMPT_TUNING": learned_prompt(prompt),
    "MULTITASK_PROMPT_TUNING": learned_prompt(multitask),
    "P_TUNING": learned_prompt(p_tuning),
    "PREFIX_TUNING": learned_prompt(prefix),
    "CARTRIDGE": learned_prompt(cartridge),
    "CPT": learned_prompt(prompt, "cpt_token_ids"),
}

PLAIN: Final = frozenset(
    {
        "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "lora_bias", "target_modules",
        "exclude_modules", "layers_to_transform", "layers_pattern", "init_lora_weights", "alpha_pattern",
        "target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step",
        "boft_block_size", "boft_dropout", "adapter_len", "adapter_layers", "feedforward_modules",
        "scaling", "alpha", "rank_dropout", "module_dropout", "oft_block_size", "coft", "eps",
        "n_tasks", "n_skills", "d_initial", "projection_prng_key", "vera_dropout", "pvera_dropout",
        "n_frequency", "random_loc_seed", "num_vectors", "vector_length", "topk", "theta_d_length",
        "proj_seed", "miss_dropout", "randlora_alpha", "randlora_dropout", "variant", "group_size",
        "token_indices",
        "hira_dropout", "random_seed", "block_size", "delora_lambda", "gralora_k", "gralora_dropout", "u",
        "psoft_alpha", "psoft_dropout", "act_fn", "sparsity", "decomposition_method", "deft_dropout",
        "num_virtual_tokens", "num_tasks", "num_ranks", "encoder_hidden_size", "num_frozen_tokens",
        "cpt_token_ids", "cpt_mask", "cpt_tokens_type_mask", "hidden_size",
    }
)  # fmt: skip
"""Arguments under which the formulas hold; with any other the declared numbers are counted."""
