"""Settings that contradict each other: refused when a recipe is read, so that none is silently ignored.

Each rule takes the recipe and says what is wrong, or nothing.  What needs the model or the data to be known
is refused later, by the pre-flight or by the part that it concerns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tunesmith.core.config import Schema

if TYPE_CHECKING:
    from tunesmith.core.recipe.recipe import Recipe


def changed(schema: Schema, field: str) -> bool:
    """Whether a field has another value than its default (a resolved recipe sets every field)."""
    return bool(schema.model_dump()[field] != type(schema).model_fields[field].default)


def when_to_evaluate(recipe: Recipe) -> str | None:
    """One way to say when the validation loss is measured, and some way if something needs it."""
    if recipe.eval_every and changed(recipe, "evaluations"):
        return "evaluations and eval_every both say when to evaluate: keep one of the two"
    if (recipe.patience or recipe.generation.prompts) and not (recipe.evaluations or recipe.eval_every):
        return "patience and generation.prompts need evaluations: give evaluations or eval_every"
    return None


def what_is_a_step(recipe: Recipe) -> str | None:
    """Examples or tokens."""
    if recipe.step_tokens and changed(recipe, "step_examples"):
        return "step_examples and step_tokens both define a step: keep one of the two"
    return None


def something_learns(recipe: Recipe) -> str | None:
    """Freezing everything is no training."""
    if recipe.method.kind == "freeze" and not (recipe.method.train or recipe.method.layers):
        return "method freeze learns nothing: give method.train or method.layers"
    return None


def a_stack_needs_an_adapter(recipe: Recipe) -> str | None:
    """`stack` puts a new adapter over the old one."""
    if recipe.init_from is None or recipe.init_from.mode != "stack":
        return None
    if recipe.method.kind in ("full", "freeze"):
        return (
            f"init_from.mode stack puts a new adapter over the old, method {recipe.method.kind} has none: "
            "take continue or merge_then_new, or an adapter method"
        )
    return None


def text_has_blocks(recipe: Recipe) -> str | None:
    """Raw text is cut into blocks end to end: no document is too long, and no chat template is used."""
    if recipe.objective.kind != "text":
        return None
    for field in ("max_length", "too_long"):
        if changed(recipe, field):
            return f"objective text packs documents into blocks: set objective.block_length, not {field}"
    return None


def a_fake_engine_has_no_loss(recipe: Recipe) -> str | None:
    """The fake engine counts words: what shapes a network's loss would be left out without a word."""
    if recipe.engine != "fake":
        return None
    if recipe.objective.kind != "sft":
        return f"engine fake learns from conversations only, not by objective {recipe.objective.kind}"
    for field in ("loss", "label_smoothing", "z_loss", "neftune_alpha"):
        if changed(recipe.objective, field):
            return f"engine fake has no neural network: leave objective.{field} out, or take engine ragged"
    if recipe.optimiser.learning_rate == "auto":
        return "engine fake has no neural network: give optimiser.learning_rate a number"
    if recipe.template != "model":
        return "engine fake reads words without a chat template: leave template out, or take engine ragged"
    return None


def some_source_is_learned(recipe: Recipe) -> str | None:
    """A source of weight 0 is only measured."""
    if any(source.weight for source in recipe.data):
        return None
    return "no source of data is learned: give at least one a weight above 0"


def sources_have_names_of_their_own(recipe: Recipe) -> str | None:
    """Losses are reported by source."""
    names = Counter(source.name or source.path.name for source in recipe.data)
    twice = [name for name, count in names.items() if count > 1]
    return f"two sources are called {twice[0]!r}: give each its own data.name" if twice else None


RULES: Final[tuple[Callable[[Recipe], str | None], ...]] = (
    when_to_evaluate,
    what_is_a_step,
    something_learns,
    a_stack_needs_an_adapter,
    text_has_blocks,
    a_fake_engine_has_no_loss,
    some_source_is_learned,
    sources_have_names_of_their_own,
)
