"""The sampler's memory: groups of rows and stored prefixes under one budget.

Running rows come first: a stored prefix that nobody stands on goes when a row needs its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from tunesmith.runtime.sampling.kv import (
    Block,
    Group,
    LayerShape,
    Prefix,
    copied,
    cut,
    room_for,
    slots_at_once,
)
from tunesmith.runtime.sampling.prefixes import MIN_SHARED, PrefixStore, common_length
from tunesmith.runtime.sampling.row import Row


class Known(NamedTuple):
    """Computed tokens that a row begins with, held by a stored prefix or by another row."""

    length: int
    parts: Sequence[Block]
    prefix: Prefix | None
    """The stored prefix, where it is one."""


NOTHING: Final = Known(0, (), None)


class Memory:
    """Keys and values of everything that runs or is kept for later, at most `max_bytes` together."""

    def __init__(self, shapes: Sequence[LayerShape], max_bytes: int) -> None:
        self.shapes, self.max_bytes = tuple(shapes), max_bytes
        self.groups: list[Group] = []
        self.store = PrefixStore()

    @property
    def token_bytes(self) -> int:
        """Memory of one token in all layers."""
        return sum(shape.num_bytes for shape in self.shapes)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that fits, alone."""
        return self.max_bytes // self.token_bytes

    @property
    def num_bytes(self) -> int:
        """Memory now."""
        return sum(group.num_bytes for group in self.groups) + self.store.num_bytes

    def make_room(self, num_bytes: int, *, held: tuple[Prefix, ...] = ()) -> bool:
        """Let unused prefixes go, but not those that are held, until this much fits; whether it does."""
        while self.num_bytes + num_bytes > self.max_bytes:
            if not self.store.drop_unused(held):
                return False
        return True

    # --- rows come and go --------------------------------------------------------------------------

    def known(self, row: Row, rows: Iterable[Row]) -> Known:
        """The longest beginning of a row that is computed already, in the store or by another row."""
        tokens, most = row.token_ids, row.most_known
        match = self.store.find(row.request.adapter, tokens[:most])
        best = NOTHING if match is None else Known(match.length, [match.prefix.block], match.prefix)
        for other in rows:
            if other.group is not None and other.head == row.head:
                common = common_length(tokens, other.request.token_ids)
                length = min(common, most, other.computed)
                if length > best.length and length >= MIN_SHARED:
                    best = Known(length, other.group.parts_of(other), None)
        return best

    def admit(self, row: Row, known: Known, *, shared: int) -> bool:
        """Give a row its place with what is known of it; whether it fits.

        Its first `shared` tokens (all known) are a prefix that it stands on, together with every running row
        that begins with it; what else is known is copied.
        """
        prefix = self._prefix(row, known, shared) if shared else None
        if shared and prefix is None:
            return False
        start = prefix.length if prefix is not None else 0
        room = room_for(row.num_tokens - start, self.longest - start)
        held = tuple(found for found in (prefix, known.prefix) if found is not None)
        is_open = row.num_tokens - max(start, known.length) == 1
        group = self._slot(prefix, room, is_open=is_open, held=held)
        if group is None:
            return False
        row.computed, row.group = max(start, known.length), group
        group.put(row, cut(known.parts, start, row.computed))
        if prefix is not None:
            self._gather_on(prefix)
        return True

    def admit_alone(self, row: Row) -> None:
        """Give a row all the memory it needs, when no other runs; it begins from nothing."""
        while self.store.drop_unused():
            pass
        if not self.admit(row, NOTHING, shared=0):
            raise RuntimeError(f"{row.num_tokens} tokens do not fit into {self.max_bytes} bytes")

    def settle(self, row: Row) -> None:
        """Let a row whose prompt is computed join the rows that stand on what it begins with."""
        group = row.group
        assert group is not None
        if not self._move(row, self._longest_in_use(row) or group.prefix):
            group.is_open = True

    def lengthen(self, row: Row) -> bool:
        """Give a row whose slot is full a larger one; whether it fits."""
        group = row.group
        assert group is not None
        room = room_for(group.room + 1, self.longest - group.start)
        if len(group.rows) > 1 or self._open_group(group.prefix, room) is not None:
            return self._move(row, group.prefix)
        if not self.make_room(room * self.token_bytes - group.num_bytes):
            return False
        group.resize(1, room)
        return True

    def keep(self, row: Row, length: int) -> None:
        """Store a row's first computed tokens for later requests, if they are new and there is room."""
        group, adapter, tokens = row.group, row.request.adapter, row.token_ids[:length]
        assert group is not None
        match = self.store.find(adapter, tokens)
        is_known = match is not None and match.length >= length // 2
        if length < MIN_SHARED or is_known or not self.make_room(length * self.token_bytes):
            return
        self.store.add(Prefix(adapter, tokens, copied(cut(group.parts_of(row), 0, length))))

    def release(self, row: Row) -> None:
        """Free a row's place."""
        group = row.group
        assert group is not None
        self._vacate(group, row)
        row.computed, row.group = 0, None

    def clear(self) -> None:
        """Forget every row; stored prefixes stay."""
        for group in list(self.groups):
            for row in group.rows:
                row.computed, row.group = 0, None
            self._close(group)

    # --- prefixes and slots ------------------------------------------------------------------------

    def _prefix(self, row: Row, known: Known, length: int) -> Prefix | None:
        """A stored prefix of just this many tokens of a row; None when there is no room for it."""
        if known.prefix is not None and known.prefix.length == length:
            return known.prefix
        held = () if known.prefix is None else (known.prefix,)
        if not self.make_room(length * self.token_bytes, held=held):
            return None
        prefix = Prefix(row.request.adapter, row.token_ids[:length], copied(cut(known.parts, 0, length)))
        self.store.prefixes.append(prefix)
        return prefix

    def _gather_on(self, prefix: Prefix) -> None:
        """Move running rows that begin with a prefix onto it, as far as there is room."""
        for row in [row for group in self.groups if group.is_open for row in group.rows]:
            if self._longest_in_use(row) is prefix:
                self._move(row, prefix)

    def _longest_in_use(self, row: Row) -> Prefix | None:
        """The longest prefix that groups stand on and that a row begins with; longer than its own."""
        assert row.group is not None
        best, length, tokens = None, row.group.start, row.token_ids[: row.computed]
        for prefix in self.store.prefixes:
            if prefix.num_users and prefix.length > length and prefix.begins(row.request.adapter, tokens):
                best, length = prefix, prefix.length
        return best

    def _move(self, row: Row, prefix: Prefix | None) -> bool:
        """Move a row to an open group on this prefix where its next token fits; whether there is room."""
        old = row.group
        assert old is not None
        start = prefix.length if prefix is not None else 0
        room = room_for(row.computed - start + 1, self.longest - start)
        if (old.prefix, old.room) == (prefix, room) and self._open_group(prefix, room) in (None, old):
            old.is_open = True
            return True
        new = self._slot(prefix, room, is_open=True)
        if new is None:
            return False
        new.put(row, cut(old.parts_of(row), start, row.computed))
        self._vacate(old, row)
        row.group = new
        return True

    def _open_group(self, prefix: Prefix | None, room: int) -> Group | None:
        found = (group for group in self.groups if group.is_open)
        return next((group for group in found if (group.prefix, group.room) == (prefix, room)), None)

    def _slot(
        self, prefix: Prefix | None, room: int, *, is_open: bool, held: tuple[Prefix, ...] = ()
    ) -> Group | None:
        """A group with a free slot: an open one that has or makes one, or a new one; None without room."""
        slot_bytes = room * self.token_bytes
        group = self._open_group(prefix, room) if is_open else None
        if group is not None and len(group.rows) < group.num_slots:
            return group
        if group is not None:
            for more in (slots_at_once(room), 1):
                if self.make_room(more * slot_bytes, held=held):
                    group.resize(group.num_slots + more, room)
                    return group
            return None
        wide_bytes = prefix.wide_bytes if prefix is not None and not prefix.num_users else 0
        if not self.make_room(slot_bytes + wide_bytes, held=held):
            return None
        group = Group(self.shapes, prefix, room, is_open=is_open)
        group.resize(1, room)
        self.groups.append(group)
        if prefix is not None:
            prefix.enter()
        return group

    def _vacate(self, group: Group, row: Row) -> None:
        """Free a slot; memory that is not needed any more goes back."""
        group.take(row)
        if not group.rows:
            self._close(group)
        elif group.num_slots >= 2 * len(group.rows) and group.num_slots > slots_at_once(group.room):
            group.resize(len(group.rows), group.room)

    def _close(self, group: Group) -> None:
        self.groups.remove(group)
        if group.prefix is not None:
            group.prefix.leave()
