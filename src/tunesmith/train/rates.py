"""The learning rate of each step, and a published rule for the highest one.  Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from tunesmith.core.errors import ConfigError
from tunesmith.core.recipe import Lora, Method, Optimiser, Qlora, Recipe


class Place(NamedTuple):
    """Where a step after warm-up stands."""

    done: int
    """Steps after warm-up that came before it."""
    num: int
    """All steps after warm-up, at least 1."""
    num_decay: int
    """How many of them lie below the highest rate with `wsd`."""


def learning_rate(settings: Optimiser, *, step: int, num_steps: int) -> float:
    """The rate of step 1 … num_steps: up a straight line to the highest, then along the schedule's shape.

    The highest rate is always reached.  linear, cosine and wsd would reach zero one step after the last, so
    that no step is spent on moving nothing.  `auto` must have become a number before.
    """
    peak = settings.learning_rate
    assert not isinstance(peak, str), "auto_learning_rate makes a number of `auto` before training"
    num_warmup = math.ceil(settings.warmup_share * num_steps)
    if step <= num_warmup:
        return peak * (step / num_warmup)
    num = num_steps - num_warmup
    place = Place(step - 1 - num_warmup, num, min(num - 1, math.ceil(settings.decay_share * num_steps)))
    return peak * SHAPES[settings.schedule](place)


def constant(place: Place) -> float:
    """No decay."""
    return 1.0


def linear(place: Place) -> float:
    """A straight line to zero."""
    return 1.0 - place.done / place.num


def cosine(place: Place) -> float:
    """Half a cosine to zero (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * place.done / place.num))


def wsd(place: Place) -> float:
    """Warm-up, stable, decay (MiniCPM, Hu et al. 2024, arXiv:2404.06395, section 4).

    The highest rate is held until the last `decay_share` of all steps, then falls on a straight line to zero.
    (Hu et al. leave the shape of the decay open; theirs halves the rate in equal times and never reaches
    zero.)
    """
    ahead = place.num - place.done  # steps that are still to do, this one included
    return min(1.0, ahead / (place.num_decay + 1))


SHAPES: Final[Mapping[str, Callable[[Place], float]]] = MappingProxyType({
    "constant": constant, "linear": linear, "cosine": cosine, "wsd": wsd,
})  # fmt: skip
"""`optimiser.schedule` → share of the highest rate at a place after warm-up, from 0 to 1."""


class AutoRate(NamedTuple):
    """What `learning_rate: auto` became."""

    value: float
    """Rounded to two digits: more would pretend to a precision that the rule does not have."""
    explanation: str
    """Source, arithmetic, and what the source did not measure, for people to read."""


BASE_RATE: Final = 5e-5
BASE_HIDDEN: Final = 2000
LOW_RANK_FACTOR: Final = 10
EXPONENTS: Final = MappingProxyType({"llama": 0.781, "qwen": 0.0775})
"""By the start of a configuration's `model_type`."""
SOURCE: Final = (
    "Thinking Machines Lab (tinker-cookbook, supervised learning hyperparameters; LoRA Without Regret, 2025)"
)
SOURCE_ALPHA: Final = 32
NORMALISED: Final = ("adamw", "adamw8bit", "muon")
"""Optimisers that take AdamW's rate: 8-bit AdamW by design (arXiv:2110.02861), Muon by its scaling to AdamW's
root mean square (arXiv:2502.16982)."""
GIVE_A_NUMBER: Final = "give optimiser.learning_rate a number"


