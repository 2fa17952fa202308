"""The card and the Croissant description that a data set is published with."""

import json
import re
import shutil
from pathlib import Path

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


def questions(about="question"):
    """Sixty rows as a file has them."""
    return [chat([("user", f"{about} {n} {n**5}"), ("assistant", str(n))]).to_json() for n in range(60)]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made_from(data, workspace, verb, **others):
    """A data set folder with the rows of another one, as any step might make it."""
    inputs = {role: input_from(role, one) if isinstance(one, Path) else one for role, one in others.items()}
    inputs = {"data": input_from("data", data)} | inputs
    with Job(workspace).folder(verb=verb, kind="data-set", name="zoo", config={}, inputs=inputs) as folder:
        for path in (*data.glob("*.parquet"), data / "leak_proof.json"):
            shutil.copy(path, folder.path)
        folder.summary = DataSet.open(data).manifest.summary | {"findings": []}
    return folder.path


def checked(data, workspace):
    """The folder of a check that found something."""
    inputs = {"data": input_from("data", data)}
    with Job(workspace).folder(
        verb="data check", kind="check", name="zoo", config={}, inputs=inputs
    ) as folder:
        write_json(folder / "x.json", {})
        folder.summary = CHECKED
    return folder.path


@pytest.fixture
def data(tmp_path, workspace):
    """A data set whose source says where it comes from, split again: two steps."""
    job = Job(workspace)
    with job.folder(verb="data fetch", kind="source", name="zoo", config={}, inputs={}) as folder:
        write_lines(folder / "rows.jsonl", questions())
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
        "`): 2 checks over 60 rows: 2 errors, 1 warning, 4 notes",
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
    (parent,) = (path for path in workspace.folders("data-set") if path != data)
    checked(parent, workspace)
    result = published(data, workspace)
    where = f"before `data split` ({parent.name}): "
    assert where + "data check: cut_answers: 2 errors and 1 warning in 3 of 60 rows" in result.findings
    assert f"no check of these very rows is known: tunesmith data check {data.name}" in result.findings
    _, body = front_matter(result.folder)
    assert "- no check, selftest or ablation of these very rows is known" in body
    assert re.search(
        re.escape(f"- {where}`data check` (`") + r"\w{16}`\): 2 checks over 60 rows: 2 errors", body
    )
    assert "check these very rows" in body


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
        "- agreement where two people judged: 100% of 60 rows, alpha 1.00",
        "- signed off by eve, 20",
    ):
        assert line in body
    assert "ann" not in body
    applied = review(ReviewConfig(data=str(data), apply=True), job).folder
    _, body = front_matter(published(applied, workspace).folder)
    assert "of the rows before: what was edited or rejected there is so here" in body
    assert f"- before `data review` ({data.name}): 60 rows, in review 60 = 59 accepted + 1 rejected; " in body
    assert "; signed off by eve, 20" in body


def reviewed(data, workspace, tmp_path):
    """Every row accepted, and signed."""
    rows = [row for name in ("train", "validation", "test") for row in DataSet.open(data).rows(name)]
    path = tmp_path / "decisions.jsonl"
    path.write_text("\n".join(json.dumps({"row_hash": row.row_hash, "action": "accept"}) for row in rows))
    review(ReviewConfig(data=str(data), decisions=path, as_="ann", again=0), Job(workspace))
    review(ReviewConfig(data=str(data), sign_off=True, as_="eve"), Job(workspace))


def review_section(folder):
    return (folder / "README.md").read_text().split("## Review\n\n")[1].split("\n\n## ")[0]


def test_a_review_of_the_rows_before_is_told_after_each_step_that_follows(data, workspace, tmp_path):
    """Two splits later the review is still known, once, and these rows are said to have none."""
    reviewed(data, workspace, tmp_path)
    again = split(SplitConfig(data=data, test=12), Job(workspace)).folder
    last = split(SplitConfig(data=again, test=14), Job(workspace)).folder
    none, *before = review_section(published(last, workspace).folder).splitlines()
    assert none == "- nobody reviewed the rows as they are now"
    (line,) = before
    assert line.startswith(
        f"- before `data split` ({data.name}): 60 rows, in review 60 = 60 accepted; signed off by eve, "
    )


def test_rows_with_a_review_of_their_own_tell_it_before_that_of_earlier_rows(data, workspace, tmp_path):
    reviewed(data, workspace, tmp_path)
    later = split(SplitConfig(data=data, test=12), Job(workspace)).folder
    reviewed(later, workspace, tmp_path)
    lines = review_section(published(later, workspace).folder).splitlines()
    assert lines[0] == "- 60 rows, in review 60 = 60 accepted"
    assert lines[1].startswith("- signed off by eve, ")
    assert lines[2].startswith(f"- before `data split` ({data.name}): 60 rows")


