"""The card and the Croissant description that a data set is published with."""

import json

import pytest
import yaml

from tunesmith.cli.review_terminal import review
from tunesmith.core.conversation import chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.files import hash_file, read_json, write_json
from tunesmith.core.job import Job
from tunesmith.core.workspace import AlreadyDone, Input, Workspace, input_from
from tunesmith.data import PrepareConfig, prepare
from tunesmith.data.preparation import split
from tunesmith.data.publishing import make_card, without_paths
from tunesmith.data.review.schema import ReviewConfig
from tunesmith.data.schema import CardConfig, SplitConfig


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def data(tmp_path, workspace):
    """A data set whose source says where it comes from, split again: two steps."""
    job = Job(workspace)
    with job.folder(verb="data fetch", kind="source", name="zoo", config={}, inputs={}) as folder:
        rows = [chat([("user", f"question {n} {n**5}"), ("assistant", str(n))]).to_json() for n in range(60)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        folder.summary = {"origin": "PyPI zoo 1.0", "licence": "MIT"}
    first = prepare(PrepareConfig(source=folder.path / "rows.jsonl", name="zoo"), job)
    return split(SplitConfig(data=first.folder, test=10), job).folder


def published(data, workspace, **settings):
    return make_card(CardConfig(data=data, **settings), Job(workspace))


def front_matter(folder):
    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_card_has_the_hubs_front_matter_and_the_files_it_names(data, workspace):
    result = published(data, workspace, language=("en",), description="Questions about a zoo.")
    head, body = front_matter(result.folder)
    assert (head["license"], head["language"], head["size_categories"]) == ("mit", ["en"], ["n<1K"])
    assert head["task_categories"] == ["text-generation"]
    files = head["configs"][0]["data_files"]
    assert [entry["split"] for entry in files] == ["train", "validation", "test"]
    assert all((result.folder / entry["path"]).is_file() for entry in files)
    assert "Questions about a zoo." in body
    assert result.unknown == ["source_url"] or result.unknown == []


def test_the_hubs_own_reader_reads_the_card(data, workspace):
    from huggingface_hub import DatasetCard

    result = published(data, workspace)
    card = DatasetCard.load(result.folder / "README.md")
    assert card.data.license == "mit"
    assert card.data.size_categories == ["n<1K"]


def test_the_lineage_is_walked_to_the_source_and_its_licence(data, workspace):
    result = published(data, workspace)
    assert result.steps == ["data fetch", "data prepare", "data split"]
    assert result.licence == "MIT"
    _, body = front_matter(result.folder)
    assert "from PyPI zoo 1.0, licence MIT" in body


def test_a_parent_that_is_gone_is_named(data, workspace, tmp_path):
    parent = next(entry for entry in (workspace.root / "data").iterdir() if entry != data)
    parent.rename(tmp_path / "elsewhere")
    _, body = front_matter(published(data, workspace).folder)
    assert "no longer there: data " in body


RATE = {"value": 1.0, "low": 0.757, "high": 1.0}
CHECKED = {
    "rows": 60, "errors": 2, "warnings": 1, "notes": 4,
    "checks": [
        {"check": "cut_answers", "errors": 2, "warnings": 1, "rows": 3, "looked_at": 60},
        {"check": "quiet", "errors": 0, "warnings": 0, "rows": 4, "looked_at": 60},
    ],
    "not_run": [{"check": "mismatched_pairs", "reason": "no model was named"}],
}  # fmt: skip
TESTED = {
    "outcomes": [
        {
            "plant": "exact_duplicates", "check": "exact_duplicates", "planted": 12,
            "recall": RATE, "precision": {**RATE, "value": 0.5}, "auc": None,
        }
    ],
    "not_planted": [{"plant": "shuffled_answers", "reason": "too few rows"}],
}  # fmt: skip


def test_what_was_found_about_this_very_data_set_is_said_and_makes_a_new_card(data, workspace):
    job = Job(workspace)
    published(data, workspace)
    with pytest.raises(AlreadyDone):
        published(data, workspace)
    inputs = {"data": input_from("data", data)}
    summaries = {"check": CHECKED, "selftest": TESTED, "ablation": {"sentence": "No measurable gain."}}
    for kind, summary in summaries.items():
        with job.folder(verb=f"data {kind}", kind=kind, name="zoo", config={}, inputs=inputs) as folder:
            write_json(folder / "x.json", {})
            folder.summary = summary
    result = published(data, workspace)
    assert "data check: cut_answers: 2 errors and 1 warning in 3 of 60 rows" in result.findings
    assert not any("quiet" in line for line in result.findings)
    _, body = front_matter(result.folder)
    for said in (
        "2 checks over 60 rows: 2 errors, 1 warning, 4 notes",
        "not run: mismatched_pairs",
        "12 × exact_duplicates planted, exact_duplicates: recall 1.00 (0.76 to 1.00), precision 0.50",
        "shuffled_answers not planted: too few rows",
        "No measurable gain.",
    ):
        assert said in body


def test_nothing_that_is_published_names_a_place_on_this_machine(data, workspace, tmp_path):
    result = published(data, workspace)
    for name in ("README.md", "croissant.json"):
        assert str(tmp_path) not in (result.folder / name).read_text()
    assert without_paths("a /tmp/x/y.jsonl and https://example.org/a/b 1/2") == (
        "a y.jsonl and https://example.org/a/b 1/2"
    )


def test_croissant_has_what_the_specification_requires(data, workspace):
    """Croissant 1.1: required properties of the data set, its files, record sets and fields."""
    result = published(data, workspace)
    about = read_json(result.folder / "croissant.json")
    for name in ("@context", "name", "description", "license", "url", "creator", "datePublished"):
        assert about[name]
    assert about["@type"] == "sc:Dataset"
    assert "http://mlcommons.org/croissant/1.1" in about["conformsTo"]
    files = [entry for entry in about["distribution"] if entry["@type"] == "cr:FileObject"]
    assert [entry["@id"] for entry in files] == ["train.parquet", "validation.parquet", "test.parquet"]
    for entry in files:
        assert entry["sha256"] == hash_file(result.folder / entry["contentUrl"])
        assert entry["encodingFormat"] == "application/x-parquet"
    splits, rows = about["recordSet"]
    assert [entry["splits/name"] for entry in splits["data"]] == ["train", "validation", "test"]
    assert splits["dataType"] == "cr:Split"
    ids = {entry["@id"] for entry in about["distribution"]}
    for field in rows["field"]:
        assert field["dataType"].startswith("sc:")
        assert field["source"]["fileSet"]["@id"] in ids


def test_what_the_rows_before_left_open_is_open_still_and_a_missing_check_is_said(data, workspace):
    job = Job(workspace)
    (parent,) = (path for path in workspace.folders("data-set") if path != data)
    inputs = {"data": input_from("data", parent)}
    with job.folder(verb="data check", kind="check", name="zoo", config={}, inputs=inputs) as folder:
        write_json(folder / "x.json", {})
        folder.summary = CHECKED
    result = published(data, workspace)
    before = "before `data split`: data check: cut_answers: 2 errors and 1 warning in 3 of 60 rows"
    assert before in result.findings
    assert f"no check of these very rows is known: tunesmith data check {data.name}" in result.findings


def test_the_card_says_what_people_said_of_the_rows_and_who_signed(data, workspace, tmp_path):
    job = Job(workspace)
    _, body = front_matter(published(data, workspace).folder)
    assert "Nobody reviewed these rows." in body
    path = tmp_path / "decisions.jsonl"
    found = [row for name in ("train", "validation", "test") for row in DataSet.open(data).rows(name)]
    said = [{"row_hash": row.row_hash, "action": "accept"} for row in found]
    said[0] = {"row_hash": found[0].row_hash, "action": "reject", "reason": "wrong"}
    path.write_text("\n".join(map(json.dumps, said)))
    for who in ("ann", "bob"):
        settings = {"as_": who, "again": 0, "overlap": 1, "sample": 60}
        review(ReviewConfig(data=str(data), decisions=path, **settings), job)
    review(ReviewConfig(data=str(data), sign_off=True, as_="eve"), job)
    _, body = front_matter(published(data, workspace).folder)
    for line in (
        "- 60 rows, in review 60 = 59 accepted + 1 rejected",
        "- error rate 1.7%: 1 of 60 random rows",
        "- agreement of 2 people: 100% of 60 rows, alpha 1.00",
        "- signed off by eve, 20",
    ):
        assert line in body
    assert "ann" not in body
    applied = review(ReviewConfig(data=str(data), apply=True), job).folder
    _, body = front_matter(published(applied, workspace).folder)
    assert "of the rows before: what was edited or rejected there is so here" in body
    assert "59 accepted + 1 rejected" in body


def test_a_package_is_a_source_and_accounts_of_left_out_rows_are_not_published(tmp_path, workspace):
    job = Job(workspace)
    inputs = {"package": Input("package", "package", "ab" * 32, "zoo==1.0")}
    with job.folder(verb="data fetch", kind="source", name="zoo", config={}, inputs=inputs) as folder:
        rows = [chat([("user", f"question {n} {n**5}"), ("assistant", str(n))]).to_json() for n in range(60)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
        folder.summary = {"origin": "PyPI zoo 1.0", "licence": "MIT"}
    data = prepare(PrepareConfig(source=folder.path / "rows.jsonl", name="zoo"), job).folder
    result = published(data, workspace)
    _, body = front_matter(result.folder)
    assert "- `zoo==1.0`, sha256 `abababababababab…`, from PyPI zoo 1.0, licence MIT" in body
    assert "no longer there" not in body
    assert "dropped.jsonl of the data set folder" in body
    assert "nearest.jsonl of the data set folder" in body
