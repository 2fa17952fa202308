"""The reader of chat rows: every line is accounted for, and every fault has one clear message."""

import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import DataError, UserError
from tunesmith.core.formats.containers import json_lines
from tunesmith.core.formats.read import Reading, find_problems, read_rows, read_stream

USER = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "good day"}
GOOD = {"messages": [USER, ANSWER]}


def read(content: bytes):
    return list(read_stream(io.BytesIO(content), "rows.jsonl"))


def read_one(row):
    """One row by its own layout, as a chat row when it has none."""
    (found,) = read_stream(io.BytesIO(json.dumps(row).encode() + b"\n"), "rows.jsonl", Reading("mixed"))
    return found


def problems_of(row):
    return [(problem.pointer, problem.reason) for problem in read_one(row).problems]


def changes_of(row):
    found = read_one(row)
    assert found.outcome == "changed"
    return [(change.pointer, change.reason) for change in found.changes]


def messages(*turns):
    return {"messages": list(turns)}


def test_a_good_row_is_kept_as_it_is():
    row = {**GOOD, "metadata": {"source": "a"}}
    found = read_one(row)
    assert found.outcome == "kept"
    assert found.example.to_json() == row


def test_blank_lines_are_counted_and_passed_over():
    outcomes = [row.outcome for row in read(b"\n" + json.dumps(GOOD).encode() + b"\n  \n")]
    assert outcomes == ["blank", "kept", "blank"]


def test_a_file_without_a_last_line_end_is_read_whole():
    assert [row.outcome for row in read(json.dumps(GOOD).encode())] == ["kept"]


def test_byte_order_mark_and_windows_line_ends_are_changes():
    line = json.dumps(GOOD).encode() + b"\r\n"
    first, second = read(json_lines.BOM + line + line)
    assert [change.reason for change in first.changes] == [
        "byte order mark removed",
        "Windows line end (CRLF) removed",
    ]
    assert second.outcome == "changed"
    assert second.example == first.example


@pytest.mark.parametrize(
    ("row", "pointer", "reason"),
    [
        (3, "", "a row must be an object"),
        ({}, "", "the key 'messages' is missing"),
        ({"message": "hello", "id": 1}, "", "the key 'messages' is missing; is it 'message'?"),
        ({"messages": []}, "/messages", "at least one message"),
        ({"messages": "hello"}, "/messages", "must be a list"),
        (messages("hello"), "/messages/0", "a message must be an object"),
        (messages(USER), "/messages", "no assistant turn"),
        (messages(USER, ANSWER, USER), "/messages/2/role", "last turn is not the assistant's"),
        (messages(ANSWER), "/messages", "nothing stands before the answer"),
        (messages({"content": "x"}, ANSWER), "/messages/0", "'role' is missing"),
        (messages({"role": "human", "content": "x"}, ANSWER), "/messages/0/role", "did you mean 'user'?"),
        (messages({"role": "usr", "content": "x"}, ANSWER), "/messages/0/role", "did you mean 'user'?"),
        (messages({"role": 7, "content": "x"}, ANSWER), "/messages/0/role", "unknown role"),
        (messages(USER, {"role": "assistant", "content": " \n"}), "/messages/1/content", "empty content"),
        (messages(USER, {"role": "assistant", "content": None}), "/messages/1/content", "empty content"),
        (messages(USER, {"role": "assistant"}), "/messages/1", "'content' is missing"),
        (messages({"role": "user", "content": 5}, ANSWER), "/messages/0/content", "must be a text"),
        (messages({**USER, "name": 5}, ANSWER), "/messages/0/name", "name must be a text"),
        (messages(USER, {**ANSWER, "weight": 0.5}), "/messages/1/weight", "0 or 1"),
        (messages(USER, {**ANSWER, "weight": True}), "/messages/1/weight", "0 or 1"),
        (messages({**USER, "weight": 1}, ANSWER), "/messages/0/weight", "only an assistant"),
        (messages(USER, {**ANSWER, "weight": 0}), "/messages", "nothing to learn"),
        (messages(USER, {**ANSWER, "wieght": 0}), "/messages/1/wieght", "did you mean 'weight'?"),
        (
            messages({**USER, "reasoning_content": "so"}, ANSWER),
            "/messages/0/reasoning_content",
            "only an assistant message has reasoning",
        ),
        (messages(USER, {**ANSWER, "thinking": "a", "reasoning": "b"}), "/messages/1/reasoning", "differ"),
        (messages(USER, {**ANSWER, "thinking": 5}), "/messages/1/thinking", "must be a text"),
        (messages(USER, {**ANSWER, "function_call": {}}), "/messages/1/function_call", "tool_calls"),
        (messages(USER, {**ANSWER, "tool_calls": 3}), "/messages/1/tool_calls", "must be a list"),
        (messages(USER, {**ANSWER, "tool_calls": [3]}), "/messages/1/tool_calls/0", "function.name"),
        (messages({**USER, "tool_calls": [3]}, ANSWER), "/messages/0/tool_calls", "only an assistant"),
        (messages(USER, {"role": "tool", "content": "1"}, ANSWER), "/messages/1", "needs tool_call_id"),
        ({**GOOD, "tools": 3}, "/tools", "must be a list"),
        ({**GOOD, "tools": [{}]}, "/tools/0", "function.name"),
        ({**GOOD, "metadata": 3}, "/metadata", "must be an object"),
        ({**GOOD, "group": 1.5}, "/group", "a text or a whole number"),
        ({**GOOD, "group": "a", "metadata": {"group_id": "b"}}, "/group", "differ"),
        ({**GOOD, "a/b~": 1, "tool": []}, "/tool", "did you mean 'tools'?"),
    ],
)
def test_a_faulty_row_is_refused_with_place_and_reason(row, pointer, reason):
    found = problems_of(row)
    assert any(where == pointer and reason in why for where, why in found), found


