"""A request on its way through a sampler."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunesmith.runtime.sampling.penalties import SeenTokens
from tunesmith.runtime.sampling.port import FinishReason, Request, SampleEvent, TokenLogprob
from tunesmith.runtime.sampling.stopping import StopFilter, TokenText

if TYPE_CHECKING:
    from tunesmith.runtime.sampling.grammar import Matcher
    from tunesmith.runtime.sampling.kv import Group

HEAD_TOKENS = 32
"""A shared beginning shorter than this is not worth the bookkeeping."""


@dataclass(eq=False)
class Row:
    """A request on its way: its prompt, then its answer, of which the keys of `computed` tokens are held.

    Sampling goes on where the last token's logits are known, so a running row has one token that is not
    computed yet, and a row that waits, or was sent back, has all of them.
    """

    key: int
    request: Request
    text: TokenText
    stop: StopFilter
    seed: int
    generated: list[int] = field(default_factory=list)
    num_cached: int = 0
    """Prompt tokens that were not computed for this request."""
    seen: SeenTokens | None = None
    """What the penalties count; `choose` keeps it."""
    matcher: Matcher | None = None
    """What the request's grammar allows next."""
    computed: int = 0
    group: Group | None = None
    """Where the keys and values are; None: there are none."""
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of the prompt tokens from `prompt_logprobs_from` on, as far as they are known."""
    started: bool = False
    """Whether a pass has taken tokens of it; afterwards `num_cached` stays."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Prompt and answer so far."""
        return (*self.request.token_ids, *self.generated)

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and answer so far."""
        return len(self.request.token_ids) + len(self.generated)

    @property
    def num_pending(self) -> int:
        """Tokens whose keys are not there yet."""
        return self.num_tokens - self.computed

    @property
    def head(self) -> tuple[str | None, tuple[int, ...]]:
        """Rows that share a beginning worth sharing have this in common."""
        return self.request.adapter, self.request.token_ids[:HEAD_TOKENS]

    @property
    def next_scored(self) -> int | None:
        """Index of the next prompt token whose log-probability is wanted; None when none is (any more)."""
        if self.request.prompt_logprobs is None:
            return None
        index = self.request.prompt_logprobs_from + len(self.prompt_logprobs)
        return index if index < len(self.request.token_ids) else None

    @property
    def most_known(self) -> int:
        """Tokens that may come from elsewhere: at least the last one's logits are computed here."""
        scored = self.next_scored
        return self.num_tokens - 1 if scored is None else min(self.num_tokens - 1, scored - 1)

    def tokens(self, start: int, stop: int) -> tuple[int, ...] | list[int]:
        """Some of prompt and answer."""
        begin = len(self.request.token_ids)
        return self.generated[start - begin : stop - begin] if start >= begin else self.token_ids[start:stop]


def event_of(
    row: Row,
    text: str,
    finish_reason: FinishReason | None,
    *,
    logprob: TokenLogprob | None = None,
    ended_by: TokenLogprob | None = None,
) -> SampleEvent:
    """What a row has to report now; its first event carries the prompt's log-probabilities."""
    asked = row.request.prompt_logprobs is not None and finish_reason != "cancelled"
    is_first = len(row.generated) <= 1
    return SampleEvent(
        row.key,
        text,
        len(row.generated),
        row.num_cached,
        finish_reason,
        () if logprob is None else (logprob,),
        tuple(row.prompt_logprobs) if asked and is_first else None,
        ended_by,
    )
