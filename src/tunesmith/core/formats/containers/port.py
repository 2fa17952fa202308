"""A row as its file holds it, before anybody asks what its keys mean."""

from typing import NamedTuple

from tunesmith.core.formats.problems import Problem


class RawRow(NamedTuple):
    """One row of a file; blank lines are rows too, so that every byte is accounted for."""

    line: int
    """Line of a text file, row of a table, or item of an array, from 1."""
    value: object = None
    """The parsed value; None when the row is blank or cannot be parsed."""
    is_blank: bool = False
    problems: tuple[Problem, ...] = ()
    """Why it cannot be parsed."""
    changes: tuple[Problem, ...] = ()
    """What was mended on the way, such as a byte order mark."""
    num_bytes: int = 0
    """How far the file was read for this row; 0 where a container cannot say."""
