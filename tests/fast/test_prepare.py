"""From a file of rows to a data set folder: accounting, leaks, refusals, card."""

import errno
import json
import os
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.conversation import chat
from tunesmith.core.dataset import DataSet, Digest, prove
from tunesmith.core.errors import CheckFailed, DataError, FolderError, OutOfSpace, UserError
from tunesmith.core.files import explain_disk_errors, read_json, read_jsonl
from tunesmith.core.job import Job
from tunesmith.core.similarity import jaccard, shingle_sets, shingles
from tunesmith.core.similarity.near import ShingleSets
from tunesmith.core.workspace import AlreadyDone, Workspace
from tunesmith.data import PrepareConfig, ShowConfig, nearest, prepare, show
from tunesmith.data.intake import Intake
from tunesmith.data.preparation import split
from tunesmith.data.schema import SplitConfig

COLOURS = ["amber", "blue", "crimson", "dun", "ebony", "fawn", "green", "hazel", "indigo", "jade"]
ANIMALS = ["ape", "bear", "crane", "dog", "eland", "fox", "gnu", "heron", "ibis", "jackal", "kite", "lion"]


def row(question, answer="yes", **more):
    return {**chat([("user", question), ("assistant", answer)]).to_json(), **more}


UNREAD = {"messages": [{"role": "user", "content": "x"}]}
"""A row that cannot be used."""


def distinct(count):
    """Rows whose prompts are far from each other."""
    return [row(f"{ANIMALS[n // 10]} {COLOURS[n % 10]} {n * 7919 % 1000003} {n**5}") for n in range(count)]


def write(path, rows):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in rows), encoding="utf-8")
    return path


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "rows.jsonl", distinct(60))


def everything(folder):
    data = DataSet.open(folder)
    return {name: data.split(name) for name in data.split_names()}


def hashes_of(folder):
    return {entry.row_hash for rows in everything(folder).values() for entry in rows}


def test_rows_become_splits_that_share_nothing(source, job):
    result = prepare(PrepareConfig(source=source), job)
    data = DataSet.open(result.folder)
    data.verify()
    splits = everything(result.folder)
    assert {name: len(rows) for name, rows in splits.items()} == result.splits
    assert sum(result.splits.values()) == result.rows == result.kept == 60
    assert sorted(entry.line for rows in splits.values() for entry in rows) == list(range(1, 61))
    first = next(entry for rows in splits.values() for entry in rows if entry.line == 1)
    assert first.example.to_json() == distinct(60)[0]
    assert (
        data.fingerprint == result.fingerprint == read_json(result.folder / "leak_proof.json")["fingerprint"]
    )


def test_the_same_work_is_not_done_twice_and_gives_the_same_data_elsewhere(source, job, tmp_path):
    result = prepare(PrepareConfig(source=source), job)
    with pytest.raises(AlreadyDone):
        prepare(PrepareConfig(source=source), job)
    again = prepare(PrepareConfig(source=source), Job(Workspace(tmp_path / "other")))
    assert again.fingerprint == result.fingerprint
    assert DataSet.open(again.folder).manifest.id == DataSet.open(result.folder).manifest.id
    salted = prepare(PrepareConfig(source=source, salt="other"), job)
    assert salted.fingerprint != result.fingerprint


def test_exact_duplicates_are_dropped_counted_and_listed(tmp_path, job):
    rows = distinct(40)
    result = prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", [*rows, rows[3]])), job)
    assert (result.duplicates, result.kept) == (1, 40)
    (dropped,) = read_jsonl(result.folder / "dropped.jsonl")
    assert dropped.value == {"origin": "source", "line": 41, "reason": "repeats an earlier row", "same_as": 4}
    kept = prepare(PrepareConfig(source=tmp_path / "a.jsonl", deduplicate=False), job)
    assert (kept.duplicates, kept.kept) == (0, 41)


