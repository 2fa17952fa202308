"""Which layout a file has is found by its content, with the evidence; a mapping names columns by hand."""

import io
import json

import pytest

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.formats.containers import json_lines
from tunesmith.core.formats.containers.json_lines import read_json_lines
from tunesmith.core.formats.read import Reader, Reading, find_problems, open_rows
from tunesmith.core.formats.shapes.detect import SAMPLE_BYTES, SAMPLE_ROWS
from tunesmith.core.formats.shapes.mapping import load_mapping

CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
SHARE = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
ALPACA = {"instruction": "a", "input": "", "output": "b"}
READ = chat([("user", "a"), ("assistant", "b")])


def reader(rows, **how):
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return Reader(read_json_lines(io.BytesIO(content), "rows.jsonl"), "rows.jsonl", Reading(**how))


def outcomes(found):
    return [row.outcome for row in found]


def test_the_evidence_says_how_many_rows_have_which_keys():
    found = reader([ALPACA] * 997 + [CHAT] * 3)
    assert outcomes(found) == ["kept"] * 997 + ["refused"] * 3
    assert found.layout.sentence == "alpaca: 997 of 1,000 rows have instruction+output+input (by content)"
    assert found.layout.sampled == SAMPLE_ROWS
    assert found.layout.to_json()["others"] == {"openai-chat": 3}
    assert found.layout.findings == ["3 rows are laid out as openai-chat"]


def test_a_huge_first_line_does_not_hide_the_layout_of_the_others(monkeypatch):
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 1000)
    content = b"x" * (SAMPLE_BYTES + 1) + b"\n" + (json.dumps(ALPACA) + "\n").encode() * 3
    found = Reader(read_json_lines(io.BytesIO(content), "rows.jsonl"), "rows.jsonl")
    assert outcomes(found) == ["refused", "kept", "kept", "kept"]
    assert found.layout.name == "alpaca"


def test_a_row_laid_out_otherwise_is_refused_by_its_layouts_name():
    *_, last = reader([ALPACA] * 300 + [SHARE])
    assert last.problems[0].reason == "this row is laid out as sharegpt, and the file as alpaca"
    *_, last = reader([ALPACA] * 300 + [{"title": "x"}])
    assert "the key 'instruction' is missing" in [problem.reason for problem in last.problems]


def test_a_file_of_mixed_layouts_is_one_error_with_counts_lines_and_the_way_on():
    with pytest.raises(DataError) as caught:
        list(reader([CHAT, SHARE, CHAT, SHARE, CHAT]))
    assert "openai-chat: 3 (first lines 1, 3, 5); sharegpt: 2 (first lines 2, 4)" in caught.value.message()
    assert "--shape mixed" in caught.value.message()
    assert "--mapping" in caught.value.message()


def test_the_user_may_say_which_layout_it_is():
    assert outcomes(reader([CHAT, SHARE], shape="sharegpt")) == ["refused", "kept"]
    found = reader([CHAT, SHARE, ALPACA], shape="mixed")
    assert [row.example for row in found] == [READ] * 3
    assert found.layout.sentence == "mixed: 3 rows (by --shape)"
    with pytest.raises(ConfigError, match="did you mean 'sharegpt'") as caught:
        list(reader([CHAT], shape="sharegtp"))
    assert "llamafactory-ranking" in caught.value.message()


def test_two_layouts_that_fit_the_same_rows_are_asked_about():
    with pytest.raises(DataError, match="two layouts fit the same rows: alpaca or text"):
        list(reader([{**ALPACA, "text": "### a"}] * 3))
    assert outcomes(reader([{**ALPACA, "text": "### a"}], shape="alpaca")) == ["changed"]


def test_unknown_keys_are_listed_with_a_mapping_to_begin_from():
    with pytest.raises(DataError) as caught:
        list(reader([{"title": "x", "body": "y"}] * 2))
    assert "title (2), body (2) (2 rows looked at)" in caught.value.message()
    assert "--mapping FILE" in caught.value.message()
    with pytest.raises(DataError, match="is it 'mesages'"):
        list(reader([{"mesages": []}]))


def test_labelled_texts_are_asked_about():
    with pytest.raises(DataError, match=r"texts with labels.*(?s:.*)answer: label"):
        list(reader([{"text": "good", "label": 1}]))


