"""Clean: a data set folder to a cleaner one, by declared steps.

Enters: a data set folder, steps (words on the command line or a YAML plan), findings of a check.  Leaves: a
data set folder with every changed and dropped row listed with its reason; a dry run leaves nothing.
"""

from typing import Any

__all__ = ["CleanConfig", "CleanResult", "clean"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the package costs nothing."""
    if name == "clean":
        from tunesmith.data.clean.door import clean

        return clean
    if name in __all__:
        from tunesmith.data.clean import schema

        configs: dict[str, Any] = {"CleanConfig": schema.CleanConfig, "CleanResult": schema.CleanResult}
        return configs[name]
    raise AttributeError(name)
