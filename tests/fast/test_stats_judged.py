"""A judge corrected by people, rankings, calibration and repeats: against oracles, and by simulation."""

import choix
import numpy as np
import pytest
import scipy.stats
import truescore
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats import multitest

from tunesmith.core import stats
from tunesmith.core.stats import ranking

SIMULATIONS = 600


def judged(generator, *, human=60, others=600, bias=0.1, share=0.6):
    """What people say of all items, and a judge who agrees with them mostly and is too kind."""
    truth = (generator.random(human + others) < share).astype(float)
    judge = np.where(generator.random(len(truth)) < 0.8, truth, generator.random(len(truth)) < share + bias)
    return truth, judge.astype(float)


def verdicts(truth, judge, human):
    return stats.Verdicts.of(truth[:human], judge[:human], judge[human:])


def test_the_corrected_mean_equals_truescores():
    truth, judge = judged(np.random.default_rng(1))
    for weight in (0.0, 0.4, 1.0):
        found = stats.corrected_mean(verdicts(truth, judge, 60), weight=weight)
        expected = truescore.ppi_estimate(judge, truth[:60], np.arange(60), lambda_=weight)
        assert found.value == pytest.approx(expected.point, abs=1e-12)
        # theirs is the normal interval, ours has the t of 60 verdicts and no correction of the judge's part
        half = (found.high - found.low) / 2
        normal = half * scipy.stats.norm.ppf(0.975) / scipy.stats.t.ppf(0.975, 59)
        assert normal == pytest.approx(expected.standard_error * scipy.stats.norm.ppf(0.975), rel=0.01)


def test_the_judges_weight_is_near_truescores_and_0_for_a_judge_who_guesses():
    truth, judge = judged(np.random.default_rng(2))
    expected = truescore.ppi_estimate(judge, truth[:60], np.arange(60)).lambda_
    assert stats.judge_weight(verdicts(truth, judge, 60)) == pytest.approx(expected, abs=0.05)
    guesses = np.random.default_rng(3).integers(2, size=660).astype(float)
    assert stats.judge_weight(verdicts(truth, guesses, 60)) < 0.3
    assert stats.judge_weight(verdicts(truth, np.ones(660), 60)) == 0


def test_the_corrected_mean_covers_where_the_judge_alone_never_does():
    generator, covered, alone, widths = np.random.default_rng(4), 0, 0, []
    for _ in range(SIMULATIONS):
        truth, judge = judged(generator, bias=0.3)
        found = stats.judged_mean(verdicts(truth, judge, 60), shares=True)
        covered += found.low <= 0.6 <= found.high
        only_judge = stats.share_interval(judge)
        alone += only_judge.low <= 0.6 <= only_judge.high
        people = stats.share_interval(truth[:60])
        widths.append((found.high - found.low) / (people.high - people.low))
    assert 0.93 <= covered / SIMULATIONS <= 0.97
    assert alone / SIMULATIONS < 0.6
    assert np.mean(widths) < 0.85


def test_the_corrected_mean_covers_for_items_in_groups():
    generator, covered = np.random.default_rng(5), 0
    for _ in range(SIMULATIONS):
        level = generator.beta(3, 2, 240)
        truth = (generator.random((240, 3)) < level[:, None]).astype(float).ravel()
        judge = np.where(generator.random(720) < 0.8, truth, 1.0)
        groups = np.repeat(np.arange(240), 3).tolist()
        found = stats.corrected_mean(verdicts(truth, judge, 180), groups)
        covered += found.low <= 0.6 <= found.high
    assert 0.93 <= covered / SIMULATIONS <= 0.97


