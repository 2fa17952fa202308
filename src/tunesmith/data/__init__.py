"""Data: files of conversations to a data set that can be trusted.

Enters: a file of rows in any layout (or the name of a public data set).  Leaves: a folder of kind "data-set"
with checked rows in splits that share no row and no group, with card and leak proof (`fetch` leaves a folder
of kind "source").  Each package below is a door of its own: check, selftest, clean, select, ablate,
synthesize, pool, review, documents, convert.
"""

from typing import Any

__all__ = ["FetchConfig", "PrepareConfig", "ShowConfig", "fetch", "prepare", "show"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name == "fetch":
        from tunesmith.data.source import fetch

        return fetch
    if name == "prepare":
        from tunesmith.data.preparation import prepare

        return prepare
    if name == "show":
        from tunesmith.data.viewing import show

        return show
    if name in __all__:
        from tunesmith.data import schema

        configs: dict[str, Any] = {
            "FetchConfig": schema.FetchConfig,
            "PrepareConfig": schema.PrepareConfig,
            "ShowConfig": schema.ShowConfig,
        }
        return configs[name]
    raise AttributeError(name)
