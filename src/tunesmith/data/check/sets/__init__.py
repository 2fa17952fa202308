"""Checks over the whole corpus: duplicates, labels, outliers, balance, coverage, diversity, leaks."""

from tunesmith.data.check.port import Check
from tunesmith.data.check.sets import (
    balance,
    benchmarks,
    conflicts,
    coverage,
    diversity,
    duplicates,
    label_errors,
    leakage,
    mapping,
    outliers,
)

CHECKS: tuple[Check, ...] = (
    *duplicates.CHECKS,
    *conflicts.CHECKS,
    *label_errors.CHECKS,
    *outliers.CHECKS,
    *balance.CHECKS,
    *coverage.CHECKS,
    *diversity.CHECKS,
    *mapping.CHECKS,
    *leakage.CHECKS,
    *benchmarks.CHECKS,
)
