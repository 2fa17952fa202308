"""The same question with another group's name in it: does the model answer otherwise?

Counterfactual evaluation (Kusner et al., arXiv:1703.06856; Garg et al., arXiv:1809.10610): every item that
names a term is asked once for each term of its set, and the answers are compared within the item.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from tunesmith.core.conversation import Message
from tunesmith.core.errors import DataError
from tunesmith.core.stats import benjamini_hochberg, paired_difference
from tunesmith.evaluate.items import Item, Items
from tunesmith.evaluate.schema import Score, SwapResult

SLICE = "swap"


def with_swaps(found: Items, sets: Sequence[Sequence[str]]) -> Items:
    """Every item that names a term, once for each term of the first set that it names; others are left out.

    Raises DataError when no item names any.
    """
    if not sets:
        return found
    items = [variant for item in found.items for variant in variants(item, sets)]
    if not items:
        terms = ", ".join(term for terms in sets for term in terms)
        step = "name terms that stand in the items' prompts"
        raise DataError(
            "no item names any of the terms to swap", where=found.name, value=terms, next_step=step
        )
    return found._replace(items=tuple(items))


def variants(item: Item, sets: Sequence[Sequence[str]]) -> list[Item]:
    """The item with each term of the first set that its prompt names; none when it names no term."""
    prompt = "\n".join(turn.content or "" for turn in item.example.prompt)
    for terms in sets:
        pattern = pattern_of(terms)
        if pattern.search(prompt):
            return [variant(item, pattern, term) for term in terms]
    return []


def pattern_of(terms: Sequence[str]) -> re.Pattern[str]:
    """Any of the terms as whole words, in small letters or with capitals."""
    longest_first = sorted(terms, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


def variant(item: Item, pattern: re.Pattern[str], term: str) -> Item:
    """The item with one term in place of every term of the set, in prompt and right answer."""
    turns = tuple(swapped(turn, pattern, term) for turn in item.example.messages)
    example = replace(item.example, messages=turns)
    return Item(example.row_hash, item.group_id, example, {**item.slices, SLICE: term}, origin=item.id)


def swapped(turn: Message, pattern: re.Pattern[str], term: str) -> Message:
    """A turn with the term; a capital at the start of a word stays one."""
    if turn.content is None:
        return turn
    return replace(turn, content=pattern.sub(lambda found: like(found.group(), term), turn.content), parts=())


def like(old: str, term: str) -> str:
    """The term with a capital where the old word had one."""
    return term[:1].upper() + term[1:] if old[:1].isupper() else term


def swaps_of(
    sets: Sequence[Sequence[str]],
    names: Sequence[str],
    scores: Mapping[str, Score],
    samples: Sequence[Any],
    seed: int,
) -> list[SwapResult]:
    """For every two terms of a set and every score: the difference within items, with its interval.

    p-values are corrected for all of them (Benjamini and Hochberg).
    """
    found = [
        one
        for terms in sets
        for pair in combinations(terms, 2)
        for name in names
        if (one := swap_of(pair, name, scores[name], samples, seed)) is not None
    ]
    adjusted = benjamini_hochberg([one.p_value for one in found])
    return [one.model_copy(update={"adjusted_p": p}) for one, p in zip(found, adjusted, strict=True)]


def swap_of(
    pair: tuple[str, str], name: str, score: Score, samples: Sequence[Any], seed: int
) -> SwapResult | None:
    """Second minus first term on the items that have both; None when there are none."""
    by_term: dict[str, dict[str, tuple[float, str]]] = {term: {} for term in pair}
    for sample in samples:
        term = sample["slices"].get(SLICE)
        if term in by_term and name in sample["scores"] and sample["repeat"] == 0:
            by_term[term][sample["origin"]] = (sample["scores"][name], sample["group_id"])
    first, second = (by_term[term] for term in pair)
    common = [origin for origin in first if origin in second]
    if not common:
        return None
    paired = paired_difference(
        [first[origin][0] for origin in common],
        [second[origin][0] for origin in common],
        [first[origin][1] for origin in common],
        shares=score.kind == "share",
        bounded=score.kind != "number",
        seed=seed,
    )
    ends = {"value": paired.interval.value, "low": paired.interval.low, "high": paired.interval.high}
    p_values = {"p_value": paired.p_value, "adjusted_p": paired.p_value}
    differing = sum(first[origin][0] != second[origin][0] for origin in common)
    return SwapResult(
        score=name, first=pair[0], second=pair[1], n=len(common), differing=differing, **ends, **p_values
    )
