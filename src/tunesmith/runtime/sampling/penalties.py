"""Penalties for tokens that a sequence holds already.

Legend of tensor names: N different tokens of a sequence, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tunesmith.runtime.sampling.port import Request

GROWTH = 256


class SeenTokens:
    """The different tokens of a row's prompt and answer, and how often the answer holds each.

    Each token is counted once, when it is new, so that a step costs what the tensors cost.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        tokens = sorted(set(prompt))
        self._place_of = {token: place for place, token in enumerate(tokens)}
        self._token_N = torch.tensor(tokens, dtype=torch.long)
        self._count_N = torch.zeros(len(tokens))
        self._num_read = 0

    def catch_up(self, generated: Sequence[int]) -> None:
        """Count the tokens of the answer since the last call."""
        for token in generated[self._num_read :]:
            place = self._place_of.setdefault(token, len(self._place_of))
            if place == len(self._token_N):
                self._token_N = torch.cat([self._token_N, self._token_N.new_zeros(GROWTH)])
                self._count_N = torch.cat([self._count_N, self._count_N.new_zeros(GROWTH)])
            self._token_N[place] = token
            self._count_N[place] += 1
        self._num_read = len(generated)

    def penalise(self, logits_V: Tensor, request: Request) -> None:
        """Change the logits, in place, of the tokens that were seen.

        Repetition penalty over prompt and answer: Keskar et al. 2019 (arXiv:1909.05858), section 4.1.
        Frequency and presence penalty over the answer alone: OpenAI's, logit − count · frequency − presence.
        """
        token_N = self._token_N[: len(self._place_of)].to(logits_V.device)
        count_N = self._count_N[: len(self._place_of)].to(logits_V.device)
        logits_N = logits_V[token_N]
        penalty = request.repetition_penalty
        logits_N = torch.where(logits_N > 0, logits_N / penalty, logits_N * penalty)
        logits_N -= count_N * request.frequency_penalty + (count_N > 0) * request.presence_penalty
        logits_V[token_N] = logits_N
