"""Checks of data: what is wrong, what is odd, and what it is made of.

Enters: a file of rows, a data set folder or a recipe.  Leaves: a folder of kind "check" with findings.jsonl
(one line for each finding), facts.json (what was measured) and report.html, one self-contained page.  The
data themselves are never changed.
"""

from typing import Any

__all__ = ["CheckConfig", "CheckResult", "check"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name == "check":
        from tunesmith.data.check.door import check

        return check
    if name in __all__:
        from tunesmith.data.check import schema

        return schema.CheckConfig if name == "CheckConfig" else schema.CheckResult
    raise AttributeError(name)
