"""How many items a difference needs, asked before there is a second model."""

import io

import numpy as np
import pytest
import truescore
from folders import address, data_set
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console
from servers import completion, last_user, server

from tunesmith.cli.show_power import show_power
from tunesmith.core import stats
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.files import read_jsonl, write_jsonl
from tunesmith.core.stats.planning import discordance, required_for_means, smallest_difference
from tunesmith.evaluate import EvaluateConfig, evaluate
from tunesmith.evaluate.power.door import power
from tunesmith.evaluate.power.schema import PowerConfig

ROWS = [address(n) for n in range(80)]
GOLD = {row.prompt[-1].content: row.answer for row in ROWS}
SIMULATIONS = 1000


def report(job, right, *, groups=None, rows=ROWS, **settings):
    """A model that is right on so many of 80 items, and half right on the others."""

    def answer(body):
        question = last_user(body)
        is_right = int(question.split()[0]) < right
        return completion(GOLD[question] if is_right else GOLD[question].replace('"city"', '"town"'))

    folder = data_set(job, {"test": rows}, groups=groups)
    with server(answer, models=("old",)) as script:
        config = EvaluateConfig(suite=folder, model="old", endpoint=script.url, **settings)
        return evaluate(config, job).folder


def test_a_share_needs_what_mcnemars_test_needs_over_a_range_of_agreement(job):
    folder = report(job, 48)  # 60 %
    result = power(PowerConfig(report=folder, difference=0.1), job)
    assert (result.metric, result.value, result.items, result.design_effect) == ("exact_json", 0.6, 80, 1)
    assert [one.correlation for one in result.scenarios] == [0, 0.25, 0.5, 0.75]
    alone = result.scenarios[0]
    assert alone.discordance == pytest.approx(0.6 * 0.3 + 0.7 * 0.4)
    assert alone.needed == stats.required_items(0.1, 0.46)
    needed = [one.needed for one in result.scenarios]
    assert needed == sorted(needed, reverse=True)
    assert f"takes {needed[-1]:,} to {needed[0]:,} items" in result.sentence
    for one in result.scenarios:
        assert one.needed > 80
        assert 0.1 < one.visible < 0.4
    assert result.notes == []


def test_a_mean_needs_what_its_own_spread_says(job):
    folder = report(job, 48)
    result = power(PowerConfig(report=folder, metric="field_f1", difference=0.05, correlation=(0.5,)), job)
    (one,) = result.scenarios
    scores = [row.value["scores"]["field_f1"] for row in read_jsonl(folder / "samples.jsonl")]
    assert result.spread == pytest.approx(np.std(scores))
    # (1.96 + 0.84)² σ_d² / δ², with σ_d² = 2 σ² (1 − ρ)
    assert one.needed == pytest.approx((2.8016 * np.std(scores) / 0.05) ** 2, abs=1)
    assert one.discordance is None
    assert one.visible == pytest.approx(2.8016 * np.std(scores) / np.sqrt(80), rel=0.01)
    assert result.notes == ["the candidate's scores are taken to spread as the report's do"]


def test_without_a_difference_only_what_the_items_see_is_said(job):
    result = power(PowerConfig(report=report(job, 48)), job)
    assert {one.needed for one in result.scenarios} == {None}
    assert result.sentence.startswith("old (as_is)'s 80 items see a difference in exact_json of")


def test_items_in_groups_say_less(job):
    groups = {row.row_hash: f"g{n // 8}" for n, row in enumerate(ROWS)}
    result = power(PowerConfig(report=report(job, 48, groups=groups), difference=0.1), job)
    assert result.groups == 10
    assert result.design_effect > 5  # whole groups are right or wrong
    plain = stats.required_items(0.1, result.scenarios[0].discordance)
    assert result.scenarios[0].needed == pytest.approx(result.design_effect * plain, abs=1)
    assert "stand in 10 groups and say as much as" in result.notes[0]


def test_too_few_items_for_any_verdict_see_nothing(job):
    result = power(PowerConfig(report=report(job, 4, rows=ROWS[:8]), difference=0.4), job)
    assert {one.visible for one in result.scenarios} == {None}
    assert min(one.needed for one in result.scenarios) >= 10
    assert "8 items are too few to see any difference in exact_json" in result.sentence


def test_more_candidates_need_more_items(job):
    folder = report(job, 48)
    one, five = (power(PowerConfig(report=folder, difference=0.1, candidates=n), job) for n in (1, 5))
    assert five.scenarios[0].needed == stats.required_items(0.1, 0.46, confidence=0.99)
    assert five.scenarios[0].needed > one.scenarios[0].needed
    assert five.notes == ["each of 5 candidates is tested at 5 % / 5"]


