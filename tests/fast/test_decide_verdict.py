"""The rules of a verdict, on evidence made by hand."""

import pytest

from tunesmith.decide.schema import Gain, Measurement, MethodCost, Quality, Training
from tunesmith.decide.verdict import Evidence, decide_by, default_target, reasons_for, warnings_on


def measured(value=0.1, safe_low=0.05, n=100, **more):
    return Measurement(
        **{
            "prompt": "as_is", "model": "m", "file": "p.json", "shots": 0, "value": value, "low": safe_low,
            "high": value + 0.05, "safe_low": safe_low, "n": n, "errors": 0, "scores": {"exact": value},
            "prompt_tokens": 9, "seconds": 1, "report": "r", "finalist": True, **more,
        }
    )  # fmt: skip


def gain(rows=1000, score=0.7, low=0.6, high=0.8, gain_low=0.4):
    return Gain(
        rows=rows, score=score, low=low, high=high, gain=score - 0.1, gain_low=gain_low, gain_high=high - 0.1,
        loss=None, loss_low=None, loss_high=None,
    )  # fmt: skip


def training(steps=300, wanted=300):
    return Training(
        method="lora", tokens_per_second=500, seconds_per_step=1.0, steps=steps, steps_wanted=wanted,
        minutes=steps / 54, peak_memory_bytes=2 * 10**9,
    )  # fmt: skip


def evidence(**more):
    return Evidence(
        **{
            "primary": "exact", "target": 0.5, "target_from": "asked for",
            "rows": {"train": 1000, "validation": 100}, "measurements": [measured()], "bigger": [],
            "probed": True, "training": training(), "forecast": [gain()], "rows_needed": 700, **more,
        }
    )  # fmt: skip


def test_a_gain_that_excludes_zero_and_reaches_the_target_is_worth_tuning():
    decision = decide_by(evidence())
    assert decision.verdict == "fine_tune"
    assert "exact 70.0% (60.0–80.0%) expected, a gain of +60.0 points (+40.0 to +70.0)" in decision.sentence
    assert "2.0 GB of memory" in decision.sentence


def test_time_for_part_of_the_steps_is_enough_when_that_part_reaches_the_target():
    short = training(steps=150)
    part = gain(rows=500, score=0.55)
    decision = decide_by(evidence(training=short, forecast=[gain(rows=200, score=0.3), part, gain()]))
    assert decision.verdict == "fine_tune"
    assert "50% of the steps" in decision.sentence
    assert "exact 55.0%" in decision.sentence


def test_time_for_too_few_steps_wants_a_bigger_machine():
    part = gain(rows=200, score=0.3)
    decision = decide_by(evidence(training=training(steps=60), forecast=[part, gain()]))
    assert decision.verdict == "bigger_model"
    assert "all steps take 5 min" in decision.sentence
    assert "20% of them fit" in decision.sentence


def test_a_gain_that_may_be_none_cannot_be_told():
    decision = decide_by(evidence(forecast=[gain(score=0.52, low=0.1, high=0.9, gain_low=-0.1)]))
    assert decision.verdict == "cannot_say"
    assert "validation items would show a gain of that size, and there are 100" in decision.sentence


def test_faulty_data_do_not_stand_in_the_way_of_a_gain_that_is_sure():
    noisy = Quality(
        rows=1000, rows_with_errors=300, errors=300, warnings=0, worst=["empty: 300 errors"], report="c"
    )
    assert decide_by(evidence(quality=noisy)).verdict == "fine_tune"
    assert any(
        "30% of the rows" in text and "700 others" in text for text in warnings_on(evidence(quality=noisy))
    )
    unsure = evidence(quality=noisy, forecast=[gain(score=0.4, high=0.6)], rows_needed=1500)
    assert decide_by(unsure).verdict == "better_data"
    assert "Clean the data first" in decide_by(unsure).sentence


def test_nothing_probed_although_wanted_is_no_reason_to_tune():
    decision = decide_by(evidence(forecast=[], rows_needed=None))
    assert decision.verdict == "cannot_say"
    assert decide_by(evidence(forecast=[], rows_needed=None, probed=False)).verdict == "fine_tune"


def test_methods_that_all_fail_are_named():
    cost = MethodCost(
        method="lora", fits=False, seconds_per_step=None, tokens_per_second=None, minutes=None,
        peak_memory_bytes=None, problem="too large",
    )  # fmt: skip
    decision = decide_by(evidence(training=None, methods=[cost], forecast=[]))
    assert decision.verdict == "bigger_model"
    assert "(lora: too large)" in decision.sentence


@pytest.mark.parametrize(("best", "target"), [(0.1, 0.15), (0.93, 0.95), (1.0, 0.95)])
def test_the_usual_target_is_five_points_more_and_at_most_95_per_cent(best, target):
    assert default_target([measured(value=best)]) == pytest.approx(target)


def test_every_reason_has_its_number():
    for reason in reasons_for(evidence(bigger=[measured(model="large", value=0.8)])):
        assert any(character.isdigit() for character in reason), reason
