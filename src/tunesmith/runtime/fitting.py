"""Examples that are too long: what becomes of them, with every token counted.  Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from tunesmith.core.recipe.recipe import TooLong
from tunesmith.runtime.step import Encoded

Outcome = Literal["kept", "refused", "dropped", "truncated", "split", "unsupervised"]


class Fitted(NamedTuple):
    """What became of one example: the pieces that are used, and what was lost on the way."""

    outcome: Outcome
    """`unsupervised`: no piece holds a token that is learned."""
    pieces: tuple[Encoded, ...]
    num_tokens: int
    """Of the whole example."""
    num_learned: int
    """Likewise."""

    @property
    def tokens_cut(self) -> int:
        """Tokens that no piece holds."""
        return self.num_tokens - sum(len(piece.token_ids) for piece in self.pieces)

    @property
    def learned_cut(self) -> int:
        """Learned tokens that no piece learns; the first token of a piece is never learned."""
        return self.num_learned - sum(piece.num_supervised for piece in self.pieces)


def fit(encoded: Encoded, limit: int, too_long: TooLong) -> Fitted:
    """Make an example fit into `limit` tokens; pieces without a learned token are left out, and counted."""
    num_tokens, num_learned = len(encoded.token_ids), encoded.num_supervised
    outcome: Outcome = "kept"
    pieces: tuple[Encoded, ...] = (encoded,)
    if num_tokens > limit:
        outcome, cut = WAYS[too_long]
        pieces = cut(encoded, limit)
    learned = tuple(piece for piece in pieces if piece.num_supervised)
    if pieces and not learned:
        outcome = "unsupervised"
    return Fitted(outcome, learned, num_tokens, num_learned)


def part(encoded: Encoded, start: int, stop: int) -> Encoded:
    """Some tokens of an example."""
    return Encoded(encoded.token_ids[start:stop], encoded.weights[start:stop])


def nothing(encoded: Encoded, limit: int) -> tuple[Encoded, ...]:
    """The example is not used."""
    return ()


def without_left(encoded: Encoded, limit: int) -> tuple[Encoded, ...]:
    """The last tokens."""
    return (part(encoded, len(encoded.token_ids) - limit, len(encoded.token_ids)),)


def without_right(encoded: Encoded, limit: int) -> tuple[Encoded, ...]:
    """The first tokens."""
    return (part(encoded, 0, limit),)


def in_pieces(encoded: Encoded, limit: int) -> tuple[Encoded, ...]:
    """One piece after the other."""
    starts = range(0, len(encoded.token_ids), limit)
    return tuple(part(encoded, start, start + limit) for start in starts)


WAYS: dict[TooLong, tuple[Outcome, Callable[[Encoded, int], tuple[Encoded, ...]]]] = {
    "refuse": ("refused", nothing),
    "drop": ("dropped", nothing),
    "truncate_left": ("truncated", without_left),
    "truncate_right": ("truncated", without_right),
    "split": ("split", in_pieces),
}
