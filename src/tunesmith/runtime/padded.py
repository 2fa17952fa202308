"""The padded layout: one example a row, for models and methods that cannot take a flat line of tokens.

Legend of tensor names: B rows, L tokens of the longest row, R reads, D hidden width.

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
        raise ModelError("this method computes each example alone: it cannot share prompts")
    segments = micro.segments[: micro.num_sequences]
    longest = max(segment.length for segment in segments)
    token_BL = torch.zeros(len(segments), longest, dtype=torch.long)
    mask_BL = torch.zeros(len(segments), longest, dtype=torch.long)
    for row, (start, length, _) in enumerate(segments):
        token_BL[row, :length] = micro.token_T[start : start + length]
        mask_BL[row, :length] = 1
    with hidden_for_logits(model):
        output = forward(input_ids=token_BL, attention_mask=mask_BL, use_cache=False)
    hidden_BLD: Tensor = output.logits[:, -longest:]  # a learned prompt stands in front
    starts_B = torch.tensor([segment.start for segment in segments])
    return hidden_BLD[micro.sequence_R, micro.read_R - starts_B[micro.sequence_R]]


@contextmanager
def hidden_for_logits(model: PreTrainedModel) -> Iterator[None]:
    """Let the model return hidden states where it would return logits: our output layer reads few of them."""
    layer = model.get_output_embeddings()
    model.set_output_embeddings(nn.Identity())
    try:
        yield
    finally:
        model.set_output_embeddings(layer)
