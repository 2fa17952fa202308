"""Log-probabilities of tokens, as the model itself gives them.

Legend of tensor names: N places, K likeliest tokens of a place, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tunesmith.runtime.sampling.port import TokenLogprob


def logprobs_of(logits_NV: Tensor, token_ids: Sequence[int], counts: Sequence[int]) -> list[TokenLogprob]:
    """Log-probability of one token for each row of logits, and of so many (`counts`) likeliest in its place.

    Float32 log-softmax, natural logarithms.  Among equally likely tokens the lower id comes first, so the
    first one is what greedy choice takes.
    """
    logits_NV = logits_NV.float()
    total_N1 = logits_NV.logsumexp(-1, keepdim=True)
    own_N1 = logits_NV.gather(1, torch.tensor(token_ids)[:, None]) - total_N1
    own: list[float] = own_N1[:, 0].tolist()
    most = max(counts)
    tops = likeliest(logits_NV, total_N1, most) if most else [()] * len(own)
    return [
        TokenLogprob(token_id, value, top[:count])
        for token_id, value, top, count in zip(token_ids, own, tops, counts, strict=True)
    ]


def likeliest(logits_NV: Tensor, total_N1: Tensor, k: int) -> list[tuple[tuple[int, float], ...]]:
    """The k likeliest tokens of each place with their log-probabilities; all of a smaller vocabulary."""
    k = min(k, logits_NV.shape[1])
    value_NK, token_NK = logits_NV.topk(min(k + 1, logits_NV.shape[1]))
    # Which of several equal tokens topk leaves out is its own affair; such rows are asked again.
    for index in (value_NK[:, k - 1] == value_NK[:, -1]).nonzero().squeeze(-1).tolist():
        token_M = (logits_NV[index] >= value_NK[index, k - 1]).nonzero().squeeze(-1)
        order_M = logits_NV[index][token_M].argsort(descending=True, stable=True)[: value_NK.shape[1]]
        token_NK[index] = token_M[order_M]
        value_NK[index] = logits_NV[index][token_NK[index]]
    logprobs = (value_NK - total_N1).tolist()
    tops = []
    for tokens, values in zip(token_NK.tolist(), logprobs, strict=True):
        pairs = sorted(zip(tokens, values, strict=True), key=lambda pair: (-pair[1], pair[0]))
        tops.append(tuple(pairs[:k]))
    return tops