@pytest.mark.parametrize(
    ("kind", "word"), [("image_url", "image"), ("input_audio", "audio"), ("video", "video")]
)
def test_parts_that_are_not_text_are_refused_by_name(kind, word):
    found = problems_of(messages({"role": "user", "content": [{"type": kind, kind: {}}]}, ANSWER))
    assert found == [("/messages/0/content/0", f"{word} parts are not read: tunesmith is for text")]


def test_text_parts_are_joined_and_counted_as_a_change():
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    row = messages({"role": "user", "content": parts}, ANSWER)
    assert changes_of(row) == [("/messages/0/content", "text parts joined to one text")]
    assert read_one(row).example.messages[0].content == "hello"


def test_a_row_of_plain_text_is_one_text():
    found = read_one({"text": "once upon a time", "metadata": {"source": "a"}})
    assert found.outcome == "kept"
    assert found.example == Example((Message("text", "once upon a time"),), metadata={"source": "a"})
    assert found.example.is_text
    assert found.example.prompt == ()
    assert found.example.answer == "once upon a time"


def test_of_a_prompt_and_its_completion_only_the_completion_has_weight():
    found = read_one({"prompt": "1+1=", "completion": "2", "group": "sums"})
    assert found.outcome == "kept"
    assert found.example.messages == (Message("text", "1+1=", weight=0), Message("text", "2"))
    assert found.example.metadata == {"group_id": "sums"}
    assert [turn.content for turn in found.example.prompt] == ["1+1="]
    assert found.example.answer == "2"


@pytest.mark.parametrize(
    ("row", "pointer", "reason"),
    [
        ({"text": ""}, "/text", "empty text"),
        ({"text": 3}, "/text", "text must be a text"),
        ({"prompt": " ", "completion": "b"}, "/prompt", "empty prompt"),
        ({"prompt": "a", "completion": None}, "/completion", "completion must be a text"),
        ({"text": "a", "metdata": {}}, "/metdata", "did you mean 'metadata'?"),
        ({"text": "a", "metadata": 3}, "/metadata", "must be an object"),
        (messages({"role": "text", "content": "a"}, ANSWER), "/messages", "stand in one row"),
        (messages({"role": "text", "content": "a", "weight": 0}), "/messages", "nothing to learn"),
        (
            {**messages({"role": "text", "content": "a"}), "tools": [{"function": {"name": "f"}}]},
            "/tools",
            "plain text cannot offer tools",
        ),
    ],
)
def test_a_faulty_row_of_plain_text_is_refused_with_place_and_reason(row, pointer, reason):
    found = problems_of(row)
    assert any(where == pointer and reason in why for where, why in found), found