def test_near_duplicates_one_prompt_and_named_groups_stay_together(tmp_path, job):
    near = [
        row("17 Long Meadow Lane, Springfield, IL 62704"),
        row("17 Long Meadow Lane Springfield IL 62704"),
    ]
    same = [row("Which way?", "left"), row("which  WAY?", "right")]
    named = [row("completely alone", group="g"), row("nothing like it", metadata={"group_id": "g"})]
    path = write(tmp_path / "a.jsonl", [*near, *same, *named, *distinct(40)])
    result = prepare(PrepareConfig(source=path), job)
    groups = {entry.line: entry.group_id for rows in everything(result.folder).values() for entry in rows}
    assert groups[1] == groups[2]
    assert groups[3] == groups[4]
    assert groups[5] == groups[6]
    assert len(set(groups.values())) == result.groups == 43
    assert result.near_duplicates == 4
    apart = prepare(PrepareConfig(source=path, near_duplicates=0), job)
    assert apart.groups == 44


def test_contradicting_answers_are_a_finding_and_stay_in_one_group(tmp_path, job):
    path = write(tmp_path / "a.jsonl", [row("Which way?", "left"), row("Which way?", "right"), *distinct(40)])
    result = prepare(PrepareConfig(source=path), job)
    assert result.contradictions == 1
    assert any(
        "answered in more than one way" in finding and "1, 2" in finding for finding in result.findings
    )


def test_rows_like_a_held_out_row_are_withheld(tmp_path, job):
    hard = write(tmp_path / "hard.jsonl", [row("Box# 63, Cordova, AK 99574", "b"), row("an owl", "c")])
    path = write(tmp_path / "a.jsonl", [row("Box # 63, Cordova, AK 99574", "b"), *distinct(40)])
    result = prepare(PrepareConfig(source=path, held_out=hard), job)
    assert (result.withheld, result.kept, result.splits["held_out"]) == (1, 40, 2)
    assert all(
        entry.line != 1
        for name, rows in everything(result.folder).items()
        if name != "held_out"
        for entry in rows
    )
    DataSet.open(result.folder).verify()
    (dropped,) = read_jsonl(result.folder / "dropped.jsonl")
    assert dropped.value["reason"] == "too like a held-out row"


def test_a_validation_file_is_the_whole_split_and_rows_like_its_own_are_withheld(tmp_path, job):
    validation = write(tmp_path / "v.jsonl", [row("Box# 63, Cordova, AK 99574", "b"), row("an owl", "c")])
    path = write(tmp_path / "a.jsonl", [row("Box # 63, Cordova, AK 99574", "b"), *distinct(40)])
    result = prepare(PrepareConfig(source=path, validation_file=validation, test=0), job)
    assert (result.withheld, result.splits) == (1, {"train": 40, "validation": 2, "test": 0})
    data = DataSet.open(result.folder)
    data.verify()
    assert [entry.example.answer for entry in data.split("validation")] == ["b", "c"]
    (dropped,) = read_jsonl(result.folder / "dropped.jsonl")
    assert dropped.value["reason"] == "too like a validation row"
    assert read_json(result.folder / "accounting.json")["files"]["validation_file"]["kept"] == 2


def test_a_validation_file_leaves_nothing_to_draw(tmp_path, source):
    with pytest.raises(ValueError, match="a validation file is the whole split"):
        PrepareConfig(source=source, validation_file=source, validation=5)
    with pytest.raises(ValueError, match="brings its validation rows along"):
        PrepareConfig(source=source, validation_file=source, frozen=tmp_path)


def test_counts_of_rows_are_honoured_and_zero_is_none(source, job):
    result = prepare(PrepareConfig(source=source, test=13, validation=0), job)
    assert result.splits == {"train": 47, "validation": 0, "test": 13}
    assert DataSet.open(result.folder).split("validation") == []


def test_refused_rows_are_listed_and_the_rest_kept(tmp_path, job):
    path = write(tmp_path / "a.jsonl", [*distinct(40), UNREAD])
    result = prepare(PrepareConfig(source=path), job)
    assert (result.refused, result.kept) == (1, 40)
    (reject,) = read_jsonl(result.folder / "rejects.jsonl")
    assert reject.value["line"] == 41
    assert "no assistant turn" in reject.value["reason"]


