"""Generation for models that our attention does not step: transformers' own forward and cache.

Legend of tensor names: B rows of a batch, T tokens of their prompts, K tokens whose logits are kept,
V vocabulary.

Recurrent and hybrid models keep a state beside keys and values, and methods that learn a prompt put tokens of
their own before each row.  transformers' cache holds all of that, one token later at a time, so a batch here
is what `generate` makes of it: rows whose prompts are equally long under one adapter start together (there is
never padding, which recurrent layers would take for text), a row that is finished leaves, and none joins.
What a token makes of a row, and how it is chosen, is the same code as in `engine.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache

from tunesmith.core.errors import ModelError
from tunesmith.runtime.models import quiet_transformers, use_own_attention
from tunesmith.runtime.sampling.admission import Limits, check
from tunesmith.runtime.sampling.answering import Intake, push
from tunesmith.runtime.sampling.choose import choose
from tunesmith.runtime.sampling.engine import DEFAULT_MEMORY_BYTES
from tunesmith.runtime.sampling.forward import PROOF_LIMIT, PROOF_TEXT, Routes, Tokenizer
from tunesmith.runtime.sampling.logprobs import logprobs_of
from tunesmith.runtime.sampling.port import CannotAdmit, Request, SampleEvent
from tunesmith.runtime.sampling.row import Row, event_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHE_NAMES: Final = ("past_key_values", "cache_params")
"""What models call their cache, going in and coming out."""
ANY_LENGTH: Final = 1 << 31
"""What the memory holds of a model whose state does not grow."""


class Held(NamedTuple):
    """A batch's cache, under the name by which the model takes it."""

    name: str
    cache: Cache


class Stepped(NamedTuple):
    """Logits of some tokens, float32 on the processor, and the cache behind them."""

    logits_BKV: Tensor
    held: Held


class CachedModel:
    """A model that is given a batch of prompts, and then one token of each row at a time.

    `forward` takes the prompts where that is not the model itself: PEFT's wrapper of a learned prompt.
    """

    def __init__(self, model: PreTrainedModel, forward: nn.Module | None, bank: Routes | None) -> None:
        self.model, self.forward, self.bank = model, model if forward is None else forward, bank
        self.device = next(model.parameters()).device

    def begin(self, token_BT: Tensor, adapter: str | None, keep: int) -> Stepped:
        """Compute prompts; logits of the last `keep` tokens."""
        rows, length = token_BT.shape
        reads = [row * length + at for row in range(rows) for at in range(length - keep, length)]
        return self._run(self.forward, token_BT, adapter, reads, {"logits_to_keep": keep})

    def go_on(self, token_B1: Tensor, adapter: str | None, held: Held) -> Stepped:
        """Compute one token more of each row."""
        return self._run(self.model, token_B1, adapter, range(len(token_B1)), {held.name: held.cache})

    def whole(self, token_BT: Tensor) -> Tensor:
        """Logits (B, V) after the last token, computed without a cache; no adapter."""
        self._route(token_BT, None, range(token_BT.numel()))
        logits_BTV: Tensor = self.forward(input_ids=token_BT.to(self.device), use_cache=False).logits
        return logits_BTV[:, -1].float().cpu()

    def _run(
        self, called: Any, token_BT: Tensor, adapter: str | None, reads: Sequence[int], more: dict[str, Any]
    ) -> Stepped:
        self._route(token_BT, adapter, reads)
        output = called(input_ids=token_BT.to(self.device), use_cache=True, **more)
        name = next((name for name in CACHE_NAMES if isinstance(output.get(name), Cache)), None)
        if name is None:
            raise ModelError(
                "the model keeps what it has read in a form of its own", value=type(self.model).__name__
            )
        keep = len(reads) // len(token_BT)
        return Stepped(output.logits[:, -keep:].float().cpu(), Held(name, output[name]))

    def _route(self, token_BT: Tensor, adapter: str | None, reads: Sequence[int]) -> None:
        if self.bank is not None:
            self.bank.route([(adapter, token_BT.numel())], reads=reads)


class Shape(NamedTuple):
    """What a model has, and what its cache takes."""

    vocab_size: int
    row_bytes: int
    """Memory of a row without tokens: states, a learned prompt."""
    token_bytes: int
    """Memory of each token on top."""
    num_learned: int
    """Tokens that stand before each row."""


