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


@pytest.mark.parametrize(("human", "others"), [(30, 300), (100, 2000)])
@pytest.mark.parametrize(("shares", "same"), [((0.6, 0.6), 0.5), ((0.6, 0.7), 0.5), ((0.9, 0.95), 0.8)])
def test_the_difference_in_peoples_verdicts_covers_with_a_judge_that_favours_one(human, others, shares, same):
    generator, n = np.random.default_rng(human + int(100 * shares[1])), human + others
    covered = claimed = 0
    for _ in range(DRAWS):
        ease, own = generator.random(n), generator.random(n)
        levels = ease, np.where(generator.random(n) < same, ease, own)
        sides = []
        for level, share, kindness in zip(levels, shares, (0.6, 0.9), strict=True):
            truth = (level < share).astype(float)
            judge = np.where(generator.random(n) < 0.8, truth, generator.random(n) < kindness).astype(float)
            sides.append(stats.Verdicts.of(truth[:human], judge[:human], judge[human:]))
        found = stats.judged_difference(*sides).found
        covered += found.interval.low <= shares[1] - shares[0] <= found.interval.high
        claimed += found.p_value <= 0.05
    print(f"PPI++ paired, {human} of {n}, {shares}: covers {covered / DRAWS:.3f}")
    assert covered / DRAWS >= 0.93  # above 0.97 where people alone decide: few outcomes are possible
    if shares[0] == shares[1]:
        assert claimed / DRAWS <= 0.05 + 2 * monte_carlo_error(0.05)
