"""Answers that keep to a grammar: which tokens may come next.

Legend of tensor names: V vocabulary.

llguidance does the work: an Earley parser over a lexer of derivatives, walked along a trie of the tokenizer's
tokens.  What it guarantees: an answer that ended by itself is in the grammar.  Where the text is free, every
token whose bytes fit is allowed; where it is forced, only the tokenizer's own way of cutting it.

JSON: properties come in the order of the schema, those that are not `required` may be left out, and others
come only where `additionalProperties` is not false (strict requests set it).  Between the parts of a value
any white space may stand (the library's default); a schema with
`"x-guidance": {"whitespace_flexible": false}` gets none.  Keywords that the library does not know are
refused, never skipped.  A regular expression (in the syntax of Rust's regex crate, where digits and words
are Unicode's) and a Lark grammar match the whole answer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from tunesmith.runtime.sampling.grammar_text import LIMITS, refuse, refuse_as_library_says, written
from tunesmith.runtime.sampling.port import Busy, CannotAdmit, Grammar

MAX_COMPILED = 64
"""Grammars kept ready; the one that was not asked for the longest goes first."""
COMPILE_SECONDS = 5.0
STACK_BYTES = 128 << 20
"""Room for the longest chain of rules that the allowed size of a text can hold (8 KiB for each)."""
END_TOKEN = "<|tunesmith: the grammar is complete|>"  # noqa: S105  # a token of text, no secret
"""Stands for "the answer may end here" in the library's own vocabulary; no id of the model does."""


class FastTokenizer(Protocol):
    """What a grammar asks of a transformers tokenizer: that the tokenizers library runs it."""

    @property
    def backend_tokenizer(self) -> Any:
        """A `tokenizers.Tokenizer`."""


class Matcher:
    """Where one answer stands in its grammar."""

    def __init__(
        self, state: LLMatcher, *, end_id: int, stop_token_ids: Collection[int], vocab_size: int
    ) -> None:
        self._state, self._end_id, self._vocab_size = state, end_id, vocab_size
        self._stop_ids = torch.tensor([token for token in stop_token_ids if token < vocab_size]).long()
        self._stop_set = frozenset(stop_token_ids)
        self._next: Tensor | None = None
        self.failure: str | None = None
        """Why the answer cannot go on although it is not complete; None while it can."""

    def allowed(self) -> Tensor:
        """(V,) bool: the tokens that may come next.

        Stop tokens are among them exactly when the answer is complete.  Tokens that only pad the vocabulary
        never are.  When `ended` and there is no stop token, none is left.
        """
        allowed_V = self._text_tokens().clone()
        allowed_V[self._stop_ids] = self._complete()
        return allowed_V

    def accept(self, token_id: int) -> None:
        """Go on by a token that is part of the answer: an allowed one, and no stop token."""
        self._next = None
        if not self._state.consume_token(token_id):
            self.failure = self._state.get_error().strip().splitlines()[0]

    @property
    def ended(self) -> bool:
        """Whether nothing but an end may follow.  Then the answer is complete, or `failure` says why not."""
        if self.failure is None and not bool(self._text_tokens().any()):
            if not self._complete():
                self.failure = self._state.get_error() or "no token of this model can go on from here"
                self.failure = self.failure.strip().splitlines()[0]
            return True
        return self.failure is not None

    def _complete(self) -> bool:
        return self.failure is None and self._state.is_accepting()

    def _text_tokens(self) -> Tensor:
        """(V,) bool: what may follow, stop tokens aside; computed once for each place."""
        if self._next is None:
            bits = np.frombuffer(self._state.compute_bitmask(), dtype=np.uint8)
            known = np.unpackbits(bits, count=min(self._end_id, self._vocab_size), bitorder="little")
            self._next = torch.zeros(self._vocab_size, dtype=torch.bool)
            self._next[: len(known)] = torch.from_numpy(known.view(np.bool_))
            self._next[self._stop_ids] = False
        return self._next


