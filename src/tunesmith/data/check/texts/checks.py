"""Every check of this package, in the order of the report."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType

from tunesmith.core.conversation import Example
from tunesmith.data.check.port import Check
from tunesmith.data.check.texts import (
    calls,
    encoding,
    endings,
    forms,
    language,
    leftovers,
    phrases,
    preferences,
    privacy,
    repetition,
    safety,
    turns,
)

MODULES = (
    turns,
    calls,
    leftovers,
    phrases,
    endings,
    encoding,
    repetition,
    language,
    forms,
    preferences,
    privacy,
    safety,
)


def uses_tools(example: Example) -> bool:
    """Whether a row declares or calls a tool."""
    turns = (*example.messages, *example.chosen, *example.rejected)
    return bool(example.tools) or any(turn.role == "tool" or turn.tool_calls for turn in turns)


def is_judged(example: Example) -> bool:
    """Whether somebody said which answer is better, wanted or right."""
    return example.kind in ("pair", "rated", "steps")


APPLIES: Mapping[ModuleType, Callable[[Example], bool]] = {calls: uses_tools, preferences: is_judged}
"""Modules whose checks have nothing to look at in other rows."""

CHECKS: tuple[Check, ...] = tuple(
    replace(check, applies=APPLIES.get(module)) for module in MODULES for check in module.CHECKS
)
