"""One micro-batch: examples laid end to end without padding, each seeing only itself.

Legend of tensor names: T tokens, R reads (positions whose hidden state reaches the output layer).
Attention tensors carry transformers' own order: batch (always 1), heads, tokens, width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tunesmith.core.errors import ModelError
from tunesmith.runtime.step import Encoded

ATTENTION_NAME: Final = "tunesmith_ragged"
FLOAT32_BELOW_TOKENS: Final = 256
"""Segments shorter than this attend in float32 on a CPU: torch's bfloat16 backward takes twice as long."""


ROUND_TOKENS: Final = 32
"""A micro-batch is filled up to a multiple of this: oneDNN keeps a kernel for each shape that it meets, and
lengths that never recur cost 14 MB of memory a step."""


class Segment(NamedTuple):
    """A run of tokens; each sees the ones before it in the same segment and nothing else."""

    start: int
    length: int


@dataclass(frozen=True)
class Ragged:
    """One micro-batch of T tokens of which R are read; the example of read r is the `sequence_R[r]`-th."""

    token_T: Tensor
    position_T: Tensor
    segments: tuple[Segment, ...]
    read_R: Tensor
    """Positions whose hidden state is read: the token before each target."""
    target_R: Tensor
    """The token that the model should give the most probability after each read position."""
    sequence_R: Tensor
    weight_R: Tensor
    """Weight of each read in the objective, float32."""


def pack(examples: Sequence[Encoded]) -> Ragged:
    """Lay examples end to end; positions restart at 0 in each.

    What fills up to `ROUND_TOKENS` is a segment of its own that nothing sees and nobody reads.
    """
    lengths = [len(example.token_ids) for example in examples]
    num_filling = -sum(lengths) % ROUND_TOKENS
    if num_filling:
        lengths = [*lengths, num_filling]
    starts = list(accumulate(lengths, initial=0))[:-1]
    reads = [
        (start + index - 1, example.token_ids[index], row)
        for row, (start, example) in enumerate(zip(starts, examples, strict=False))
        for index in range(1, len(example.token_ids))
        if example.supervised[index]
    ]
    read_R, target_R, sequence_R = torch.tensor(reads, dtype=torch.long).reshape(-1, 3).unbind(1)
    return Ragged(
        token_T=torch.tensor(
            [token for example in examples for token in example.token_ids] + [0] * num_filling
        ),
        position_T=torch.cat([torch.arange(length) for length in lengths]),
        segments=tuple(map(Segment, starts, lengths)),
        read_R=read_R,
        target_R=target_R,
        sequence_R=sequence_R,
        weight_R=torch.ones(len(reads)),
    )


def cut(examples: Sequence[Encoded], *, max_tokens: int) -> Iterator[Sequence[Encoded]]:
    """Cut a step into micro-batches of at most `max_tokens`, in order; a longer example stands alone.

    Memory only: the objective's denominators are those of the whole step, so the gradient stays the same.
    """
    begin = num_tokens = 0
    for index, example in enumerate(examples):
        if index > begin and num_tokens + len(example.token_ids) > max_tokens:
            yield examples[begin:index]
            begin, num_tokens = index, 0
        num_tokens += len(example.token_ids)
    if begin < len(examples):
        yield examples[begin:]


def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: tuple[Segment, ...] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each segment: one call of torch's fused kernel by segment.

    Takes (1, heads, T, width) and returns (1, T, heads, width), as transformers' attention interface asks.
    Raises ModelError where the model asks for something that this function would silently leave out.
    """
    refuse_unknown(module, segments, attention_mask, others)
    assert segments is not None
    lengths = [segment.length for segment in segments]
    dtype = query.dtype
    if query.device.type == "cpu" and max(lengths) < FLOAT32_BELOW_TOKENS:
        query, key, value = query.float(), key.float(), value.float()
    # split, not slices: the gradient of a slice is a tensor of the whole micro-batch for each segment.
    parts = zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    outputs = [
        scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=True
        )
        for q, k, v in parts
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).to(dtype), None


def refuse_unknown(
    module: nn.Module,
    segments: tuple[Segment, ...] | None,
    attention_mask: Tensor | None,
    others: dict[str, Any],
) -> None:
    """Raise ModelError unless plain causal attention by segment is what the model means.

    A name missing from the mask registry gets no mask at all, so that `generate` on such a model would be
    silently wrong: without segments there is no answer.  A sliding window wider than every segment hides
    nothing and is let through.
    """
    name = type(module).__name__
    if segments is None or attention_mask is not None:
        raise ModelError(
            f"{name} was called without segments: this model instance is set up for training only",
            next_step="load it with `load_for_inference` to generate",
        )
    window = others.get("sliding_window")
    if window is not None and window >= max(segment.length for segment in segments):
        others = {**others, "sliding_window": None}
    for feature in ("softcap", "sliding_window", "s_aux", "position_bias"):
        if others.get(feature) is not None:
            raise ModelError(
                f"{name} asks for {feature}, which the training attention does not compute",
                value=str(others[feature])[:40],
                next_step="choose a model with plain causal attention (Llama, SmolLM2, Qwen2, Qwen3)",
            )


def no_mask(*args: Any, **kwargs: Any) -> None:
    """The mask of `segment_attention`: none, because segments say who sees whom."""


def register() -> str:
    """Make the attention known to transformers and return its name; may be called again."""
    AttentionInterface.register(ATTENTION_NAME, segment_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, no_mask)
    return ATTENTION_NAME
