"""`data convert`: rows in another layout, nothing lost in silence."""

import json

import pytest

from tunesmith.core.conversation import chat
from tunesmith.core.errors import CheckFailed, ConfigError, DataError, UserError
from tunesmith.core.files import read_jsonl
from tunesmith.core.formats.read import Reading, read_rows
from tunesmith.data import PrepareConfig, prepare
from tunesmith.data.convert import ConvertConfig, convert, door

PLAIN = chat([("user", "a"), ("assistant", "b")]).to_json()
LONGER = chat([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "007")]).to_json()
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"x": {"a": 1}}}}
OTHER = {"type": "function", "function": {"name": "g", "parameters": {"y": {"b": "2"}}}}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(job, source, to, name="out.jsonl", **settings):
    return convert(ConvertConfig(source=source, to=to, out=source.parent / name, **settings), job)


def examples(path, shape=None):
    return [row.example for row in read_rows(path, Reading(shape))]


def test_rows_come_back_from_every_kind_of_file(tmp_path, job):
    source = tmp_path / "rows.jsonl"
    write(source, PLAIN, {**LONGER, "tools": [TOOL]}, {**PLAIN, "tools": [OTHER], "metadata": {"n": 1}})
    for name in ("out.jsonl", "out.parquet"):
        result = run(job, source, "sharegpt", name)
        assert (result.rows, result.written, result.left_out) == (3, 3, 0)
        assert examples(result.file) == examples(source)
    result = run(job, write(source, PLAIN, PLAIN), "question-answer", "out.csv")
    assert result.file.read_text().splitlines() == ["question,answer", "a,b", "a,b"]
    assert examples(result.file) == examples(source)


def test_what_cannot_be_held_stops_everything_unless_it_may_be_left_out(tmp_path, job):
    source = write(tmp_path / "rows.jsonl", PLAIN, {**PLAIN, "tools": [TOOL]}, {"messages": []})
    with pytest.raises(DataError, match="2 of 3 rows cannot be written as alpaca") as caught:
        run(job, source, "alpaca")
    assert "1 row, the first in line 2: alpaca: it has no place for tools" in caught.value.message()
    assert "--leave-out" in caught.value.message()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["rows.jsonl"]
    result = run(job, source, "alpaca", leave_out=True)
    assert (result.rows, result.written, result.left_out) == (3, 1, 2)
    assert sum(result.reasons.values()) == 2
    listed = [line.value for line in read_jsonl(tmp_path / "out.jsonl.rejects.jsonl")]
    assert [(entry["line"], entry["row"]["messages"]) for entry in listed] == [
        (2, PLAIN["messages"]),
        (3, []),
    ]


def test_nothing_is_written_where_no_row_fits(tmp_path, job):
    source = write(tmp_path / "rows.jsonl", {"text": "a"})
    with pytest.raises(DataError, match="this is plain text"):
        run(job, source, "alpaca", leave_out=True)
    assert not (tmp_path / "out.jsonl").exists()


def test_of_pairs_the_chosen_answers_are_taken(tmp_path, job):
    pair = {"prompt": PLAIN["messages"][:1], "chosen": PLAIN["messages"][1:]}
    pair["rejected"] = [{"role": "assistant", "content": "c"}]
    result = run(job, write(tmp_path / "rows.jsonl", pair), "openai-chat", take="chosen")
    assert [line.value for line in read_jsonl(result.file)] == [PLAIN]
    rows = [{**PLAIN, "label": True}, {**PLAIN, "label": False}]
    result = run(
        job, write(tmp_path / "rows.jsonl", *rows), "alpaca", "b.jsonl", take="chosen", leave_out=True
    )
    assert (result.written, result.left_out) == (1, 1)
    assert "not wanted" in next(iter(result.reasons))


def test_reasoning_is_written_into_the_answer_when_asked(tmp_path, job):
    row = json.loads(json.dumps(PLAIN))
    row["messages"][1]["reasoning_content"] = "so"
    source = write(tmp_path / "rows.jsonl", row)
    with pytest.raises(DataError, match="reasoning"):
        run(job, source, "alpaca")
    result = run(job, source, "alpaca", reasoning="content")
    assert examples(result.file)[0].answer == "<think>\nso\n</think>\n\nb"


def test_repairs_are_counted(tmp_path, job):
    row = {"messages": [*PLAIN["messages"], PLAIN["messages"][0]]}
    source = write(tmp_path / "rows.jsonl", row)
    result = run(job, source, "openai-chat", fix=True)
    assert result.changes == {"turns behind the last answer left out": 1}
    assert result.changed == 1


def test_wrong_settings_are_one_message(tmp_path, job):
    source = write(tmp_path / "rows.jsonl", PLAIN)
    with pytest.raises(ConfigError, match="did you mean 'alpaca'"):
        run(job, source, "alpca")
    with pytest.raises(ConfigError, match="unknown kind of file"):
        run(job, source, "alpaca", "out.xml")
    with pytest.raises(UserError, match="there already"):
        run(job, source, "alpaca", "rows.jsonl")
    with pytest.raises(UserError, match="no such folder"):
        run(job, source, "alpaca", "none/out.jsonl")
    with pytest.raises(UserError, match="no file to write is named"):
        convert(ConvertConfig(source=source, to="alpaca"), job)
    with pytest.raises(DataError, match=r"cannot hold a list.*messages"):
        run(job, source, "openai-chat", "out.csv")


def test_a_file_that_does_not_come_back_is_not_left(tmp_path, job, monkeypatch):
    def lossy(rows, path):
        path.write_text('{"instruction": "a", "output": "other"}\n')

    monkeypatch.setattr(door, "write_table", lossy)
    with pytest.raises(CheckFailed, match="does not read as the rows that were meant"):
        run(job, write(tmp_path / "rows.jsonl", PLAIN), "alpaca")
    assert not (tmp_path / "out.jsonl").exists()


def test_prepare_says_how_the_rows_were_read_and_lists_the_refused_ones(tmp_path, job):
    rows = [{"instruction": f"{number**7}", "input": "", "output": "b"} for number in range(30)]
    source = write(tmp_path / "rows.jsonl", *rows, {"instruction": "x", "input": "nan", "output": "b"})
    result = prepare(PrepareConfig(source=source), job)
    assert result.layout == "alpaca: 31 of 31 rows have instruction+output+input (by content)"
    assert f"read as {result.layout}" in (result.folder / "card.md").read_text()
    (entry,) = read_jsonl(result.folder / "rejects.jsonl")
    assert entry.value["row"] == {"instruction": "x", "input": "nan", "output": "b"}
    fixed = prepare(PrepareConfig(source=source, fix=True), job)
    assert (fixed.refused, fixed.changed) == (0, 1)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("prompt: instruction\nanswer: output\n")
    result = prepare(PrepareConfig(source=source, mapping=mapping), job)
    assert (result.refused, result.kept) == (0, 31)
