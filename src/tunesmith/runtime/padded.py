"""The padded layout: one example a row, for models and methods that cannot take a flat line of tokens.

Legend of tensor names: B rows, L tokens of the longest row, P the same with learned tokens in front,
R reads, D hidden width.

Prompt-learning methods prepend their own tokens once for each row and count positions from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ModelError
from tunesmith.runtime.ragged import Ragged


def hidden_of_reads(model: PreTrainedModel, forward: nn.Module, micro: Ragged) -> Tensor:
    """Hidden states (R, D) at the positions that are read, computed with padding at the right.

    Raises ModelError for examples that share a prompt: rows are independent here.
    """
    if any(segment.parent is not None for segment in micro.segments):
        raise ModelError(
            "this method computes each example alone: it cannot share prompts",
            next_step="use method lora for an objective whose examples share their prompts",
        )
    segments = micro.segments[: micro.num_sequences]
    longest = max(segment.length for segment in segments)
    token_BL = torch.zeros(len(segments), longest, dtype=torch.long)
    mask_BL = torch.zeros(len(segments), longest, dtype=torch.long)
    for row, (start, length, _) in enumerate(segments):
        token_BL[row, :length] = micro.token_T[start : start + length]
        mask_BL[row, :length] = 1
    forward.train(model.training)  # what stands outside the model (a prompt's encoder) may have dropout too
    with tapped(model) as tap:
        forward(input_ids=token_BL, attention_mask=mask_BL, use_cache=False)
    hidden_BLD = tap.hidden_BPD[:, -longest:]  # a learned prompt stands in front
    starts_B = torch.tensor([segment.start for segment in segments])
    return hidden_BLD[micro.sequence_R, micro.read_R - starts_B[micro.sequence_R]]


class Tap(nn.Module):
    """Stands where the output layer does and keeps what comes in: our own output layer reads few of the rows.

    What the model makes of it afterwards (Granite divides logits, Gemma 2 caps them) is left unused.
    """

    hidden_BPD: Tensor

    def forward(self, hidden_BPD: Tensor) -> Tensor:
        """Hidden rows (B, P, D), as they are."""
        self.hidden_BPD = hidden_BPD
        return hidden_BPD


@contextmanager
def tapped(model: PreTrainedModel) -> Iterator[Tap]:
    """The model with a tap in place of its output layer."""
    layer, tap = model.get_output_embeddings(), Tap()
    model.set_output_embeddings(tap)
    try:
        yield tap
    finally:
        model.set_output_embeddings(layer)
