"""What several checks need of one corpus is computed once."""

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from tunesmith.data.check.port import Context
from tunesmith.data.corpus import Corpus

Value = TypeVar("Value")

KNOWN: WeakKeyDictionary[Corpus, dict[Any, Any]] = WeakKeyDictionary()
"""For each corpus that is in use: what was asked, with the options it was asked under, and the answer."""


def once(ctx: Context, key: object, make: Callable[[], Value]) -> Value:
    """What `make` gives, computed at the first call for this corpus, these options and this key."""
    known = KNOWN.setdefault(ctx.corpus, {})
    full = (key, ctx.options, len(ctx.corpus))
    if full not in known:
        known[full] = make()
    value: Value = known[full]
    return value