class StaticSampler:
    """Steps a model over batches of requests.  Not thread-safe: `thread.py` gives it a thread.

    `bank` holds the adapters that requests name; `forward` is what `Loaded.forward` says.  Caches, and the
    logits of prompts that are scored, never take more than `memory_bytes`; weights and the activations of the
    prompts of one batch come on top.  `reason` says why it is this sampler.  Raises ModelError for a model
    that does not compute through its cache what it computes at once.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        *,
        forward: nn.Module | None = None,
        bank: Routes | None = None,
        max_batch: int = 32,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        reason: str = "",
    ) -> None:
        self.bank, self.max_batch, self.memory_bytes = bank, max_batch, memory_bytes
        self.waiting: deque[Row] = deque()
        self.rows: list[Row] = []
        self._placed: list[Row] = []
        """The rows of the running batch as the cache has them, those that left since among them."""
        self._held: Held | None = None
        self._model = CachedModel(model.eval(), forward if forward is None else forward.eval(), bank)
        use_own_attention(model)
        self.shape = prove(self._model, tokenizer)
        self._intake = Intake(tokenizer, self.shape.vocab_size)
        context: int | None = model.config.to_dict().get("max_position_embeddings")
        self._context_tokens = None if context is None else context - self.shape.num_learned
        self._reason = reason

    @property
    def note(self) -> str:
        """Says that answers are slower here."""
        because = f" ({self._reason})" if self._reason else ""
        return (
            "this model is sampled from through transformers' own forward: requests do not join a running"
            f" batch, and shared prompts are computed anew{because}"
        )

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self.rows or self.waiting)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence (prompt and answer) that the memory holds, alone."""
        left = self.memory_bytes - self.shape.row_bytes
        return max(0, left // self.shape.token_bytes) if self.shape.token_bytes else ANY_LENGTH * (left >= 0)

    @property
    def limits(self) -> Limits:
        """What requests are checked against."""
        adapters = () if self.bank is None else self.bank.names
        return Limits(self.shape.vocab_size, self._context_tokens, self.longest, self.memory_bytes, adapters)

    def submit(self, request: Request) -> int:
        """Queue a request; returns the key that its events carry.  Raises CannotAdmit."""
        check(request, self.limits)
        if self._num_bytes([request]) > self.memory_bytes:
            raise CannotAdmit(
                f"the logits of {num_kept(request):,} prompt tokens, which this model gives at once, do not"
                f" fit the sampler's memory of {self.memory_bytes / 2**20:,.0f} MiB",
                next_step="ask for log-probabilities of fewer prompt tokens (prompt_logprobs_from)",
            )
        row = self._intake.row_for(request)
        self.waiting.append(row)
        return row.key

    def cancel(self, key: int) -> list[SampleEvent]:
        """Drop a request; its last event, or nothing when it is not here any more."""
        for place in (self.waiting, self.rows):
            for row in place:
                if row.key == key:
                    place.remove(row)
                    if not self.rows:
                        self._end()
                    return [event_of(row, "", "cancelled")]
        return []

    @torch.inference_mode()
    def step(self) -> list[SampleEvent]:
        """One token for each running row; when none runs, the next batch begins."""
        if self.rows:
            return self._take(self.rows, self._go_on())
        return list(self._begin()) if self.waiting else []

    def reset(self) -> list[int]:
        """Forget every request (after a failure in a step); returns their keys."""
        keys = [row.key for row in (*self.rows, *self.waiting)]
        self._end()
        self.waiting.clear()
        return keys

    # --- a batch -----------------------------------------------------------------------------------

    def _begin(self) -> Iterator[SampleEvent]:
        """Compute the prompts of the next batch, and the first token of each."""
        self._placed = self._next_batch()
        self.rows = list(self._placed)
        for row in self.rows:
            self.waiting.remove(row)
            row.started = True
        first = self.rows[0].request
        token_BT = torch.tensor([row.request.token_ids for row in self.rows])
        keep = max(num_kept(row.request) for row in self.rows)
        logits_BKV, self._held = self._model.begin(token_BT, first.adapter, keep)
        for row, logits_KV in zip(self.rows, logits_BKV, strict=True):
            take_scores(row, logits_KV)
        speaking = [row for row in self.rows if row.request.max_tokens]
        for row in [row for row in self.rows if not row.request.max_tokens]:
            self.rows.remove(row)
            yield event_of(row, "", "length")
        places = [self._placed.index(row) for row in speaking]
        yield from self._take(speaking, logits_BKV[places, -1])

    def _next_batch(self) -> list[Row]:
        """The first row that waits, and those behind it that go with it and fit beside it."""
        first = self.waiting[0].request
        batch: list[Row] = []
        for row in self.waiting:
            if kind_of(row.request) == kind_of(first) and len(batch) < self.max_batch:
                if self._num_bytes([one.request for one in (*batch, row)]) > self.memory_bytes:
                    break
                batch.append(row)
        return batch

    def _go_on(self) -> Tensor:
        """Logits (B, V) after the last token of each running row."""
        assert self._held is not None
        if len(self.rows) < len(self._placed):
            kept = [place for place, row in enumerate(self._placed) if row in self.rows]
            keep_rows(self._held.cache, kept)
            self._placed = list(self.rows)
        token_B1 = torch.tensor([[row.generated[-1]] for row in self.rows])
        logits_B1V, self._held = self._model.go_on(token_B1, self.rows[0].request.adapter, self._held)
        return logits_B1V[:, -1]

    def _take(self, rows: Sequence[Row], logits_BV: Tensor) -> list[SampleEvent]:
        """Choose each row's next token; those that are finished leave."""
        rows = list(rows)
        chosen = choose(rows, logits_BV) if rows else []
        events = [push(row, token) for row, token in zip(rows, chosen, strict=True)]
        for row, event in zip(rows, events, strict=True):
            if event.finish_reason is not None:
                self.rows.remove(row)
        if not self.rows:
            self._end()
        return events

    def _end(self) -> None:
        self.rows, self._placed, self._held = [], [], None

    def _num_bytes(self, requests: Sequence[Request]) -> int:
        """Memory that a batch may come to take: its cache, and the logits of prompts that are scored."""
        num_tokens = sum(len(request.token_ids) + request.max_tokens for request in requests)
        num_logits = max(map(num_kept, requests)) * len(requests) * self.shape.vocab_size
        is_scored = any(request.prompt_logprobs is not None for request in requests)
        logits = num_logits * torch.float32.itemsize * is_scored
        return len(requests) * self.shape.row_bytes + num_tokens * self.shape.token_bytes + logits


def kind_of(request: Request) -> tuple[int, str | None]:
    """Requests that are equal in this start in one batch."""
    return len(request.token_ids), request.adapter


def num_kept(request: Request) -> int:
    """Tokens at the end of a prompt whose logits are wanted: at least the last one's."""
    if request.prompt_logprobs is None:
        return 1
    return max(1, len(request.token_ids) - request.prompt_logprobs_from + 1)


def take_scores(row: Row, logits_KV: Tensor) -> None:
    """Log-probabilities of a prompt's tokens, from the logits at its end."""
    request = row.request
    tokens = request.token_ids[request.prompt_logprobs_from :]
    if request.prompt_logprobs is not None and tokens:
        # The last token's logits are for what comes behind the prompt.
        counts = [request.prompt_logprobs] * len(tokens)
        row.prompt_logprobs = logprobs_of(logits_KV[-len(tokens) - 1 : -1], tokens, counts)


# --- what is found out at the start --------------------------------------------------------------------


@torch.inference_mode()
def prove(model: CachedModel, tokenizer: Tokenizer) -> Shape:
    """Show that cached steps give what the model computes at once, for two rows of which one leaves."""
    tokens = tokenizer.encode(PROOF_TEXT, add_special_tokens=False)
    token_2T = torch.tensor([tokens, tokens[::-1]])
    half = len(tokens) // 2
    name = type(model.model).__name__
    try:
        with quiet_transformers():
            expected_V = model.whole(token_2T[1:])[0]
            found, held = model.begin(token_2T[:, :half], None, 1)
            bytes_at_half = num_bytes(held.cache) // 2
            keep_rows(held.cache, [1])
            for at in range(half, len(tokens)):
                found, held = model.go_on(token_2T[1:, at : at + 1], None, held)
            learned = 0 if model.forward is model.model else held.cache.get_seq_length() - len(tokens)
    except (TypeError, IndexError, AttributeError, NotImplementedError, ValueError) as error:
        # A forward that takes no cache under its name, or no `logits_to_keep` (TypeError); a cache without
        # layers, or of layers that keep something else than what is asked of them (AttributeError; ValueError
        # and NotImplementedError by transformers' own functions), or fewer of them (IndexError).  Too little
        # memory and tensors that do not fit are RuntimeErrors: those are faults, and go through.
        reason = f"{name}: {error}"
        raise ModelError("this model's cache cannot be stepped", value=reason) from error
    difference = float((found[0, -1] - expected_V).square().mean().sqrt())
    if not difference <= PROOF_LIMIT * float(expected_V.std()):
        raise ModelError(
            "through its cache this model would not compute what it computes at once",
            value=f"{name}: logits differ by {difference:.3g}",
            next_step="choose another model, such as smollm2-135m-instruct",
        )
    token_bytes = -(-(num_bytes(held.cache) - bytes_at_half) // (len(tokens) - half))
    row_bytes = num_bytes(held.cache) - len(tokens) * token_bytes
    return Shape(len(expected_V), row_bytes, token_bytes, learned)


def keep_rows(cache: Cache, places: Sequence[int]) -> None:
    """Let the other rows of a batch go."""
    index: Any = torch.tensor(places)  # annotated as a LongTensor, which no function of torch returns
    cache.reorder_cache(index)


def num_bytes(cache: Cache) -> int:
    """Memory of all tensors of a cache."""
    return sum(
        tensor.numel() * tensor.element_size() for layer in cache.layers for tensor in tensors_in(vars(layer))
    )


def tensors_in(thing: Any) -> Iterator[Tensor]:
    """Tensors in lists and dictionaries, however deep."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, dict | list | tuple):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from tensors_in(part)
