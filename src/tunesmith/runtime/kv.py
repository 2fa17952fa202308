"""Keys and values of sequences in decoding, and the attention over them.

Legend of tensor names: B rows (sequences in the batch), T tokens laid end to end, K key-value heads,
G query heads of one key-value head, H = K·G query heads, P tokens of the shared prefix, S tokens of a row's
own, D width of a head.

Every forward pass is one flat line of tokens (1, T), as in training.  The attention function is reached
through transformers' public registry and handed a `Pass` that says which keys each token sees:

* `Prefill`: pieces of several sequences end to end; each sees the keys computed before it, and itself;
* `Decode`: one token for each row of `Slots`; the prefix that all rows share is stored once and read once, so
  a few-shot prompt costs its arithmetic and not one copy of its keys for each row
  (the idea of Hydragen, Juravsky et al. 2024, arXiv:2402.05099, with one softmax over both parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn, split
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

ATTENTION_NAME = "tunesmith_cached"
GROW_ROWS, GROW_TOKENS = 8, 128
"""Room grows in steps of these, so that most steps allocate nothing."""


class Block(NamedTuple):
    """Keys and values of some consecutive tokens, by layer: each (K, tokens, D)."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """Tokens held."""
        return int(self.keys[0].shape[1])

    @property
    def num_bytes(self) -> int:
        """Memory of the part that this block shows (a cut block shares its parent's memory)."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.keys, *self.values))

    def part(self, start: int, stop: int) -> Block:
        """Tokens `start` to `stop`, without copying."""
        return Block(
            tuple(tensor[:, start:stop] for tensor in self.keys),
            tuple(tensor[:, start:stop] for tensor in self.values),
        )

    def copy(self) -> Block:
        """The same in memory of its own, so that a small part does not keep a large one alive."""
        return Block(tuple(key.clone() for key in self.keys), tuple(value.clone() for value in self.values))


def join(blocks: Sequence[Block]) -> Block:
    """One block of consecutive ones."""
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        tuple(torch.cat(layer, dim=1) for layer in zip(*(block.keys for block in blocks), strict=True)),
        tuple(torch.cat(layer, dim=1) for layer in zip(*(block.values for block in blocks), strict=True)),
    )


class Scores(NamedTuple):
    """How a layer turns products of queries and keys into scores."""

    scaling: float
    window: int | None
    softcap: float | None

    def cap(self, scores: Tensor) -> Tensor:
        """Scores of scaled queries, capped where the model asks for it; before the mask."""
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)


class Pass(Protocol):
    """Which keys the tokens of one forward pass see."""

    def attend(self, layer: int, q_HTD: Tensor, k_KTD: Tensor, v_KTD: Tensor, scores: Scores) -> Tensor:
        """Outputs (T, H, D) of one layer; keeps the new keys and values."""


@dataclass
class Prefill:
    """Pieces of sequences end to end; `before` holds each one's earlier keys (None: it starts here)."""

    lengths: list[int]
    before: list[Block | None]
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    _masks: dict[tuple[int, int, int | None], Tensor] = field(default_factory=dict)

    def attend(self, layer: int, q_HTD: Tensor, k_KTD: Tensor, v_KTD: Tensor, scores: Scores) -> Tensor:
        """Attention of each piece over its own earlier keys and itself."""
        self.keys[layer], self.values[layer] = k_KTD, v_KTD
        pieces = zip(
            split(q_HTD, self.lengths, 1),
            split(k_KTD, self.lengths, 1),
            split(v_KTD, self.lengths, 1),
            self.before,
            strict=True,
        )
        outputs = []
        for q, k, v, before in pieces:
            if before is not None:
                k, v = torch.cat([before.keys[layer], k], 1), torch.cat([before.values[layer], v], 1)
            mask = self._mask(q.shape[1], k.shape[1], scores.window)
            outputs.append(_attend(q, k, v, mask, scores).transpose(0, 1))
        return torch.cat(outputs)

    def blocks(self) -> list[Block]:
        """The new keys and values of each piece."""
        layers = sorted(self.keys)
        keys = zip(*(split(self.keys[layer], self.lengths, 1) for layer in layers), strict=True)
        values = zip(*(split(self.values[layer], self.lengths, 1) for layer in layers), strict=True)
        return [Block(*both) for both in zip(keys, values, strict=True)]

    def _mask(self, num_queries: int, num_keys: int, window: int | None) -> Tensor:
        """True where query i, aligned to the end of the keys, sees key j."""
        sought = (num_queries, num_keys, window)
        if sought not in self._masks:
            distance = torch.arange(num_keys - num_queries, num_keys)[:, None] - torch.arange(num_keys)
            seen = distance >= 0
            self._masks[sought] = seen if window is None else seen & (distance < window)
        return self._masks[sought]


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scores: Scores) -> Tensor:
    """Attention of one sequence: q (H, n, D), k and v (K, m, D), mask (n, m) → (H, n, D)."""
    if scores.softcap is None:
        return nn.functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=mask, scale=scores.scaling, enable_gqa=True
        )[0]
    groups = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0)
    capped = scores.cap((q.float() * scores.scaling) @ k.float().transpose(1, 2))
    return (capped.masked_fill(~mask, float("-inf")).softmax(-1) @ v.float()).to(q.dtype)


