"""What production does with a model.

In: the record that a server writes.  Out: requests, errors and latency, by model and by hour.
"""

from typing import Any

__all__ = ["MonitorConfig", "MonitorResult", "monitor"]

_HOME = {"MonitorConfig": "schema", "MonitorResult": "schema", "monitor": "health"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name not in _HOME:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
