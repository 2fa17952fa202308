"""What a layout of rows is."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.formats.problems import Findings

Row = Mapping[str, object]


class Shape(NamedTuple):
    """One layout: how to know it, and how to read it."""

    name: str
    about: str
    """Its keys, in a few words."""
    fits: Callable[[Row], tuple[str, ...]]
    """The keys of a row that this layout explains; empty when the row is not laid out so.

    Of two layouts that fit one row, one that explains all keys of the other and more is the right one.
    """
    read: Callable[[Row, Findings], Example | None]
    """A row to its example; None, or one that must not be used, when the findings hold a problem."""


def explained(row: Row, needed: tuple[str, ...], allowed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The needed keys and those of the allowed ones that stand in a row; nothing when one is missing."""
    if not all(key in row for key in needed):
        return ()
    return needed + tuple(key for key in allowed if key in row)
