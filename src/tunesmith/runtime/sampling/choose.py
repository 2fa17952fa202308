"""From logits to tokens.

Legend of tensor names: R rows that are read, N candidates that a filter left, V vocabulary.

A row's settings act in this order:

1. the log-probability that is reported: the model's own, before anything else;
2. logit bias, repetition penalty, frequency and presence penalty;
3. grammar mask;
4. temperature; at 0 the likeliest token, and what follows is not asked;
5. top-k, top-p over what top-k left, min-p;
6. a draw by a number made from (seed, position).

It is the order of transformers' `generate` (processors, then the warpers `TemperatureLogitsWarper`,
`TopKLogitsWarper`, `TopPLogitsWarper`, `MinPLogitsWarper`), with the same sets of tokens: top-k keeps every
token that ties with the last, top-p keeps the token that crosses the share.  vLLM does the same up to the
temperature and reports log-probabilities from the same place, but puts min-p before top-k.  llama.cpp puts
the temperature last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tunesmith.core.errors import ModelError
from tunesmith.runtime.sampling.logprobs import logprobs_of
from tunesmith.runtime.sampling.penalties import SeenTokens
from tunesmith.runtime.sampling.port import Request, TokenLogprob
from tunesmith.runtime.sampling.row import Row

Floats = npt.NDArray[np.float64]
UNLIKELY = 1e-3
"""Share of the highest probability.  Mostly the few hundred tokens above it hold what top-p asks for, and the
rest of the vocabulary need not be sorted."""


class Chosen(NamedTuple):
    """A row's next token, with its log-probability when the request asks for it."""

    token_id: int
    logprob: TokenLogprob | None


class Candidates(NamedTuple):
    """Tokens that may still be drawn, the lower ids first, with their (unnormalised) probabilities."""

    token_N: npt.NDArray[np.intp]
    probability_N: Floats


def choose(rows: Sequence[Row], logits_RV: Tensor) -> list[Chosen]:
    """The next token of each row, from float32 logits, which stay as they are.

    Raises ModelError when a row's logits hold no numbers.
    """
    best_R, token_R = logits_RV.max(-1)  # the first of several equal ones, as in transformers
    if not bool(best_R.isfinite().all()):
        raise ModelError(
            "the model's output is not a number",
            next_step="load it in float32; if that does not help, its weights are damaged",
        )
    tokens: list[int] = token_R.tolist()
    for index, row in enumerate(rows):
        if needs_more_than_argmax(row):
            tokens[index] = choose_one(row, logits_RV[index])
    return [Chosen(*pair) for pair in zip(tokens, asked_logprobs(rows, logits_RV, tokens), strict=True)]


def needs_more_than_argmax(row: Row) -> bool:
    """Whether the model's likeliest token can be the wrong answer."""
    return row.request.temperature > 0 or row.matcher is not None or adjusts(row.request)


def adjusts(request: Request) -> bool:
    """Whether a request moves logits."""
    return bool(request.logit_bias) or penalises(request)


def penalises(request: Request) -> bool:
    """Whether a request's logits depend on the tokens before."""
    return (request.repetition_penalty, request.frequency_penalty, request.presence_penalty) != (1, 0, 0)


def choose_one(row: Row, logits_V: Tensor) -> int:
    """The next token of one row."""
    adjusted_V = adjusted(row, logits_V)
    if row.request.temperature > 0:
        return draw(row, adjusted_V)
    return int(adjusted_V.argmax())


def adjusted(row: Row, logits_V: Tensor) -> Tensor:
    """Logits after bias, penalties and grammar; the given ones stay as they are."""
    request = row.request
    if row.matcher is None and not adjusts(request):
        return logits_V
    logits_V = logits_V.clone()
    if request.logit_bias:
        bias_N = logits_V.new_tensor(list(request.logit_bias.values()))
        logits_V.index_add_(0, torch.tensor(list(request.logit_bias)), bias_N)
    if penalises(request):
        if row.seen is None:
            row.seen = SeenTokens(request.token_ids)
        row.seen.catch_up(row.generated)
        row.seen.penalise(logits_V, request)
    if row.matcher is not None:
        # Whatever the model and a bias make of the allowed tokens, they stay above the others.
        logits_V.clamp_(min=torch.finfo(logits_V.dtype).min)
        logits_V.masked_fill_(~row.matcher.allowed(), float("-inf"))
    return logits_V