def test_too_many_refused_rows_stop_everything_and_leave_nothing(tmp_path, job):
    path = write(tmp_path / "a.jsonl", [*distinct(30), *(UNREAD for _ in range(10))])
    with pytest.raises(DataError) as caught:
        prepare(PrepareConfig(source=path), job)
    assert "10 of 40 rows" in caught.value.message()
    assert "a.jsonl:31" in caught.value.message()
    assert "--max-refused 0.26" in caught.value.message()
    assert list((tmp_path / "workspace").rglob("*.*")) == []
    assert prepare(PrepareConfig(source=path, max_refused=0.26), job).kept == 30


def test_a_named_folder_is_left_empty_after_an_error(tmp_path):
    bad = write(tmp_path / "bad.jsonl", [UNREAD])
    job = Job(Workspace(tmp_path / "workspace"), out=tmp_path / "out")
    with pytest.raises(DataError, match="1 of 1 rows cannot be used"):
        prepare(PrepareConfig(source=bad), job)
    assert prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", distinct(30))), job).kept == 30


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "the file is empty"),
        (b"[]", "empty array"),
        (b'{"messages": [', "half-written"),
        (json.dumps(row("one")).encode(), "at least 3 are needed"),
        ("".join(json.dumps(row("one", str(n))) + "\n" for n in range(9)).encode(), "one group"),
    ],
    ids=["empty", "utf-16", "array", "half-written", "too few", "one group"],
)
def test_a_file_that_cannot_be_used_is_one_error_and_leaves_nothing(tmp_path, job, content, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        prepare(PrepareConfig(source=path), job)
    assert list((tmp_path / "workspace").rglob("*.*")) == []


def test_missing_files_and_folders_are_refused_before_anything_is_made(tmp_path, job):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(UserError):
            prepare(PrepareConfig(source=path), job)
    assert not (tmp_path / "workspace").exists()


def test_a_file_that_changes_while_it_is_read_is_refused(source, job, monkeypatch):
    def meddle(intake, task, *arguments, **options):
        os.utime(task.path, ns=(1, 1))
        return Intake.read(intake, task, *arguments, **options)

    monkeypatch.setattr("tunesmith.data.preparation.Intake", type("Meddled", (Intake,), {"read": meddle}))
    with pytest.raises(DataError, match="changed while it was read"):
        prepare(PrepareConfig(source=source), job)


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="whole number"):
        PrepareConfig(source=Path("a"), test=1.5)
    with pytest.raises(ValueError, match="nothing to train on"):
        PrepareConfig(source=Path("a"), test=0.5, validation=0.5)


def test_the_card_tells_what_was_found(tmp_path, job):
    rows = [
        row(f"{ANIMALS[n // 10]} {COLOURS[n % 10]} {n**5}", json.dumps({"Name": "x", "Zip": "1"}))
        for n in range(80)
    ]
    result = prepare(
        PrepareConfig(source=write(tmp_path / "a.jsonl", [*rows, rows[0], UNREAD]), name="zoo"),
        job,
    )
    text = (result.folder / "card.md").read_text()
    for expected in (
        "# zoo",
        "| `Zip` | 100.0% |",
        "1 exact duplicate dropped",
        "1 row refused",
        "no assistant turn",
        '"user"',
    ):
        assert expected in text
    assert str(tmp_path) not in text


def test_labels_and_labels_never_learned_stand_in_the_card(tmp_path, job):
    rows = [
        row(f"{ANIMALS[n // 10]} {COLOURS[n % 10]} {n**5}", "good" if n % 2 else "bad") for n in range(60)
    ]
    result = prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", rows)), job)
    text = (result.folder / "card.md").read_text()
    assert "Answers are 2 labels" in text
    assert "| `good` |" in text


