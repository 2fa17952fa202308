"""Whether the checks find what the selftest plants into the real addresses, as well as was promised."""

import pytest

from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace
from tunesmith.data import fetch
from tunesmith.data.schema import FetchConfig
from tunesmith.data.selftest import SelftestConfig, selftest

FEWEST_FAULTS = 20
NO_HURRY = 100_000.0
"""Seconds: every row is looked at, whatever the machine."""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """A job, and the file of the addresses."""
    job = Job(Workspace(tmp_path_factory.mktemp("selftest") / ".tunesmith"))
    return job, fetch(FetchConfig(name="addresses"), job).folder / "rows.jsonl"


def outcomes(addresses, *plants, **settings):
    """(plant, check) → outcome; every plant was planted."""
    job, rows = addresses
    config = SelftestConfig(data=str(rows), plant=plants, embeddings="words", **settings)
    result = selftest(config, job)
    assert result.not_planted == []
    for one in result.outcomes:
        auc = f", AUC {one.auc.value:.3f} ({one.auc.low:.3f} to {one.auc.high:.3f})" if one.auc else ""
        precision = f"{one.precision.value:.3f}" if one.precision else "–"
        print(
            f"{one.plant} by {one.check}: {one.found} of {one.planted}, recall {one.recall.value:.3f} "
            f"({one.recall.low:.3f} to {one.recall.high:.3f}), precision {precision}{auc}"
        )
    return {(one.plant, one.check): one for one in result.outcomes}


@pytest.mark.fetches
def test_every_exact_duplicate_is_found_and_nothing_else(addresses):
    found = outcomes(addresses, "exact_duplicates")["exact_duplicates", "exact_duplicates"]
    assert found.planted >= 50
    assert found.recall.value == found.precision.value == 1.0


@pytest.mark.fetches
def test_nine_of_ten_truncated_answers_are_found(addresses):
    found = outcomes(addresses, "truncated_answers")
    together = found["truncated_answers", "cut_structures + unfinished_answers"]
    assert together.planted >= 50
    assert together.recall.value >= 0.9


@pytest.mark.fetches
def test_personal_data_of_every_kind_are_found(addresses):
    found = outcomes(addresses, "personal_data", share=0.4)
    assert len(found) >= 8
    for one in found.values():
        assert one.planted >= FEWEST_FAULTS, one.check
        assert one.recall.value >= 0.95, one.check
        assert one.precision.value >= 0.95, one.check


@pytest.mark.fetches
def test_the_embedded_model_finds_shuffled_answers(addresses):
    found = outcomes(
        addresses, "shuffled_answers", model="smollm2-135m-instruct", rows=80, share=0.3, budget=NO_HURRY
    )
    odd = found["shuffled_answers", "odd_pairs"]
    assert odd.planted >= FEWEST_FAULTS
    assert odd.auc.value >= 0.8
    assert odd.recall.value >= 0.8
    assert odd.precision.value >= 0.8