def pair(generator, *, human=60, others=600, shares=(0.6, 0.6), same=0.5):
    """Two models that agree beyond chance, and a judge that is kinder to the second."""
    n = human + others
    ease, own = generator.random(n), generator.random(n)
    levels = ease, np.where(generator.random(n) < same, ease, own)
    sides = []
    for level, share, kindness in zip(levels, shares, (0.6, 0.9), strict=True):
        truth = (level < share).astype(float)
        judge = np.where(generator.random(n) < 0.8, truth, generator.random(n) < kindness)
        sides.append(verdicts(truth, judge.astype(float), human))
    return sides


def test_a_paired_difference_through_a_judge_covers_and_its_test_keeps_its_level():
    generator, covered, alarms, alone, widths = np.random.default_rng(6), 0, 0, 0, []
    for _ in range(2 * SIMULATIONS):
        first, second = pair(generator)
        result = stats.judged_difference(first, second)
        found, people = result.found.interval, result.alone.interval
        covered += found.low <= 0 <= found.high
        alarms += result.found.p_value <= 0.05
        widths.append((found.high - found.low) / (people.high - people.low))
        believed = stats.share_difference(*(np.concatenate(side[1:]) for side in (first, second)))
        alone += believed.low <= 0 <= believed.high
    draws = 2 * SIMULATIONS
    assert 0.93 <= covered / draws <= 0.97
    assert alarms / draws <= 0.05 + 2 * (0.05 * 0.95 / draws) ** 0.5
    assert alone / draws < 0.3  # what the judge says alone
    assert np.mean(widths) < 0.85


def test_a_paired_difference_covers_for_items_in_groups_and_where_models_rarely_differ():
    generator, covered, rare = np.random.default_rng(14), 0, 0
    for _ in range(SIMULATIONS):
        level = np.repeat(generator.beta(3, 2, 240), 3)
        truths = [(generator.random(720) < level).astype(float) for _ in range(2)]
        judge = [np.where(generator.random(720) < 0.8, truth, 1.0) for truth in truths]
        groups = np.repeat(np.arange(240), 3).tolist()
        sides = [verdicts(truth, said, 180) for truth, said in zip(truths, judge, strict=True)]
        found = stats.judged_difference(*sides, groups).found.interval
        covered += found.low <= 0 <= found.high
        sides = pair(generator, human=100, others=1000, shares=(0.95, 0.96), same=0.8)
        found = stats.judged_difference(*sides).found.interval
        rare += found.low <= 0.01 <= found.high
    assert 0.93 <= covered / SIMULATIONS <= 0.97
    assert rare / SIMULATIONS >= 0.93


def test_the_paired_difference_equals_truescores():
    generator = np.random.default_rng(15)
    first, second = pair(generator, human=80, others=800, shares=(0.6, 0.7))
    result = stats.judged_difference(first, second)
    a, b = (np.concatenate(side[1:]) for side in (first, second))
    expected = truescore.ppi_compare(b, a, second.human, first.human, np.arange(80))
    found = result.found.interval
    assert found.value == pytest.approx(expected.difference, abs=0.01)  # their weight is not from halves
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.15)
    assert result.found.p_value == pytest.approx(expected.p_value, abs=0.01)
    assert result.second - result.first == pytest.approx(found.value, abs=1e-12)
    # with one weight both are the same sum
    change = stats.Verdicts(*(one - other for one, other in zip(second, first, strict=True)))
    same = truescore.ppi_estimate(b - a, change.human, np.arange(80), lambda_=0.5)
    ours = stats.corrected_mean(change, weight=0.5)
    assert ours.value == pytest.approx(same.point, abs=1e-12)
    normal = (ours.high - ours.low) / 2 / scipy.stats.t.ppf(0.975, 79)
    assert normal == pytest.approx(same.standard_error, rel=0.005)