@pytest.mark.parametrize("row", [{"text": "a b"}, {"prompt": "a", "completion": " b"}])
def test_plain_text_is_read_the_same_again(row):
    example = read_one(row).example
    again = read_one(example.to_json())
    assert again.outcome == "kept"
    assert again.example == example
    assert Example.from_json(example.to_json()) == example


def parts(*entries):
    content = [{"type": "text", "text": text, **weight} for text, weight in entries]
    return messages(USER, {"role": "assistant", "content": content})


def test_parts_with_weights_are_kept():
    found = read_one(parts(("think ", {"weight": 0}), ("42", {"weight": 1})))
    assert found.outcome == "kept"
    answer = found.example.messages[1]
    assert answer.parts == (("think ", 0), ("42", 1))
    assert answer.content == "think 42"
    assert answer.is_learned
    assert read_one(found.example.to_json()).example == found.example
    assert Example.from_json(found.example.to_json()) == found.example


def test_a_part_without_a_weight_beside_one_that_has_is_learned():
    assert read_one(parts(("a", {}), ("b", {"weight": 0}))).example.messages[1].parts == (("a", 1), ("b", 0))


@pytest.mark.parametrize(
    ("row", "pointer", "reason"),
    [
        (parts(("a", {"weight": 0.5})), "/messages/1/content/0/weight", "0 or 1"),
        (parts(("a", {"weight": 0})), "/messages", "nothing to learn"),
        (parts(("a", {"wieght": 0})), "/messages/1/content/0/wieght", "did you mean 'weight'?"),
        (
            messages({"role": "user", "content": [{"type": "text", "text": "a", "weight": 1}]}, ANSWER),
            "/messages/0/content/0/weight",
            "only an assistant",
        ),
        (
            messages(USER, {**parts(("a", {"weight": 1}))["messages"][1], "weight": 1}),
            "/messages/1/weight",
            "stands on the message and on its parts",
        ),
    ],
)
def test_faulty_weights_of_parts_are_refused(row, pointer, reason):
    found = problems_of(row)
    assert any(where == pointer and reason in why for where, why in found), found


def test_the_identity_of_a_conversation_is_what_it_always_was():
    """Data sets of before keep their fingerprint, and their split."""
    assert chat([("user", "hello"), ("assistant", "good day")]).row_hash == GOOD_HASH
    weighed = Example((Message("user", "hello"), Message("assistant", "good day", weight=0.0)))
    assert weighed.row_hash == WEIGHED_HASH


GOOD_HASH = "bfd68dab3b6c942d432c383730490551806a1ebc5c97d20559de0fe331528a4f"
WEIGHED_HASH = "15ea0a84898dc18117bb4e185378e9e7e60a9198959041ba98a8c47056eb4803"


def test_unknown_keys_are_left_out_and_reported():
    row = {**messages({**USER, "id": 3}, ANSWER), "a/b~": None}
    assert changes_of(row) == [
        ("/a~1b~0", "unknown key 'a/b~' left out"),
        ("/messages/0/id", "unknown key 'id' left out"),
    ]


def test_tool_calls_are_read_and_object_arguments_become_text():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    tool = {"role": "tool", "tool_call_id": "1", "content": ""}
    row = {
        **messages(USER, {"role": "assistant", "content": None, "tool_calls": [call]}, tool, ANSWER),
        "tools": json.dumps([{"type": "function", "function": {"name": "add"}}]),
    }
    assert {reason for _, reason in changes_of(row)} == {
        "arguments written as JSON text",
        "tools read from JSON text",
    }
    written = read_one(row).example
    assert written.messages[1].tool_calls[0]["function"]["arguments"] == '{"a": 1}'
    assert read_one(written.to_json()).outcome == "kept"


