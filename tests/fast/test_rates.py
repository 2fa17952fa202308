import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.errors import ConfigError
from tunesmith.core.recipe import AdamW, Recipe
from tunesmith.train.rates import SHAPES, auto_learning_rate, learning_rate


def rates(num_steps: int, **settings: object) -> list[float]:
    optimiser = AdamW(**{"learning_rate": 1.0, **settings})
    return [learning_rate(optimiser, step=step, num_steps=num_steps) for step in range(1, num_steps + 1)]


def test_the_learning_rate_warms_up_then_falls_towards_zero():
    found = rates(10, schedule="linear", warmup_share=0.2)
    assert found == [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]


def test_a_cosine_is_half_way_down_in_the_middle():
    assert abs(rates(100, schedule="cosine", warmup_share=0.0)[50] - 0.5) < 1e-9


def test_a_constant_schedule_stays_after_the_warm_up():
    assert set(rates(20, schedule="constant", warmup_share=0.1)[1:]) == {1.0}


def test_warm_up_stable_decay_holds_the_highest_rate_then_falls_on_a_line():
    found = rates(20, schedule="wsd", warmup_share=0.1, decay_share=0.2)
    assert found[:16] == [0.5] + 15 * [1.0]
    assert found[16:] == pytest.approx([0.8, 0.6, 0.4, 0.2])


@given(
    schedule=st.sampled_from(sorted(SHAPES)),
    num_steps=st.integers(1, 400),
    warmup_share=st.floats(0, 0.99),
    decay_share=st.floats(0.01, 1),
    peak=st.floats(1e-6, 10),
)
def test_every_schedule_is_positive_peaks_and_moves_in_small_steps(
    schedule, num_steps, warmup_share, decay_share, peak
):
    decay_share = min(decay_share, 1 - warmup_share) if schedule == "wsd" else 0.2
    found = rates(
        num_steps, learning_rate=peak, schedule=schedule, warmup_share=warmup_share, decay_share=decay_share
    )
    num_warmup = math.ceil(warmup_share * num_steps)
    num_after = num_steps - num_warmup
    num_falling = min(num_after, 1 + math.ceil(decay_share * num_steps)) if schedule == "wsd" else num_after
    assert all(0 < rate <= peak for rate in found)
    assert max(found) == peak
    assert found.index(peak) == max(0, num_warmup - 1)
    # The steepest place of half a cosine is π/2 times as steep as a line.
    rise, fall = peak / max(1, num_warmup), peak * (math.pi / 2) / max(1, num_falling)
    changes = [after - before for before, after in itertools.pairwise(found)]
    assert all(-fall * (1 + 1e-9) <= change <= rise * (1 + 1e-9) for change in changes)
    if schedule != "constant" and num_after:
        assert found[-1] <= peak / num_falling * (1 + 1e-9)


@given(schedule=st.sampled_from(sorted(SHAPES)), num_steps=st.integers(2, 60))
def test_after_its_warm_up_no_schedule_rises(schedule, num_steps):
    found = rates(num_steps, schedule=schedule, warmup_share=0.0)
    assert found == sorted(found, reverse=True)


def recipe(**changes: object) -> Recipe:
    return Recipe(data="data", **changes)


def auto(hidden_size: int = 576, model_type: str = "llama", **changes: object):
    return auto_learning_rate(recipe(**changes), hidden_size=hidden_size, model_type=model_type)


def test_the_rule_gives_what_its_source_prints():
    assert auto(2048, "llama").value == 4.9e-4  # 5e-4 × (2000/2048)^0.781 = 4.908e-4
    assert auto(4096, "qwen3").value == 4.7e-4  # 5e-4 × (2000/4096)^0.0775 = 4.730e-4
    assert auto(2048, "llama", method={"kind": "full"}).value == 4.9e-5


def test_the_embedded_model_gets_close_to_what_was_measured_as_best():
    assert auto().value == 1.3e-3  # measured: 1.5e-3


def test_the_explanation_holds_the_arithmetic_and_the_source():
    said = auto().explanation
    assert "5e-05 × 10 × (2000 / 576)^0.781 = 0.0013" in said
    assert "Thinking Machines Lab" in said


@pytest.mark.parametrize(("hidden_size", "value"), [(1024, 5.3e-4), (4096, 2.9e-4)])
def test_an_unmeasured_family_gets_the_lower_of_both_rates_and_is_told_so(hidden_size, value):
    found = auto(hidden_size, "gemma3_text")
    assert found.value == value
    assert "no exponent for gemma3_text" in found.explanation


@pytest.mark.parametrize(
    ("method", "factor", "note"),
    [
        ({"kind": "full"}, 1, ""),
        ({"kind": "freeze", "layers": 2}, 1, ""),
        ({"kind": "lora"}, 10, ""),
        ({"kind": "lora", "rank": 4}, 10, ""),
        ({"kind": "qlora"}, 10, ""),
        ({"kind": "lora", "alpha": 8}, 10, "yours alpha 8: not corrected"),
        ({"kind": "lora", "rslora": True}, 10, "yours alpha 32 with rslora"),
        ({"kind": "adapter"}, 10, "LoRA's factor is taken"),
        ({"kind": "peft", "peft_type": "lora", "config": {"use_dora": True}}, 10, "yours has use_dora=True"),
    ],
)
def test_each_method_has_its_factor_and_says_what_was_not_measured(method, factor, note):
    found = auto(2000, "llama", method=method)
    assert found.value == 5e-5 * factor
    assert note in found.explanation
    assert (note == "") == found.explanation.endswith("2025)")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": {"kind": "peft", "peft_type": "IA3"}}, "PEFT's IA3"),
        ({"method": {"kind": "lora", "lora_plus_ratio": 16}}, "LoRA+"),
        ({"optimiser": {"kind": "sgd"}}, "optimiser sgd"),
        ({"optimiser": {"kind": "adafactor"}}, "optimiser adafactor"),
    ],
)
def test_what_the_rule_does_not_cover_is_refused_with_words(changes, words):
    with pytest.raises(ConfigError) as caught:
        auto(**changes)
    assert words in str(caught.value)
    assert "give optimiser.learning_rate a number" in str(caught.value)


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit", "muon"])
def test_optimisers_with_adamw_s_step_size_take_its_rate(kind):
    found = auto(optimiser={"kind": kind})
    assert found.value == 1.3e-3
    assert ("may want a higher rate" in found.explanation) == (kind == "muon")
