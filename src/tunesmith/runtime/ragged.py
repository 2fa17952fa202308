"""One micro-batch: examples laid end to end without padding, each seeing only itself.

Legend of tensor names: T tokens, R reads (positions whose hidden state reaches the output layer).
Attention tensors carry transformers' own order: batch (always 1), heads, tokens, width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
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
    """A run of tokens; each sees the ones before it in the same segment, and every token of its ancestors."""

    start: int
    length: int
    parent: int | None = None
    """Index of the segment that this one continues: a prompt shared by several completions."""


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
    num_sequences: int


Parents = Sequence[int | None]
"""For each example of a step the one that it continues, or None; a parent stands before its children."""


def pack(examples: Sequence[Encoded], parents: Parents | None = None) -> Ragged:
    """Lay examples end to end; positions restart at 0 in each, and go on behind the parent in a child.

    A child's first token is read off its parent's last one.  What fills up to `ROUND_TOKENS` is a segment of
    its own that nothing sees and nobody reads.
    """
    lengths = [len(example.token_ids) for example in examples]
    starts = list(accumulate(lengths, initial=0))
    parents = [None] * len(examples) if parents is None else parents
    segments = list(map(Segment, starts, lengths, parents))
    begins = begin_positions(segments)
    tokens = [as_tensor(example.token_ids, torch.long) for example in examples]
    positions = [begin + torch.arange(length) for begin, length in zip(begins, lengths, strict=True)]
    if num_filling := -starts[-1] % ROUND_TOKENS:
        segments.append(Segment(starts[-1], num_filling))
        tokens.append(torch.zeros(num_filling, dtype=torch.long))
        positions.append(torch.arange(num_filling))
    reads = [reads_in(example, row, segments) for row, example in enumerate(examples)]
    read_R, target_R, weight_R = (torch.cat(column) for column in zip(*reads, strict=True))
    counts = torch.tensor([len(row[0]) for row in reads])
    return Ragged(
        token_T=torch.cat(tokens),
        position_T=torch.cat(positions),
        segments=tuple(segments),
        read_R=read_R,
        target_R=target_R,
        sequence_R=torch.arange(len(examples)).repeat_interleave(counts),
        weight_R=weight_R,
        num_sequences=len(examples),
    )


def as_tensor(values: Sequence[float], dtype: torch.dtype) -> Tensor:
    """A copy as a tensor; read-only arrays of a memory-mapped corpus come in too."""
    return torch.tensor(values, dtype=dtype)


def begin_positions(segments: Sequence[Segment]) -> list[int]:
    """Position of each segment's first token: 0, or one behind its parent's last."""
    begins: list[int] = []
    for segment in segments:
        parent = segment.parent
        begins.append(0 if parent is None else begins[parent] + segments[parent].length)
    return begins


def reads_in(example: Encoded, row: int, segments: Sequence[Segment]) -> tuple[Tensor, Tensor, Tensor]:
    """Positions that are read, their targets and weights, of one example."""
    segment = segments[row]
    weight_N = as_tensor(example.weights, torch.float32)
    target_N = as_tensor(example.token_ids, torch.long)
    from_N = torch.arange(segment.start - 1, segment.start + segment.length - 1)
    if segment.parent is None:
        weight_N[:1] = 0  # nothing precedes the first token
    else:
        parent = segments[segment.parent]
        from_N[:1] = parent.start + parent.length - 1
    learned_N = weight_N != 0
    return from_N[learned_N], target_N[learned_N], weight_N[learned_N]


def cut(lengths: Sequence[int], *, max_tokens: int, parents: Parents | None = None) -> Iterator[slice]:
    """Cut a step into micro-batches of at most `max_tokens`, in order; a longer example stands alone.

    An example stays together with its parent.  Memory only: the objective's denominators are those of the
    whole step, so the gradient stays the same.
    """
    families = list(family_slices(len(lengths), parents))
    begin = end = num_tokens = 0
    for family in families:
        size = sum(lengths[family])
        if end > begin and num_tokens + size > max_tokens:
            yield slice(begin, end)
            begin, num_tokens = end, 0
        end = family.stop
        num_tokens += size
    if begin < end:
        yield slice(begin, end)


def family_slices(num_examples: int, parents: Parents | None) -> Iterator[slice]:
    """Shortest runs of examples of which none continues an example outside the run."""
    starts: list[int] = []
    earliest = num_examples  # that this example or one behind it continues
    for index in reversed(range(num_examples)):
        parent = None if parents is None else parents[index]
        earliest = min(earliest, index if parent is None else parent)
        if earliest == index:
            starts.append(index)
    for begin, end in pairwise([*reversed(starts), num_examples]):
        yield slice(begin, end)


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
    queries, keys, values = query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2)
    outputs = [
        scaled_dot_product_attention(
            q,
            torch.cat([keys[row] for row in line], dim=2) if len(line) > 1 else keys[line[0]],
            torch.cat([values[row] for row in line], dim=2) if len(line) > 1 else values[line[0]],
            attn_mask=lower_right_mask(q, lengths, line),
            dropout_p=dropout,
            is_causal=len(line) == 1,
            scale=scaling,
            enable_gqa=True,
        )
        for q, line in zip(queries, map(partial(ancestry, segments), range(len(segments))), strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).to(dtype), None


def ancestry(segments: Sequence[Segment], row: int) -> list[int]:
    """The segments that a segment sees, the oldest ancestor first, itself last."""
    line = [row]
    while (parent := segments[line[0]].parent) is not None:
        line.insert(0, parent)
    return line


def lower_right_mask(query: Tensor, lengths: Sequence[int], line: Sequence[int]) -> Tensor | None:
    """Who sees whom when the keys begin with ancestors: all of those, and causally the segment itself."""
    if len(line) == 1:
        return None
    num_keys = sum(lengths[row] for row in line)
    num_queries = query.shape[2]
    whole = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device)
    return whole.tril(num_keys - num_queries)


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
    if window is not None and window >= longest_context(segments):
        others = {**others, "sliding_window": None}
    for feature in ("softcap", "sliding_window", "s_aux", "position_bias"):
        if others.get(feature) is not None:
            raise ModelError(
                f"{name} asks for {feature}, which the training attention does not compute",
                value=str(others[feature])[:40],
                next_step="choose a model with plain causal attention (Llama, SmolLM2, Qwen2, Qwen3)",
            )


def longest_context(segments: Sequence[Segment]) -> int:
    """The most tokens that any token sees, itself included."""
    return max(
        begin + segment.length for begin, segment in zip(begin_positions(segments), segments, strict=True)
    )


def no_mask(*args: Any, **kwargs: Any) -> None:
    """The mask of `segment_attention`: none, because segments say who sees whom."""


def register() -> str:
    """Make the attention known to transformers and return its name; may be called again."""
    AttentionInterface.register(ATTENTION_NAME, segment_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, no_mask)
    return ATTENTION_NAME
