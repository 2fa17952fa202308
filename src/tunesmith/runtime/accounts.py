"""What became of the rows of a data set and their tokens, counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tunesmith.runtime.fitting import Fitted
from tunesmith.runtime.step import Encoded

NUM_FIRST_LINES: Final = 5


@dataclass
class Account:
    """What became of the rows and tokens of one source; every row has exactly one outcome."""

    rows: int = 0
    kept: int = 0
    """Rows used whole."""
    truncated: int = 0
    """Rows used without some of their tokens."""
    split: int = 0
    """Rows used as several examples."""
    dropped: int = 0
    """Rows left out because they are too long."""
    refused: int = 0
    """Rows that are too long where the recipe refuses them."""
    unsupervised: int = 0
    """Rows left out because no token of them would be learned."""
    items: int = 0
    """Examples, or packed blocks, in the corpus."""
    tokens: int = 0
    """Tokens in the corpus."""
    learned_tokens: int = 0
    """Those that a loss is taken on."""
    tokens_cut: int = 0
    """Tokens of the rows that are not in the corpus."""
    learned_tokens_cut: int = 0
    """Tokens to be learned that are not learned: cut away, or first in an item, with nothing before them."""
    longest: int = 0
    """Tokens of the longest row, before any cut."""
    partial_block_tokens: int = 0
    """Tokens of the last packed block when it is not full."""
    first_lines: dict[str, list[int]] = field(default_factory=dict)
    """The first lines of the source file with each outcome other than kept."""

    def add(self, fitted: Fitted, line: int) -> None:
        """Count one row."""
        self.rows += 1
        setattr(self, fitted.outcome, vars(self)[fitted.outcome] + 1)
        if fitted.outcome != "kept":
            lines = self.first_lines.setdefault(fitted.outcome, [])
            lines += [line] * (len(lines) < NUM_FIRST_LINES)
        self.items += len(fitted.pieces)
        self.tokens += sum(len(piece.token_ids) for piece in fitted.pieces)
        self.learned_tokens += sum(piece.num_supervised for piece in fitted.pieces)
        self.tokens_cut += fitted.tokens_cut
        self.learned_tokens_cut += fitted.learned_cut
        self.longest = max(self.longest, fitted.num_tokens)

    def add_document(self, encoded: Encoded) -> None:
        """Count a document that goes on in the next block where one is full: nothing is cut."""
        self.rows += 1
        self.kept += 1
        self.tokens += len(encoded.token_ids)
        self.longest = max(self.longest, len(encoded.token_ids))

    def add_blocks(self, learned: NDArray[np.int32], num_weights: int) -> None:
        """Count what is learned of the blocks; the first token of a block is not."""
        self.items = len(learned)
        self.learned_tokens = int(learned.sum(dtype=np.int64))
        self.learned_tokens_cut = num_weights - self.learned_tokens