def test_rows_are_shown_and_missing_ones_refused(source, job):
    result = prepare(PrepareConfig(source=source), job)
    shown = show(ShowConfig(data=str(result.folder), rows=2, skip=1), job)
    assert [entry.line for entry in shown.rows] == [
        entry.line for entry in everything(result.folder)["train"][1:3]
    ]
    with pytest.raises(UserError, match="--skip 1000"):
        show(ShowConfig(data=result.folder.name, skip=1000), job)


def test_other_folders_changed_rows_and_unknown_splits_are_refused(source, job, tmp_path):
    folder = prepare(PrepareConfig(source=source), job).folder
    with pytest.raises(DataError, match="no such split"):
        DataSet.open(folder).split("held_out")
    with pytest.raises(FolderError):
        DataSet.open(tmp_path)
    data = DataSet.open(folder)
    (folder / "test.parquet").write_bytes((folder / "validation.parquet").read_bytes())
    with pytest.raises(CheckFailed, match="share"):
        data.verify()
    with pytest.raises(FolderError, match=r"test.parquet: this file of the data set was changed"):
        DataSet.open(folder)
    (folder / "test.parquet").unlink()
    with pytest.raises(FolderError, match=r"test.parquet: this file of the data set is gone"):
        DataSet.open(folder)


def test_every_change_made_while_reading_is_listed_with_its_line(tmp_path, job):
    rows = distinct(30)
    rows[4]["messages"][1]["content"] = "yes \n"
    rows[7]["note"] = "left out"
    path = write(tmp_path / "a.jsonl", rows)
    result = prepare(PrepareConfig(source=path, fix=True), job)
    listed = [entry.value for entry in read_jsonl(result.folder / "changes.jsonl")]
    assert [(entry["line"], entry["pointer"]) for entry in listed] == [
        (5, "/messages/1/content"),
        (8, "/note"),
    ]
    assert listed[0]["file"] == "a.jsonl"
    assert result.changed == 2


def test_rows_of_a_folder_that_a_stopped_command_left_are_refused(tmp_path, job):
    folder = tmp_path / "half"
    folder.mkdir()
    write(folder / "rows.jsonl", distinct(30))
    (folder / "state.json").write_text('{"key": "k", "verb": "data documents", "status": "running"}')
    with pytest.raises(DataError, match="unfinished work") as error:
        prepare(PrepareConfig(source=folder), job)
    assert "run the command that makes it again" in error.value.message()


def test_a_file_that_a_place_takes_no_further_is_one_message(tmp_path):
    with pytest.raises(OutOfSpace, match="takes no file so large"), explain_disk_errors(tmp_path):
        raise OSError(errno.EFBIG, "File too large")


def test_a_leak_has_no_proof():
    left, right = Digest(), Digest()
    left.add("row", "group")
    right.add("other row", "group")
    with pytest.raises(CheckFailed, match="0 rows and 1 groups"):
        prove({"train": left.seen(), "test": right.seen()})


def test_near_duplicates_are_dropped_for_their_likeness_to_a_row_that_stays(tmp_path, job):
    """The middle one is like both ends, and the ends are not alike: both stay, and another answer, too."""
    words = [f"{animal}s{colour}" for animal in ANIMALS for colour in COLOURS][:60]
    first, last = " ".join(words[:40]), " ".join(words[8:48])
    middle = " ".join(words[4:44])
    rows = [row(first, "short"), row(middle, "short"), row(last, "short"), row(first + "!", "something else")]
    path = write(tmp_path / "a.jsonl", [*rows, *distinct(40)])
    result = prepare(PrepareConfig(source=path, drop_near_duplicates=True), job)
    dropped = [entry.value for entry in read_jsonl(result.folder / "dropped.jsonl")]
    assert [(entry["line"], entry["same_as"]) for entry in dropped] == [(2, 1)]
    assert (result.near_dropped, result.kept) == (1, 43)
    lines = {entry.line for rows in everything(result.folder).values() for entry in rows}
    assert lines == {*range(1, 45)} - {2}
    DataSet.open(result.folder).verify()