def test_a_fault_behind_the_sample_comes_in_its_turn(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"messages": []}\n' + json.dumps(CHAT).encode() + b'\n{"messages": [{"ro')
    assert [problem.line for problem in find_problems(path)] == [1, 3]
    found = open_rows(path)
    with pytest.raises(DataError, match="half-written"):
        list(found)
    assert found.layout.rows == 2


def rated(answer, *, label):
    return {"prompt": "a", "completion": answer, "label": label}


def test_labels_of_one_class_contradictions_and_lengths_are_told():
    found = reader([rated(str(number), label=True) for number in range(3)])
    list(found)
    assert found.layout.findings == ["every label is true: nothing to compare with"]
    found = reader([rated("b", label=True), rated("c", label=True), rated("b", label=False)])
    list(found)
    assert found.layout.findings == [
        "an answer stands there again with the other label 1 time (lines 1 and 3)"
    ]
    found = reader([{"prompt": "a", "chosen": "b" * number, "rejected": "c"} for number in range(2, 24)])
    list(found)
    assert found.layout.findings == ["the chosen answer is the longer one in 22 of 22 pairs"]


def mapped(tmp_path, text, rows):
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    return reader(rows, mapping=load_mapping(path))


@pytest.mark.parametrize(
    ("text", "row", "example"),
    [
        ("prompt: q\nanswer: a.text\n", {"q": "a", "a": {"text": "b"}}, READ),
        ("prompt: q\nanswer: a.1\nsystem: s", {"q": "a", "a": ["x", "b"], "s": ""}, READ),
        (
            'prompt: "Title: {title}\\n{body}"\nanswer: n\ngroup: title\nmetadata: [n]',
            {"title": "T", "body": "B", "n": 7},
            Example(
                chat([("user", "Title: T\nB"), ("assistant", "7")]).messages,
                metadata={"n": 7, "group_id": "T"},
            ),
        ),
        ("prompt: text\nanswer: label\nlabel_names: [a, b]", {"text": "a", "label": 1}, READ),
        ("prompt: text\nanswer: label\nlabel_names: {x: b}", {"text": "a", "label": "x"}, READ),
        ("prompt: text\nanswer: label\nlabel_names: {true: b, false: c}", {"text": "a", "label": True}, READ),
        (
            "prompt: q\nanswer: a\nlabel: v\nlabel_names: {good: true, bad: false}\nmetadata: {from: v}",
            {"q": "a", "a": "b", "v": "bad"},
            Example(READ.messages, (), {"from": "bad"}, label=False),
        ),
        (
            "prompt: q\nchosen: c\nrejected: r",
            {"q": "a", "c": "b", "r": "d"},
            Example(READ.messages[:1], chosen=READ.messages[1:], rejected=(Message("assistant", "d"),)),
        ),
        ("text: body", {"body": "once"}, Example((Message("text", "once"),))),
        (
            "prompt: q\ntext: body",
            {"q": "a", "body": "b"},
            Example((Message("text", "a", weight=0.0), Message("text", "b"))),
        ),
        ("messages: turns\ntools: t", {"turns": CHAT["messages"], "t": "[]"}, READ),
    ],
)
def test_a_mapping_says_what_columns_mean(tmp_path, text, row, example):
    (found,) = mapped(tmp_path, text, [row])
    assert not found.problems
    assert found.example == example


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt: q\nanswer: asnwer\n", r"mapping.yaml:2: answer names a column(?s:.*)did you mean 'answer'"),
        ("prompt: '{q} {z}'\nanswer: answer\n", r"mapping.yaml:1: prompt names(?s:.*)'z'"),
        ("prompt: q\nanswer: answer\nmetadata:\n  x: who", r"mapping.yaml:4: metadata.x names"),
        ("prompt: q\nanser: answer\n", r"mapping.yaml:2(?s:.*)answer"),
        ("prompt: q\n", "nothing to learn is named"),
        ("answer: answer\n", "nothing is asked"),
        ("prompt: q\nchosen: answer\n", "both chosen and rejected"),
        ("prompt: q\nanswer: answer\ntext: q\n", "give one of"),
        ("text: q\nlabel: answer\n", "a label is the verdict on one answer"),
    ],
)
def test_a_faulty_mapping_is_one_message_with_its_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        list(mapped(tmp_path, text, [{"q": "a", "answer": "b"}]))


def test_rows_that_a_mapping_cannot_read_are_refused_with_their_column(tmp_path):
    text = "prompt: q\nanswer: a\nlabel_names: {x: b}\n"
    found = list(mapped(tmp_path, text, [{"q": "a", "a": "x"}, {"q": "", "a": "y"}, {"q": {}, "a": "x"}, 3]))
    assert outcomes(found) == ["kept", "refused", "refused", "refused"]
    assert [(problem.pointer, problem.reason) for problem in found[1].problems] == [
        ("/q", "empty prompt"),
        ("/a", "label_names does not explain 'y'"),
    ]


def test_a_mapping_and_a_layout_are_not_both_given(tmp_path):
    path = tmp_path / "mapping.yaml"
    path.write_text("text: a")
    with pytest.raises(ConfigError, match="both --mapping and --shape"):
        list(reader([{"a": "x"}], mapping=load_mapping(path), shape="text"))


def test_a_refused_row_is_listed_whole_or_with_what_was_cut():
    short, long = reader([{"messages": "x"}, {"messages": "y" * 30_000}])
    assert next(short.rejects())["row"] == {"messages": "x"}
    entry = next(long.rejects())
    assert len(entry["row_cut"]) == 20_000
    assert entry["row_characters"] == 30_016
    json.dumps(entry)