def test_verdicts_that_were_put_in_are_known_when_the_folder_before_is_gone(data, workspace, tmp_path):
    row = DataSet.open(data).split("train")[0]
    path = tmp_path / "decisions.jsonl"
    path.write_text(json.dumps({"row_hash": row.row_hash, "action": "reject", "reason": "wrong"}))
    review(ReviewConfig(data=str(data), decisions=path, as_="ann", again=0), Job(workspace))
    applied = review(ReviewConfig(data=str(data), apply=True), Job(workspace)).folder
    data.rename(tmp_path / "elsewhere")
    told = review_section(published(applied, workspace).folder)
    assert (
        "- in zoo, whose folder is gone: 60 rows, in review 60 = 1 rejected + 59 open; not signed off" in told
    )


def test_a_card_is_made_anew_when_something_is_found_in_the_rows_before(data, workspace):
    published(data, workspace)
    (parent,) = (path for path in workspace.folders("data-set") if path != data)
    checked(parent, workspace)
    result = published(data, workspace)
    assert any("cut_answers" in line for line in result.findings)
    with pytest.raises(AlreadyDone):
        published(data, workspace)


def test_the_step_that_followed_is_one_that_took_the_rows_and_not_one_that_looked_at_them(data, workspace):
    """A check and a target stand in the lineage too, made from the same rows or from others."""
    check = checked(data, workspace)
    other = split(SplitConfig(data=data, test=20), Job(workspace)).folder
    clean = made_from(data, workspace, "data clean", findings=check, target=other)
    result = published(clean, workspace)
    said = (
        f"before `data clean` ({data.name}): data check: cut_answers: 2 errors and 1 warning in 3 of 60 rows"
    )
    assert said in result.findings
    assert not any("before `data check`" in line or other.name in line for line in result.findings)


def test_rows_read_from_a_file_of_another_data_set_come_from_that_data_set(data, workspace, tmp_path):
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("prompt: '{example}'\nanswer: row_hash\n")
    source = data / "train.parquet"
    made = prepare(PrepareConfig(source=source, name="zoo", mapping=mapping), Job(workspace)).folder
    result = published(made, workspace)
    assert any(line.startswith(f"before `data prepare` ({data.name}): ") for line in result.findings)


def test_synthetic_rows_of_an_earlier_step_are_synthetic_still(workspace, tmp_path):
    rows = questions()
    rows[0]["metadata"] = {"synthetic": True}
    path = write_lines(tmp_path / "rows.jsonl", rows)
    first = prepare(PrepareConfig(source=path, name="zoo"), Job(workspace)).folder
    for folder in (first, made_from(first, workspace, "data clean")):
        result = published(folder, workspace)
        assert read_json(result.folder / "croissant.json")["rai:hasSyntheticData"]
        assert "synthetic" in front_matter(result.folder)[0]["tags"]


def test_a_package_is_a_source_and_accounts_of_left_out_rows_are_not_published(tmp_path, workspace):
    job = Job(workspace)
    inputs = {"package": Input("package", "package", "ab" * 32, "zoo==1.0")}
    told = {"instruction": "Say it in JSON."}
    with job.folder(verb="data fetch", kind="source", name="zoo", config=told, inputs=inputs) as folder:
        rows = questions()
        write_lines(folder / "rows.jsonl", [*rows, rows[0]])
        folder.summary = {"origin": "PyPI zoo 1.0", "licence": "MIT"}
    data = prepare(PrepareConfig(source=folder.path / "rows.jsonl", name="zoo"), job).folder
    result = published(data, workspace)
    _, body = front_matter(result.folder)
    assert "- `zoo==1.0`, sha256 `abababababababab…`, from PyPI zoo 1.0, licence MIT" in body
    assert "no longer there" not in body
    assert "1 exact duplicate dropped (dropped.jsonl of the data set folder, not published)" in body
    assert "each row is listed in nearest.jsonl of the data set folder, not published" in body
    limits = read_json(result.folder / "croissant.json")["rai:dataLimitations"]
    assert any("(dropped.jsonl of the data set folder, not published)" in line for line in limits)
    assert not list(result.folder.glob("*.jsonl"))
    assert "instruction Say it in JSON. " in body
    assert ".." not in body


def test_a_row_that_the_card_shows_is_shown_as_it_is(tmp_path, workspace):
    said = "look at (dropped.jsonl) in /usr/local/bin"
    path = write_lines(tmp_path / "zoo.jsonl", questions(said))
    data = prepare(PrepareConfig(source=path, name="zoo"), Job(workspace)).folder
    assert f'"content": "{said} ' in front_matter(published(data, workspace).folder)[1]


def test_a_folder_of_files_and_a_model_by_its_name_are_not_said_to_be_gone(tmp_path, workspace):
    folder = tmp_path / "shards"
    folder.mkdir()
    write_lines(folder / "train.jsonl", questions())
    data = prepare(PrepareConfig(source=folder, name="zoo"), Job(workspace)).folder
    model = Input("model", "model", "cd" * 32, "some/model")
    made = made_from(data, workspace, "data select", model=model)
    _, body = front_matter(published(made, workspace).folder)
    assert "- `shards`, sha256 `" in body
    assert "no longer there" not in body