class GrammarBook:
    """Grammars for one model, each compiled once.  Any thread may ask; one grammar is compiled at a time.

    `vocab_size` is the width of the model's logits, which may be more than the tokenizer has tokens.
    """

    def __init__(self, tokenizer: FastTokenizer, vocab_size: int) -> None:
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        self._trie: LLTokenizer | None = None
        self._compiled: OrderedDict[tuple[str, str], LLMatcher] = OrderedDict()
        self._lock = threading.Lock()
        self._running: threading.Thread | None = None

    def start(self, grammar: Grammar, stop_token_ids: Collection[int]) -> Matcher:
        """A matcher at the beginning of an answer.

        Raises CannotAdmit for a grammar that the library cannot take or that takes too long, and Busy while
        one that took too long is still being worked on.
        """
        with self._lock:
            state = self._find(grammar)
            trie = self._library_tokenizer(grammar)
            matcher = Matcher(
                state.deep_copy(),
                end_id=trie.eos_token,
                stop_token_ids=stop_token_ids,
                vocab_size=self._vocab_size,
            )
        if matcher.ended:
            why = matcher.failure or "it allows only the empty answer"
            refuse(grammar, "nothing can be written under this grammar", value=why)
        return matcher

    def _find(self, grammar: Grammar) -> LLMatcher:
        key = (grammar.kind, grammar.text)
        if key not in self._compiled:
            self._compiled[key] = self._compile(grammar)
            if len(self._compiled) > MAX_COMPILED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return self._compiled[key]

    def _compile(self, grammar: Grammar) -> LLMatcher:
        if self._running is not None and self._running.is_alive():
            raise Busy("another grammar is still being compiled", next_step="try again in a minute")
        trie = self._library_tokenizer(grammar)
        done: Future[LLMatcher] = Future()

        def work() -> None:
            try:
                done.set_result(compiled(grammar, trie))
            except BaseException as error:  # whatever it is belongs to the thread that waits
                done.set_exception(error)

        self._running = start_with_stack(work, STACK_BYTES)
        try:
            return done.result(COMPILE_SECONDS)
        except TimeoutError:
            refuse(grammar, f"compiling this grammar takes more than {COMPILE_SECONDS:g} seconds")

    def _library_tokenizer(self, grammar: Grammar) -> LLTokenizer:
        """The tokenizer as llguidance wants it, built at the first grammar (a third of a second)."""
        if self._trie is None:
            try:
                self._trie = library_tokenizer(self._tokenizer)
            except (AttributeError, ValueError) as error:
                raise CannotAdmit(
                    "this model's tokenizer does not work with grammars",
                    value=str(error),
                    where=grammar.kind,
                    next_step="ask without a grammar",
                ) from error
        return self._trie


def library_tokenizer(tokenizer: FastTokenizer) -> LLTokenizer:
    """Llguidance's tokenizer with one more token, for the end.

    Raises AttributeError for a tokenizer that the tokenizers library does not run, and ValueError for one
    whose tokens have no bytes.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.add_special_tokens([AddedToken(END_TOKEN, special=True)])
    return LLTokenizer(backend.to_str(), eos_token=backend.token_to_id(END_TOKEN))


def compiled(grammar: Grammar, trie: LLTokenizer) -> LLMatcher:
    """A matcher at its beginning, which has computed its first tokens once: some faults only show there.

    Raises CannotAdmit.
    """
    try:
        state = LLMatcher(trie, written(grammar), log_level=0, limits=LIMITS)
        if not state.is_error():
            state.compute_bitmask()
        if state.is_error():
            refuse_as_library_says(grammar, state.get_error())
    except RecursionError:
        refuse(grammar, "it is nested too deeply")
    return state


def start_with_stack(work: Callable[[], None], num_bytes: int) -> threading.Thread:
    """Start a thread with a stack of this size.  It does not keep the process from ending."""
    before = threading.stack_size(num_bytes)
    try:
        thread = threading.Thread(target=work, name="grammar", daemon=True)
        thread.start()
    finally:
        threading.stack_size(before)
    return thread