def test_all_problems_of_a_row_are_reported_not_only_the_first():
    row = messages({"role": "human", "content": 5}, {"role": "assistant", "content": 6, "weight": 9})
    assert len(problems_of(row)) == 4


def test_a_group_of_the_row_is_kept_in_its_metadata():
    assert read_one({**GOOD, "group": "a"}).example.metadata == {"group_id": "a"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"messages": NaN}', "NaN is not JSON"),
        (b'{"messages": -Infinity}', "-Infinity is not JSON"),
        (b'{"messages": 1e999}', "too large"),
        (b'{"messages": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"messages": [], "messages": []}', "stands twice"),
        (b'{"messages": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper"),
        (b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper"),
        (b'{"messages": "\\ud800"}', "surrogate"),
        (b'{"messages": "\\ud83d\\ude00"}', "must be a list"),
        (b"hello", "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b'{"a": "\x00"}', "not valid JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_not_strict_json_refuses_only_its_own_line(line, reason):
    bad, good = read(line + b"\n" + json.dumps(GOOD).encode())
    assert reason in bad.problems[0].reason
    assert good.outcome == "kept"


def test_a_line_too_long_is_refused_without_being_held(monkeypatch):
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 100)
    rows = read(b"x" * 1000 + b"\n" + json.dumps(GOOD).encode() + b"\n")
    assert [row.outcome for row in rows] == ["refused", "kept"]
    assert "longer than" in rows[0].problems[0].reason
    assert rows[0].num_bytes == 1001


@pytest.mark.parametrize(
    ("content", "what", "step"),
    [
        (b"", "the file is empty", "give one row a line"),
        (b"\n  \n", "only blank lines", "give one row a line"),
        (b'{"a": "caf\xe9"}\n', "not UTF-8 (byte offset 10)", "iconv"),
        (json.dumps(GOOD).encode() + b'\n{"messages": [{"role": "us', "half-written", "delete this line"),
        (b'{"messages": [{"role": "user"}', "half-written", "delete this line"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_fault_of_the_whole_file_is_one_error_with_a_next_step(content, what, step):
    with pytest.raises(DataError) as caught:
        read(content)
    assert what in caught.value.message()
    assert step in caught.value.message()


def test_not_utf8_names_line_and_offset_in_the_file():
    start = json.dumps(GOOD).encode() + b"\n"
    with pytest.raises(DataError, match=r"rows.jsonl:2: .*byte offset " + str(len(start) + 2)):
        read(start + b'{"\xff"}')


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / "none.jsonl"))
    with pytest.raises(DataError):
        list(read_rows(tmp_path))


def test_a_validator_gets_every_problem_and_the_fault_of_the_file_last(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"{}\n" + json.dumps(messages(USER)).encode() + b"\n\xff\n")
    assert [problem.line for problem in find_problems(path)] == [1, 2, 3]


@given(st.binary(max_size=200))
@example(b'{"messages"')
@example(b"\xef\xbb\xbf")
@example(b"\xfe\xff\x00\x00")
@example('{"messages"\n{}\n'.encode("utf-16"))
def test_no_bytes_crash_the_reader(content):
    try:
        rows = read(content)
    except UserError:
        return
    assert [row.line for row in rows] == list(range(1, len(rows) + 1))
    assert sum(row.num_bytes for row in rows) == len(content)


KEYS = st.sampled_from(
    [
        "messages",
        "prompt",
        "completion",
        "role",
        "content",
        "type",
        "text",
        "tools",
        "tool_calls",
        "weight",
        "metadata",
        "group",
        "function",
    ]
)
TEXTS = st.sampled_from(["user", "assistant", "tool", "text", "image_url", "", "hello"]) | st.text(max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)
TURNS = st.lists(st.fixed_dictionaries({"role": TEXTS | VALUES, "content": TEXTS | VALUES}), max_size=4)


@given(VALUES | st.fixed_dictionaries({"messages": TURNS}))
def test_no_json_value_crashes_the_reader_and_what_is_read_is_read_the_same_again(value):
    row = read_one(value) if not isinstance(value, list) else None
    if row is not None and row.example is not None:
        again = read_one(row.example.to_json())
        assert again.outcome == "kept"
        assert again.example == row.example
