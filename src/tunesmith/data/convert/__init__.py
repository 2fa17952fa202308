"""Rows of one layout to rows of another.

Enters: a file of rows.  Leaves: a file of the same rows in another layout, proved by reading it again.
"""

from typing import Any

__all__ = ["ConvertConfig", "convert"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name == "convert":
        from tunesmith.data.convert.door import convert

        return convert
    if name == "ConvertConfig":
        from tunesmith.data.convert.schema import ConvertConfig

        return ConvertConfig
    raise AttributeError(name)
