"""Histograms of measured values, as facts."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

NUM_BARS = 30


def histogram(values: ArrayLike, *, unit: str, limit: float | None = None) -> dict[str, Any]:
    """Counts between round edges: {"edges", "counts", "unit", "limit"}; the last bar holds all beyond.

    The bars end at the 99.5th percentile, so that one very long row does not squeeze the others into one bar.
    """
    found = np.asarray(values, dtype=float)
    whole = bool((found == np.round(found)).all())
    low, high = float(found.min()), float(np.quantile(found, 0.995, method="higher"))
    width = max((high - low) / NUM_BARS, 1e-9)
    if whole:
        width = max(1.0, float(np.ceil(width)))
    num_bars = max(1, min(NUM_BARS, int(np.ceil((high - low) / width)) or 1))
    edges = low + width * np.arange(num_bars + 1)
    counts, _ = np.histogram(np.minimum(found, edges[-1]), bins=edges)
    return {
        "edges": [round(float(edge), 6) for edge in edges],
        "counts": [int(count) for count in counts],
        "unit": unit,
        "limit": limit,
        "beyond": int((found > edges[-1]).sum()),
    }
