"""Every check by name.  A module of checks ends in a tuple `CHECKS`; this is where they come together."""

from tunesmith.data.check.port import Check

GROUPS: tuple[tuple[Check, ...], ...] = ()
"""One tuple for each module, in the order of the report."""

CHECKS = {check.name: check for group in GROUPS for check in group}
"""Check by name."""
