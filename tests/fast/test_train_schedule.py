import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.errors import DataError
from tunesmith.core.recipe import Recipe
from tunesmith.train.schedule import (
    Part,
    Rows,
    Schedule,
    StepRows,
    bounds_by_tokens,
    by_source,
    epoch_order,
    evaluation_steps,
    plan,
    planned_tokens,
    shuffle,
)


def recipe(weights: tuple[float, ...] = (1.0,), **changes: object) -> Recipe:
    sources = [{"path": f"data-{number}", "weight": weight} for number, weight in enumerate(weights)]
    return Recipe(data=sources, **changes)


def rows(*sizes: int, lengths: list[int] | None = None) -> Rows:
    source_ids = np.repeat(np.arange(len(sizes)), sizes).astype(np.int16)
    return Rows(np.array(lengths or [10] * sum(sizes), dtype=np.int32), source_ids, "f")


def seen(schedule: Schedule) -> dict[int, list[int]]:
    """Rows of each epoch, in the order of the steps."""
    steps, found = StepRows(schedule), {}
    for step in range(1, schedule.num_steps + 1):
        found.setdefault(schedule.place(step).epoch, []).extend(steps.rows(step).tolist())
    return found


@given(
    num_rows=st.integers(1, 200),
    step_examples=st.integers(1, 40),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_every_epoch_sees_every_row_once(num_rows: int, step_examples: int, epochs: int, seed: int):
    schedule = plan(recipe(step_examples=step_examples, epochs=epochs, seed=seed), rows(num_rows))
    found = seen(schedule)
    assert sorted(found) == list(range(epochs))
    assert all(sorted(order) == list(range(num_rows)) for order in found.values())


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    step_tokens=st.integers(1, 120),
    seed=st.integers(0, 3),
)
def test_steps_by_tokens_are_full_and_a_longer_row_stands_alone(lengths, step_tokens: int, seed: int):
    schedule = plan(recipe(step_tokens=step_tokens, epochs=2, seed=seed), rows(len(lengths), lengths=lengths))
    steps = StepRows(schedule)
    taken = [[lengths[row] for row in steps.rows(step)] for step in range(1, schedule.num_steps + 1)]
    assert all(sum(step) <= step_tokens or len(step) == 1 for step in taken)
    for number, (step, after) in enumerate(pairwise(taken), start=1):
        if schedule.place(number).epoch == schedule.place(number + 1).epoch:
            assert sum(step) + after[0] > step_tokens, "the next row would have fitted"
    assert all(sorted(order) == list(range(len(lengths))) for order in seen(schedule).values())


def test_steps_by_tokens_begin_where_the_limit_would_be_passed():
    assert bounds_by_tokens(np.array([5, 5, 1, 20, 3, 3]), 10).tolist() == [0, 2, 3, 4, 6]


def test_the_order_depends_on_seed_epoch_and_fingerprint_and_on_nothing_else():
    parts = [Part(0, 1.0, np.arange(50))]
    order = epoch_order(parts, seed=1, epoch=0, fingerprint="f").tolist()
    assert order == epoch_order(parts, seed=1, epoch=0, fingerprint="f").tolist()
    assert order != epoch_order(parts, seed=2, epoch=0, fingerprint="f").tolist()
    assert order != epoch_order(parts, seed=1, epoch=1, fingerprint="f").tolist()
    assert order != epoch_order(parts, seed=1, epoch=0, fingerprint="g").tolist()


def test_the_order_is_the_same_in_another_process_and_for_ever():
    code = "from tunesmith.train.schedule import shuffle; print(shuffle(8, 'a name').tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == shuffle(8, "a name").tolist() == GOLDEN


GOLDEN = [3, 6, 0, 7, 2, 4, 1, 5]


@pytest.mark.parametrize("seed", range(3))
def test_half_a_weight_is_the_other_half_in_the_next_epoch(seed: int):
    schedule = plan(recipe((1.0, 0.5), epochs=2, step_examples=4, seed=seed), rows(6, 10))
    first, second = seen(schedule).values()
    assert sorted(first + second) == sorted([*range(6), *range(16)])
    assert len(first) == len(second) == 11
    assert not {row for row in first if row >= 6} & {row for row in second if row >= 6}