def test_rows_that_differ_in_a_number_or_a_negation_are_not_dropped_as_near_duplicates(tmp_path, job):
    words = " ".join(f"{animal}s{colour}" for animal in ANIMALS for colour in COLOURS)
    texts = [f"{words} cost 17 dollars", f"{words} cost 18 dollars", f"{words} never cost 17 dollars"]
    rows = [*(row(text, "short") for text in texts), row(f"{words} cost 17 dollars!", "short")]
    path = write(tmp_path / "a.jsonl", [*rows, *distinct(40)])
    result = prepare(PrepareConfig(source=path, drop_near_duplicates=True, deduplicate=False), job)
    dropped = [entry.value["line"] for entry in read_jsonl(result.folder / "dropped.jsonl")]
    assert dropped == [4]


def test_a_file_read_in_another_process_gives_the_same_data(tmp_path, job, monkeypatch):
    rows = [*distinct(60), UNREAD, {**distinct(1)[0], "more": 1}, row("only", group="g")]
    path = write(tmp_path / "a.jsonl", rows)
    here = prepare(PrepareConfig(source=path), job)
    monkeypatch.setattr("tunesmith.data.parcels.OWN_PROCESS_FROM_BYTES", 0)
    there = prepare(PrepareConfig(source=path), Job(Workspace(tmp_path / "other")))
    assert there.model_dump(exclude={"folder"}) == here.model_dump(exclude={"folder"})
    for name in ("train.parquet", "rejects.jsonl", "dropped.jsonl", "accounting.json"):
        assert (here.folder / name).read_bytes() == (there.folder / name).read_bytes()


def test_a_fault_of_the_file_comes_back_whole_from_another_process(tmp_path, job, monkeypatch):
    monkeypatch.setattr("tunesmith.data.parcels.OWN_PROCESS_FROM_BYTES", 0)
    path = write(tmp_path / "a.jsonl", distinct(60))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="half-written") as caught:
        prepare(PrepareConfig(source=path), job)
    assert caught.value.next_step
    assert "a.jsonl:60" in caught.value.message()


def test_a_killed_reader_is_one_clear_error(tmp_path, job, monkeypatch):
    monkeypatch.setattr("tunesmith.data.parcels.OWN_PROCESS_FROM_BYTES", 0)
    monkeypatch.setattr("tunesmith.data.parcels.sys.executable", "/bin/true")
    with pytest.raises(DataError, match="process that reads the file was killed"):
        prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", distinct(60))), job)


