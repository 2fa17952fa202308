"""Decide: whether to fine-tune at all, with measured evidence.

Enters: a data set folder and a base model.  Leaves: a folder of kind "plan" with the verdict and its
numbers, a recipe that can be run as it is, and the prompts that were tried.
"""

from typing import Any

__all__ = ["DecideConfig", "DecideResult", "decide"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name == "decide":
        from tunesmith.decide.door import decide

        return decide
    if name in __all__:
        from tunesmith.decide import schema

        return {"DecideConfig": schema.DecideConfig, "DecideResult": schema.DecideResult}[name]
    raise AttributeError(name)
