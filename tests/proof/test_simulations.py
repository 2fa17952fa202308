"""The statistics' own error rates, on many more draws than the fast tests take."""

import numpy as np
import pytest

from tunesmith.core import stats

DRAWS = 4_000


def monte_carlo_error(rate: float) -> float:
    return float(np.sqrt(rate * (1 - rate) / DRAWS))


@pytest.mark.parametrize("items", [50, 100])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.85])
def test_the_interval_of_a_share_covers_as_it_says(items, share):
    generator = np.random.default_rng(items + int(100 * share))
    covered = 0
    for count in generator.binomial(items, share, DRAWS):
        low, high = stats.wilson(int(count), items)
        covered += low <= share <= high
    print(f"Wilson, n = {items}, share {share}: covers {covered / DRAWS:.3f}")
    assert 0.93 <= covered / DRAWS <= 0.98


@pytest.mark.parametrize("agreement", [0.2, 0.6])
def test_two_equal_models_are_called_different_no_more_often_than_one_time_in_twenty(agreement):
    generator = np.random.default_rng(int(10 * agreement))
    alarms = outside = 0
    for _ in range(DRAWS):
        same = generator.random(100) < agreement
        first = generator.random(100) < 0.5
        second = np.where(same, first, generator.random(100) < 0.5)
        only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
        alarms += stats.mcnemar(only_first, only_second) <= 0.05
        low, high = stats.tango(only_first, only_second, 100)
        outside += not low <= 0 <= high
    shares = f"McNemar mid-p {alarms / DRAWS:.3f}, Tango {outside / DRAWS:.3f}"
    print(f"false alarms at agreement {agreement}: {shares}")
    assert alarms / DRAWS <= 0.05 + 2 * monte_carlo_error(0.05)
    assert outside / DRAWS <= 0.07
