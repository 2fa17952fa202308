"""Whether `data ablate` sees what is there, with the embedded model."""

import random
from dataclasses import replace

import pytest
from folders import data_set
from journeys import run_json

from tunesmith.core.conversation import Message
from tunesmith.core.dataset import DataSet
from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace
from tunesmith.data import fetch, prepare
from tunesmith.data.schema import FetchConfig, PrepareConfig

TOKENS = 6_000
ITEMS = 60


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """A workspace, 1,000 training rows and the test rows of the real addresses."""
    folder = tmp_path_factory.mktemp("ablate")
    job = Job(Workspace(folder / ".tunesmith"))
    rows = fetch(FetchConfig(name="addresses"), job).folder / "rows.jsonl"
    data = DataSet.open(prepare(PrepareConfig(source=rows, test=ITEMS, validation=0), job).folder)
    train = [row.example for row in data.rows("train")]
    random.Random(0).shuffle(train)
    return folder, job, train[:1000], [row.example for row in data.rows("test")]


def corrupted(rows, share):
    """A share of the rows with each other's answers."""
    count = int(share * len(rows))
    answers = [row.answer for row in rows[:count]]
    answers = [*answers[1:], answers[0]]
    wrong = [
        replace(row, messages=(*row.messages[:-1], Message("assistant", answer)))
        for row, answer in zip(rows[:count], answers, strict=True)
    ]
    return wrong + rows[count:]


def ablation(folder, data, selected, tokens, seeds=3):
    size = f"--seeds {seeds} --tokens {tokens} --items {ITEMS}"
    words = f"{size} --answers 0 --step-tokens 1024 --learning-rate 0.001"
    return run_json(
        folder, "data", "ablate", data, "--selected", selected, *words.split(), "--workspace", ".tunesmith"
    )


@pytest.mark.fetches
def test_200_clean_rows_beat_1000_of_which_30_percent_are_corrupted(addresses):
    folder, job, train, test = addresses
    data = data_set(job, {"train": corrupted(train, 0.3), "test": test}, name="corrupted")
    clean = data_set(job, {"train": train[500:700], "test": test}, name="clean")
    result = ablation(folder, data, clean, TOKENS)
    print(result["sentence"])
    by_arm = {one["against"]: one for one in result["differences"] if one["measure"] == "loss"}
    assert result["verdict"] == "helped"
    assert by_arm["random"]["low"] > 0
    assert by_arm["all"]["low"] > 0


@pytest.mark.fetches
def test_a_random_choice_among_clean_rows_gives_no_measurable_gain(addresses):
    folder, job, train, test = addresses
    data = data_set(job, {"train": train, "test": test}, name="plain")
    some = data_set(job, {"train": train[500:700], "test": test}, name="some")
    result = ablation(folder, data, some, TOKENS // 2, seeds=2)
    print(result["sentence"])
    assert result["verdict"] == "no measurable gain"