@pytest.mark.parametrize(("human", "shares"), [(29, (0.3, 0.7)), (80, (0.5, 0.51)), (660, (0.3, 0.7))])
def test_few_verdicts_few_disagreements_or_no_other_items_leave_people_alone(human, shares):
    generator = np.random.default_rng(16)
    first, second = pair(generator, human=human, others=660 - human, shares=shares, same=1.0)
    result = stats.judged_difference(first, second)
    expected = stats.share_difference(first.human, second.human)
    found = result.found.interval
    assert (found.low, found.high) == (expected.low, expected.high)
    assert found.method == "Tango score interval, human verdicts alone"
    assert result.found.test == "McNemar mid-p"
    assert result.weight == 0
    assert result.second - result.first == pytest.approx(found.value)


def test_few_human_verdicts_stand_alone():
    truth, judge = judged(np.random.default_rng(7))
    found = stats.judged_mean(verdicts(truth, judge, 12), shares=True)
    assert (found.low, found.high) == pytest.approx(stats.wilson(truth[:12].sum(), 12))
    assert found.method == "Wilson, human verdicts alone"
    assert stats.judged_mean(verdicts(truth, judge, 660), shares=True).n == 660


def test_verdicts_that_do_not_stand_side_by_side_are_refused():
    with pytest.raises(ValueError, match="2 human verdicts beside 1 of the judge"):
        stats.Verdicts.of([1, 0], [1], [])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_benjamini_and_hochbergs_values_equal_statsmodels(p_values):
    expected = multitest.multipletests(p_values, method="fdr_bh")[1] if p_values else []
    assert stats.benjamini_hochberg(p_values) == pytest.approx(list(expected))


@given(st.floats(0.01, 0.5), st.floats(0.0, 0.9))
def test_the_items_that_a_difference_needs_equal_truescores(difference, disagreement):
    differing = max(difference, disagreement)
    expected = truescore.required_pairs(difference, discordance_rate=differing)
    assert abs(stats.required_items(difference, disagreement) - expected) <= 1


def test_the_items_that_a_difference_needs_see_it_four_times_in_five():
    n, generator = stats.required_items(0.1, 0.3), np.random.default_rng(8)
    seen = 0
    for fixes, regressions, _ in generator.multinomial(n, [0.2, 0.1, 0.7], 2000):
        seen += stats.mcnemar(int(fixes), int(regressions)) <= 0.05
    assert 0.77 <= seen / 2000 <= 0.84
    with pytest.raises(ValueError, match="above 0"):
        stats.required_items(0.0, 0.3)


def test_not_worse_by_a_margin_is_claimed_falsely_at_most_once_in_forty():
    generator, claimed = np.random.default_rng(9), 0
    for _ in range(2000):
        first, second = generator.random(200) < 0.8, generator.random(200) < 0.75
        claimed += stats.non_inferior(stats.share_difference(first, second).low, 0.05)
    assert claimed / 2000 <= 0.025 + 2 * (0.025 * 0.975 / 2000) ** 0.5


# Rankings


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.sampled_from([0.01, 0.3]))
def test_strengths_equal_choix(seed, models, penalty):
    generator = np.random.default_rng(seed)
    pairs = [tuple(generator.choice(models, 2, replace=False)) for _ in range(40)]
    expected = choix.opt_pairwise(models, pairs, alpha=penalty)
    found, _ = ranking.fit(
        ranking.Comparisons.of([a for a, _ in pairs], [b for _, b in pairs], np.ones(40)),
        models,
        penalty=penalty,
    )
    assert found == pytest.approx(expected - expected.mean(), abs=1e-3)


def games(generator, strengths, n):
    first, second = np.array([generator.choice(len(strengths), 2, replace=False) for _ in range(n)]).T
    chance = 1 / (1 + np.exp(strengths[second] - strengths[first]))
    return first, second, (generator.random(n) < chance).astype(float)


def test_strengths_are_covered_by_their_intervals():
    strengths, generator, covered = np.array([0.6, 0.0, -0.6]), np.random.default_rng(10), np.zeros(3)
    for draw in range(100):
        played = ranking.Comparisons.of(*games(generator, strengths, 300))
        found = ranking.rank(played, 3, resamples=120, seed=draw).strengths
        covered += [one.low <= true <= one.high for one, true in zip(found, strengths, strict=True)]
    assert (covered / 100 >= 0.9).all()