def test_a_weight_of_two_is_twice_each():
    order = seen(plan(recipe((1.0, 2.0), step_examples=3), rows(4, 5)))[0]
    assert sorted(order) == sorted([*range(4), *range(4, 9), *range(4, 9)])


def test_a_weight_of_zero_is_never_learned():
    order = seen(plan(recipe((1.0, 0.0), epochs=2, step_examples=3), rows(4, 5)))
    assert sorted(order[0]) == sorted(order[1]) == [0, 1, 2, 3]


def test_sources_are_mixed_within_an_epoch():
    order = seen(plan(recipe((1.0, 1.0)), rows(50, 50)))[0]
    early = sum(row < 50 for row in order[:50])
    assert 10 < early < 40


@given(weight=st.floats(0.01, 3), size=st.integers(1, 30), epochs=st.integers(1, 6))
def test_over_many_epochs_a_source_is_seen_as_often_as_its_weight_says(weight: float, size: int, epochs: int):
    part = Part(0, weight, np.arange(size))
    counts = np.zeros(size)
    for epoch in range(epochs):
        found = epoch_order([part], seed=0, epoch=epoch, fingerprint="f")
        counts += np.bincount(found, minlength=size)
    assert counts.max() - counts.min() <= 1
    assert abs(counts.sum() - weight * size * epochs) <= 1


def test_part_of_an_epoch_is_a_part_of_its_steps():
    assert plan(recipe(step_examples=10, epochs=0.5), rows(100)).num_steps == 5
    assert plan(recipe(step_examples=10, epochs=0.01), rows(100)).num_steps == 1
    assert plan(recipe(step_examples=10, epochs=2.5), rows(100)).num_steps == 25


def test_max_steps_ends_a_run_early_and_never_makes_it_longer():
    assert plan(recipe(step_examples=10, max_steps=7), rows(100)).num_steps == 7
    assert plan(recipe(step_examples=10, max_steps=70), rows(100)).num_steps == 10


def test_the_epoch_of_a_step_counts_what_is_done():
    schedule = plan(recipe(step_examples=10, epochs=2), rows(95))
    assert [schedule.epoch_after(step) for step in (0, 5, 10, 15, 20)] == [0, 0.5, 1, 1.5, 2]


def test_evaluations_are_spread_evenly_and_include_the_end():
    schedule = plan(recipe(step_examples=10, epochs=2, evaluations=4), rows(100))
    assert schedule.evaluate_after == {5, 10, 15, 20}
    assert not plan(recipe(evaluations=0), rows(100)).evaluate_after
    assert evaluation_steps(recipe(eval_every=8), 20) == {8, 16, 20}


def test_planned_tokens_are_those_of_the_steps():
    lengths = list(range(1, 41))
    schedule = plan(recipe(step_tokens=90, epochs=1.5), rows(40, lengths=lengths))
    steps = StepRows(schedule)
    taken = [lengths[row] for step in range(1, schedule.num_steps + 1) for row in steps.rows(step)]
    assert planned_tokens(schedule) == sum(taken)


def test_no_row_at_all_and_weights_that_leave_none_are_refused():
    with pytest.raises(DataError, match="no row to learn from"):
        plan(recipe(), rows(0))
    with pytest.raises(DataError, match="weights leave no row"):
        plan(recipe((0.01,)), rows(3))


def test_an_epoch_without_a_row_is_passed_over():
    schedule = plan(recipe((0.4,), epochs=5, step_examples=1), rows(1))
    assert schedule.num_steps == 2
    assert sorted(seen(schedule)) == [2, 4]


def test_validation_rows_are_told_apart_by_source():
    found = by_source(np.array([0, 2, 2, 0], dtype=np.int16), ["a", "b", "c"])
    assert {name: part.tolist() for name, part in found.items()} == {"a": [0, 3], "c": [1, 2]}
