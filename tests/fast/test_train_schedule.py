from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.recipe import Optimiser, Recipe
from tunesmith.train.schedule import epoch_order, learning_rate, place_of_step, plan


def recipe(**changes: object) -> Recipe:
    return Recipe(data="data", **changes)


@given(
    num_examples=st.integers(1, 200),
    step_examples=st.integers(1, 40),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_every_epoch_sees_every_row_once(num_examples: int, step_examples: int, epochs: int, seed: int):
    schedule = plan(
        recipe(step_examples=step_examples, epochs=epochs, seed=seed),
        num_examples=num_examples,
        fingerprint="f",
    )
    hashes = [f"row {number}" for number in range(num_examples)]
    seen: dict[int, list[int]] = {}
    for step in range(1, schedule.num_steps + 1):
        epoch, place = place_of_step(schedule, step)
        order = epoch_order(hashes, seed=seed, epoch=epoch, fingerprint="f")
        seen.setdefault(epoch, []).extend(order[place])
    assert sorted(seen) == list(range(epochs))
    assert all(sorted(rows) == list(range(num_examples)) for rows in seen.values())


def test_the_order_depends_on_seed_epoch_and_fingerprint_and_on_nothing_else():
    hashes = [f"row {number}" for number in range(50)]
    order = epoch_order(hashes, seed=1, epoch=0, fingerprint="f")
    assert order == epoch_order(list(hashes), seed=1, epoch=0, fingerprint="f")
    assert order != epoch_order(hashes, seed=2, epoch=0, fingerprint="f")
    assert order != epoch_order(hashes, seed=1, epoch=1, fingerprint="f")
    assert order != epoch_order(hashes, seed=1, epoch=0, fingerprint="g")


def test_the_learning_rate_warms_up_then_falls_towards_zero():
    optimiser = Optimiser(learning_rate=1.0, schedule="linear", warmup_share=0.2)
    rates = [learning_rate(optimiser, step=step, num_steps=10) for step in range(1, 11)]
    assert rates == [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]


def test_a_cosine_is_half_way_down_in_the_middle():
    optimiser = Optimiser(learning_rate=1.0, schedule="cosine", warmup_share=0.0)
    assert abs(learning_rate(optimiser, step=51, num_steps=100) - 0.5) < 1e-9


def test_a_constant_schedule_stays_after_the_warm_up():
    optimiser = Optimiser(learning_rate=0.3, schedule="constant", warmup_share=0.1)
    assert {learning_rate(optimiser, step=step, num_steps=20) for step in range(2, 21)} == {0.3}


def test_evaluations_are_spread_evenly_and_include_the_end():
    schedule = plan(recipe(step_examples=10, epochs=2, evaluations=4), num_examples=100, fingerprint="f")
    assert schedule.evaluate_after == {5, 10, 15, 20}
    assert not plan(recipe(evaluations=0), num_examples=100, fingerprint="f").evaluate_after


def test_part_of_an_epoch_is_a_part_of_its_steps():
    assert plan(recipe(step_examples=10, epochs=0.5), num_examples=100, fingerprint="f").num_steps == 5
    assert plan(recipe(step_examples=10, epochs=0.01), num_examples=100, fingerprint="f").num_steps == 1
