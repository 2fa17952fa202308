"""Every check by name.  A module of checks ends in a tuple `CHECKS`; this is where they come together."""

from tunesmith.data.check import unreadable
from tunesmith.data.check.models import checks as model_checks
from tunesmith.data.check.port import Check
from tunesmith.data.check.sets import CHECKS as SET_CHECKS
from tunesmith.data.check.texts.checks import CHECKS as TEXT_CHECKS

GROUPS: tuple[tuple[Check, ...], ...] = (
    unreadable.CHECKS,
    TEXT_CHECKS,
    SET_CHECKS,
    model_checks.CHECKS,
)
"""One tuple for each module, in the order of the report."""

CHECKS = {check.name: check for group in GROUPS for check in group}
"""Check by name."""
