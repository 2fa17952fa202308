"""Union-find over numbered members."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Groups:
    """Union-find: which of `0 … n-1` belong together.  A group's root is its smallest member."""

    parents: "array[int]" = field(default_factory=lambda: array("q"))
    due: list[Callable[[], None]] = field(default_factory=list)
    """Joins that are put off until somebody asks for a root (see `NearDuplicates`)."""

    def add(self) -> int:
        """A new member, alone; returns its number."""
        self.parents.append(len(self.parents))
        return len(self.parents) - 1

    def add_many(self, count: int) -> NDArray[np.int64]:
        """So many new members, each alone; returns their numbers."""
        numbers = np.arange(len(self.parents), len(self.parents) + count, dtype=np.int64)
        self.parents.frombytes(numbers.tobytes())
        return numbers

    def root(self, member: int) -> int:
        """The smallest member of a member's group."""
        while self.due:
            self.due.pop()()
        return self._root(member)

    def roots(self, members: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """`root` of these members, or of all."""
        while self.due:
            self.due.pop()()
        return self.roots_so_far(members)

    def roots_so_far(self, members: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """The same without what is put off."""
        if not self.parents:
            return np.zeros(0, dtype=np.int64)
        parents = np.frombuffer(self.parents, dtype=np.int64)
        found = parents.copy() if members is None else parents[members]
        while not np.array_equal(above := parents[found], found):
            found = above
        return found

    def join(self, left: int, right: int) -> None:
        """Put two members' groups together."""
        first, second = sorted((self._root(left), self._root(right)))
        self.parents[second] = first

    def join_equal(self, keys: NDArray[np.uint8], members: NDArray[np.int64]) -> None:
        """Put members with equal keys together (`keys` [members, bytes], bytes a multiple of 8)."""
        order, is_first = equal_runs(keys)
        starts = np.flatnonzero(is_first)
        leaders = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
        for place in np.flatnonzero(~is_first).tolist():
            self.join(int(members[leaders[place]]), int(members[order[place]]))

    def _root(self, member: int) -> int:
        while self.parents[member] != member:
            self.parents[member] = self.parents[self.parents[member]]
            member = self.parents[member]
        return member


def equal_runs(keys: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """An order that puts equal keys [rows, bytes] side by side, the earlier row first; where runs start."""
    parts = np.ascontiguousarray(keys).view(np.uint64)
    order = np.lexsort(parts.T[::-1])  # stable
    ranked = parts[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    return order, is_first
