"""Active learning: which rows of a pool are worth a person's time next.

Enters: a pool of rows without answers, and a data set whose training rows are labelled.  Leaves: a round, a
data set folder with the labelled rows and the chosen ones, which `tunesmith data review` gets answered.
"""

from typing import Any

__all__ = ["PoolConfig", "PoolResult", "pool"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the package costs nothing."""
    if name == "pool":
        from tunesmith.data.pool.door import pool

        return pool
    if name in __all__:
        from tunesmith.data.pool import schema

        return schema.PoolConfig if name == "PoolConfig" else schema.PoolResult
    raise AttributeError(name)