def test_where_there_is_no_room_to_be_better_the_figures_are_for_a_worse_one(job):
    result = power(PowerConfig(report=report(job, 78), difference=0.05), job)
    assert result.scenarios[0].discordance == pytest.approx(0.975 * 0.075 + 0.025 * 0.925)
    assert result.notes == [
        "no candidate can be better by more than 2.5 points: the figures are for a worse one"
    ]


def test_a_model_that_is_always_right_or_always_wrong_still_has_an_answer(job):
    result = power(PowerConfig(report=report(job, 80), difference=0.05), job)
    assert {one.needed for one in result.scenarios} == {stats.required_items(0.05, 0.05)}
    with pytest.raises(DataError, match="all items have the same score"):
        power(PowerConfig(report=job.workspace.folders("report")[0], metric="field_f1"), job)


def test_what_cannot_be_is_refused(job):
    folder = report(job, 48)
    with pytest.raises(ConfigError, match=r"no candidate can differ by that much from 60.0%: 0.7"):
        power(PowerConfig(report=folder, difference=0.7), job)
    with pytest.raises(ConfigError, match="did you mean 'exact_json'"):
        power(PowerConfig(report=folder, metric="exact_jsn"), job)
    rows = [line.value for line in read_jsonl(folder / "samples.jsonl")]
    write_jsonl(folder / "samples.jsonl", [{**row, "scores": {}} for row in rows])
    with pytest.raises(DataError, match="no item of the report has this score"):
        power(PowerConfig(report=folder), job)
    for bad in ({"difference": 0.0}, {"correlation": (1.0,)}, {"candidates": 0}):
        with pytest.raises(ValidationError):
            PowerConfig(report=folder, **bad)


def test_the_terminal_shows_a_line_for_each_correlation(job):
    console = Console(file=io.StringIO(), width=140)
    show_power(power(PowerConfig(report=report(job, 48), difference=0.1), job), console)
    text = console.file.getvalue()
    for piece in ("correlation", "only one is right", "items for 10.0 points", "seen by 80 items", "0.25"):
        assert piece in text
    show_power(power(PowerConfig(report=job.workspace.folders("report")[0], metric="field_f1"), job), console)
    assert "field_f1" in console.file.getvalue()


# The figures against an oracle, and by simulation


@given(st.floats(0.02, 0.2), st.floats(0.25, 0.9))
def test_the_smallest_difference_is_the_inverse_of_the_items_needed_and_near_truescores(difference, share):
    n = stats.required_items(difference, share)
    found = smallest_difference(lambda one: stats.required_items(one, share), n, share)
    assert found == pytest.approx(difference, rel=0.02)
    expected = truescore.min_detectable_effect(n, discordance_rate=share)
    assert found == pytest.approx(expected, rel=0.02)
    assert smallest_difference(lambda one: stats.required_items(one, share), 1, share) is None


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_the_items_needed_see_a_difference_of_shares_four_times_in_five(correlation):
    generator, first, second = np.random.default_rng(2), 0.7, 0.8
    differing = discordance(first, second, correlation)
    n = stats.required_items(0.1, differing)
    fixes, regressions = (differing + 0.1) / 2, (differing - 0.1) / 2
    seen = 0
    for won, lost, _ in generator.multinomial(n, [fixes, regressions, 1 - differing], SIMULATIONS):
        low, _ = stats.tango(int(won), int(lost), n)
        seen += low > 0 and stats.mcnemar(int(won), int(lost)) <= 0.05  # what a verdict asks for
    assert 0.76 <= seen / SIMULATIONS <= 0.84


def test_the_items_needed_see_a_difference_of_means_four_times_in_five():
    generator, spread, correlation = np.random.default_rng(3), 0.25, 0.5
    n = required_for_means(0.08, spread, correlation)
    seen = 0
    for draw in range(400):
        shared, *own = generator.normal(0, spread, (3, n))
        first, second = (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * one for one in own)
        seen += stats.sign_flip(second + 0.08 - first, resamples=499, seed=draw) <= 0.05
    assert 0.74 <= seen / 400 <= 0.86
    with pytest.raises(ValueError, match="above 0"):
        required_for_means(0.0, spread, correlation)


def test_two_shares_differ_on_at_least_their_difference():
    assert discordance(0.5, 0.5, 0.0) == 0.5
    assert discordance(0.9, 0.5, 0.99) == pytest.approx(0.4)
    assert discordance(0.0, 0.3, 0.0) == pytest.approx(0.3)