class Slots:
    """The rows in decoding: the shared prefix once, then each row's own keys in a slot of its own.

    Rows are numbered 0 … B−1 without holes; removing one moves the last into its place.
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.prefix: Block | None = None
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._prefix_float: Block | None = None

    @property
    def prefix_length(self) -> int:
        """Tokens that all rows share."""
        return self.prefix.length if self.prefix is not None else 0

    @property
    def room(self) -> tuple[int, int]:
        """Rows and tokens that are allocated."""
        return (int(self._keys[0].shape[0]), int(self._keys[0].shape[2])) if self._keys else (0, 0)

    def grown(self, num_rows: int, num_tokens: int) -> tuple[int, int]:
        """Rows and tokens that would be allocated to hold these."""
        rows, tokens = self.room
        return max(rows, round_up(num_rows, GROW_ROWS)), max(tokens, round_up(num_tokens, GROW_TOKENS))

    def add(self, parts: Sequence[Block]) -> int:
        """Take in a sequence with these keys and values, shared prefix included; returns its row."""
        own = [part for part in _skip(parts, self.prefix_length) if part.length]
        row, length = len(self.lengths), sum(part.length for part in own)
        self._reserve(parts[0], row + 1, length + 1)
        at = 0
        for part in own:
            for layer, (key, value) in enumerate(zip(part.keys, part.values, strict=True)):
                self._keys[layer][row, :, at : at + part.length] = key
                self._values[layer][row, :, at : at + part.length] = value
            at += part.length
        self.lengths.append(length)
        return row

    def remove(self, row: int) -> None:
        """Free a row; the last row takes its number."""
        last = len(self.lengths) - 1
        if row != last:
            length = self.lengths[last]
            for tensor in (*self._keys, *self._values):
                tensor[row, :, :length] = tensor[last, :, :length]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        if not self.lengths:
            self._keys, self._values = [], []
            self.set_prefix(None)
        else:
            self._shrink()

    def set_prefix(self, prefix: Block | None) -> None:
        """Store what all rows (there may be none yet) share."""
        self.prefix = prefix
        self._prefix_float = None
        if prefix is not None:
            self._prefix_float = Block(
                tuple(key.float() for key in prefix.keys), tuple(value.float() for value in prefix.values)
            )

    def share(self, length: int) -> None:
        """Make the shared prefix this long: rows take back or give up the difference."""
        difference = length - self.prefix_length
        if difference == 0 or not self.lengths:
            return
        longest = max(self.lengths)
        if difference > 0:
            kept = self.row(0).part(0, difference)
            for tensors in (self._keys, self._values):
                for layer, tensor in enumerate(tensors):
                    tensors[layer] = tensor[:, :, difference:].contiguous()
            self.set_prefix(join([self.prefix, kept]).copy() if self.prefix is not None else kept.copy())
        else:
            assert self.prefix is not None
            returned = self.prefix.part(length, self.prefix.length)
            self._reserve(returned, len(self.lengths), longest - difference + 1)
            for tensors, layers in ((self._keys, returned.keys), (self._values, returned.values)):
                for tensor, layer_part in zip(tensors, layers, strict=True):
                    tensor[:, :, -difference : longest - difference] = tensor[:, :, :longest].clone()
                    tensor[:, :, :-difference] = layer_part
            self.set_prefix(self.prefix.part(0, length).copy() if length else None)
        self.lengths = [own - difference for own in self.lengths]

    def row(self, row: int) -> Block:
        """A row's own keys and values, without copying."""
        length = self.lengths[row]
        return Block(
            tuple(tensor[row, :, :length] for tensor in self._keys),
            tuple(tensor[row, :, :length] for tensor in self._values),
        )

    def decode(self) -> Decode:
        """A pass of one new token for each row; makes room for it and counts it."""
        self._reserve(None, len(self.lengths), max(self.lengths) + 1)
        step = Decode(
            self._keys, self._values, self._prefix_float, torch.tensor(self.lengths), self.prefix_length
        )
        self.lengths = [length + 1 for length in self.lengths]
        return step

    def _shrink(self) -> None:
        """Give memory back after a much longer row has left."""
        tokens = round_up(max(self.lengths) + 1, GROW_TOKENS)
        if self.room[1] >= 4 * tokens:
            for tensors in (self._keys, self._values):
                tensors[:] = [tensor[:, :, :tokens].clone() for tensor in tensors]

    def _reserve(self, like: Block | None, num_rows: int, num_tokens: int) -> None:
        if not self._keys:
            assert like is not None
            self._keys = [key.new_empty(0, key.shape[0], 0, key.shape[2]) for key in like.keys]
            self._values = [value.new_empty(0, value.shape[0], 0, value.shape[2]) for value in like.values]
        rows, tokens = self.grown(num_rows, num_tokens)
        if (rows, tokens) == self.room:
            return
        for tensors in (self._keys, self._values):
            for layer, old in enumerate(tensors):
                # Zeros, because what lies beyond a row's end is multiplied by a probability of 0.
                new = old.new_zeros(rows, old.shape[1], tokens, old.shape[3])
                new[: old.shape[0], :, : old.shape[2]] = old
                tensors[layer] = new


