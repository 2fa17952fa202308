"""Ablate: whether a selection of rows trains a better model than all rows, and than as many random ones.

Enters: a data set folder, and one that was made from it.  Leaves: a folder of kind "ablation" with every run,
every item's loss and score, and a verdict with its interval.
"""

from typing import Any

__all__ = ["AblateConfig", "AblateResult", "ablate"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the package costs nothing."""
    if name == "ablate":
        from tunesmith.data.ablate.door import ablate

        return ablate
    if name in __all__:
        from tunesmith.data.ablate import schema

        configs: dict[str, Any] = {"AblateConfig": schema.AblateConfig, "AblateResult": schema.AblateResult}
        return configs[name]
    raise AttributeError(name)