def test_rows_of_one_document_stay_together_and_missing_keys_are_said(tmp_path, job):
    rows = [
        {**entry, "metadata": {"document": {"id": number // 6}} if number else {}}
        for number, entry in enumerate(distinct(60))
    ]
    path = write(tmp_path / "a.jsonl", rows)
    result = prepare(PrepareConfig(source=path, group_by=("document.id",)), job)
    assert result.groups == 11
    splits_of = {}
    for name, entries in everything(result.folder).items():
        for entry in entries[1:] if name == "train" else entries:
            if entry.example.metadata:
                splits_of.setdefault(entry.example.metadata["document"]["id"], set()).add(name)
    assert all(len(names) == 1 for names in splits_of.values())
    assert any("1 rows have no usable 'document.id'" in finding for finding in result.findings)


def test_each_label_gets_its_part_of_every_split(tmp_path, job):
    rows = [
        row(entry["messages"][0]["content"], "yes" if n % 4 else "no") for n, entry in enumerate(distinct(80))
    ]
    path = write(tmp_path / "a.jsonl", rows)
    result = prepare(PrepareConfig(source=path, stratify="answer", test=0.2, validation=8), job)
    counts = {
        name: sorted(Counter(entry.example.answer for entry in entries).items())
        for name, entries in everything(result.folder).items()
    }
    assert counts["test"] == [("no", 4), ("yes", 12)]
    assert counts["validation"] == [("no", 2), ("yes", 6)]


def test_the_newest_rows_are_tested_on(tmp_path, job):
    rows = [
        {**entry, "metadata": {"day": f"2026-01-{number % 30 + 1:02d}"}}
        for number, entry in enumerate(distinct(60))
    ]
    result = prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", rows), time="day"), job)
    days = {
        name: {entry.example.metadata["day"] for entry in entries}
        for name, entries in everything(result.folder).items()
    }
    assert max(days["train"]) < min(days["validation"]) <= max(days["validation"]) < min(days["test"])


def test_synthetic_rows_are_never_tested_on(tmp_path, job):
    rows = [
        {**entry, "metadata": {"synthetic": number % 2 == 0}} for number, entry in enumerate(distinct(60))
    ]
    result = prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", rows), test=0.3, validation=0.3), job)
    for name in ("test", "validation"):
        assert not any(entry.example.metadata["synthetic"] for entry in everything(result.folder)[name])
    assert any("30 synthetic rows" in finding for finding in result.findings)


def test_a_frozen_data_set_keeps_its_tests_and_withholds_rows_like_them(tmp_path, job):
    old = prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", distinct(60))), job)
    before = everything(old.folder)
    tested = before["test"][0].example.messages[0].content
    rows = [*distinct(90), row(tested + "!", "a new answer")]
    new = prepare(
        PrepareConfig(source=write(tmp_path / "b.jsonl", rows), frozen=old.folder, salt="other"), job
    )
    after = everything(new.folder)
    for name in ("test", "validation"):
        assert [entry.row_hash for entry in after[name]] == [entry.row_hash for entry in before[name]]
    num_frozen = len(before["test"]) + len(before["validation"])
    assert new.withheld == num_frozen + 1
    assert len(after["train"]) == 90 - num_frozen
    DataSet.open(new.folder).verify()
    roles = {entry.role: entry.id for entry in DataSet.open(new.folder).manifest.inputs}
    assert roles["frozen"] == DataSet.open(old.folder).manifest.id


def test_synthetic_rows_of_a_held_out_file_are_left_out_and_listed(source, tmp_path, job):
    rows = [
        {**entry, "metadata": {"synthetic": number < 3}}
        for number, entry in enumerate(distinct(120)[100:108])
    ]
    held = write(tmp_path / "held.jsonl", rows)
    result = prepare(PrepareConfig(source=source, held_out=held), job)
    assert result.splits["held_out"] == 5
    assert "3 synthetic rows, left out of what is tested on" in result.findings
    dropped = [entry.value for entry in read_jsonl(result.folder / "dropped.jsonl")]
    assert [entry["line"] for entry in dropped if "never tested on" in entry["reason"]] == [1, 2, 3]


def test_rows_that_were_shown_to_a_teacher_stay_in_train_beside_what_was_made_of_them(tmp_path, job):
    path = write(tmp_path / "a.jsonl", distinct(60))
    before = everything(prepare(PrepareConfig(source=path), job).folder)
    shown = [row.row_hash for rows in before.values() for row in rows][::2]
    made = {**distinct(120)[-1], "metadata": {"synthetic": True, "seed_rows": shown}}
    more = write(tmp_path / "b.jsonl", [*distinct(60), made])
    for salt in ("", "other"):
        result = prepare(PrepareConfig(source=more, salt=salt), job)
        after = everything(result.folder)
        assert set(shown) <= {row.row_hash for row in after["train"]}
        assert after["test"]
    assert any("for synthetic ones were made from them" in finding for finding in result.findings)


def test_new_splits_keep_the_groups_of_the_data_set(tmp_path, job):
    rows = [{**entry, "metadata": {"user": number // 4}} for number, entry in enumerate(distinct(80))]
    path = write(tmp_path / "a.jsonl", rows)
    old = prepare(PrepareConfig(source=path, group_by=("user",)), job)
    new = split(SplitConfig(data=old.folder, salt="other"), job)
    assert new.groups == old.groups == 20
    splits_of = defaultdict(set)
    for name, found in everything(new.folder).items():
        for row in found:
            splits_of[row.example.metadata["user"]].add(name)
    assert all(len(names) == 1 for names in splits_of.values())


@pytest.mark.parametrize("settings", [{"group_by": ("usr",)}, {"stratify": "usr"}])
def test_a_metadata_key_that_no_row_has_is_a_slip(tmp_path, job, settings):
    rows = [{**entry, "metadata": {"user": number}} for number, entry in enumerate(distinct(40))]
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match="no row has this metadata key") as error:
        prepare(PrepareConfig(source=path, **settings), job)
    assert "did you mean 'user'" in error.value.message()
    assert not job.workspace.folders()


def test_new_splits_of_a_data_set_name_it_as_their_parent(source, job):
    old = prepare(PrepareConfig(source=source), job)
    new = split(SplitConfig(data=Path(old.folder.name), test=20, validation=0), job)
    assert new.splits == {"train": 40, "validation": 0, "test": 20}
    hashes = [
        {row.row_hash for rows in everything(folder).values() for row in rows}
        for folder in (old.folder, new.folder)
    ]
    assert hashes[0] == hashes[1]
    (parent,) = DataSet.open(new.folder).manifest.inputs
    assert (parent.role, parent.id) == ("data", DataSet.open(old.folder).manifest.id)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stratify": "answer", "time": "day"}, "by stratum or by time"),
        ({"drop_near_duplicates": True, "near_duplicates": 0}, "off"),
        ({"frozen": "x", "test": 0.2}, "leave out test"),
        ({"frozen": "x", "held_out": "y"}, "brings its held-out rows along"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PrepareConfig(source=Path("a"), **settings)


@given(
    st.lists(st.text("ab c", min_size=1, max_size=30), min_size=3, max_size=20),
    st.integers(1, 2),
    st.booleans(),
)
def test_the_most_similar_text_is_found_as_by_comparing_all(texts, num_asked, is_long):
    sets = ShingleSets(*shingle_sets(texts), np.arange(len(texts)))
    asked, among = np.arange(num_asked), np.arange(num_asked, len(texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "DENSE_SHINGLES", 3)
        patch.setattr(nearest, "PAIRS_AT_ONCE", 5)
        patch.setattr(nearest, "LARGEST_SINGLE", 0 if is_long else 2048)
        best, which = nearest.most_similar(sets, asked, among)
    for place, one in enumerate(asked):
        every = [jaccard(sets.one(one), sets.one(other)) for other in among]
        assert (best[place], which[place]) == (max(every), every.index(max(every)))


@given(st.integers(0, 2**32), st.integers(2, 500))
def test_a_vocabulary_finds_its_shingles_and_no_others(seed, size):
    rng = np.random.default_rng(seed)
    values = np.unique(rng.integers(0, 1 << 32, size, dtype=np.uint32) >> np.uint32(rng.integers(0, 24)))
    vocabulary = nearest.Vocabulary(values, rng.integers(0, 9, len(values)))
    assert sorted(vocabulary.find(values).tolist()) == list(range(len(values)))
    others = np.setdiff1d(rng.integers(0, 1 << 32, size, dtype=np.uint32), values)
    assert (vocabulary.find(others) == -1).all()


NAMES = st.text("0123456789abcdef", min_size=16, max_size=64) | st.text("0a _x", max_size=20)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=9))
def test_many_rows_are_counted_as_one_by_one(rows):
    single, many = Digest(), Digest()
    for row_hash, group in rows:
        single.add(row_hash, group)
    many.add_many([row_hash for row_hash, _ in rows], [group for _, group in rows])
    assert (single.rows, single.groups) == (many.rows, many.groups)
    assert single.seen().digest == many.seen().digest


def test_the_nearest_training_row_of_every_tested_row_is_reported(tmp_path, job):
    result = prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", distinct(60))), job)
    found = [entry.value for entry in read_jsonl(result.folder / "nearest.jsonl")]
    splits = everything(result.folder)
    sets = {
        entry.line: shingles(entry.example.messages[0].content) for rows in splits.values() for entry in rows
    }
    assert len(found) == result.splits["test"] + result.splits["validation"]
    for entry in found:
        values = [jaccard(sets[entry["line"]], sets[row.line]) for row in splits["train"]]
        assert entry["similarity"] == pytest.approx(max(values), abs=1e-4)
    assert "Nearest training rows" in (result.folder / "card.md").read_text()


LINES = st.lists(
    st.sampled_from(
        [
            b"",
            b"{}",
            b"nonsense",
            json.dumps(row("a question")).encode(),
            json.dumps(row("a question", "no")).encode(),
            json.dumps(row("a question")).encode() + b"\r",
            json.dumps(row("17 Long Meadow Lane, Springfield", group="g")).encode(),
            json.dumps(row("17 Long Meadow Lane Springfield", extra=1)).encode(),
            json.dumps({"messages": [{"role": "user", "content": "x"}]}).encode(),
        ]
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(LINES, LINES)
def test_every_row_is_accounted_for(lines, held_out_lines):
    with tempfile.TemporaryDirectory() as name:
        path, hard = Path(name) / "a.jsonl", Path(name) / "b.jsonl"
        good = [json.dumps(entry).encode() for entry in distinct(30)]
        path.write_bytes(b"\n".join([*lines, *good]) + b"\n")
        hard.write_bytes(b"\n".join([*held_out_lines, json.dumps(row("an owl")).encode()]) + b"\n")
        config = PrepareConfig(source=path, held_out=hard, max_refused=1)
        result = prepare(config, Job(Workspace(Path(name) / "workspace")))
        DataSet.open(result.folder).verify()
        files = read_json(result.folder / "accounting.json")["files"]
        for role, account in files.items():
            used = account["kept"] + account["changed"]
            lost = account["refused"] + account["duplicate"] + account["withheld"]
            content = (path if role == "source" else hard).read_bytes()
            assert used + lost + account["blank"] == account["lines"] == content.count(b"\n")
            splits = {
                name: rows
                for name, rows in result.splits.items()
                if (name == "held_out") == (role != "source")
            }
            assert used == sum(splits.values())
        rejected = {entry.value["line"] for entry in read_jsonl(result.folder / "rejects.jsonl")}
        assert len(rejected) <= sum(account["refused"] for account in files.values())
        dropped = sum(account["duplicate"] + account["withheld"] for account in files.values())
        assert len(read_jsonl(result.folder / "dropped.jsonl")) == dropped


def test_documents_are_split_by_their_own_words(tmp_path, job):
    """None has a prompt; by their prompts all of them would be one group."""
    texts = [f"{ANIMALS[n // 10]} {COLOURS[n % 10]} {n * 7919 % 1000003} {n**5}" for n in range(60)]
    rows = [{"text": text} for text in texts] + [{"text": f"{texts[0]}."}, {"text": texts[1]}]
    result = prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", rows)), job)
    assert (result.kept, result.duplicates, result.contradictions) == (61, 1, 0)
    assert result.groups == 60, "a document and its near-duplicate stand together"
    assert result.splits["validation"] > 0
    assert "61 documents in 60 groups" in (result.folder / "card.md").read_text()
    assert "nothing that they answer" in (result.folder / "card.md").read_text()
    DataSet.open(result.folder).verify()


def test_prompts_with_completions_are_grouped_by_their_prompt(tmp_path, job):
    rows = [{"prompt": str(entry["messages"][0]["content"]), "completion": "x"} for entry in distinct(40)]
    rows += [{**rows[0], "completion": "y"}]
    result = prepare(PrepareConfig(source=write(tmp_path / "a.jsonl", rows)), job)
    assert (result.kept, result.groups, result.contradictions) == (41, 40, 1)
    assert "41 prompts with a completion" in (result.folder / "card.md").read_text()