def round_up(number: int, step: int) -> int:
    """The smallest multiple of `step` that holds `number`."""
    return -(-number // step) * step


def _skip(parts: Sequence[Block], length: int) -> list[Block]:
    """Consecutive blocks without their first `length` tokens."""
    left = []
    for part in parts:
        left.append(part.part(min(length, part.length), part.length))
        length -= min(length, part.length)
    return left


@dataclass
class Decode:
    """One token for each row; `lengths` are the rows' own before it."""

    keys: list[Tensor]
    values: list[Tensor]
    prefix: Block | None
    lengths: Tensor
    prefix_length: int
    _hidden: dict[int | None, Tensor | None] = field(default_factory=dict)

    def attend(self, layer: int, q_HTD: Tensor, k_KTD: Tensor, v_KTD: Tensor, scores: Scores) -> Tensor:
        """Attention of each row over the shared prefix and its own keys, in float32 with one softmax."""
        num_rows, num_heads, width = len(self.lengths), k_KTD.shape[0], k_KTD.shape[2]
        row_B = torch.arange(num_rows)
        self.keys[layer][row_B, :, self.lengths] = k_KTD.transpose(0, 1)
        self.values[layer][row_B, :, self.lengths] = v_KTD.transpose(0, 1)
        longest = int(self.lengths.max()) + 1
        k_BKSD = self.keys[layer][:num_rows, :, :longest].float()
        v_BKSD = self.values[layer][:num_rows, :, :longest].float()
        q_BKGD = q_HTD.transpose(0, 1).reshape(num_rows, num_heads, -1, width).float() * scores.scaling
        products = q_BKGD @ k_BKSD.transpose(-1, -2)
        if self.prefix is not None:
            shared = self._over_prefix(q_BKGD, self.prefix.keys[layer].transpose(1, 2))
            products = torch.cat([shared, products], -1)
        products = scores.cap(products)
        if (hidden := self._mask(scores.window)) is not None:
            products.masked_fill_(hidden, float("-inf"))
        weights = products.softmax(-1)
        out = weights[..., self.prefix_length :] @ v_BKSD
        if self.prefix is not None:
            out = out + self._over_prefix(weights[..., : self.prefix_length], self.prefix.values[layer])
        return out.reshape(num_rows, -1, width).to(q_HTD.dtype)

    @staticmethod
    def _over_prefix(left_BKGX: Tensor, right_KXY: Tensor) -> Tensor:
        """One product by key-value head for all rows: (B, K, G, X) × (K, X, Y) → (B, K, G, Y)."""
        num_rows, num_heads, groups, _ = left_BKGX.shape
        flat = left_BKGX.transpose(0, 1).reshape(num_heads, num_rows * groups, -1)
        return (flat @ right_KXY).view(num_heads, num_rows, groups, -1).transpose(0, 1)

    def _mask(self, window: int | None) -> Tensor | None:
        """True (B, 1, 1, P + S) where a key is hidden from a row; None when every row sees everything."""
        if window not in self._hidden:
            key = torch.arange(self.prefix_length + int(self.lengths.max()) + 1)
            position_B1 = (self.prefix_length + self.lengths)[:, None]
            hidden = key > position_B1
            if window is not None:
                hidden |= key <= position_B1 - window
            self._hidden[window] = hidden[:, None, None] if bool(hidden.any()) else None
        return self._hidden[window]


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

    Raises RuntimeError for anything that would change the scores and is not known here.
    """
    if cache_pass is None:
        raise RuntimeError("this model is prepared for tunesmith's sampler: use runtime.sampling")
    for name in ("s_aux", "position_bias"):
        if others.get(name) is not None:
            raise RuntimeError(f"attention with {name!r} is not supported")
    scores = Scores(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap)
    layer: Any = module.layer_idx
    return cache_pass.attend(layer, query[0], key[0], value[0], scores)[None], None


def no_mask(*_args: Any, **_settings: Any) -> None:
    """The pass knows who sees whom; transformers builds no mask."""


AttentionInterface.register(ATTENTION_NAME, cached_attention)
AttentionMaskInterface.register(ATTENTION_NAME, no_mask)
