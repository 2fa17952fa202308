"""Generation: requests in, events out, many requests in one batch.

Legend of tensor names: R rows that are read, V vocabulary.

`Sampler` is stepped by one thread (`runtime.sampling_thread` has it).  Each step admits waiting requests
(their prompts are computed, what several prompts begin with only once), then computes one token for every
running row.  Rows leave when they are finished and others take their place while the rest goes on, so no row
waits for the longest.

A request's random numbers depend on its seed and the position alone, never on its neighbours.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from tunesmith.core.errors import ModelError
from tunesmith.runtime.kv import ATTENTION_NAME, Block, Pass, Prefill, Slots, join
from tunesmith.runtime.stopping import StopFilter, TokenText

PREFILL_TOKENS = 512
"""Prompt tokens computed in one forward pass: bounds the memory of activations."""
MIN_SHARED = 32
"""A shared beginning shorter than this is not worth the bookkeeping."""

PROOF_TEXT = "The quick brown fox jumps over the lazy dog."
PROOF_LIMIT = 0.25
"""Share of the logits' spread: bfloat16 through thirty layers moves them by a twentieth on ordinary text
(0.18 of 4.0 on SmolLM2-135M), a lost state or mask by the whole of it."""

FinishReason = Literal["stop", "length", "cancelled"]


class Tokenizer(Protocol):
    """What sampling asks of a transformers tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Text to token ids."""

    def decode(self, token_ids: Any, *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> Any:
        """Token ids to text."""


@dataclass(frozen=True)
class Request:
    """One prompt to go on from.  `temperature` 0 is greedy; `seed` None takes a random one."""

    token_ids: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    include_stop: bool = False


class SampleEvent(NamedTuple):
    """News of one request: text that may be shown, and at the end why it ended."""

    key: int
    text: str
    num_generated: int
    num_cached: int
    finish_reason: FinishReason | None


@dataclass
class Row:
    """A request on its way."""

    key: int
    request: Request
    text: TokenText
    stop: StopFilter
    seed: int
    generated: list[int] = field(default_factory=list)
    num_cached: int = 0

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Prompt and answer so far."""
        return (*self.request.token_ids, *self.generated)


class Stored(NamedTuple):
    """A beginning of prompts whose keys and values are kept."""

    token_ids: tuple[int, ...]
    block: Block


