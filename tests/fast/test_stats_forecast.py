"""What more data is expected to bring: from losses to answers, and how unsure that is."""

import numpy as np
import pytest
from learning_worlds import ALL_ROWS, coverage, run_world

from tunesmith.core.stats.curves import fit_curve
from tunesmith.core.stats.forecast import Answers, Forecast, fit_logistic, logistic
from tunesmith.core.stats.observed import Observed


def forecast(scores, losses, *, falling=True, prompted=0.0):
    """One run at 200 rows on items with these scores and losses, which fall with rows or stay."""
    levels = [4.0, 3.0, 2.2] if falling else [2.0, 2.0, 2.0]
    number = len(scores)
    answers = Answers(
        score_SI=np.array([scores], dtype=float),
        loss_SI=np.array([losses], dtype=float),
        token_I=np.full(number, 10.0),
        prompted_I=np.full(number, prompted),
        groups=range(number),
    )
    return Forecast(fit_curve([50, 100, 200], levels, [0.01] * 3), 200, answers)


def test_the_truth_lies_inside_the_intervals_about_as_often_as_they_say():
    found = coverage(40)
    for rows, (score, gain) in found.items():
        assert score >= 0.85, (rows, score)
        assert gain >= 0.85, (rows, gain)


def test_at_the_size_that_was_tried_the_expectation_is_what_was_seen():
    losses = np.linspace(0, 10, 100)
    scores = (losses < 4).astype(float)
    expected = forecast(scores, losses).at(200)
    assert expected.score.value == pytest.approx(0.4, abs=0.03)
    assert expected.score.low < 0.35
    assert expected.score.high > 0.45


def test_falling_losses_make_more_answers_right_and_flat_ones_promise_nothing():
    generator = np.random.default_rng(0)
    losses = generator.uniform(0, 10, 100)
    scores = (generator.random(100) < logistic(3 - losses)).astype(float)
    now, later = (forecast(scores, losses).at(rows).score for rows in (200, 1600))
    assert later.value > now.value + 0.05
    flat = forecast(scores, losses, falling=False)
    assert flat.at(1600).score.value == pytest.approx(flat.at(200).score.value, abs=0.03)


def test_the_gain_is_what_lies_above_the_best_prompt():
    losses = np.linspace(0, 10, 100)
    found = forecast((losses < 4).astype(float), losses, prompted=0.1).at(200)
    assert found.gain.value == pytest.approx(0.3, abs=0.04)


def test_items_that_the_prompt_was_not_asked_count_for_the_score_alone():
    losses = np.linspace(0, 10, 100)
    scores = (losses < 4).astype(float)
    prompted = np.where(np.arange(100) % 2, np.nan, 0.1)
    answers = Answers(scores[None], losses[None], np.full(100, 10.0), prompted, range(100))
    found = Forecast(fit_curve([50, 100, 200], [4.0, 3.0, 2.2], [0.01] * 3), 200, answers).at(200)
    assert found.score.value == pytest.approx(0.4, abs=0.03)
    assert found.gain.value == pytest.approx(0.3, abs=0.04)


def test_no_right_answer_at_all_is_not_never():
    none = forecast(np.zeros(50), np.linspace(1, 10, 50)).at(200).score
    assert 0 <= none.low < none.value < 0.05
    assert none.high > 0.01
    every = forecast(np.ones(50), np.linspace(1, 10, 50)).at(200).score
    assert every.high <= 1
    assert every.low < 0.99


def test_items_of_one_group_count_together():
    losses = np.linspace(0, 10, 60)
    scores = (losses < 4).astype(float)

    def width(groups):
        answers = Answers(scores[None], losses[None], np.full(60, 10.0), np.zeros(60), groups)
        curve = fit_curve([50, 100, 200], [4.0, 3.0, 2.2], [0.01] * 3)
        found = Forecast(curve, 200, answers).at(200).score
        return found.high - found.low

    assert width([place // 10 for place in range(60)]) > 1.5 * width(range(60))


def test_a_likelier_answer_is_never_a_worse_one():
    losses = np.linspace(-2, 2, 40)
    level, slope = fit_logistic(losses, (losses > 0).astype(float), np.ones((1, 40)))
    assert slope[0] == 0
    assert logistic(level)[0] == pytest.approx(0.5, abs=0.05)


def test_the_logistic_curve_is_that_of_statsmodels():
    import statsmodels.api as sm

    generator = np.random.default_rng(1)
    losses = generator.normal(size=400)
    scores = (generator.random(400) < logistic(0.5 - 1.2 * losses)).astype(float)
    level, slope = fit_logistic(losses, scores, np.ones((1, 400)))
    oracle = sm.Logit(scores, sm.add_constant(losses)).fit(disp=0).params
    assert [level[0], slope[0]] == pytest.approx(list(oracle), abs=0.02)  # the priors are weak, not nothing


def test_the_same_seed_gives_the_same_expectation():
    assert run_world(3)[ALL_ROWS].expected == run_world(3)[ALL_ROWS].expected


def test_scores_alone_are_extrapolated_where_no_losses_are_known():
    scores = [0.4, 0.55, 0.66]
    observed = Observed.of(
        [50, 100, 200], scores, np.array([[1.0] * 66 + [0.0] * 34]), np.full(100, 0.2), range(100)
    )
    found = observed.at(800)
    assert found.score.value > 0.7
    assert found.score.high <= 1
    assert found.gain.low > 0.2
