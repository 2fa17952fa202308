"""What a choice of rows is like: coverage of all rows, diversity, lengths."""

import numpy as np

from tunesmith.data.check.port import Floats
from tunesmith.data.select.methods import BLOCK, Ints
from tunesmith.data.select.schema import ChoiceFacts
from tunesmith.data.vectors import nearest, sample_positions

MEASURED = 20_000
"""Coverage and nearest rows are measured on so many rows at most, a uniform sample."""


def facts_of(name: str, chosen: Ints, lengths: Ints, vectors_ND: Floats | None, *, seed: int) -> ChoiceFacts:
    """Measure one choice; without vectors only its lengths."""
    chosen = np.sort(chosen)
    low, middle, high = np.quantile(lengths[chosen], [0.1, 0.5, 0.9])
    coverage = worst = diversity = near = None
    if vectors_ND is not None:
        everyone = sample_positions(np.arange(len(lengths)), MEASURED, seed=seed)
        likeness = covering(vectors_ND, everyone, chosen)
        coverage, worst = float(likeness.mean()), float(np.quantile(likeness, 0.05))
        diversity = vendi(vectors_ND, chosen)
        if len(chosen) > 1:
            some = sample_positions(chosen, MEASURED, seed=seed)
            near = float(nearest(vectors_ND, some, chosen, 1).similarity.mean())
    return ChoiceFacts(
        name=name,
        rows=len(chosen),
        characters=int(lengths[chosen].sum()),
        shortest=float(low),
        median=float(middle),
        longest=float(high),
        coverage=rounded(coverage),
        worst=rounded(worst),
        diversity=rounded(diversity),
        nearest=rounded(near),
    )


def rounded(value: float | None) -> float | None:
    """Four digits behind the point."""
    return None if value is None else round(value, 4)


def covering(vectors_ND: Floats, rows: Ints, chosen: Ints) -> Floats:
    """Cosine of each row to the nearest chosen one; a chosen row covers itself."""
    best = np.full(len(rows), -1.0, dtype=np.float32)
    for start in range(0, len(rows), BLOCK):
        rows_BD = vectors_ND[rows[start : start + BLOCK]]
        for other in range(0, len(chosen), BLOCK):
            found = (rows_BD @ vectors_ND[chosen[other : other + BLOCK]].T).max(1)
            np.maximum(best[start : start + BLOCK], found, out=best[start : start + BLOCK])
    return best


def vendi(vectors_ND: Floats, chosen: Ints) -> float:
    """Vendi score (Friedman & Dieng, arXiv:2210.02410) with the cosine kernel: exp of the entropy of its
    eigenvalues, in the dual form of D × D.
    """
    width = vectors_ND.shape[1]
    moments_DD = np.zeros((width, width))
    for start in range(0, len(chosen), BLOCK):
        rows_BD = vectors_ND[chosen[start : start + BLOCK]].astype(np.float64)
        moments_DD += rows_BD.T @ rows_BD
    values = np.linalg.eigvalsh(moments_DD / len(chosen))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))
