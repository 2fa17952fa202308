"""Generation: requests in, events out, many requests in one batch.

Legend of tensor names: R rows that are read, V vocabulary.

`Sampler` is stepped by one thread (`thread.py` has it).  A row is a prompt and its answer so far; some of its
tokens are computed, the rest is pending.  A running row has one pending token, a new one its whole prompt.
Each step

1. admits waiting rows that fit: what they begin with is taken from a stored prefix or from another row;
2. computes, in one forward pass, the pending token of every running row beside at most `CHUNK_TOKENS` prompt
   tokens of new ones, so that no prompt stops the others for longer than that;
3. chooses a token for each row whose pending tokens are all computed.

Rows leave when they are finished and others take their place while the rest goes on, so no row waits for the
longest.  When memory runs short the youngest goes back to the queue, with what it has said already.

A request's random numbers depend on its seed and the position alone, never on its neighbours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from tunesmith.runtime.sampling.admission import Limits, check
from tunesmith.runtime.sampling.answering import Intake, push
from tunesmith.runtime.sampling.choose import choose
from tunesmith.runtime.sampling.forward import Line, Read, Routes, Stepper, Tokenizer
from tunesmith.runtime.sampling.logprobs import logprobs_of
from tunesmith.runtime.sampling.memory import Memory
from tunesmith.runtime.sampling.port import Request, SampleEvent
from tunesmith.runtime.sampling.prefixes import common_length, wish_of
from tunesmith.runtime.sampling.row import Row, event_of

CHUNK_TOKENS = 512
"""Prompt tokens in one pass: bounds how long running rows wait, and the memory of activations."""
CHUNK_READS = 128
"""Prompt tokens in one pass whose log-probabilities are read: bounds the memory of logits."""
DEFAULT_MEMORY_BYTES = 2 << 30


class Sampler:
    """Steps a model over many requests.  Not thread-safe: `thread.py` gives it a thread.

    `model` is a transformers causal language model; it is switched to the attention of `attention.py` and
    must not be used otherwise meanwhile.  `bank` holds the adapters that requests name.  Keys, values and
    stored prefixes never take more than `memory_bytes`; weights and one pass's activations come on top.
    Raises CannotStep when stepping would change what the model computes.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        bank: Routes | None = None,
        max_batch: int = 32,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
    ) -> None:
        self.tokenizer, self.bank, self.max_batch = tokenizer, bank, max_batch
        self.waiting: deque[Row] = deque()
        self.rows: list[Row] = []
        self._stepper = Stepper(model, tokenizer, bank)
        self.memory = Memory(self._stepper.shapes, memory_bytes)
        self._context_tokens: int | None = model.config.to_dict().get("max_position_embeddings")
        self._intake = Intake(tokenizer, self._stepper.vocab_size)

    @property
    def note(self) -> None:
        """Nothing is special about this sampler."""
        return

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self.rows or self.waiting)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence (prompt and answer) that the memory holds, alone."""
        return self.memory.longest

    @property
    def limits(self) -> Limits:
        """What requests are checked against."""
        adapters = self.bank.names if self.bank is not None else ()
        memory = self.memory
        vocab_size = self._stepper.vocab_size
        return Limits(vocab_size, self._context_tokens, memory.longest, memory.max_bytes, adapters)

    def submit(self, request: Request) -> int:
        """Queue a request; returns the key that its events carry.  Raises CannotAdmit."""
        check(request, self.limits)
        row = self._intake.row_for(request)
        self.waiting.append(row)
        return row.key

    @torch.inference_mode()
    def cancel(self, key: int) -> list[SampleEvent]:
        """Drop a request; its last event, or nothing when it is not here any more."""
        for place in (self.waiting, self.rows):
            for row in place:
                if row.key == key:
                    place.remove(row)
                    if row.group is not None:
                        self.memory.release(row)
                    return [event_of(row, "", "cancelled")]
        return []

    @torch.inference_mode()
    def step(self) -> list[SampleEvent]:
        """Admit what fits, compute one token for each running row, and report."""
        self._admit()
        self._make_room()
        line = self._next_line()
        if not line.parts:
            return []
        logits_RV = self._stepper.logits(line)
        line.count()
        self._take_scores(line.reads, logits_RV)
        return [*self._take_tokens(line.reads, logits_RV), *self._end_scored()]

    def reset(self) -> list[int]:
        """Forget every request (after a failure in a step); returns their keys."""
        keys = [row.key for row in (*self.rows, *self.waiting)]
        self.memory.clear()
        self.rows.clear()
        self.waiting.clear()
        return keys

    # --- rows come and go --------------------------------------------------------------------------

    def _admit(self) -> None:
        """Give waiting rows their places, in order, as long as there are places and memory.

        A row that begins like one whose prompt is being computed is passed over until it can take that.
        """
        if len(self.rows) >= self.max_batch:
            return
        candidates = list(islice(self.waiting, self.max_batch))
        for row in candidates:
            if len(self.rows) >= self.max_batch:
                return
            in_use = [prefix for prefix in self.memory.store.prefixes if prefix.num_users]
            wish = wish_of(row, (*self.rows, *candidates), in_use)
            known = self.memory.known(row, self.rows)
            if wish is not None and known.length < wish.length and self._is_coming(row, wish.length):
                continue
            as_group = wish is not None and wish.as_group and known.length >= wish.length
            if not self.memory.admit(row, known, shared=wish.length if wish is not None and as_group else 0):
                if self.rows:
                    return
                self.memory.admit_alone(row)
            self._enter(row)

    def _enter(self, row: Row) -> None:
        self.waiting.remove(row)
        self.rows.append(row)
        if not row.started:
            row.started, row.num_cached = True, row.computed

    def _is_coming(self, row: Row, length: int) -> bool:
        """Whether a running row is about to compute the first tokens of this one."""
        tokens = row.request.token_ids
        return any(
            other.head == row.head and common_length(tokens, other.request.token_ids) >= length
            for other in self.rows
            if other.computed < length
        )

    def _make_room(self) -> None:
        """Give rows whose slot is full a larger one; send the youngest back while there is no memory."""
        for row in list(self.rows):
            while row.group is not None and row.group.is_open and row.group.is_full_for(row):
                if not self.memory.lengthen(row):
                    youngest = max(self.rows, key=lambda other: other.key)
                    self._leave(youngest)
                    self.waiting.appendleft(youngest)

    def _leave(self, row: Row) -> None:
        self.memory.release(row)
        self.rows.remove(row)

    # --- a pass ------------------------------------------------------------------------------------

    def _next_line(self) -> Line:
        """The pending token of every running row, then prompt tokens of new ones."""
        line = Line()
        for group in self.memory.groups:
            if group.is_open:
                line.add_group(group)
        tokens_left, reads_left = CHUNK_TOKENS, CHUNK_READS
        for row in self.rows:
            assert row.group is not None
            if row.group.is_open:
                continue
            stop = min(row.num_tokens, row.computed + tokens_left)
            if row.next_scored is not None:
                stop = min(stop, row.next_scored - 1 + reads_left)
                reads_left -= max(0, stop + 1 - row.next_scored)
            if stop > row.computed:
                tokens_left -= stop - row.computed
                line.add_piece(row, stop)
        return line

    def _take_scores(self, reads: Sequence[Read], logits_RV: Tensor) -> None:
        """Log-probabilities of prompt tokens, those of all rows at once."""
        places, rows, tokens = [], [], []
        for place, (row, scored) in enumerate(reads):
            if scored is not None:
                places.append(place)
                rows.append(row)
                tokens.append(row.request.token_ids[scored])
        if not places:
            return
        scored_RV = logits_RV if len(places) == len(reads) else logits_RV[places]  # indexing copies
        counts = [row.request.prompt_logprobs or 0 for row in rows]
        for row, logprob in zip(rows, logprobs_of(scored_RV, tokens, counts), strict=True):
            row.prompt_logprobs.append(logprob)

    def _take_tokens(self, reads: Sequence[Read], logits_RV: Tensor) -> list[SampleEvent]:
        """Choose each read row's next token and report the text it makes."""
        places = [index for index, read in enumerate(reads) if read.scored is None]
        if not places:
            return []
        rows = [reads[index].row for index in places]
        if len(places) < len(reads):
            logits_RV = logits_RV[places]
        events = []
        for row, chosen in zip(rows, choose(rows, logits_RV), strict=True):
            event = push(row, chosen)
            events.append(event)
            if event.finish_reason is not None:
                self.memory.keep(row, row.computed)
                self._leave(row)
            elif row.group is not None and not row.group.is_open:
                self.memory.settle(row)
        return events

    def _end_scored(self) -> Iterator[SampleEvent]:
        """Let rows go of which only the prompt was wanted, but for what the next ones begin with."""
        for row in list(self.rows):
            if not row.request.max_tokens and not row.num_pending:
                wish = wish_of(row, islice(self.waiting, self.max_batch), ())
                if wish is not None:
                    self.memory.keep(row, wish.length)
                self._leave(row)
                yield event_of(row, "", "length")


def sample(
    sampler: Sampler, requests: Sequence[Request], *, on_event: Callable[[SampleEvent], None] | None = None
) -> list[str]:
    """Answer all requests and return their texts in order."""
    keys = [sampler.submit(request) for request in requests]
    texts = dict.fromkeys(keys, "")
    while sampler.busy:
        for event in sampler.step():
            texts[event.key] += event.text
            if on_event is not None:
                on_event(event)
    return [texts[key] for key in keys]
