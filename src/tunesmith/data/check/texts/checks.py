"""Every check of this package, in the order of the report."""

from tunesmith.data.check.port import Check
from tunesmith.data.check.texts import (
    calls,
    encoding,
    endings,
    forms,
    language,
    leftovers,
    phrases,
    preferences,
    privacy,
    repetition,
    safety,
    turns,
)

MODULES = (
    turns,
    calls,
    leftovers,
    phrases,
    endings,
    encoding,
    repetition,
    language,
    forms,
    preferences,
    privacy,
    safety,
)

CHECKS: tuple[Check, ...] = tuple(check for module in MODULES for check in module.CHECKS)