def test_a_tie_is_half_a_win_and_ranks_say_what_cannot_be_told_apart():
    ties = ranking.rank(ranking.Comparisons.of([0] * 50, [1] * 50, [0.5] * 50), 2)
    assert ties.strengths[0].value == pytest.approx(0, abs=1e-6)
    assert [(one.best_rank, one.worst_rank) for one in ties.strengths] == [(1, 2), (1, 2)]
    clear = ranking.rank(ranking.Comparisons.of([0] * 50, [1] * 50, [1] * 45 + [0] * 5), 2)
    assert [(one.best_rank, one.worst_rank) for one in clear.strengths] == [(1, 1), (2, 2)]
    assert clear.strengths[0].chance > 0.7


def test_style_takes_its_own_part_of_the_wins():
    generator, n = np.random.default_rng(11), 3000
    longer = generator.normal(0.5, 1, n)  # the first model writes longer answers, and only that wins
    won = (generator.random(n) < 1 / (1 + np.exp(-longer))).astype(float)
    pairs = np.zeros(n, int), np.ones(n, int), won
    bare, _ = ranking.fit(ranking.Comparisons.of(*pairs), 2)
    controlled, weight = ranking.fit(ranking.Comparisons.of(*pairs, style=longer[:, None]), 2)
    assert bare[0] > 0.15
    assert abs(controlled[0]) < 0.08
    assert weight[0] == pytest.approx(np.sqrt((longer**2).mean()), rel=0.15)


def test_relative_differences_of_style_are_0_where_neither_answer_has_any():
    assert ranking.style_difference([[3, 0]], [[1, 0]]).tolist() == [[0.5, 0.0]]


def test_comparisons_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="two models, an outcome"):
        ranking.Comparisons.of([0], [1, 1], [1.0])


# Calibration, repeats


def test_confidence_that_means_what_it_says_has_no_calibration_error():
    generator = np.random.default_rng(12)
    sure = generator.random(20_000)
    right = generator.random(20_000) < sure
    honest, boastful = stats.calibration(sure, right), stats.calibration(np.ones(20_000), right)
    assert honest.error < 0.02
    assert honest.brier == pytest.approx(1 / 6, abs=0.01)
    assert boastful.error == pytest.approx(0.5, abs=0.02)
    assert sum(one.items for one in honest.bins) == 20_000
    assert all(one.low <= one.right <= one.high for one in honest.bins)


def test_few_items_get_few_bins_and_none_are_refused():
    assert len(stats.calibration([0.5] * 25, [1] * 25).bins) == 2
    with pytest.raises(ValueError, match="0 confidences"):
        stats.calibration([], [])


@given(st.integers(1, 8), st.data())
def test_passing_at_k_is_the_share_of_draws_of_k_tries(tries, data):
    from itertools import combinations

    right, k = data.draw(st.integers(0, tries)), data.draw(st.integers(1, tries))
    draws = list(combinations([1] * right + [0] * (tries - right), k))
    assert stats.pass_at(right, tries, k) == pytest.approx(np.mean([max(draw) for draw in draws]))
    assert stats.pass_all(right, tries, k) == pytest.approx(np.mean([min(draw) for draw in draws]))


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="3 right of 2"):
        stats.pass_at(3, 2, 1)


def test_variance_is_told_apart_between_and_within_questions():
    generator = np.random.default_rng(13)
    level = generator.normal(0, 2, 4000)
    found = stats.variance_of((level[:, None] + generator.normal(0, 1, (4000, 4))).tolist())
    assert found.between == pytest.approx(4, rel=0.1)
    assert found.within == pytest.approx(1, rel=0.1)
    assert stats.variance_of([[1, 1], [0, 1], [0]]).flaky == 1
    assert stats.variance_of([]) == (0.0, 0.0, 0)
