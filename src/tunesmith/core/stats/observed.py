"""What a score would be with more data, from scores alone: for models that tell no likelihoods.

The share that is still missing (1 − score) falls along a learning curve; less sure than `forecast`.

Legend: S runs at the largest size, I items, D draws.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.core.stats.curves import Curve, fit_curve, summary
from tunesmith.core.stats.forecast import DRAWS, Expected, drawn_weights
from tunesmith.core.stats.intervals import Floats


@dataclass(frozen=True)
class Observed:
    """The curve of what is missing, and draws of the best prompt's score over items like these."""

    curve: Curve
    prompted_D: Floats
    seed: int

    @classmethod
    def of(
        cls,
        sizes: Sequence[float],
        scores: Sequence[float],
        score_SI: Floats,
        prompted_I: Floats,
        groups: Sequence[Hashable],
        *,
        seed: int = 0,
    ) -> "Observed":
        """Fit the curve; a score's error is that of the items, no less than half an item."""
        num_items = score_SI.shape[1]
        shares = np.asarray(scores)
        errors = np.sqrt(np.maximum(shares * (1 - shares), 0.5 / num_items) / num_items)
        curve = fit_curve(sizes, 1 - shares, errors, seed=seed)
        weight_DI = drawn_weights(groups, np.random.default_rng(seed))
        known_I = ~np.isnan(prompted_I)
        prompted_D = weight_DI[:, known_I] @ prompted_I[known_I] / weight_DI[:, known_I].sum(axis=1)
        return cls(curve, prompted_D, seed)

    def at(self, size: float, *, confidence: float = 0.95) -> Expected:
        """The score after training on `size` rows, and what it is more than the best prompt's."""
        places = np.random.default_rng(self.seed).integers(len(self.curve.floor_D), size=DRAWS)
        score_D = np.clip(1 - self.curve.losses(size)[places], 0, 1)
        return Expected(summary(score_D, confidence), summary(score_D - self.prompted_D, confidence))
