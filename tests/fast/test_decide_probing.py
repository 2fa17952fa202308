"""How many rows the probes of a decision take: what the time allows, in three sizes."""

from pathlib import Path

import pytest

from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import Workspace
from tunesmith.decide.budget import PROBES, Budget
from tunesmith.decide.probing import FEWEST_ROWS, SEEDS, SIZES, Probing, affordable, largest_size
from tunesmith.decide.schema import DecideConfig


def probing(minutes: float, *, seconds_per_step: float, rows: int = 1200) -> Probing:
    recipe = Recipe.model_validate({"data": "file", "model": "fake", "epochs": 2.5, "step_examples": 8})
    budget = Budget(minutes * 60, clock=lambda: 0.0)
    config = DecideConfig(data=Path("data"), model="fake")
    job = Job(Workspace(Path("nowhere")))
    return Probing(
        config, Path("data"), rows, recipe, "exact", seconds_per_step, Path("plan"), budget, job, True
    )


@pytest.mark.parametrize(
    ("minutes", "seconds_per_step", "seeds"),
    [(60, 0.5, SEEDS), (20, 1.0, SEEDS), (8, 4.4, 1), (6.5, 2.0, 1)],
)
def test_probes_take_what_the_time_allows_with_fewer_seeds_where_it_is_short(
    minutes: float, seconds_per_step: float, seeds: int
):
    state = probing(minutes, seconds_per_step=seconds_per_step)
    most = largest_size(state)
    assert most // SIZES[0] >= FEWEST_ROWS
    needed = seeds * sum(state.seconds_for(most // part) for part in SIZES)
    assert needed <= state.budget.left(PROBES)
    assert most == affordable(state, seeds)
    assert (affordable(state, SEEDS) // SIZES[0] >= FEWEST_ROWS) == (seeds == SEEDS)


def test_no_time_and_few_rows_leave_no_probe():
    assert largest_size(probing(1, seconds_per_step=5.0)) // SIZES[0] < FEWEST_ROWS
    assert largest_size(probing(60, seconds_per_step=0.1, rows=20)) == 20
