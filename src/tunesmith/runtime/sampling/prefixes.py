"""Beginnings of prompts that several rows have in common, so that they are computed and read once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunesmith.runtime.sampling.kv import Prefix
from tunesmith.runtime.sampling.row import HEAD_TOKENS, Row

MIN_SHARED = HEAD_TOKENS
WORTH_A_GROUP = 256
"""Tokens that need not be read in each step, from which a group of its own pays for its extra products."""
LOYALTY = 1.25
"""A prefix that a group stands on already is taken before one that would save up to this much more."""


class Match(NamedTuple):
    """A stored prefix, and how many of its first tokens are the ones looked for."""

    prefix: Prefix
    length: int


class PrefixStore:
    """Prefixes in the order of their last use."""

    def __init__(self) -> None:
        self.prefixes: list[Prefix] = []

    @property
    def num_bytes(self) -> int:
        """Memory of all, float32 copies included."""
        return sum(prefix.num_bytes for prefix in self.prefixes)

    def find(self, adapter: str | None, token_ids: Sequence[int]) -> Match | None:
        """The prefix with the longest beginning of these tokens, if it is worth taking."""
        tokens = tuple(token_ids)
        best, length = None, MIN_SHARED - 1
        for prefix in self.prefixes:
            # Of equal ones the exact one: it can be stood on as it is.
            if prefix.adapter == adapter:
                common = common_length(prefix.token_ids, tokens)
                if common > length or (common == length and prefix.length == length):
                    best, length = prefix, common
        if best is None:
            return None
        self.prefixes.remove(best)
        self.prefixes.append(best)
        return Match(best, length)

    def add(self, new: Prefix) -> None:
        """Keep a prefix; unused ones that it begins with go."""
        self.prefixes = [
            old for old in self.prefixes if old.num_users or not old.begins(new.adapter, new.token_ids)
        ]
        self.prefixes.append(new)

    def drop_unused(self, held: tuple[Prefix, ...] = ()) -> bool:
        """Let the prefix go that was used longest ago and that nobody stands on; whether there was one."""
        for prefix in self.prefixes:
            if prefix.num_users == 0 and prefix not in held:
                self.prefixes.remove(prefix)
                return True
        return False


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with (by halving: comparing slices is fast, walking tokens is not)."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class Wish(NamedTuple):
    """How many of a row's first tokens it should have in common with others, and in what form."""

    length: int
    as_group: bool
    """Whether enough rows share enough of it to read it once for all of them."""


def wish_of(row: Row, others: Iterable[Row], in_use: Iterable[Prefix]) -> Wish | None:
    """The beginning that is best shared with other rows: its length times the rows that have it too."""
    tokens, most, head = row.request.token_ids, row.most_known, row.head
    common = [
        min(most, common_length(tokens, other.request.token_ids))
        for other in others
        if other is not row and other.head == head
    ]
    common = [length for length in common if length >= MIN_SHARED]
    if not common:
        return None

    def saved(length: int) -> int:
        return length * sum(other >= length for other in common)

    best = max(common, key=lambda length: (saved(length), length))
    for prefix in in_use:
        is_ours = prefix.begins(row.request.adapter, tokens[:most])
        if is_ours and saved(prefix.length) * LOYALTY >= saved(best):
            best = prefix.length
            break
    return Wish(best, as_group=saved(best) >= WORTH_A_GROUP)
