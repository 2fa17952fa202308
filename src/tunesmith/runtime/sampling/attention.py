"""Attention in generation: one line of tokens, each seeing the keys of its own sequence.

Legend of tensor names: T tokens laid end to end, N tokens of one part, B rows of a group, K key-value heads,
G query heads of one key-value head, H = K·G query heads, P tokens of the shared prefix, S tokens of a row's
own, D width of a head.

Every forward pass is one flat line of tokens (1, T), as in training.  The attention function is reached
through transformers' public registry and handed a `Pass`: parts, one behind the other,

* `Piece`: some tokens of one sequence's prompt; each sees the keys computed before it, and itself;
* `Decode`: one token for each row of a group; the prefix that the group shares is stored once and read once,
  so a few-shot prompt costs its arithmetic and not one copy of its keys for each row
  (the idea of Hydragen, Juravsky et al. 2024, arXiv:2402.05099, with one softmax over both parts).

The weights are read once for all parts.

What was measured for `Decode` in bfloat16 on a processor with AVX512-BF16, one thread, 8 rows × 256 tokens,
9 heads on 3: keys and values widened to float32 261 µs a layer; keys widened, values not 218 (taken); all
kept in float32 341, at twice the memory; torch's fused kernel 356; row by row with it 20 % more; products of
both in bfloat16 155, but scores of 8 bits.  The fused kernel serves a row that is alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tunesmith.runtime.sampling.kv import Group, LayerShape
from tunesmith.runtime.sampling.port import CannotStep

ATTENTION_NAME = "tunesmith_cached"


class Scores(NamedTuple):
    """How a layer turns products of queries and keys into scores."""

    scaling: float
    window: int | None
    softcap: float | None

    def cap(self, scores: Tensor) -> Tensor:
        """Scores of scaled queries, capped where the model asks for it; before the mask."""
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)


class Part(Protocol):
    """Consecutive tokens of a pass that see the same kind of keys."""

    @property
    def num_tokens(self) -> int:
        """N, tokens of the line that belong to it."""

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scores: Scores) -> Tensor:
        """Outputs (N, H, D) of one layer; keeps the new keys and values."""


@dataclass(frozen=True)
class Pass:
    """Which keys the tokens of one forward pass see."""

    parts: Sequence[Part]

    def attend(self, layer: int, q_HTD: Tensor, k_KTD: Tensor, v_KTD: Tensor, scores: Scores) -> Tensor:
        """Outputs (T, H, D) of one layer."""
        if len(self.parts) == 1:
            return self.parts[0].attend(layer, q_HTD, k_KTD, v_KTD, scores)
        lengths = [part.num_tokens for part in self.parts]
        lines = zip(
            self.parts, q_HTD.split(lengths, 1), k_KTD.split(lengths, 1), v_KTD.split(lengths, 1), strict=True
        )
        return torch.cat([part.attend(layer, q, k, v, scores) for part, q, k, v in lines])


@dataclass(frozen=True)
class Piece:
    """Tokens `start` to `stop` of the one row of a group that is not open."""

    group: Group
    start: int
    stop: int
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """N, tokens of the piece."""
        return self.stop - self.start

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scores: Scores) -> Tensor:
        """Attention over the prefix, the row's earlier tokens, and the piece itself."""
        group, prefix = self.group, self.group.prefix
        begin, end = self.start - group.start, self.stop - group.start
        keys, values = group.keys[layer][0], group.values[layer][0]
        keys[:, begin:end], values[:, begin:end] = k_KND, v_KND
        k, v = keys[:, :end], values[:, :end]
        if prefix is not None:
            k = torch.cat([prefix.block.keys[layer], k], 1)
            v = torch.cat([prefix.block.values[layer], v], 1)
        if scores.window not in self._masks:
            self._masks[scores.window] = seen_mask(self.num_tokens, self.stop, scores.window, q_HND.device)
        return attend_whole(q_HND, k, v, self._masks[scores.window], scores).transpose(0, 1)


def seen_mask(num_queries: int, num_keys: int, window: int | None, device: torch.device) -> Tensor:
    """True where query i, aligned to the end of the keys, sees key j."""
    key = torch.arange(num_keys, device=device)
    distance = key[num_keys - num_queries :, None] - key
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


def attend_whole(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scores: Scores) -> Tensor:
    """Attention of one sequence: q (H, n, D), k and v (K, m, D), mask (n, m) → (H, n, D)."""
    if scores.softcap is None:
        return nn.functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=mask, scale=scores.scaling, enable_gqa=True
        )[0]
    groups = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0)
    capped = scores.cap((q.float() * scores.scaling) @ k.float().transpose(1, 2))
    if mask is not None:
        capped = capped.masked_fill(~mask, float("-inf"))
    return (capped.softmax(-1) @ v.float()).to(q.dtype)


