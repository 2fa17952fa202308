"""What more data would bring: a power law through losses at growing sizes, with its uncertainty.

A loss falls as c + a·n^(−b) (Hestness et al., arXiv:1712.00409).  A few noisy points leave the exponent open,
so it is not chosen: every exponent of a grid counts by how well its curve fits, and a prediction is a mixture
over all of them.  Given the exponent the curve is a straight line in n^(−b), with known errors.

Legend: P points, B exponents, D draws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tunesmith.core.stats.intervals import Floats

EXPONENTS = np.geomspace(0.05, 2.0, 60)
"""Flat in the logarithm: published curves lie between 0.07 and 1."""
DRAWS = 4000
FEWEST_SIZES = 3


class Predicted(NamedTuple):
    """A loss at a size that was not tried: median and interval."""

    value: float
    low: float
    high: float


class Curve(NamedTuple):
    """Draws of the curve's parameters, each as likely as the others."""

    floor_D: Floats
    scale_D: Floats
    exponent_D: Floats

    def losses(self, size: float) -> Floats:
        """The loss at a size, for each draw (D)."""
        found: Floats = self.floor_D + self.scale_D * size**-self.exponent_D
        return found

    def at(self, size: float, *, confidence: float = 0.95) -> Predicted:
        """The loss at a size."""
        return summary(self.losses(size), confidence)

    def gain(self, start: float, end: float, *, confidence: float = 0.95) -> Predicted:
        """How much the loss falls from one size to another: both ends of one curve, so less uncertain."""
        return summary(self.losses(start) - self.losses(end), confidence)


def summary(values_D: Floats, confidence: float) -> Predicted:
    """Median and central interval."""
    tail = (1 - confidence) / 2
    low, middle, high = np.quantile(values_D, [tail, 0.5, 1 - tail])
    return Predicted(float(middle), float(low), float(high))


def fit_curve(sizes: ArrayLike, losses: ArrayLike, errors: ArrayLike, *, seed: int = 0) -> Curve:
    """The curves that losses (P) at sizes (P) allow, given their standard errors (P).

    Only curves that fall, to a loss of at least 0, are allowed.  Points scatter more than their errors say
    when training itself is luck; the errors are then widened to what the best curve leaves.  Raises
    ValueError for fewer than three different sizes, and for errors that are not above 0.
    """
    size_P, loss_P = np.asarray(sizes, dtype=float), np.asarray(losses, dtype=float)
    error_P = np.asarray(errors, dtype=float)
    if len(np.unique(size_P)) < FEWEST_SIZES or (size_P <= 0).any():
        raise ValueError(f"a curve needs {FEWEST_SIZES} different sizes above 0: {size_P.tolist()}")
    if not (error_P > 0).all() or not len(size_P) == len(loss_P) == len(error_P):
        raise ValueError("each loss needs an error above 0")
    fits = [line(size_P**-exponent, loss_P, error_P) for exponent in EXPONENTS]
    spare = len(size_P) - 3
    widened = max(1.0, min(fit.misfit for fit in fits) / spare) if spare > 0 else 1.0
    generator = np.random.default_rng(seed)
    weight_B = evidence([fit.misfit / widened for fit in fits], [fit.log_volume for fit in fits])
    return drawn(fits, weight_B, widened, generator)


class Line(NamedTuple):
    """Least squares of floor and scale at one exponent."""

    mean: Floats
    spread: Floats
    """Covariance (2, 2) at the errors given."""
    misfit: float
    """Sum of squared residuals in standard errors."""
    log_volume: float
    """Half the logarithm of the covariance's determinant: how much room the exponent leaves."""


def line(power_P: Floats, loss_P: Floats, error_P: Floats) -> Line:
    """Floor and scale of the best curve with this exponent; the powers are scaled to keep numbers tame."""
    design_P2 = np.column_stack([np.ones_like(power_P), power_P]) / error_P[:, None]
    spread: Floats = np.asarray(np.linalg.pinv(design_P2.T @ design_P2), dtype=np.float64)
    mean = spread @ design_P2.T @ (loss_P / error_P)
    residual_P = loss_P / error_P - design_P2 @ mean
    _, log_determinant = np.linalg.slogdet(spread)
    # in units of n^(−b) at the largest size, so that exponents are comparable
    volume = 0.5 * float(log_determinant) + float(np.log(power_P.min()))
    return Line(mean, spread, float(residual_P @ residual_P), volume)


def evidence(misfits: Sequence[float], volumes: Sequence[float]) -> Floats:
    """How much each exponent counts (B)."""
    log_B = np.array(volumes) - 0.5 * np.array(misfits)
    weight_B: Floats = np.exp(log_B - log_B.max())
    weight_B /= weight_B.sum()
    return weight_B


def drawn(fits: Sequence[Line], weight_B: Floats, widened: float, generator: np.random.Generator) -> Curve:
    """Draws of the parameters; curves that rise or fall below 0 are drawn again, up to a limit."""
    parts: list[Floats] = []
    found = 0
    for _ in range(20):
        for place, count in enumerate(generator.multinomial(DRAWS, weight_B)):
            if count:
                fit = fits[place]
                pair_D2 = generator.multivariate_normal(fit.mean, widened * fit.spread, count, method="eigh")
                allowed_D = (pair_D2 >= 0).all(axis=1)
                exponent_D1 = np.full((int(allowed_D.sum()), 1), EXPONENTS[place])
                parts.append(np.hstack([pair_D2[allowed_D], exponent_D1]))
                found += len(exponent_D1)
        if found >= DRAWS:
            break
    if not found:  # the losses rise with every size: the flat line at their level is all that is allowed
        level = float(np.mean([fit.mean.sum() for fit in fits]))
        return Curve(np.array([level]), np.zeros(1), np.ones(1))
    every = np.vstack(parts)
    return Curve(every[:, 0], every[:, 1], every[:, 2])
