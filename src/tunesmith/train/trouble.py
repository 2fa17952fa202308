"""What goes wrong inside a run, in one clear message each: no memory left, a loss that is not a number."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tunesmith.core.errors import CheckFailed, OutOfSpace, TunesmithError, UserError
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.step import ExampleLoss
from tunesmith.train.engines.port import Item

NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment",
    "memoryerror",
    "bad_alloc",
)
"""How torch says it (`DefaultCPUAllocator: not enough memory`, which has no type of its own, and `CUDA out of
memory`), then the kernel, the loader of shared libraries (torch's own do not fit), Python and C++."""
ROOM_TO_SPEAK_BYTES = 1 << 16
"""With less free space a process that failed may not have been able to say why."""
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
def naming_memory(part: str, recipe: Recipe, *, longest: int = 0, advice: str = "") -> Iterator[None]:
    """Turn 'out of memory' into a message that says in which part, and what would fit.

    `longest` is the number of tokens of the longest example, where it is known; `advice` stands where no
    setting of the recipe would help.
    """
    try:
        yield
    except TunesmithError:
        raise
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if not isinstance(error, MemoryError) and not lacks_memory(str(error)):
            raise
        raise NotEnoughMemory(
            f"out of memory in {part}",
            value=str(error).strip().partition("\n")[0][:200] or None,
            next_step=advice or f"try {what_would_fit(recipe, longest=longest)}: {BEGINS_ANEW}",
        ) from error


def lacks_memory(text: str) -> bool:
    """Whether a complaint is one about memory."""
    return any(words in text.lower() for words in NO_MEMORY)


def disk_is_full(folder: Path) -> bool:
    """Whether a process that failed without a word may have lacked the room to say it."""
    return shutil.disk_usage(folder).free < ROOM_TO_SPEAK_BYTES


def no_space(folder: Path, then: str) -> OutOfSpace:
    """The refusal for want of room; waiving or changing the recipe would not help."""
    return OutOfSpace("no space left on the disk", where=folder, next_step=f"free some space; {then}")


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


def suspects(items: Sequence[Item], losses: Sequence[ExampleLoss]) -> list[Item]:
    """The items whose own loss is not a number; all of them when that cannot be told."""
    if len(losses) != len(items):
        return list(items)
    return [item for item, found in zip(items, losses, strict=True) if not_finite(found.nll)] or list(items)
