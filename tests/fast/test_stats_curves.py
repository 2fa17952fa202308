"""Learning curves: what more data would bring, and how unsure that is."""

import numpy as np
import pytest

from tunesmith.core.stats.curves import fit_curve

SIZES = np.repeat([50, 100, 200, 400], 2)


def simulated(generator, noise):
    """Losses along a random power law, and the law itself."""
    floor, exponent = generator.uniform(0.1, 1), generator.uniform(0.15, 1)
    scale = generator.uniform(0.3, 3) * 50**exponent

    def law(n):
        return floor + scale * n**-exponent

    return law, law(SIZES) + generator.normal(0, noise, len(SIZES))


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_predictions_at_all_the_data_and_at_twice_of_it_are_covered(noise):
    generator = np.random.default_rng(int(100 * noise))
    hits = np.zeros(3)
    for draw in range(200):
        law, losses = simulated(generator, noise)
        curve = fit_curve(SIZES, losses, np.full(8, noise), seed=draw)
        for place, (found, truth) in enumerate(
            [
                (curve.at(1600), law(1600)),
                (curve.at(3200), law(3200)),
                (curve.gain(400, 1600), law(400) - law(1600)),
            ]
        ):
            hits[place] += found.low <= truth <= found.high
    assert (hits / 200 >= 0.9).all(), hits
    assert (hits / 200 <= 0.995).all(), hits


def test_less_noise_and_larger_sizes_make_a_prediction_surer():
    def width(noise, sizes):
        losses = 0.5 + 5 * np.asarray(sizes, float) ** -0.5
        found = fit_curve(sizes, losses, np.full(len(sizes), noise)).at(3200)
        return found.high - found.low

    assert width(0.01, SIZES) < 0.5 * width(0.05, SIZES)
    assert width(0.01, SIZES * 4) < width(0.01, SIZES)


def test_without_noise_the_law_is_found_and_extrapolated():
    losses = 0.5 + 5 * SIZES.astype(float) ** -0.5
    curve = fit_curve(SIZES, losses, np.full(8, 1e-4))
    assert curve.at(1600).value == pytest.approx(0.5 + 5 / 40, abs=0.01)
    assert curve.gain(400, 1600).value == pytest.approx(0.125, abs=0.01)


def test_points_that_scatter_more_than_their_errors_say_widen_the_prediction():
    generator = np.random.default_rng(1)
    _, losses = simulated(generator, 0.1)
    honest = fit_curve(SIZES, losses, np.full(8, 0.1)).at(1600)
    boastful = fit_curve(SIZES, losses, np.full(8, 0.001)).at(1600)
    assert boastful.high - boastful.low > 0.3 * (honest.high - honest.low)


def test_losses_that_do_not_fall_promise_nothing():
    rising = fit_curve([50, 100, 200], [1.0, 1.2, 1.4], [0.001, 0.001, 0.001])
    assert rising.gain(200, 800).value == pytest.approx(0, abs=0.02)
    flat = fit_curve([50, 100, 200], [1.0, 1.0, 1.0], [0.05, 0.05, 0.05])
    assert flat.gain(200, 800).low <= 0.01


def test_the_same_seed_gives_the_same_prediction():
    assert fit_curve([50, 100, 200], [1.2, 1.1, 1.0], [0.1] * 3).at(800) == fit_curve(
        [50, 100, 200], [1.2, 1.1, 1.0], [0.1] * 3
    ).at(800)


@pytest.mark.parametrize(
    ("sizes", "errors", "why"),
    [
        ([50, 100], [0.1, 0.1], "3 different sizes"),
        ([50, 50, 100], [0.1] * 3, "3 different sizes"),
        ([0, 50, 100], [0.1] * 3, "above 0"),
        ([50, 100, 200], [0.1, 0.1, 0.0], "error above 0"),
    ],
)
def test_what_no_curve_can_be_drawn_through_is_refused(sizes, errors, why):
    with pytest.raises(ValueError, match=why):
        fit_curve(sizes, np.ones(len(sizes)), errors)
