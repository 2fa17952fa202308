"""Worlds in which losses fall along a power law and answers follow them, to test what is expected of them."""

from typing import NamedTuple

import numpy as np

from tunesmith.core.stats.curves import fit_curve
from tunesmith.core.stats.forecast import Answers, Expected, Forecast, logistic

SIZES = (50, 100, 200)
SEEDS = 2
ALL_ROWS = 1200
POPULATION = 20_000


class Items(NamedTuple):
    """Items of a world: tokens, the loss that stays, the loss that training takes away, ease."""

    token_I: np.ndarray
    floor_I: np.ndarray
    scale_I: np.ndarray
    ease_I: np.ndarray


class World:
    """One task: a law for losses, how losses become answers, and what a prompt reaches."""

    def __init__(self, seed: int) -> None:
        self.generator = generator = np.random.default_rng(seed)
        self.exponent = generator.uniform(0.15, 0.8)
        self.floor = generator.uniform(0.01, 0.15)
        self.scale = generator.uniform(0.1, 1.0) * SIZES[0] ** self.exponent
        self.spread = generator.uniform(0.2, 0.6)
        self.noise = generator.uniform(0.01, 0.04)
        self.slope = generator.uniform(0.2, 1.0)
        reached = generator.uniform(0.2, 0.95)
        typical = 30 * (self.floor + self.scale * ALL_ROWS**-self.exponent)
        self.level = np.log(reached / (1 - reached)) + self.slope * typical
        self.is_sharp = seed % 2 == 1
        """Whether answers come with the logarithm of the loss, as whole answers do: none above a few nats."""
        self.turn, self.power = generator.uniform(1, 4), generator.uniform(1.5, 4)

    def items(self, number: int) -> Items:
        """Items drawn from the world's own."""
        draw = self.generator
        token_I = draw.integers(15, 50, number).astype(float)
        floor_I = self.floor * np.exp(self.spread * draw.normal(size=number))
        scale_I = self.scale * np.exp(self.spread * draw.normal(size=number))
        return Items(token_I, floor_I, scale_I, draw.normal(size=number))

    def losses(self, items: Items, rows: float) -> np.ndarray:
        """Nats of each item's right answer after training on so many rows."""
        return items.token_I * (items.floor_I + items.scale_I * rows**-self.exponent)

    def chances(self, items: Items, rows: float) -> np.ndarray:
        """How likely each item is answered rightly then."""
        loss_I = self.losses(items, rows)
        if self.is_sharp:
            return logistic(0.5 * items.ease_I - self.power * np.log(loss_I / self.turn))
        return logistic(self.level + 0.5 * items.ease_I - self.slope * loss_I)

    def prompted(self, items: Items) -> np.ndarray:
        """How likely it is with the best prompt."""
        return logistic(-2 + 0.5 * items.ease_I)


class Outcome(NamedTuple):
    """What was expected of a size, and what it truly brings over all items of the world."""

    expected: Expected
    score: float
    gain: float


def run_world(seed: int, *, num_items: int = 100) -> dict[int, Outcome]:
    """Probe a world as `tunesmith decide` does, and look at the largest probe, all rows and twice as many."""
    world = World(seed)
    everything, items = world.items(POPULATION), world.items(num_items)
    draw = world.generator
    sizes, losses, runs, scores = [], [], [], []
    for rows in SIZES:
        for _ in range(SEEDS):
            luck = np.exp(world.noise * draw.normal())
            loss_I = world.losses(items, rows) * luck * np.exp(0.1 * draw.normal(size=num_items))
            sizes.append(rows)
            losses.append(loss_I.sum() / items.token_I.sum())
            if rows == SIZES[-1]:
                runs.append(loss_I)
                scores.append((draw.random(num_items) < world.chances(items, rows)).astype(float))
    answers = Answers(
        score_SI=np.array(scores),
        loss_SI=np.array(runs),
        token_I=items.token_I,
        prompted_I=(draw.random(num_items) < world.prompted(items)).astype(float),
        groups=range(num_items),
    )
    curve = fit_curve(sizes, losses, 0.01 * np.array(losses), seed=seed)
    forecast = Forecast(curve, SIZES[-1], answers, seed)
    base = float(world.prompted(everything).mean())
    found = {}
    for rows in (SIZES[-1], ALL_ROWS, 2 * ALL_ROWS):
        truth = float(world.chances(everything, rows).mean())
        found[rows] = Outcome(forecast.at(rows), truth, truth - base)
    return found


def coverage(worlds: int) -> dict[int, tuple[float, float]]:
    """Rows → the shares of worlds whose score and whose gain lie inside their 95 % intervals."""
    hits: dict[int, list[tuple[bool, bool]]] = {}
    for seed in range(worlds):
        for rows, (expected, score, gain) in run_world(seed).items():
            inside = (
                expected.score.low <= score <= expected.score.high,
                expected.gain.low <= gain <= expected.gain.high,
            )
            hits.setdefault(rows, []).append(inside)
    return {rows: tuple(float(share) for share in np.mean(found, axis=0)) for rows, found in hits.items()}
