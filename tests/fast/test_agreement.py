import numpy as np
import pytest
import truescore
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.agreement import ac1, alpha, by_label, by_rater, codes_of, kappa, percent
from tunesmith.core.errors import DataError
from tunesmith.core.reviews.acceptance import clopper_pearson, error_rate, rows_needed, upper_bound

NAN = float("nan")
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: 4 observers, 12 units
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T


@pytest.mark.parametrize(("metric", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_krippendorffs_own_example(metric, value):
    found = alpha(KRIPPENDORFF, metric, resamples=200)
    assert found.value == pytest.approx(value, abs=5e-4)
    assert (found.items, found.ratings) == (11, 40)  # one unit has a single rating
    assert found.low < found.value < found.high


def test_alpha_of_two_observers_and_two_values_is_that_of_the_paper():
    first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert alpha(np.column_stack([first, second])).value == pytest.approx(0.095, abs=5e-4)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_ac1_equals_truescores(pairs):
    first, second = zip(*pairs, strict=True)
    found = ac1(first, second, resamples=2)
    assert found.value == pytest.approx(truescore.gwet_ac1(first, second))


def test_ac1_stays_high_where_one_value_drags_kappa_down():
    first, second = [1] * 48 + [1, 0], [1] * 48 + [0, 1]
    assert kappa(first, second).value < 0
    assert ac1(first, second).value > 0.9


def test_kappa_is_that_of_a_table_worked_out_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: (.7 − .5) / (1 − .5)
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert kappa(first, second, resamples=50).value == pytest.approx(0.4)
    assert kappa(first, second, weights="linear", resamples=50).value == pytest.approx(0.4)
    assert percent(np.column_stack([first, second]), resamples=50).value == pytest.approx(0.7)


def test_weighted_kappa_forgives_neighbours():
    first, near, far = [0, 1, 2] * 8, [0, 1, 1] * 8, [0, 1, 0] * 8
    assert kappa(first, near, resamples=20).value == kappa(first, far, resamples=20).value
    near_far = [kappa(first, other, weights="quadratic", resamples=20).value for other in (near, far)]
    # by hand, of 24: 8 costs of 1 against 20 by chance; 8 costs of 4 against 32
    assert near_far == pytest.approx([1 - 8 / 24, 0.0])


def test_agreement_without_variation_is_undefined_and_says_so():
    same = np.ones((5, 2))
    assert alpha(same).value is None
    assert kappa(same[:, 0], same[:, 1]).value is None
    assert percent(same).value == 1.0
    assert alpha(np.full((3, 2), np.nan)).items == 0


def test_ratings_that_are_no_table_are_refused():
    with pytest.raises(DataError, match="items by raters"):
        alpha([1, 2, 3])
    with pytest.raises(DataError, match="too many different values"):
        alpha(np.arange(6000).reshape(-1, 2))


def test_the_interval_of_alpha_covers_in_a_simulation():
    """Two raters who are right with probability .8: alpha of the population is known from a large draw."""
    generator = np.random.default_rng(5)

    def draw(n):
        truth = generator.integers(2, size=n)
        flips = generator.random((n, 3)) < 0.2
        return np.where(flips, 1 - truth[:, None], truth[:, None])

    true = alpha(draw(200_000), resamples=1).value
    hits = [
        found.low <= true <= found.high for found in (alpha(draw(100), resamples=200) for _ in range(200))
    ]
    assert 0.90 <= np.mean(hits) <= 0.985


def test_the_label_and_the_rater_that_disagree_stand_out():
    rows = [["a", "a", "a"], ["a", "a", "a"], ["b", "b", "c"], ["c", "c", "b"], ["a", "a", None]] * 10
    codes, labels = codes_of(rows)
    assert labels == ["a", "b", "c"]
    found = by_label(codes, resamples=50)
    assert found[0.0].value == 1.0 > found[1.0].value
    raters = [one.value for one in by_rater(codes, resamples=50)]
    assert raters[0] == raters[1] > raters[2]
    assert raters[0] == pytest.approx((2 + 2 + 1 + 1 + 1) / 9)


def test_59_rows_without_an_error_put_the_rate_below_5_percent():
    assert upper_bound(0, 59) < 0.05 < upper_bound(0, 58)
    assert rows_needed(0.05) == 59
    assert rows_needed(0.01) == 299
    for errors in (1, 2, 5):
        n = rows_needed(0.05, errors=errors)
        assert upper_bound(errors, n) <= 0.05 < upper_bound(errors, n - 1)


def test_clopper_pearson_is_that_of_the_literature_and_covers():
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert clopper_pearson(3, 20) == pytest.approx((0.0321, 0.3789), abs=1e-4)
    assert clopper_pearson(10, 10) == pytest.approx((0.6915, 1.0), abs=1e-4)
    assert error_rate(0, 0)[2:] == (0.0, 0.0, 1.0, 0.0, 1.0)
    generator = np.random.default_rng(0)
    for share in (0.02, 0.1, 0.4):
        draws = generator.binomial(60, share, size=2000)
        rates = {errors: error_rate(int(errors), 60) for errors in np.unique(draws)}
        exact = np.mean([rates[e].exact_low <= share <= rates[e].exact_high for e in draws])
        score = np.mean([rates[e].low <= share <= rates[e].high for e in draws])
        assert exact >= 0.945
        assert score >= 0.92
