"""How likely given text is: log-probabilities of tokens, loss of examples, and mean hidden states.

Legend of tensor names: T tokens end to end, N rows, D hidden width, V vocabulary.

Log-probabilities come from the sampler, so rows that begin alike (few-shot prompts, answers to one question)
have their beginning computed once.  Hidden states come from passes over rows packed end to end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tunesmith.core.errors import DataError, ModelError
from tunesmith.runtime import ragged
from tunesmith.runtime.models import check_equal, use_own_attention
from tunesmith.runtime.padded import tapped
from tunesmith.runtime.sampling.port import CannotAdmit, Request, SampleEvent, Sampling, TokenLogprob
from tunesmith.runtime.step import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tunesmith.runtime.models import Loaded
    from tunesmith.runtime.sampling.forward import Routes

Over = Literal["row", "supervised"]
PASS_TOKENS: Final = 4096
"""Tokens of one packed pass: memory only."""


class ScoreItem(NamedTuple):
    """A row of which the tokens from `start` on are judged; what precedes them is given."""

    token_ids: tuple[int, ...]
    start: int = 1
    adapter: str | None = None


@dataclass(frozen=True)
class Scored:
    """Log-probabilities (nats) of an item's judged tokens, in order."""

    tokens: tuple[TokenLogprob, ...]

    @property
    def logprobs(self) -> tuple[float, ...]:
        """One number for each judged token."""
        return tuple(token.logprob for token in self.tokens)

    @property
    def total(self) -> float:
        """Log-probability of all judged tokens together."""
        return math.fsum(self.logprobs)

    @property
    def mean(self) -> float:
        """Log-probability for each token."""
        return self.total / len(self.tokens)

    @property
    def perplexity(self) -> float:
        """Exp of minus the mean; inf where that is beyond a float."""
        try:
            return math.exp(-self.mean)
        except OverflowError:
            return math.inf


class ExampleLoss(NamedTuple):
    """What an example costs, as the training objective counts it."""

    nll: float
    """Negative log-likelihood of the learned tokens, nats, each counted once."""
    weighted: float
    """The same with each token's weight: the numerator of the supervised objective."""
    num_supervised: int
    total_weight: float


def request_of(item: ScoreItem, *, top: int = 0) -> Request:
    """The request whose first event holds an item's log-probabilities, and those of the `top` likeliest.

    Raises DataError when no token is judged, or the first one, which nothing precedes.
    """
    if not 1 <= item.start < len(item.token_ids):
        raise DataError(
            f"a row of {len(item.token_ids)} tokens has none to judge from this one on",
            value=item.start,
            next_step="judge from token 1 at the earliest, and from the last one at the latest",
        )
    return Request(
        item.token_ids,
        max_tokens=0,
        prompt_logprobs=top,
        prompt_logprobs_from=item.start,
        adapter=item.adapter,
    )


def scored_of(event: SampleEvent) -> Scored:
    """What the event that ends a request of `request_of` says."""
    assert event.prompt_logprobs is not None
    return Scored(event.prompt_logprobs)


def score(sampling: Sampling, items: Sequence[ScoreItem], *, top: int = 0) -> list[Scored]:
    """Log-probabilities of all items, in order.

    For whoever steps the sampler: where a `SamplingThread` does, send it `request_of` each item and read
    `scored_of` its last event.  Raises DataError and CannotAdmit naming the item; nothing is computed then.
    """
    requests = [request_of(item, top=top) for item in items]
    keys: list[int] = []
    for index, request in enumerate(requests):
        try:
            keys.append(sampling.submit(request))
        except CannotAdmit as error:
            for key in keys:
                sampling.cancel(key)
            raise CannotAdmit(error.message(), where=f"item {index}") from error
    found: dict[int, Scored] = {}
    wanted = set(keys)
    while len(found) < len(keys):
        for event in sampling.step():
            if event.key in wanted and event.finish_reason is not None:
                found[event.key] = scored_of(event)
    return [found[key] for key in keys]


def losses(
    sampling: Sampling, examples: Sequence[Encoded], *, adapter: str | None = None
) -> list[ExampleLoss]:
    """The loss of each example, in order; zero where it has no supervised token.

    In float32 the sum of `nll` is what a training session reports for the same examples.
    """
    starts = [first_supervised(example) for example in examples]
    items = [
        ScoreItem(tuple(map(int, example.token_ids)), start, adapter)
        for example, start in zip(examples, starts, strict=True)
        if start is not None
    ]
    scored = iter(score(sampling, items))
    return [
        ExampleLoss(0.0, 0.0, 0, 0.0) if start is None else loss_of(example, start, next(scored))
        for example, start in zip(examples, starts, strict=True)
    ]


def first_supervised(example: Encoded) -> int | None:
    """Index of the first token that is predicted, if there is one."""
    return next((index for index, weight in enumerate(example.weights) if index and weight), None)


def loss_of(example: Encoded, start: int, scored: Scored) -> ExampleLoss:
    """Sums over an example's supervised tokens."""
    weights = [float(weight) for weight in example.weights[start:]]
    pairs = list(zip(weights, scored.logprobs, strict=True))
    return ExampleLoss(
        nll=-math.fsum(logprob for weight, logprob in pairs if weight),
        weighted=-math.fsum(weight * logprob for weight, logprob in pairs),
        num_supervised=example.num_supervised,
        total_weight=example.total_weight,
    )


