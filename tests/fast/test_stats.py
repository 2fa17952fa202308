import numpy as np
import pytest
import scipy.stats
import statsmodels.stats.contingency_tables as tables
import statsmodels.stats.multitest as multitest
import statsmodels.stats.proportion as proportion
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from tunesmith.core import stats
from tunesmith.core.stats import intervals

SIMULATIONS = 600
COVERAGE = (0.93, 0.97)


def rejected_at_most(count: int, simulations: int = SIMULATIONS) -> bool:
    """Nominal 5 % plus two Monte-Carlo standard errors."""
    return count / simulations <= 0.05 + 2 * (0.05 * 0.95 / simulations) ** 0.5


@given(st.integers(1, 400), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_statsmodels(n, data, confidence):
    successes = data.draw(st.integers(0, n))
    expected = proportion.proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    assert stats.wilson(successes, n, confidence=confidence) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_exact_mcnemar_equals_statsmodels(fixes, regressions):
    expected = tables.mcnemar([[5, fixes], [regressions, 5]], exact=True).pvalue
    assert stats.mcnemar_exact(fixes, regressions) == pytest.approx(min(1.0, expected), abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mid_p_is_the_exact_p_without_half_of_the_observed_outcome(fixes, regressions):
    both = fixes + regressions
    here = float(scipy.stats.binom.pmf(min(fixes, regressions), both, 0.5)) if both else 0.0
    tail = float(scipy.stats.binom.cdf(min(fixes, regressions), both, 0.5))
    assert stats.mcnemar(fixes, regressions) == pytest.approx(min(1.0, 2 * tail - here) if both else 1.0)


def most_likely_regressions(difference, fixes, regressions, n):
    """The share of regressions that a search over the multinomial likelihood finds."""
    same = n - fixes - regressions

    def against(share):
        parts = np.array([share + difference, share, 1 - 2 * share - difference])
        counts = np.array([fixes, regressions, same])
        return -np.sum(np.where(counts > 0, counts * np.log(np.maximum(parts, 1e-300)), 0.0))

    low, high = max(0.0, -difference), (1 - difference) / 2
    return minimize_scalar(against, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x


@settings(max_examples=40)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 30), st.floats(-0.6, 0.6))
def test_tangos_statistic_uses_the_most_likely_share_of_regressions(fixes, regressions, same, difference):
    n = fixes + regressions + same
    share = most_likely_regressions(difference, fixes, regressions, n)
    error = np.sqrt((2 * share + difference - difference**2) / n)
    expected = ((fixes - regressions) / n - difference) / error if error > 1e-6 else None
    if expected is not None:
        found = stats.tango_score(difference, fixes, regressions, n)
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60))
def test_tangos_interval_excludes_zero_exactly_when_mcnemars_statistic_says_so(fixes, regressions, same):
    low, high = stats.tango(fixes, regressions, fixes + regressions + same)
    both = fixes + regressions
    statistic = (fixes - regressions) ** 2 / both if both else 0.0
    critical = scipy.stats.chi2.ppf(0.95, 1)
    if abs(statistic - critical) > 1e-6:
        assert (low > 0 or high < 0) == (statistic > critical)
    assert -1 <= low <= (fixes - regressions) / (both + same) <= high <= 1


@settings(max_examples=10)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p_values):
    assert stats.holm(p_values) == pytest.approx(list(multitest.multipletests(p_values, method="holm")[1]))


def test_bca_levels_agree_with_scipys_bootstrap():
    values = np.random.default_rng(3).beta(6, 2, 60)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    sums, sizes = stats.group_sums(values, None)
    means = intervals.bootstrap_means(sums, sizes, resamples=20_000, seed=2)
    found = np.quantile(means, intervals.bca_levels(sums, sizes, means, stats.z_of(0.95)))
    assert found == pytest.approx(expected, abs=2e-3)


def test_the_sign_flip_test_agrees_with_scipys_permutation_test():
    change = np.random.default_rng(4).normal(0.1, 0.3, 10)
    exact = scipy.stats.permutation_test(
        (change, np.zeros(10)), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=2000,
    )  # fmt: skip
    assert stats.sign_flip(change) == pytest.approx(exact.pvalue)


