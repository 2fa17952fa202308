"""What goes wrong inside a run, in one clear message each: no memory left, a loss that is not a number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tunesmith.core.errors import CheckFailed, TunesmithError, UserError
from tunesmith.core.recipe import Recipe
from tunesmith.train.engines.port import Item

NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
"""How torch says it: `DefaultCPUAllocator: not enough memory`, `CUDA out of memory`; it has no type for the
first."""
SMALLER = {
    "full": "method: {kind: lora}",
    "freeze": "fewer method.layers",
    "lora": "method: {kind: qlora}",
    "adapter": "fewer method.layers",
    "qlora": "fewer method.layers",
    "peft": "method: {kind: lora}",
}
"""Method → what holds less."""
BEGINS_ANEW = (
    "the same recipe, or one with another activation_checkpointing, goes on from the newest checkpoint; any "
    "other change begins a new run"
)
NAMED_EXAMPLES = 8


class NotEnoughMemory(UserError, MemoryError):
    """The machine has too little memory for what the recipe asks."""


@contextmanager
def naming_memory(part: str, recipe: Recipe, *, longest: int = 0) -> Iterator[None]:
    """Turn 'out of memory' into a message that says in which part, and what would fit.

    `longest` is the number of tokens of the longest example, where it is known.
    """
    try:
        yield
    except TunesmithError:
        raise
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if not isinstance(error, MemoryError) and not any(words in text for words in NO_MEMORY):
            raise
        raise NotEnoughMemory(
            f"out of memory in {part}",
            value=str(error).strip().partition("\n")[0][:200] or None,
            next_step=f"try {what_would_fit(recipe, longest=longest)}: {BEGINS_ANEW}",
        ) from error


def what_would_fit(recipe: Recipe, *, longest: int = 0) -> str:
    """Settings that take less memory, the cheapest first: 'microbatch_tokens: 581, or …'."""
    ways = []
    asked = recipe.microbatch_tokens
    if longest and (asked == "auto" or asked > longest):
        ways.append(f"microbatch_tokens: {longest} (the longest example)")
    elif not longest and asked != "auto":
        ways.append("a smaller microbatch_tokens")
    if recipe.activation_checkpointing != "on":
        ways.append("activation_checkpointing: on")
    ways += [SMALLER[recipe.method.kind], "a smaller max_length"]
    return ", or ".join(ways)


def not_finite(value: float) -> bool:
    """Whether a number is none."""
    return not math.isfinite(value)


def diverged(
    step: int, what: str, value: float, *, batch: Sequence[str], kept: str, rate: object
) -> CheckFailed:
    """The error of a value that is not a number, naming the examples of the step."""
    shown = "\n".join(f"  {line}" for line in batch[:NAMED_EXAMPLES])
    more = f"\n  … and {len(batch) - NAMED_EXAMPLES} more" if len(batch) > NAMED_EXAMPLES else ""
    examples = f"; its examples:\n{shown}{more}" if batch else ""
    return CheckFailed(
        f"step {step}: the {what} is {value}{examples}\n"
        f"  {kept}\n"
        f"  → lower optimiser.learning_rate (now {rate}), raise optimiser.warmup_share, or mend the examples"
    )


def suspects(items: Sequence[Item], nll: Sequence[float]) -> list[Item]:
    """The items whose own loss is not a number; all of them when that cannot be told."""
    if len(nll) != len(items):
        return list(items)
    return [item for item, value in zip(items, nll, strict=True) if not_finite(value)] or list(items)