def auto_learning_rate(recipe: Recipe, *, hidden_size: int, model_type: str) -> AutoRate:
    """The highest learning rate by a published rule; raises ConfigError where the rule says nothing.

    rate = 5e-5 × (10 for low-rank methods) × (2000 / hidden size)^p, with p = 0.781 for Llama and 0.0775 for
    Qwen, as fitted by Thinking Machines Lab to sweeps of supervised fine-tuning with AdamW.  Their LoRA has
    alpha 32, and the rate does not depend on its rank.  For another family the lower of the two is taken.
    Their later table by model (a coarse sweep) lies between this rule and three times as high.

    How it fares here: for the embedded model (SmolLM2-135M, a Llama of hidden size 576) with LoRA of rank 16
    it gives 1.3e-3; the best that this project measured, with steps of 8 examples, is 1.5e-3.  The rule has
    no term for the size of a step, and that measurement speaks against one: √batch scaling from the 128
    examples that its authors advise would have made it 3.3e-4.
    """
    factor, notes = method_factor(recipe.method)
    if recipe.optimiser.kind not in NORMALISED:
        raise no_rule(
            f"optimiser {recipe.optimiser.kind}", "it holds for AdamW's steps, and for adamw8bit and muon"
        )
    if recipe.optimiser.kind == "muon":
        notes = (
            *notes,
            "muon's first steps are a fifth of AdamW's: a short run may want a higher rate",
        )
    family = next((name for name in EXPONENTS if model_type.startswith(name)), None)
    candidates = [EXPONENTS[family]] if family else list(EXPONENTS.values())
    exponent = min(candidates, key=lambda power: (BASE_HIDDEN / hidden_size) ** power)
    if family is None:
        notes = (*notes, f"the source has no exponent for {model_type}: the lower of its two rates is taken")
    scale = (BASE_HIDDEN / hidden_size) ** exponent
    value = float(f"{BASE_RATE * factor * scale:.1e}")
    arithmetic = f"{BASE_RATE:g} × {factor} × ({BASE_HIDDEN} / {hidden_size})^{exponent} = {value:g}"
    said = f"learning rate of method {recipe.method.kind}: {arithmetic}"
    return AutoRate(value, "; ".join([said, f"rule of {SOURCE}", *notes]))


def method_factor(method: Method) -> tuple[int, tuple[str, ...]]:
    """A method's rate over that of full fine-tuning, with what has to be said about it."""
    if method.kind == "full" or method.kind == "freeze":  # mypy narrows these only
        return 1, ()
    if method.kind == "adapter":
        return LOW_RANK_FACTOR, ("the source measured LoRA, not bottleneck adapters: LoRA's factor is taken",)
    if method.kind == "peft":
        return peft_factor(method.peft_type, method.config)
    return lora_factor(method)


def lora_factor(method: Lora | Qlora) -> tuple[int, tuple[str, ...]]:
    """LoRA's factor; raises ConfigError for two rates at once."""
    if method.lora_plus_ratio != 1.0:
        raise no_rule("LoRA+ (method.lora_plus_ratio)", "it is for one rate, LoRA+ has two")
    notes = []
    if method.rslora or method.alpha != SOURCE_ALPHA:
        scaling = f"alpha {method.alpha:g}" + (" with rslora" if method.rslora else "")
        notes.append(f"the source's LoRA has alpha {SOURCE_ALPHA} over rank, yours {scaling}: not corrected")
    return LOW_RANK_FACTOR, tuple(notes)


def peft_factor(peft_type: str, config: Mapping[str, object]) -> tuple[int, tuple[str, ...]]:
    """The factor for PEFT's own LoRA and its variants; the other types have no common scale."""
    if peft_type.upper() != "LORA":
        raise no_rule(f"PEFT's {peft_type}", "it covers full fine-tuning and low-rank adapters")
    variant = ", ".join(f"{key}={value}" for key, value in config.items()) or "its defaults"
    return LOW_RANK_FACTOR, (
        f"the source measured plain LoRA with alpha {SOURCE_ALPHA}, yours has {variant}",
    )


def no_rule(what: str, why: str) -> ConfigError:
    """The refusal of a combination that the rule's authors did not measure."""
    return ConfigError(
        f"learning_rate: auto has no published rule for {what}: {why}",
        where="optimiser.learning_rate",
        next_step=GIVE_A_NUMBER,
    )