def test_the_standard_error_of_groups_is_wider_when_items_of_a_group_agree():
    values = np.repeat([0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 5)
    groups = list(np.repeat(np.arange(6), 5))
    assert stats.cluster_error(values, groups) == pytest.approx(values[::5].std(ddof=1) / 6**0.5)
    assert stats.cluster_error(values) < stats.cluster_error(values, groups)


def test_items_of_one_group_count_once():
    alone = stats.share_interval([1, 0, 1, 1, 0, 1, 1, 1])
    doubled = stats.share_interval([1, 0, 1, 1, 0, 1, 1, 1] * 2, list(range(8)) * 2)
    assert doubled.groups == 8
    assert (doubled.low, doubled.high) == pytest.approx((alone.low, alone.high), abs=0.04)
    assert stats.share_interval([1.0] * 20, ["a"] * 10 + ["b"] * 10).low == pytest.approx(
        stats.wilson(2, 2)[0]
    )


@pytest.mark.parametrize("values", [[1.0] * 30, [0.0] * 30, [0.7] * 30, [0.4]])
def test_equal_scores_have_an_interval_with_a_width(values):
    interval = stats.bootstrap_mean(values)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high - interval.low > 0.05


def test_two_models_with_equal_scores_differ_by_an_interval_around_zero():
    found = stats.paired_difference([0.5] * 40, [0.5] * 40, shares=False)
    assert found.interval.low == -found.interval.high < 0
    assert found.p_value == 1


def test_no_items_say_nothing():
    assert (stats.bootstrap_mean([]).low, stats.bootstrap_mean([]).high) == (0, 1)
    assert stats.share_interval([]).high == 1
    empty = stats.paired_difference([], [], shares=True)
    assert (empty.interval.low, empty.interval.high, empty.p_value) == (-1, 1, 1)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="same items"):
        stats.paired_difference([1, 0], [1], shares=True)
    with pytest.raises(ValueError, match="groups"):
        stats.bootstrap_mean([1, 0], ["a"])


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(40)
    assert stats.bootstrap_mean(values, seed=5) == stats.bootstrap_mean(values, seed=5)
    assert stats.bootstrap_mean(values, seed=5) != stats.bootstrap_mean(values, seed=6)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=2, max_size=40))
def test_an_interval_holds_its_estimate_and_stays_between_0_and_1(rows):
    values, groups = [row[0] for row in rows], [row[1] for row in rows]
    for method in ("bca", "percentile"):
        interval = stats.bootstrap_mean(values, groups, method=method, resamples=400)
        assert -1e-9 <= interval.low <= interval.high <= 1 + 1e-9
        assert interval.low <= interval.value + 1e-9


@pytest.mark.parametrize("share", [0.1, 0.5, 0.85])
def test_wilsons_interval_covers(share):
    generator = np.random.default_rng(11)
    counts = generator.binomial(100, share, 4 * SIMULATIONS)
    bounds = [stats.wilson(count, 100) for count in counts]
    assert COVERAGE[0] <= np.mean([low <= share <= high for low, high in bounds]) <= COVERAGE[1]


def test_the_effective_wilson_interval_covers_for_items_in_groups():
    generator = np.random.default_rng(12)
    covered = naive = 0
    groups = list(np.repeat(np.arange(80), 4))
    for _ in range(SIMULATIONS):
        chance = generator.beta(1.2, 0.8, 80)[np.repeat(np.arange(80), 4)]
        values = generator.random(320) < chance
        interval = stats.share_interval(values, groups)
        covered += interval.low <= 0.6 <= interval.high
        low, high = stats.wilson(values.sum(), 320)
        naive += low <= 0.6 <= high
    assert COVERAGE[0] <= covered / SIMULATIONS <= COVERAGE[1]
    assert naive / SIMULATIONS < 0.9


def scores_piled_up(generator, n):
    """Field F1 of a good model: mostly 1, some 0, some between."""
    kind = generator.random(n)
    return np.where(kind < 0.7, 1.0, np.where(kind < 0.75, 0.0, generator.beta(6, 2, n)))


def test_the_bootstrap_of_a_mean_covers():
    generator = np.random.default_rng(13)
    truth = 0.7 + 0.25 * 0.75
    found = [
        stats.bootstrap_mean(scores_piled_up(generator, 100), resamples=800, seed=seed)
        for seed in range(SIMULATIONS)
    ]
    covered = np.mean([interval.low <= truth <= interval.high for interval in found])
    assert COVERAGE[0] <= covered <= COVERAGE[1]


def test_the_bootstrap_over_groups_covers_where_the_one_over_items_does_not():
    generator = np.random.default_rng(14)
    covered = naive = 0
    for seed in range(SIMULATIONS):
        groups = np.repeat(np.arange(60), generator.integers(1, 7, 60))
        shared = generator.normal(0, 0.2, 60)[groups]
        values = 0.5 + shared + generator.normal(0, 0.1, len(groups))
        interval = stats.bootstrap_mean(values, list(groups), resamples=800, seed=seed)
        covered += interval.low <= 0.5 <= interval.high
        alone = stats.bootstrap_mean(values, resamples=400, seed=seed)
        naive += alone.low <= 0.5 <= alone.high
    assert COVERAGE[0] <= covered / SIMULATIONS <= COVERAGE[1]
    assert naive / SIMULATIONS < 0.85