# --- hidden states -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A model whose hidden states are read, as the tokens of one adapter see it."""

    model: PreTrainedModel
    forward: nn.Module | None
    """What `Loaded.forward` says."""
    adapter: str | None
    bank: Routes | None

    def route(self, num_tokens: int) -> None:
        """Say which adapter the tokens of the next pass take."""
        if self.bank is not None:
            self.bank.route([(self.adapter, num_tokens)])


def hidden_states(
    loaded: Loaded,
    rows: Sequence[Encoded],
    *,
    over: Over = "row",
    adapter: str | None = None,
    bank: Routes | None = None,
    pass_tokens: int = PASS_TOKENS,
) -> npt.NDArray[np.float32]:
    """Mean (N, D), float32, of the hidden states that reach the output layer.

    `over` averages over all tokens of a row, or over its supervised ones (their own states, not those that
    predict them).  `adapter` is one of `bank`'s.  Rows are packed where that gives the model's own numbers,
    which is tried on two rows first; elsewhere (recurrent models, other attention, a learned prompt before
    each row, over which nothing is averaged) each goes through alone.
    The model's attention is switched meanwhile, so nobody else may step it: a `SamplingThread.call` does.
    Raises DataError for a row with nothing to average.
    """
    weights = [averaged(row, over, index) for index, row in enumerate(rows)]
    model = loaded.model
    reader = Reader(model, loaded.forward, adapter, bank)
    with torch.inference_mode(), in_evaluation(model):
        pooled = pool_packed if can_pack(reader) else pool_alone
        parts = [
            pooled(reader, rows[part], weights[part])
            for part in ragged.cut([len(row.token_ids) for row in rows], max_tokens=pass_tokens)
        ]
    return torch.cat(parts).numpy() if parts else np.empty((0, model.config.hidden_size), dtype=np.float32)


def averaged(row: Encoded, over: Over, index: int) -> Tensor:
    """Share of each token in a row's mean, (tokens,)."""
    chosen = [over == "row" or weight != 0 for weight in row.weights]
    if not any(chosen):
        raise DataError("a row has no token to average over", where=f"row {index}", value=over)
    return torch.tensor(chosen, dtype=torch.float32) / sum(chosen)


@contextmanager
def in_evaluation(model: PreTrainedModel) -> Iterator[None]:
    """Leave attention and mode as they were."""
    attention, was_training = model.config._attn_implementation, model.training
    model.eval()
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
        model.train(was_training)


def pool_packed(reader: Reader, rows: Sequence[Encoded], weights: Sequence[Tensor]) -> Tensor:
    """Means (N, D) of rows that lie end to end in one pass."""
    reader.model.set_attn_implementation(ragged.register())
    micro = ragged.pack(rows)
    device = reader.model.device
    reader.route(len(micro.token_T))
    hidden_TD = reader.model.get_decoder()(
        input_ids=micro.token_T[None].to(device),
        position_ids=micro.position_T[None].to(device),
        use_cache=False,
        segments=micro.segments,
    ).last_hidden_state[0]
    return means(hidden_TD, weights)


def pool_alone(reader: Reader, rows: Sequence[Encoded], weights: Sequence[Tensor]) -> Tensor:
    """The same, one row after the other, through the model's own attention."""
    use_own_attention(reader.model)
    called = reader.model if reader.forward is None else reader.forward
    pooled = []
    for row, weight_T in zip(rows, weights, strict=True):
        reader.route(len(row.token_ids))
        token_1T = torch.tensor([[int(token) for token in row.token_ids]], device=reader.model.device)
        with tapped(reader.model) as tap:
            called(input_ids=token_1T, use_cache=False)
        # a learned prompt stands in front
        pooled.append(means(tap.hidden_BPD[0, -len(row.token_ids) :], [weight_T]))
    return torch.cat(pooled)


def means(hidden_TD: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Weighted sums (N, D) in float32 over the tokens of each row; what fills up a pass has no row."""
    lengths = [len(weight_T) for weight_T in weights]
    parts = hidden_TD[: sum(lengths)].float().cpu().split(lengths)
    return torch.stack([weight_T @ part_TD for weight_T, part_TD in zip(weights, parts, strict=True)])


@torch.inference_mode()
def can_pack(reader: Reader) -> bool:
    """Whether packed rows give the hidden states that each has alone, within the rounding of their type."""
    if reader.forward is not None:
        return False
    generator = torch.Generator().manual_seed(0)
    vocab_size = reader.model.config.vocab_size
    rows = [
        Encoded(torch.randint(0, vocab_size, (length,), generator=generator).tolist(), [1.0] * length)
        for length in (7, 12)
    ]
    weights = [averaged(row, "row", 0) for row in rows]
    expected = pool_alone(reader, rows, weights)
    try:
        found = pool_packed(reader, rows, weights)
        check_equal(found, expected.to(reader.model.dtype), type(reader.model).__name__)
    except (ModelError, TypeError):
        # ModelError: what our attention refuses; TypeError: layers that take no segments.
        return False
    return True
