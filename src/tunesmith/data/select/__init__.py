"""Select: so many training rows of a data set, chosen by a method, always beside random and stratified ones.

Enters: a data set folder.  Leaves: a data set folder with fewer training rows and the same other splits,
every row left out listed, and how the choice compares with the controls.
"""

from typing import Any

__all__ = ["BalanceConfig", "BalanceResult", "SelectConfig", "SelectResult", "balance", "select"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the package costs nothing."""
    if name == "select":
        from tunesmith.data.select.door import select

        return select
    if name == "balance":
        from tunesmith.data.select.balancing import balance

        return balance
    if name in __all__:
        from tunesmith.data.select import schema

        configs: dict[str, Any] = {
            "BalanceConfig": schema.BalanceConfig,
            "BalanceResult": schema.BalanceResult,
            "SelectConfig": schema.SelectConfig,
            "SelectResult": schema.SelectResult,
        }
        return configs[name]
    raise AttributeError(name)