def draw(row: Row, logits_V: Tensor) -> int:
    """A token at the request's temperature, from what its filters leave."""
    token_N, probability_N = candidates(row.request, logits_V)
    uniform = uniform_number(row.seed, len(row.generated))
    return int(token_N[position_of(uniform, probability_N.cumsum())])


def candidates(request: Request, logits_V: Tensor) -> Candidates:
    """What may be drawn: temperature, then each filter."""
    logits64_V = logits_V.double()
    # The highest logit becomes 0 before the division: a tiny temperature then overflows to -inf, not to NaN.
    probability_V = ((logits64_V - logits64_V.max()) / request.temperature).softmax(-1).cpu()
    # From here on numpy: it sorts a vocabulary in a twentieth of torch's time.
    left = Candidates(np.arange(len(probability_V)), probability_V.numpy())
    for keep in FILTERS.values():
        left = keep(request, left)
    return left


def keep_top_k(request: Request, given: Candidates) -> Candidates:
    """The k likeliest, and those that tie with the last of them."""
    place = len(given.token_N) - request.top_k
    if request.top_k == 0 or place <= 0:
        return given
    return only(given, given.probability_N >= np.partition(given.probability_N, place)[place])


def keep_top_p(request: Request, given: Candidates) -> Candidates:
    """The fewest of the likeliest that hold this share: Holtzman et al. 2020 (arXiv:1904.09751).

    Of equally likely ones at the edge those with the lower ids stay.
    """
    if request.top_p >= 1:
        return given
    wanted = request.top_p * given.probability_N.sum()
    likely = only(given, given.probability_N >= UNLIKELY * given.probability_N.max())
    if likely.probability_N.sum() >= wanted:
        given = likely
    sorted_N = np.sort(given.probability_N)[::-1]
    kept = 1 + int(np.searchsorted(sorted_N.cumsum()[:-1], wanted))
    last = sorted_N[kept - 1]
    stays_N = given.probability_N > last
    stays_N[np.flatnonzero(given.probability_N == last)[: kept - np.count_nonzero(stays_N)]] = True
    return only(given, stays_N)


def keep_min_p(request: Request, given: Candidates) -> Candidates:
    """Those with this share of the highest probability: Nguyen et al. 2024 (arXiv:2407.01082)."""
    if request.min_p <= 0:
        return given
    return only(given, given.probability_N >= request.min_p * given.probability_N.max())


FILTERS: dict[str, Callable[[Request, Candidates], Candidates]] = {
    "top_k": keep_top_k,
    "top_p": keep_top_p,
    "min_p": keep_min_p,
}
"""In the order in which they act."""


def only(given: Candidates, stays_N: npt.NDArray[np.bool_]) -> Candidates:
    """The candidates that stay."""
    index_M = np.flatnonzero(stays_N)
    return Candidates(given.token_N[index_M], given.probability_N[index_M])


def position_of(uniform: float, cumulative_N: Floats) -> int:
    """The first place where the cumulative sum exceeds this share of its end; never one of probability 0."""
    return int(np.searchsorted(cumulative_N, uniform * cumulative_N[-1], side="right"))


def uniform_number(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on seed and position alone."""
    digest = hashlib.sha256(f"{seed}:{position}".encode()).digest()
    # 53 bits: 64 would round up to 1 once in 2**54 draws, and to the last token whatever its probability.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def asked_logprobs(
    rows: Sequence[Row], logits_RV: Tensor, tokens: Sequence[int]
) -> list[TokenLogprob | None]:
    """Log-probabilities of the chosen tokens for the rows that ask for them."""
    found: list[TokenLogprob | None] = [None] * len(rows)
    asking = [index for index, row in enumerate(rows) if row.request.logprobs is not None]
    if not asking:
        return found
    counts = [rows[index].request.logprobs or 0 for index in asking]
    asked_RV = logits_RV if len(asking) == len(rows) else logits_RV[asking]  # indexing copies
    values = logprobs_of(asked_RV, [tokens[index] for index in asking], counts)
    for index, value in zip(asking, values, strict=True):
        found[index] = value
    return found
