"""What every sampler does the same way: a request becomes a row, and a chosen token becomes an event."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from tunesmith.runtime.sampling.choose import Chosen
from tunesmith.runtime.sampling.port import FinishReason, Request, SampleEvent
from tunesmith.runtime.sampling.row import Row, event_of
from tunesmith.runtime.sampling.stopping import StopFilter, TokenText

if TYPE_CHECKING:
    from tunesmith.runtime.sampling.forward import Tokenizer
    from tunesmith.runtime.sampling.grammar import GrammarBook


class Intake:
    """Makes the rows of one sampler."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.tokenizer, self.vocab_size = tokenizer, vocab_size
        self._keys = count(1)
        self._grammars: GrammarBook | None = None

    def row_for(self, request: Request) -> Row:
        """The row of a request that was checked; raises CannotAdmit for a grammar that cannot be read."""
        grammar = request.grammar
        matcher = None if grammar is None else self._book().start(grammar, request.stop_token_ids)
        stop = StopFilter(request.stop, include_stop=request.include_stop)
        seed = secrets.randbits(63) if request.seed is None else request.seed
        decode = partial(self._decode, skip_special_tokens=not request.show_special)
        return Row(next(self._keys), request, TokenText(decode), stop, seed, matcher=matcher)

    def _book(self) -> GrammarBook:
        """Made when the first request asks for it: it reads the whole vocabulary."""
        if self._grammars is None:
            from tunesmith.runtime.sampling.grammar import GrammarBook

            self._grammars = GrammarBook(self.tokenizer, self.vocab_size)
        return self._grammars

    def _decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        found = self.tokenizer.decode(
            list(token_ids), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
        )
        return str(found)


def push(row: Row, chosen: Chosen) -> SampleEvent:
    """Add a token to a row, and say what has become of it."""
    token, logprob = chosen
    row.generated.append(token)
    if token in row.request.stop_token_ids:
        text = row.stop.push(row.text.finish()) + row.stop.finish()
        return event_of(row, text, "stop", ended_by=logprob)
    if row.matcher is not None:
        row.matcher.accept(token)
    text = row.stop.push(row.text.push(token))
    if row.stop.stopped:
        return event_of(row, text, "stop", logprob=logprob)
    is_over = row.matcher is not None and row.matcher.ended
    if is_over or len(row.generated) >= row.request.max_tokens:
        text += row.stop.push(row.text.finish()) + row.stop.finish()
        is_whole = row.matcher is not None and is_over and row.matcher.failure is None
        reason: FinishReason = "stop" if is_whole or row.stop.stopped else "length"
        return event_of(row, text, reason, logprob=logprob)
    return event_of(row, text, None, logprob=logprob)
