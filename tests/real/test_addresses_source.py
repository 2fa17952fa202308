"""The real address labels, from their package."""

import json

import pytest

from tunesmith.core.dataset import DataSet
from tunesmith.core.files import read_json, read_jsonl
from tunesmith.core.similarity import jaccard, shingles
from tunesmith.data import FetchConfig, PrepareConfig, fetch, prepare

pytestmark = pytest.mark.fetches


def test_every_labelled_address_is_accounted_for_and_prepared_without_leaks(job):
    result = fetch(FetchConfig(name="addresses"), job)
    accounting = read_json(result.folder / "accounting.json")
    counts = {
        name: [part[key] for key in ("read", "written", "set_aside")] for name, part in accounting.items()
    }
    assert counts == {"rows": [1513, 1452, 61], "messy": [63, 63, 0]}
    assert (result.rows, result.messy, result.set_aside) == (1452, 63, 61)

    rows = [
        line.value["messages"]
        for name in ("rows", "messy")
        for line in read_jsonl(result.folder / f"{name}.jsonl")
    ]
    for _, user, assistant in rows:
        values = json.loads(assistant["content"])
        assert all(value and value in user["content"] for value in values.values())
    assert rows[0][1]["content"] == "8128 S. DR MARTIN LUTHER KING JR Drive"
    assert json.loads(rows[0][2]["content"])["StreetName"] == "DR MARTIN LUTHER KING JR"

    source, messy = result.folder / "rows.jsonl", result.folder / "messy.jsonl"
    prepared = prepare(PrepareConfig(source=source, held_out=messy, test=100, validation=100), job)
    assert (prepared.refused, prepared.duplicates, prepared.withheld) == (0, 25, 25)
    assert prepared.splits == {"train": 1202, "validation": 100, "test": 100, "held_out": 62}
    data = DataSet.open(prepared.folder)
    data.verify()
    train = [shingles(row.example.messages[1].content) for row in data.split("train")]
    for name in ("validation", "test", "held_out"):
        for row in data.split(name):
            values = shingles(row.example.messages[1].content)
            assert max(jaccard(values, other) for other in train) < 0.8
