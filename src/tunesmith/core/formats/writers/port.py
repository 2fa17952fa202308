"""What a writer of rows is."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tunesmith.core.conversation import Example

JsonRow = dict[str, Any]


class Unfit(Exception):
    """A layout cannot hold a row; the message says what of it."""


def as_it_is(example: Example) -> Example:
    """For layouts that keep everything."""
    return example


class Writer(NamedTuple):
    """One layout to write."""

    name: str
    about: str
    write: Callable[[Example], JsonRow]
    """Raises Unfit for a row of another kind."""
    shape: str
    """The layout as which it is read again."""
    level: Callable[[Example], Example] = as_it_is
    """What the layout is allowed to change: the ids of calls, where it has none."""