class Decode:
    """One token for each row of an open group, at each row's `computed`."""

    def __init__(self, group: Group) -> None:
        self.group = group
        lengths = [row.computed - group.start for row in group.rows]
        device = group.shapes[0].device
        self.longest = max(lengths) + 1
        self._slot_B = torch.arange(len(lengths), device=device)
        self._length_B = torch.tensor(lengths, device=device)
        self._ragged = min(lengths) + 1 < self.longest
        self._hidden: dict[int | None, Tensor | None] = {}

    @property
    def num_tokens(self) -> int:
        """B, rows of the group."""
        return len(self._slot_B)

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scores: Scores) -> Tensor:
        """Attention of each row over the shared prefix and its own keys, with one softmax in float32."""
        keys, values, num_rows = self.group.keys[layer], self.group.values[layer], self.num_tokens
        keys[self._slot_B, :, self._length_B] = k_KND.transpose(0, 1)
        values[self._slot_B, :, self._length_B] = v_KND.transpose(0, 1)
        if num_rows == 1 and self.group.prefix is None:
            return self._attend_alone(q_HND, keys[0, :, : self.longest], values[0, :, : self.longest], scores)
        k_BKSD = keys[:num_rows, :, : self.longest].float()
        v_BKSD = values[:num_rows, :, : self.longest]
        q_BHD = q_HND.transpose(0, 1).float() * scores.scaling
        q_BKGD = q_BHD.reshape(num_rows, k_KND.shape[0], -1, k_KND.shape[2])
        products = q_BKGD @ k_BKSD.transpose(-1, -2)
        wide = self.group.prefix.wide if self.group.prefix is not None else None
        if wide is not None:
            products = torch.cat([over_prefix(q_BKGD, wide.keys[layer].transpose(1, 2)), products], -1)
        products = scores.cap(products)
        if (hidden := self._mask(scores.window)) is not None:
            products += hidden  # a quarter of masked_fill's time
        weights = products.softmax(-1)
        out = weights[..., self.group.start :].to(v_BKSD.dtype) @ v_BKSD
        if wide is not None:
            out = out + over_prefix(weights[..., : self.group.start], wide.values[layer])
        return out.reshape(num_rows, -1, v_KND.shape[2]).to(q_HND.dtype)

    @staticmethod
    def _attend_alone(q_H1D: Tensor, k_KSD: Tensor, v_KSD: Tensor, scores: Scores) -> Tensor:
        """One row by torch's own kernel: bit by bit what transformers' `generate` computes for it alone."""
        if scores.window is not None:
            k_KSD, v_KSD = k_KSD[:, -scores.window :], v_KSD[:, -scores.window :]
        return attend_whole(q_H1D, k_KSD, v_KSD, None, scores).transpose(0, 1)

    def _mask(self, window: int | None) -> Tensor | None:
        """(B, 1, 1, P + S): -inf where a key is hidden from a row, else 0; None when every row sees all."""
        if window is None and not self._ragged:
            return None
        if window not in self._hidden:
            key = torch.arange(self.group.start + self.longest, device=self._slot_B.device)
            position_B1 = (self.group.start + self._length_B)[:, None]
            hidden = key > position_B1
            if window is not None:
                hidden |= key <= position_B1 - window
            mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, float("-inf"))
            self._hidden[window] = mask[:, None, None] if bool(hidden.any()) else None
        return self._hidden[window]


def over_prefix(left_BKGX: Tensor, right_KXY: Tensor) -> Tensor:
    """One product by key-value head for all rows: (B, K, G, X) × (K, X, Y) → (B, K, G, Y)."""
    num_rows, num_heads, groups, _ = left_BKGX.shape
    flat = left_BKGX.transpose(0, 1).reshape(num_heads, num_rows * groups, -1)
    return (flat @ right_KXY).view(num_heads, num_rows, groups, -1).transpose(0, 1)


@dataclass
class Measure:
    """One whole sequence that keeps nothing but the shapes of its layers: for finding out what they are."""

    num_tokens: int
    shapes: dict[int, LayerShape] = field(default_factory=dict)

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor, scores: Scores) -> Tensor:
        """Causal attention."""
        widths = (k_KND.shape[0], k_KND.shape[2], v_KND.shape[2])
        self.shapes[layer] = LayerShape(*widths, k_KND.dtype, k_KND.device)
        mask = seen_mask(self.num_tokens, self.num_tokens, scores.window, q_HND.device)
        return attend_whole(q_HND, k_KND, v_KND, mask, scores).transpose(0, 1)


def cached_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    cache_pass: Pass | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer: query (1, H, T, D), key and value (1, K, T, D) → (1, T, H, D).

    Raises CannotStep for anything that would change the scores and is not known here.
    """
    if cache_pass is None:
        raise RuntimeError("this model is prepared for tunesmith's sampler: use runtime.sampling")
    for name in ("s_aux", "position_bias"):
        if others.get(name) is not None:
            raise CannotStep("attention in this model has a term that is not known here", value=name)
    scores = Scores(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap)
    layer: Any = module.layer_idx
    return cache_pass.attend(layer, query[0], key[0], value[0], scores)[None], None


def no_mask(*_args: Any, **_settings: Any) -> None:
    """The pass knows who sees whom; transformers builds no mask."""


AttentionInterface.register(ATTENTION_NAME, cached_attention)
AttentionMaskInterface.register(ATTENTION_NAME, no_mask)
