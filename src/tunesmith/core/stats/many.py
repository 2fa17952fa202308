"""Many tests at once: Holm's correction for few claims, Benjamini and Hochberg's for a screen of slices."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979), in the order given: reject where they are at most alpha."""
    order = sorted(range(len(p_values)), key=lambda position: p_values[position])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, position in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = highest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of Benjamini and Hochberg (1995): of those at most q, about a share q is false."""
    order = sorted(range(len(p_values)), key=lambda position: -p_values[position])
    adjusted = [0.0] * len(p_values)
    lowest = 1.0
    for above, position in enumerate(order):
        lowest = min(lowest, p_values[position] * len(p_values) / (len(p_values) - above))
        adjusted[position] = lowest
    return adjusted