class PrefixStore:
    """Beginnings of recent prompts, least recently used out first, below a memory bound."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._stored: list[Stored] = []

    def find(self, token_ids: Sequence[int]) -> Block | None:
        """The longest stored beginning of these tokens, if it is worth taking."""
        best, length = None, MIN_SHARED - 1
        for stored in self._stored:
            if (common := common_length((stored.token_ids, tuple(token_ids)))) > length:
                best, length = stored, common
        if best is None:
            return None
        self._stored.remove(best)
        self._stored.append(best)
        return best.block.part(0, length)

    def keep(self, token_ids: Sequence[int], parts: Sequence[Block]) -> None:
        """Store a beginning in memory of its own; a stored beginning of it is dropped."""
        tokens = tuple(token_ids)
        if len(tokens) < MIN_SHARED:
            return
        self._stored = [old for old in self._stored if old.token_ids != tokens[: len(old.token_ids)]]
        self._stored.append(Stored(tokens, join(parts).copy()))
        while sum(stored.block.num_bytes for stored in self._stored) > self.max_bytes:
            self._stored.pop(0)


def common_length(sequences: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all sequences begin with."""
    # Sorted, the first and the last differ first where any two do.
    first, last = min(sequences), max(sequences)
    return next(
        (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )


class Sampler:
    """Steps a model over many requests.  Not thread-safe: `runtime.sampling_thread` gives it a thread.

    `model` is a transformers causal language model; it is switched to the attention of `runtime.kv` and must
    not be used otherwise afterwards.  Raises ModelError when that would change what it computes.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        max_batch: int = 32,
        kv_bytes: int = 2 << 30,
        prefix_bytes: int = 256 << 20,
    ) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.max_batch, self.kv_bytes = max_batch, kv_bytes
        self.waiting: deque[Row] = deque()
        self.rows: list[Row] = []
        self._slots = Slots()
        self._store = PrefixStore(prefix_bytes)
        self._next_key = 0
        self.bytes_per_token = self._prove()

    @torch.inference_mode()
    def _prove(self) -> int:
        """Show on a few tokens that stepping gives the model's own logits; returns a token's bytes.

        Anything that a layer carries from token to token outside keys and values would be lost here.
        """
        name = type(self.model).__name__
        if self.model._is_stateful:  # transformers' own mark of recurrent models
            raise ModelError("recurrent and hybrid models cannot be sampled from yet", value=name)
        tokens = self.tokenizer.encode(PROOF_TEXT, add_special_tokens=False)
        self.model.set_attn_implementation("eager")
        expected_V = self.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].float()
        self.model.set_attn_implementation(ATTENTION_NAME)
        slots, half = Slots(), len(tokens) // 2
        first = Prefill([half], [None])
        try:
            self._logits(tokens[:half], list(range(half)), [half - 1], first)
            slots.add(first.blocks())
            for position in range(half, len(tokens)):
                found_V = self._logits([tokens[position]], [position], [0], slots.decode())[0]
        except (TypeError, IndexError) as error:
            reason = f"{name}: {error}"
            raise ModelError("this model's layers cannot be sampled from", value=reason) from error
        difference = float((found_V - expected_V).square().mean().sqrt())
        if not difference <= PROOF_LIMIT * float(expected_V.std()):
            raise ModelError(
                "token by token this model would not compute what it computes at once",
                value=f"{name}: logits differ by {difference:.3g}",
                next_step="choose another model, such as smollm2-135m-instruct",
            )
        return first.blocks()[0].num_bytes // half

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self.rows or self.waiting)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that the memory holds, alone."""
        return self.kv_bytes // self.bytes_per_token

    def submit(self, request: Request) -> int:
        """Queue a request; returns the key that its events carry."""
        if not request.token_ids or request.max_tokens < 1:
            raise ValueError("a request needs a prompt token and at least one token to generate")
        self._next_key += 1
        text = TokenText(self._decode)
        stop = StopFilter(request.stop, include_stop=request.include_stop)
        seed = secrets.randbits(63) if request.seed is None else request.seed
        self.waiting.append(Row(self._next_key, request, text, stop, seed))
        return self._next_key

    @torch.inference_mode()
    def cancel(self, key: int) -> list[SampleEvent]:
        """Drop a request; its last event, or nothing when it is not here any more."""
        for row in list(self.waiting):
            if row.key == key:
                self.waiting.remove(row)
                return [event_of(row, "", "cancelled")]
        for index, row in enumerate(self.rows):
            if row.key == key:
                self._leave(index)
                return [event_of(row, "", "cancelled")]
        return []

    @torch.inference_mode()
    def step(self) -> list[SampleEvent]:
        """Admit what fits, compute one token for each running row, and report."""
        events = self._admit()
        self._make_room()
        if self.rows:
            decode = self._slots.decode()
            tokens = [row.generated[-1] for row in self.rows]
            positions = [len(row.request.token_ids) + len(row.generated) - 1 for row in self.rows]
            logits_RV = self._logits(tokens, positions, list(range(len(tokens))), decode)
            events += self._take(list(self.rows), logits_RV)
            self._drop_finished(events)
        return events

    def reset(self) -> list[int]:
        """Forget every request (after a failure in a step); returns their keys."""
        keys = [row.key for row in (*self.rows, *self.waiting)]
        self.rows, self._slots = [], Slots()
        self.waiting.clear()
        return keys

    # --- admission ---------------------------------------------------------------------------------

    def _admit(self) -> list[SampleEvent]:
        """Compute the prompts of the requests that fit now, sample their first tokens, give them slots."""
        events = []
        for group in by_beginning(self._that_fit()):
            parts, logits_RV = self._compute_prompts(group)
            first = self._take(group, logits_RV)
            events += first
            ended = {event.key for event in first if event.finish_reason is not None}
            stay = [(row, blocks) for row, blocks in zip(group, parts, strict=True) if row.key not in ended]
            self._enter([row for row, _ in stay], [blocks for _, blocks in stay])
        return events

    def _that_fit(self) -> list[Row]:
        """Waiting rows for which there are places and memory; one always fits when nothing runs."""
        taken: list[Row] = []
        while self.waiting and len(self.rows) + len(taken) < self.max_batch:
            row = self.waiting[0]
            longest = max(len(other.token_ids) for other in (*self.rows, *taken, row))
            num_rows, num_tokens = self._slots.grown(
                len(self.rows) + len(taken) + 1, longest - self._slots.prefix_length
            )
            needed = num_rows * num_tokens * self.bytes_per_token
            if needed > self.kv_bytes and (self.rows or taken):
                break
            taken.append(self.waiting.popleft())
        return taken

    def _compute_prompts(self, group: Sequence[Row]) -> tuple[list[list[Block]], Tensor]:
        """Keys and values (as consecutive parts) of each row's tokens, and the logits after the last."""
        prompts = [row.token_ids for row in group]
        shared = min(common_length(prompts), min(map(len, prompts)) - 1) if len(group) > 1 else 0
        if shared >= MIN_SHARED:
            before = self._compute_prefix(prompts[0][:shared])
            known: list[Block | None] = [before] * len(group)
        else:
            known = [self._store.find(prompt[:-1]) for prompt in prompts]
        for row, block in zip(group, known, strict=True):
            row.num_cached = block.length if block is not None else 0
        parts, logits_RV = self._prefill(prompts, known)
        for row, blocks in zip(group, parts, strict=True):
            if row.num_cached < len(row.token_ids) // 2:
                self._store.keep(row.token_ids, blocks)
        return parts, logits_RV

    def _compute_prefix(self, token_ids: tuple[int, ...]) -> Block:
        """Keys and values of a beginning that several prompts share; kept for later ones."""
        known = self._store.find(token_ids)
        if known is not None and known.length == len(token_ids):
            return known
        parts, _ = self._prefill([token_ids], [known])
        self._store.keep(token_ids, parts[0])
        return join(parts[0])

    def _prefill(
        self, sequences: Sequence[tuple[int, ...]], known: Sequence[Block | None]
    ) -> tuple[list[list[Block]], Tensor]:
        """Compute what is not known of each sequence, packed end to end and cut into bounded passes."""
        parts: list[list[Block]] = [[] if block is None else [block] for block in known]
        logits: list[Tensor] = [torch.empty(0)] * len(sequences)
        for pieces in packed(sequences, [sum(block.length for block in blocks) for blocks in parts]):
            before = [join(parts[piece.sequence]) if parts[piece.sequence] else None for piece in pieces]
            ends = [piece.stop == len(sequences[piece.sequence]) for piece in pieces]
            prefill = Prefill([piece.stop - piece.start for piece in pieces], before)
            tokens = [token for at, start, stop in pieces for token in sequences[at][start:stop]]
            positions = [position for piece in pieces for position in range(piece.start, piece.stop)]
            last = -1
            reads = [last := last + length for length in prefill.lengths]
            logits_RV = self._logits(tokens, positions, reads, prefill)
            for index, (piece, block) in enumerate(zip(pieces, prefill.blocks(), strict=True)):
                parts[piece.sequence].append(block)
                if ends[index]:
                    logits[piece.sequence] = logits_RV[index]
        return parts, torch.stack(logits)

    def _enter(self, rows: Sequence[Row], parts: Sequence[list[Block]]) -> None:
        """Give computed rows their slots, with the longest shared beginning that is worth it."""
        if not rows:
            return
        # The last token of a running row is not in its slot yet, and prompts are what is shared anyway.
        shared = common_length([row.request.token_ids for row in (*self.rows, *rows)])
        shared = shared if shared >= MIN_SHARED else 0
        if not self.rows:
            self._slots.set_prefix(join(parts[0]).part(0, shared).copy() if shared else None)
        elif shared < self._slots.prefix_length or shared >= self._slots.prefix_length + MIN_SHARED:
            self._slots.share(shared)
        for row, blocks in zip(rows, parts, strict=True):
            self._slots.add(blocks)
            self.rows.append(row)

    def _make_room(self) -> None:
        """Send the youngest rows back to the queue while the next token would not fit into the memory."""
        while len(self.rows) > 1:
            num_rows, num_tokens = self._slots.grown(len(self.rows), max(self._slots.lengths) + 1)
            if num_rows * num_tokens * self.bytes_per_token <= self.kv_bytes:
                return
            youngest = max(range(len(self.rows)), key=lambda index: self.rows[index].key)
            self.waiting.appendleft(self._leave(youngest))

    # --- tokens ------------------------------------------------------------------------------------

    def _logits(self, tokens: list[int], positions: list[int], reads: list[int], cache_pass: Pass) -> Tensor:
        """One forward pass over a line of tokens: logits (R, V) in float32 after the tokens at `reads`."""
        output = self.model(
            input_ids=torch.tensor([tokens]),
            position_ids=torch.tensor([positions]),
            use_cache=False,
            logits_to_keep=torch.tensor(reads),
            cache_pass=cache_pass,
        )
        logits_RV: Tensor = output.logits[0].float()
        return logits_RV

    def _take(self, rows: Sequence[Row], logits_RV: Tensor) -> list[SampleEvent]:
        """Choose each row's next token and report the text it makes."""
        return [self._push(row, token) for row, token in zip(rows, choose(rows, logits_RV), strict=True)]

    def _push(self, row: Row, token: int) -> SampleEvent:
        row.generated.append(token)
        if token in row.request.stop_token_ids:
            return event_of(row, row.stop.push(row.text.finish()) + row.stop.finish(), "stop")
        text = row.stop.push(row.text.push(token))
        if row.stop.stopped:
            return event_of(row, text, "stop")
        if len(row.generated) >= row.request.max_tokens:
            text += row.stop.push(row.text.finish()) + row.stop.finish()
            return event_of(row, text, "stop" if row.stop.stopped else "length")
        return event_of(row, text, None)

    def _drop_finished(self, events: Sequence[SampleEvent]) -> None:
        ended = {event.key for event in events if event.finish_reason is not None}
        for index in reversed(range(len(self.rows))):
            if self.rows[index].key in ended:
                self._leave(index)

    def _leave(self, index: int) -> Row:
        """Take a row out of its slot; the last row moves into it."""
        row = self.rows[index]
        self._slots.remove(index)
        self.rows[index] = self.rows[-1]
        self.rows.pop()
        return row

    def _decode(self, token_ids: Sequence[int]) -> str:
        settings = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return str(self.tokenizer.decode(list(token_ids), **settings))


def event_of(row: Row, text: str, finish_reason: FinishReason | None) -> SampleEvent:
    """What a row has to report now."""
    return SampleEvent(row.key, text, len(row.generated), row.num_cached, finish_reason)


def by_beginning(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows in groups that begin with the same tokens, so that each group's common part is computed once."""
    groups: dict[tuple[int, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.request.token_ids[:MIN_SHARED], []).append(row)
    return list(groups.values())


class Piece(NamedTuple):
    """Tokens `start` to `stop` of one sequence."""

    sequence: int
    start: int
    stop: int


def packed(sequences: Sequence[tuple[int, ...]], known: Sequence[int]) -> Iterator[list[Piece]]:
    """The unknown tokens of all sequences in passes of at most PREFILL_TOKENS, in order.

    A pass never holds two pieces of one sequence: the second needs the keys of the first.
    """
    pieces: list[Piece] = []
    room = PREFILL_TOKENS
    for index, tokens in enumerate(sequences):
        start = known[index]
        while start < len(tokens):
            stop = min(len(tokens), start + room)
            pieces.append(Piece(index, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield pieces
                pieces, room = [], PREFILL_TOKENS
    if pieces:
        yield pieces


def choose(rows: Sequence[Row], logits_RV: Tensor) -> list[int]:
    """The next token of each row."""
    tokens: list[int] = logits_RV.argmax(-1).tolist()
    for index, row in enumerate(rows):
        if row.request.temperature > 0:
            tokens[index] = draw(row, logits_RV[index])
    return tokens


def draw(row: Row, logits_V: Tensor) -> int:
    """A token at the request's temperature, from the smallest set that holds `top_p` of the probability.

    Nucleus sampling: Holtzman et al. 2020 (arXiv:1904.09751).
    """
    probability_V = (logits_V.double() / row.request.temperature).softmax(-1)
    uniform = uniform_number(row.seed, len(row.generated))
    if row.request.top_p >= 1:
        return position_of(uniform, probability_V.cumsum(-1))
    sorted_V, token_V = probability_V.sort(descending=True, stable=True)
    cumulative_V = sorted_V.cumsum(-1)
    kept = int((cumulative_V - sorted_V < max(row.request.top_p, 1e-12)).sum())
    return int(token_V[position_of(uniform, cumulative_V[:kept])])


def position_of(uniform: float, cumulative_V: Tensor) -> int:
    """The first place where the cumulative sum exceeds this share of its end."""
    share = cumulative_V.new_tensor(uniform) * cumulative_V[-1]
    return min(int(torch.searchsorted(cumulative_V, share, right=True)), len(cumulative_V) - 1)


def uniform_number(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on seed and position alone."""
    digest = hashlib.sha256(f"{seed}:{position}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


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
