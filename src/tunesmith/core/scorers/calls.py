"""Scorers of tool calls: was the right function called with the right arguments?"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tunesmith.core.files import canonical_json
from tunesmith.core.scorers.port import Case, Faulty, Scorer
from tunesmith.core.scorers.texts import overlap_f1
from tunesmith.core.values import NotJSON, trimmed


def calls_of(turn: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Name and arguments of each call, the arguments as canonical JSON; broken arguments as they are."""
    found = []
    for call in turn:
        function = call.get("function", {})
        arguments = str(function.get("arguments", ""))
        with suppress(ValueError, RecursionError, NotJSON):  # then text: equal only to the same broken text
            arguments = canonical_json(trimmed(json.loads(arguments or "{}")))
        found.append((str(function.get("name")), arguments))
    return found


def right_calls(case: Case) -> list[tuple[str, str]]:
    """The calls of the item's own answer."""
    turns = [turn for turn in case.example.messages if turn.role == "assistant"]
    if not turns:
        raise Faulty("the item has no assistant turn")
    return calls_of(turns[-1].tool_calls)


def tool_calls(case: Case, *, ordered: bool = False) -> float:
    """1 when exactly the right functions are called with the right arguments (`ordered`: in order).

    A right answer without calls is matched by an answer without calls.
    """
    right, said = right_calls(case), calls_of(case.reply.tool_calls)
    return float(right == said if ordered else Counter(right) == Counter(said))


def tool_names(case: Case) -> float:
    """F1 of the names of the called functions, whatever their arguments."""
    right, said = right_calls(case), calls_of(case.reply.tool_calls)
    return overlap_f1(Counter(name for name, _ in right), Counter(name for name, _ in said))


SCORERS = (Scorer("tool_calls", tool_calls, "share"), Scorer("tool_names", tool_names, "unit"))