def two_models(generator, n, first, second, agreement):
    """0/1 scores of two models that often answer alike."""
    shared = generator.random(n)
    own = np.where(generator.random(n) < agreement, shared, generator.random(n))
    return shared < first, own < second


@pytest.mark.parametrize(("first", "second"), [(0.6, 0.6), (0.5, 0.7), (0.05, 0.5)])
def test_tangos_interval_of_a_difference_covers(first, second):
    generator = np.random.default_rng(15)
    covered = 0
    for _ in range(3 * SIMULATIONS):
        pair = two_models(generator, 80, first, second, 0.6)
        low, high = stats.tango(*stats.disagreements(*pair), 80)
        covered += low <= second - first <= high
    assert COVERAGE[0] <= covered / (3 * SIMULATIONS) <= COVERAGE[1]


def test_tangos_interval_covers_for_items_in_groups():
    generator = np.random.default_rng(19)
    covered = naive = 0
    groups = np.repeat(np.arange(60), 4)
    for _ in range(SIMULATIONS):
        chance = generator.beta(1, 1, 60)[groups]
        gain = np.where(generator.random(60) < 0.4, 0.5, 0.0)[groups]
        first = generator.random(240) < chance / 2
        second = generator.random(240) < chance / 2 + gain
        interval = stats.share_difference(first, second, list(groups))
        covered += interval.low <= 0.2 <= interval.high
        alone = stats.share_difference(first, second)
        naive += alone.low <= 0.2 <= alone.high
    assert COVERAGE[0] <= covered / SIMULATIONS <= COVERAGE[1]
    assert naive / SIMULATIONS < covered / SIMULATIONS


def test_one_pair_of_near_duplicates_hardly_changes_the_interval():
    generator = np.random.default_rng(20)
    pair = two_models(generator, 100, 0.2, 0.6, 0.6)
    alone = stats.paired_difference(*pair, shares=True)
    grouped = stats.paired_difference(*pair, [0, 0, *range(2, 100)], shares=True)
    assert (grouped.interval.low, grouped.interval.high) == pytest.approx(
        (alone.interval.low, alone.interval.high), abs=0.01
    )
    assert (alone.test, grouped.test) == ("McNemar mid-p", "McNemar by sign flips over groups")
    assert grouped.p_value < 0.001


def test_equal_models_are_told_apart_no_more_often_than_the_level_says():
    generator = np.random.default_rng(16)
    mid = exact = flips = 0
    for seed in range(SIMULATIONS):
        pair = two_models(generator, 80, 0.6, 0.6, 0.6)
        counts = stats.disagreements(*pair)
        mid += stats.mcnemar(*counts) <= 0.05
        exact += stats.mcnemar_exact(*counts) <= 0.05
        scores = scores_piled_up(generator, 40), scores_piled_up(generator, 40)
        flips += stats.sign_flip(scores[1] - scores[0], resamples=399, seed=seed) <= 0.05
    assert rejected_at_most(mid)
    assert exact <= mid
    assert rejected_at_most(flips)


def test_swapping_whole_groups_keeps_the_level_where_swapping_items_does_not():
    generator = np.random.default_rng(17)
    grouped = items = 0
    groups = np.repeat(np.arange(20), 5)
    for seed in range(SIMULATIONS // 2):
        change = generator.normal(0, 0.2, 20)[groups] + generator.normal(0, 0.1, 100)
        grouped += stats.sign_flip(change, list(groups), resamples=399, seed=seed) <= 0.05
        items += stats.sign_flip(change, resamples=399, seed=seed) <= 0.05
    assert rejected_at_most(grouped, SIMULATIONS // 2)
    assert items / (SIMULATIONS // 2) > 0.2


def test_the_detectable_difference_is_seen_four_times_in_five():
    generator = np.random.default_rng(18)
    difference = stats.detectable_difference(np.tile([0.5, -0.5], 50))
    seen = 0
    for _ in range(SIMULATIONS):
        change = generator.normal(difference, 0.5, 100)
        seen += abs(change.mean()) > 1.96 * stats.cluster_error(change)
    assert 0.75 <= seen / SIMULATIONS <= 0.86


def test_what_weighted_items_can_see_is_what_their_weighted_mean_spreads():
    generator = np.random.default_rng(3)
    change, weights = generator.normal(0.1, 0.2, 400), np.ones(400)
    alike = stats.detectable_difference(change)
    assert stats.detectable_difference(change, weights=3 * weights) == pytest.approx(alike)
    doubled = np.repeat(change, 2)
    weighty = stats.detectable_difference(doubled, weights=np.tile([1.0, 0.0], 400), bounded=False)
    assert weighty == pytest.approx(alike, rel=0.02)
    assert stats.detectable_difference(100 * change, bounded=False) == pytest.approx(100 * alike)
    assert stats.detectable_difference(100 * change) == 1
