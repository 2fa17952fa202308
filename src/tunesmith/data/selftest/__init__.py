"""The selftest: how well the checks find faults on the user's own data.

Enters: a file of rows or a data set folder.  Leaves: a folder of kind "selftest" with selftest.json (recall
and precision of each check against what was planted, with intervals) and planted.jsonl (every planted row).
"""

from typing import Any

__all__ = ["SelftestConfig", "SelftestResult", "selftest"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name == "selftest":
        from tunesmith.data.selftest.door import selftest

        return selftest
    if name in __all__:
        from tunesmith.data.selftest import schema

        return schema.SelftestConfig if name == "SelftestConfig" else schema.SelftestResult
    raise AttributeError(name)
