"""Where keys and values live: blocks of consecutive tokens, stored prefixes, and groups of rows in slots.

Legend of tensor names: R slots of a group, K key-value heads, S tokens of a slot, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tunesmith.runtime.sampling.row import Row

SMALLEST_ROOM = 128
"""Tokens of the smallest slot; each larger size is twice the one before."""
SLOT_STEP_TOKENS = 1024
"""A group gets slots for this many tokens at once (at least one), so that most rows find one free."""


class LayerShape(NamedTuple):
    """What one layer keeps of a token: K heads with their widths."""

    heads: int
    key_width: int
    value_width: int
    dtype: torch.dtype
    device: torch.device

    @property
    def num_bytes(self) -> int:
        """Memory of one token."""
        return self.heads * (self.key_width + self.value_width) * self.dtype.itemsize


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

    def to(self, dtype: torch.dtype) -> Block:
        """The same numbers in another type; this very block when it has that type."""
        return Block(
            tuple(tensor.to(dtype) for tensor in self.keys), tuple(tensor.to(dtype) for tensor in self.values)
        )


def copied(parts: Sequence[Block]) -> Block:
    """Consecutive blocks as one in memory of its own: a small part does not keep a large one alive."""
    return Block(
        tuple(torch.cat(layer, dim=1) for layer in zip(*(part.keys for part in parts), strict=True)),
        tuple(torch.cat(layer, dim=1) for layer in zip(*(part.values for part in parts), strict=True)),
    )


def cut(parts: Sequence[Block], start: int, stop: int) -> list[Block]:
    """Tokens `start` to `stop` of consecutive blocks, without copying."""
    found, at = [], 0
    for part in parts:
        begin, end = max(start - at, 0), min(stop - at, part.length)
        if begin < end:
            found.append(part.part(begin, end))
        at += part.length
    return found


class Prefix:
    """The beginning of a prompt under one adapter, with its keys and values in memory of its own."""

    def __init__(self, adapter: str | None, token_ids: tuple[int, ...], block: Block) -> None:
        self.adapter, self.token_ids, self.block = adapter, token_ids, block
        self.num_users = 0
        """Groups that stand on it."""
        self.wide: Block | None = None
        """In float32, while groups stand on it: every step of theirs reads it."""

    @property
    def length(self) -> int:
        """Tokens held."""
        return len(self.token_ids)

    def begins(self, adapter: str | None, token_ids: tuple[int, ...]) -> bool:
        """Whether these tokens under this adapter begin with it."""
        return self.adapter == adapter and self.token_ids == token_ids[: self.length]

    @property
    def wide_bytes(self) -> int:
        """Memory of the float32 copy: none where that is the block itself."""
        wide = sum(tensor.numel() for tensor in (*self.block.keys, *self.block.values)) * 4
        return wide if self.block.keys[0].dtype != torch.float32 else 0

    @property
    def num_bytes(self) -> int:
        """Memory now."""
        return self.block.num_bytes + (self.wide_bytes if self.num_users else 0)

    def enter(self) -> None:
        """One more group stands on it."""
        self.num_users += 1
        if self.wide is None:
            self.wide = self.block.to(torch.float32)

    def leave(self) -> None:
        """One group less."""
        self.num_users -= 1
        if not self.num_users:
            self.wide = None


class Group:
    """Rows that stand on the same prefix (or on none), each with a slot of `room` tokens for its own.

    Slots are numbered without holes; when a row leaves, the last one takes its slot.  A group that is not
    `open` holds one row whose prompt is not computed yet; nobody joins it.
    """

    def __init__(
        self, shapes: Sequence[LayerShape], prefix: Prefix | None, room: int, *, is_open: bool
    ) -> None:
        self.prefix, self.room, self.is_open = prefix, room, is_open
        self.rows: list[Row] = []
        self.shapes = tuple(shapes)
        self.keys = [self._empty(shape, shape.key_width) for shape in shapes]
        self.values = [self._empty(shape, shape.value_width) for shape in shapes]

    def _empty(self, shape: LayerShape, width: int) -> Tensor:
        return torch.empty(0, shape.heads, self.room, width, dtype=shape.dtype, device=shape.device)

    @property
    def num_slots(self) -> int:
        """Slots that are allocated."""
        return int(self.keys[0].shape[0])

    @property
    def num_bytes(self) -> int:
        """Memory of the slots, without the prefix."""
        return self.num_slots * self.room * sum(shape.num_bytes for shape in self.shapes)

    @property
    def start(self) -> int:
        """Position of the slots' first token: the prefix's length."""
        return self.prefix.length if self.prefix is not None else 0

    def resize(self, num_slots: int, room: int) -> None:
        """Allocate anew, one layer after the other; what the rows hold must fit."""
        kept = len(self.rows)
        tokens = max((row.computed for row in self.rows), default=self.start) - self.start
        self.room = room
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                # Zeros, because what lies beyond a row's end is multiplied by a probability of 0.
                new = old.new_zeros(num_slots, old.shape[1], room, old.shape[3])
                new[:kept, :, :tokens] = old[:kept, :, :tokens]
                tensors[layer] = new

    def put(self, row: Row, parts: Sequence[Block]) -> None:
        """Give a row the next slot; `parts` are its computed tokens behind the prefix."""
        slot, at = len(self.rows), 0
        for part in parts:
            for layer, (key, value) in enumerate(zip(part.keys, part.values, strict=True)):
                self.keys[layer][slot, :, at : at + part.length] = key
                self.values[layer][slot, :, at : at + part.length] = value
            at += part.length
        self.rows.append(row)

    def take(self, row: Row) -> None:
        """Free a row's slot."""
        slot, last = self.rows.index(row), len(self.rows) - 1
        if slot != last:
            length = self.rows[last].computed - self.start
            for tensor in (*self.keys, *self.values):
                tensor[slot, :, :length] = tensor[last, :, :length]
            self.rows[slot] = self.rows[last]
        self.rows.pop()

    def parts_of(self, row: Row) -> list[Block]:
        """Keys and values of all computed tokens of a row, without copying."""
        slot, length = self.rows.index(row), row.computed - self.start
        own = Block(
            tuple(tensor[slot, :, :length] for tensor in self.keys),
            tuple(tensor[slot, :, :length] for tensor in self.values),
        )
        return [own] if self.prefix is None else [self.prefix.block, own]

    def is_full_for(self, row: Row) -> bool:
        """Whether the row's next token has no room in its slot."""
        return row.computed - self.start >= self.room


def room_for(num_tokens: int, longest: int) -> int:
    """Tokens of the smallest slot that holds these; never more than the longest sequence."""
    room = SMALLEST_ROOM
    while room < num_tokens:
        room *= 2
    return max(num_tokens, min(room, longest))


def slots_at_once(room: int) -> int:
    """Slots that a group grows by."""
    return max(1, SLOT_STEP_TOKENS // room)
