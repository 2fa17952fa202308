"""Layouts of rows: each is read to the example it means, and each of its usual faults is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.conversation import Example, GradedStep, Message, chat, write_line
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes import chat as chat_shape
from tunesmith.core.formats.shapes.detect import read_any
from tunesmith.core.formats.shapes.registry import SHAPES, fitting

USER = {"role": "user", "content": "2+2?"}
ANSWER = {"role": "assistant", "content": "4"}
WRONG = {"role": "assistant", "content": "5"}
HUMAN = {"from": "human", "value": "2+2?"}
GPT = {"from": "gpt", "value": "4"}
SUM = chat([("user", "2+2?"), ("assistant", "4")])
PAIR = Example(SUM.messages[:1], chosen=SUM.messages[1:], rejected=(Message("assistant", "5"),))
TEXT_PAIR = Example(
    (Message("text", "2+2=", weight=0.0),), chosen=(Message("text", "4"),), rejected=(Message("text", "5"),)
)
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
CALLED = Example(
    (
        Message("user", "2+2?"),
        Message("assistant", None, tool_calls=(CALL,)),
        Message("tool", "4", tool_call_id="call_1"),
        Message("assistant", "4"),
    ),
    (TOOL,),
)
HH = "\n\nHuman: 2+2?\n\nAssistant: "


def read(row, *, fix=False):
    found = Findings(fix)
    return read_any(row, found), found


CONTENTS = st.sampled_from(["4", " 4 ", "", " ", "<think>a</think>b", "</think>b", 'é\n"', None, 4, []])
TURNS = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "text", "User", "gpt", None, []])},
    optional={"content": CONTENTS, "weight": st.sampled_from([0, 1]), "name": st.just("Bo")},
)
CLEAN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text(min_size=1)}
)
ROWS = st.fixed_dictionaries(
    {"messages": st.lists(CLEAN, max_size=5) | st.lists(TURNS | CLEAN, max_size=4)},
    optional={"metadata": st.just({"a": "é"}), "tools": st.just([TOOL]), "extra": st.just(1)},
)


@given(ROWS)
def test_a_plain_row_is_read_as_any_other(row):
    plain = chat_shape.read_plain(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_shape, "read_plain", lambda row: None)
        found = Findings()
        example = chat_shape.read_chat(row, found)
    if plain is not None:
        assert (plain, found) == (example, Findings())
    elif found == Findings() and set(row) == {"messages"} and example is not None:
        known = {"name", "weight"} & {key for turn in row["messages"] for key in turn}
        special = any(turn.role in ("tool", "text") or "think>" in turn.content for turn in example.messages)
        assert known or special or None in [turn.get("content") for turn in row["messages"]]


@given(ROWS)
def test_a_line_is_the_json_and_the_hash_of_its_example(row):
    example = chat_shape.read_chat(row, Findings())
    for one in filter(None, (example, PAIR, TEXT_PAIR, CALLED)):
        line = write_line(one)
        assert line.text.decode() == json.dumps(one.to_json(), ensure_ascii=False)
        assert line.row_hash.hex() == one.row_hash


def label(value, **more):
    return {"prompt": "2+2=", "completion": "4", "label": value, **more}


@pytest.mark.parametrize(
    ("name", "row", "example"),
    [
        ("openai-chat", {"messages": [USER, ANSWER]}, SUM),
        ("rated-chat", {"messages": [USER, ANSWER], "label": True}, Example(SUM.messages, label=True)),
        ("pair-chat", {"messages": [USER], "chosen": [ANSWER], "rejected": [WRONG]}, PAIR),
        (
            "steps-chat",
            {"messages": [USER], "steps": [{"text": "4", "label": True}]},
            Example(SUM.messages[:1], steps=(GradedStep("4", True),)),
        ),
        ("sharegpt", {"conversations": [HUMAN, GPT]}, SUM),
        ("sharegpt", {"conversation": [HUMAN, GPT]}, SUM),
        ("sharegpt", {"messages": [HUMAN, GPT]}, SUM),
        ("sharegpt", {"conversations": [USER, ANSWER]}, SUM),
        (
            "sharegpt",
            {
                "conversations": [{"from": "user", "value": "2+2?"}, {"from": "bing", "value": "4"}],
                "system": "Hi",
            },
            chat([("system", "Hi"), ("user", "2+2?"), ("assistant", "4")]),
        ),
        (
            "sharegpt",
            {
                "conversations": [
                    HUMAN,
                    {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2}}'},
                    {"from": "observation", "value": "4"},
                    GPT,
                ],
                "tools": '[{"name": "add", "parameters": {"type": "object"}}]',
            },
            CALLED,
        ),
        (
            "sharegpt-rated",
            {"conversations": [HUMAN, GPT], "kto_tag": False},
            Example(SUM.messages, label=False),
        ),
        (
            "llamafactory-ranking",
            {"conversations": [HUMAN], "chosen": GPT, "rejected": {**GPT, "value": "5"}},
            PAIR,
        ),
        ("alpaca", {"instruction": "2+2?", "input": "", "output": "4"}, SUM),
        ("alpaca", {"instruction": "2+2?", "input": None, "response": "4"}, SUM),
        ("alpaca", {"instruction": "2+2?", "answer": "4"}, SUM),
        (
            "alpaca",
            {"instruction": "Add", "input": "2 2", "output": "4", "system": "Hi", "history": [["a", "b"]]},
            chat(
                [
                    ("system", "Hi"),
                    ("user", "a"),
                    ("assistant", "b"),
                    ("user", "Add\n\n2 2"),
                    ("assistant", "4"),
                ]
            ),
        ),
        ("prompt-response", {"prompt": "2+2?", "response": "4"}, SUM),
        ("question-answer", {"question": "2+2?", "answer": "4"}, SUM),
        ("text-input-output", {"text_input": "2+2?", "output": "4"}, SUM),
        ("input-output", {"input": "2+2?", "output": "4"}, SUM),
        ("text", {"text": "once"}, Example((Message("text", "once"),))),
        ("prompt-completion", {"prompt": [USER], "completion": [ANSWER]}, SUM),
        ("preference", {"prompt": "2+2=", "chosen": "4", "rejected": "5"}, TEXT_PAIR),
        ("preference", {"prompt": [USER], "chosen": [ANSWER], "rejected": [WRONG]}, PAIR),
        ("preference", {"prompt": "2+2?", "chosen": [USER, ANSWER], "rejected": [USER, WRONG]}, PAIR),
        ("preference", {"prompt": "2+2?", "chosen": [ANSWER], "rejected": [WRONG]}, PAIR),
        ("preference-implicit", {"chosen": [USER, ANSWER], "rejected": [USER, WRONG]}, PAIR),
        ("preference-question", {"question": "2+2?", "chosen": "4", "rejected": "5"}, PAIR),
        ("preference-question", {"instruction": "2+2?", "input": "", "chosen": "4", "rejected": "5"}, PAIR),
        (
            "openai-preference",
            {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [WRONG]},
            PAIR,
        ),
        (
            "ultrafeedback-binarized",
            {
                "prompt": "2+2?",
                "messages": [USER, ANSWER],
                "chosen": [USER, ANSWER],
                "rejected": [USER, WRONG],
                "score_chosen": 9,
                "score_rejected": 2.5,
            },
            Example(
                PAIR.messages, (), {"score_chosen": 9, "score_rejected": 2.5}, PAIR.chosen, PAIR.rejected
            ),
        ),
        (
            "ultrafeedback",
            {
                "instruction": "2+2?",
                "completions": [
                    {"response": "5", "overall_score": 2},
                    {"response": "4", "overall_score": 9.0},
                ],
            },
            Example(
                PAIR.messages, (), {"score_chosen": 9.0, "score_rejected": 2.0}, PAIR.chosen, PAIR.rejected
            ),
        ),
        (
            "kto",
            label(True),
            Example((Message("text", "2+2=", weight=0.0), Message("text", "4")), label=True),
        ),
        (
            "kto",
            {"prompt": [USER], "completion": [ANSWER], "label": False},
            Example(SUM.messages, label=False),
        ),
        (
            "alpaca-kto",
            {"instruction": "2+2?", "output": "4", "kto_tag": True},
            Example(SUM.messages, label=True),
        ),
        (
            "stepwise",
            {"prompt": "2+2=", "completions": ["a", "b"], "labels": [True, False]},
            Example(TEXT_PAIR.messages, steps=(GradedStep("a", True), GradedStep("b", False))),
        ),
        (
            "llamafactory-v1",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "value": "2+2?"}], "loss_weight": 0.0},
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "reasoning", "value": "two and two"},
                            {"type": "text", "value": "4"},
                        ],
                    },
                ]
            },
            Example((Message("user", "2+2?"), Message("assistant", "4", reasoning="two and two"))),
        ),
        (
            "llamafactory-v1-pair",
            {
                f"{side}_messages": [
                    {"role": "user", "content": [{"type": "text", "value": "2+2?"}]},
                    {"role": "assistant", "content": [{"type": "text", "value": text}]},
                ]
                for side, text in (("chosen", "4"), ("rejected", "5"))
            },
            PAIR,
        ),
        ("hh", {"chosen": f"{HH}4", "rejected": f"{HH}5"}, PAIR),
    ],
)
def test_a_row_is_known_by_its_keys_and_read(name, row, example):
    assert [shape.name for shape in fitting(row)] == [name]
    got, found = read(row)
    assert not found.problems
    assert got == example
    again, _ = read({**row, "metadata": {"source": "x"}, "group": 7})
    assert dict(again.metadata) == {**example.metadata, "source": "x", "group_id": 7}


def test_every_layout_but_labelled_text_is_read_above():
    marks = test_a_row_is_known_by_its_keys_and_read.pytestmark[0].args[1]
    assert {name for name, _, _ in marks} == SHAPES.keys() - set(UNREAD)


UNREAD = ("labelled-text", "question-response", "query-response")
"""One needs a mapping; the others are made by the function that makes `question-answer`."""

SAME = [USER, {"role": "user", "content": "quick!"}, ANSWER]
OVERRATED = {
    "instruction": "2+2?",
    "completions": [
        {
            "response": "5",
            "overall_score": 10,
            "annotations": {"truth": {"Rating": "1"}, "help": {"Rating": "2"}},
        },
        {"response": "4", "overall_score": 8, "annotations": {"truth": {"Rating": "5"}}},
    ],
}
LONG = "What is the sum of two and two?"

MENDED = [
    ("chat: unknown role", {"messages": [{**USER, "role": "Human"}, ANSWER]}, "did you mean 'user'", SUM),
    ("chat: last turn", {"messages": [USER, ANSWER, USER]}, "last turn is not the assistant's", SUM),
    ("chat: empty content", {"messages": [USER, ANSWER, {**USER, "content": ""}]}, "empty content", SUM),
    (
        "chat: null content",
        {"messages": [{"role": "system", "content": None}, USER, ANSWER]},
        "empty content",
        SUM,
    ),
    ("sharegpt: starts with gpt", {"conversations": [GPT, HUMAN, GPT]}, "begins with the assistant", SUM),
    ("sharegpt: odd count", {"conversations": [HUMAN, GPT, HUMAN]}, "last turn is not the assistant's", SUM),
    ("alpaca: input nan", {"instruction": "2+2?", "input": "nan", "output": "4"}, "a word for nothing", SUM),
    (
        "alpaca: noinput",
        {"instruction": "2+2?", "input": "<noinput>", "output": "4"},
        "a word for nothing",
        SUM,
    ),
    (
        "completion: repeated prompt",
        {"prompt": LONG, "completion": f"{LONG} 4"},
        "repeated in completion",
        Example((Message("text", LONG, weight=0.0), Message("text", " 4"))),
    ),
    (
        "pair: repeated prompt",
        {"prompt": LONG, "chosen": f"{LONG} 4", "rejected": f"{LONG} 5"},
        "is repeated",
        Example(
            (Message("text", LONG, weight=0.0),),
            chosen=(Message("text", " 4"),),
            rejected=(Message("text", " 5"),),
        ),
    ),
    (
        "pair: repeated turns",
        {"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [USER, WRONG]},
        "is repeated",
        PAIR,
    ),
    (
        "hh: spaces differ",
        {"chosen": f"{HH}4", "rejected": "\n\nHuman: 2+2? \n\nAssistant: 5"},
        "differ in spaces",
        PAIR,
    ),
    (
        "ultrafeedback: 10 for 1",
        OVERRATED,
        "meant is 1",
        Example(PAIR.messages, (), {"score_chosen": 8.0, "score_rejected": 1.0}, PAIR.chosen, PAIR.rejected),
    ),
    (
        "reasoning: first tag missing",
        {"messages": [USER, {**ANSWER, "content": "so</think>4"}]},
        "without <think>",
        chat([("user", "2+2?"), ("assistant", "<think>so</think>4")]),
    ),
]


@pytest.mark.parametrize(("name", "row", "reason", "mended"), MENDED, ids=[entry[0] for entry in MENDED])
def test_a_mechanical_fault_is_refused_and_mended_with_fix(name, row, reason, mended):
    _, found = read(row)
    assert any(reason in problem.reason and "--fix" in problem.reason for problem in found.problems), found
    example, fixed = read(row, fix=True)
    assert not fixed.problems
    assert fixed.changes
    assert example == mended


def test_turns_of_one_speaker_in_a_row_stay_with_one_note_and_are_joined_with_fix():
    row = {"messages": [*SAME, ANSWER]}
    example, found = read(row)
    assert [turn.content for turn in example.messages] == ["2+2?", "quick!", "4", "4"]
    assert not found.problems
    assert not found.changes
    assert [tuple(note)[:2] for note in found.notes] == [
        ("/messages/1", "two user turns in a row (--fix joins them)")
    ]
    joined, fixed = read(row, fix=True)
    assert joined == chat([("user", "2+2?\n\nquick!"), ("assistant", "4\n\n4")])
    assert [change.reason for change in fixed.changes] == [
        "joined to one user turn",
        "joined to one assistant turn",
    ]
    assert not fixed.notes


@pytest.mark.parametrize(
    "other",
    [{"weight": 0}, {"reasoning_content": "so"}, {"content": [{"type": "text", "text": "4", "weight": 1}]}],
    ids=["weight", "reasoning", "parts"],
)
def test_turns_in_a_row_that_differ_in_more_than_their_text_are_never_joined(other):
    row = {"messages": [USER, ANSWER, {**ANSWER, **other}]}
    example, found = read(row, fix=True)
    assert len(example.messages) == 3
    assert not found.changes
    assert [note.reason for note in found.notes] == [
        "two assistant turns in a row (not joined: weights, parts or reasoning differ)"
    ]


def test_a_call_in_sharegpt_keeps_its_weight_and_that_of_the_words_before_it():
    call = {"from": "function_call", "value": '{"name": "add", "arguments": {}}'}
    result = {"from": "observation", "value": "4"}
    words = {"from": "gpt", "value": "let me see", "weight": 0}
    example, _ = read({"conversations": [HUMAN, words, {**call, "weight": 0}, result, GPT]})
    assert [(turn.role, turn.weight, len(turn.tool_calls)) for turn in example.messages] == [
        ("user", None, 0), ("assistant", 0.0, 1), ("tool", None, 0), ("assistant", None, 0)
    ]  # fmt: skip
    apart, _ = read({"conversations": [HUMAN, words, call, result, GPT]})
    assert [turn.weight for turn in apart.messages] == [None, 0.0, None, None, None]


def test_dollys_context_is_what_the_instruction_works_on():
    row = {"instruction": "Sum up.", "context": "2+2", "response": "4"}
    assert read(row)[0] == chat([("user", "Sum up.\n\n2+2"), ("assistant", "4")])
    assert read({**row, "context": ""})[0] == chat([("user", "Sum up."), ("assistant", "4")])


def test_a_loss_weight_on_a_later_message_makes_the_row_llamafactorys():
    row = {"messages": [USER, {**ANSWER, "loss_weight": 0}, USER, ANSWER]}
    assert [shape.name for shape in fitting(row)] == ["llamafactory-v1"]
    example, _ = read(row)
    assert [turn.weight for turn in example.messages] == [None, 0.0, None, None]


def test_spaces_at_the_ends_are_only_taken_off_with_fix():
    row = {"messages": [USER, {**ANSWER, "content": " 4\n"}]}
    assert read(row)[0].answer == " 4\n"
    example, found = read(row, fix=True)
    assert example == SUM
    assert [change.reason for change in found.changes] == ["spaces taken off the ends"]


REFUSED = [
    ("chat: no assistant turn", {"messages": [USER]}, "no assistant turn"),
    ("chat: fractional weight", {"messages": [USER, {**ANSWER, "weight": 0.5}]}, "weight must be 0 or 1"),
    (
        "chat: a trainer's own weight",
        {"messages": [USER, {**ANSWER, "train": False}]},
        "write weight, 0 or 1",
    ),
    ("question: context", {"question": "q", "context": "c", "answer": "a"}, "hangs on 'context'"),
    ("question: system prompt", {"question": "q", "system_prompt": "s", "response": "a"}, "'system_prompt'"),
    ("prompt: input", {"prompt": "q", "input": "c", "response": "a"}, "hangs on 'input'"),
    ("chat: pair's key", {"messages": [USER, ANSWER], "chosen": "x"}, "belongs to another layout"),
    ("chat: images", {"messages": [USER, ANSWER], "images": ["a.png"]}, "images are not read"),
    (
        "sharegpt: unknown speaker",
        {"conversations": [{"from": "narrator", "value": "x"}, GPT]},
        "unknown role",
    ),
    (
        "sharegpt: no call",
        {"conversations": [HUMAN, {"from": "observation", "value": "4"}, GPT]},
        "without a call",
    ),
    (
        "sharegpt: call is no JSON",
        {"conversations": [HUMAN, {"from": "function_call", "value": "add"}]},
        "JSON text",
    ),
    ("alpaca: missing output", {"instruction": "a", "input": "", "output": ""}, "empty output"),
    ("alpaca: history", {"instruction": "a", "output": "b", "history": [["q"]]}, "[question, answer]"),
    ("pair: equal", {"prompt": "a", "chosen": "b", "rejected": "b"}, "are equal"),
    (
        "pair: other last user turn",
        {"chosen": [USER, ANSWER], "rejected": [{**USER, "content": "3+3?"}, WRONG]},
        "differ in a user turn",
    ),
    (
        "pair: one begins with the other",
        {"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, ANSWER]},
        "only the beginning",
    ),
    (
        "pair: prompt of others",
        {"prompt": "x", "chosen": [USER, ANSWER], "rejected": [USER, WRONG]},
        "not what",
    ),
    ("pair: repeated once", {"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [WRONG]}, "in one of"),
    (
        "ranking: even turn count",
        {"conversations": [HUMAN, GPT], "chosen": GPT, "rejected": GPT},
        "even number",
    ),
    (
        "binarized: tie",
        {"chosen": [USER, ANSWER], "rejected": [USER, WRONG], "score_chosen": 5, "score_rejected": 5},
        "no preference",
    ),
    (
        "binarized: swapped",
        {"chosen": [USER, ANSWER], "rejected": [USER, WRONG], "score_chosen": 1, "score_rejected": 5},
        "swapped?",
    ),
    (
        "ultrafeedback: tie",
        {
            "instruction": "a",
            "completions": [{"response": "b", "overall_score": 5}, {"response": "c", "overall_score": 5}],
        },
        "no preference",
    ),
    ("kto: label of no sense", label("good"), "true or false"),
    ("kto: label 2", label(2), "true or false"),
    (
        "stepwise: lengths differ",
        {"prompt": "a", "completions": ["b", "c"], "labels": [True]},
        "2 steps have 1",
    ),
    (
        "hh: Human inside text",
        {"chosen": f"{HH}4", "rejected": "\n\nHuman: a\n\nHuman: b\n\nAssistant: c"},
        "inside a text",
    ),
    ("hh: missing final Assistant", {"chosen": f"{HH}4\n\nHuman: a", "rejected": f"{HH}5"}, "does not end"),
    ("reasoning: unbalanced", {"messages": [USER, {**ANSWER, "content": "<think>so 4"}]}, "do not pair"),
    (
        "reasoning: leaked",
        {"messages": [USER, {**ANSWER, "content": "so</think>4", "thinking": "x"}]},
        "do not pair",
    ),
    (
        "v1: fractional loss weight",
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "value": "a"}]},
                {"role": "assistant", "content": [{"type": "text", "value": "a"}], "loss_weight": 0.5},
            ]
        },
        "weight must be 0 or 1",
    ),
    ("labelled text", {"text": "a", "label": 1}, "needs a mapping"),
    ("two layouts", {"messages": [USER, ANSWER], "text": "2+2=4"}, "openai-chat or text"),
]


@pytest.mark.parametrize(("name", "row", "reason"), REFUSED, ids=[entry[0] for entry in REFUSED])
def test_a_fault_that_no_machine_can_mend_is_refused_by_name(name, row, reason):
    for fix in (False, True):
        _, found = read(row, fix=fix)
        assert any(reason in problem.reason for problem in found.problems), found


CHANGED = [
    (
        "content as list",
        {"messages": [{**USER, "content": [{"type": "text", "text": "2+2?"}]}, ANSWER]},
        "joined",
    ),
    (
        "arguments an object",
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "function": {"name": "add", "arguments": {"a": 2}}}],
                },
            ],
            "tools": [TOOL],
        },
        "as JSON text",
    ),
    (
        "tools as JSON text",
        {"messages": [USER, ANSWER], "tools": '[{"function": {"name": "add"}}]'},
        "from JSON text",
    ),
    (
        "null padding",
        {
            "messages": [USER, ANSWER],
            "tools": [
                {
                    "function": {
                        "name": "add",
                        "parameters": {"properties": {"a": {"default": None}, "b": None}},
                    }
                }
            ],
        },
        "Arrow fills in",
    ),
    *((f"kto label {value!r}", label(value), "read as") for value in ("true", "False", 1, 0, -1, 1.0)),
]


@pytest.mark.parametrize(("name", "row", "reason"), CHANGED, ids=[entry[0] for entry in CHANGED])
def test_what_has_one_meaning_is_read_and_counted_as_a_change(name, row, reason):
    example, found = read(row)
    assert not found.problems
    assert example is not None
    assert any(reason in change.reason for change in found.changes), found


def test_nulls_of_arrow_go_and_nulls_that_mean_something_stay():
    example, _ = read(CHANGED[3][1])
    assert example.tools[0]["function"]["parameters"] == {"properties": {"a": {"default": None}}}


def calling(*after, name="add", arguments="{}"):
    call = {"id": "1", "function": {"name": name, "arguments": arguments}}
    return [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, *after]


RESULT = {"role": "tool", "content": "4", "tool_call_id": "1"}
NOTED = [
    ("undeclared tool", {"messages": calling(name="mul"), "tools": [TOOL]}, "that the row does not offer"),
    ("no tools at all", {"messages": calling()}, "the row offers none"),
    ("missing tool result", {"messages": calling(USER, ANSWER), "tools": [TOOL]}, "has no result"),
    ("result of no call", {"messages": calling(RESULT, RESULT, ANSWER), "tools": [TOOL]}, "answers no call"),
    ("arguments no JSON", {"messages": calling(arguments="a=2"), "tools": [TOOL]}, "no JSON object"),
    ("empty list of tools", {"conversations": [HUMAN, GPT], "tools": "[]"}, "it is empty"),
    ("missing separator", {"prompt": "two plus two", "completion": "four"}, "nothing separates"),
    ("glued sentence", {"prompt": "How much?", "completion": "four"}, "nothing separates"),
    ("double separator", {"prompt": "two plus two ", "completion": " four"}, "spaces on both sides"),
]


@pytest.mark.parametrize(("name", "row", "reason"), NOTED, ids=[entry[0] for entry in NOTED])
def test_what_somebody_should_look_at_is_kept_and_noted(name, row, reason):
    example, found = read(row)
    assert not found.problems
    assert example is not None
    assert any(reason in note.reason for note in found.notes), found


def test_a_faultless_row_with_calls_has_no_note():
    row = {"messages": calling(RESULT, ANSWER), "tools": [TOOL]}
    assert not read(row)[1].notes


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_is_kept_apart_and_written_back(key):
    example, found = read({"messages": [{"role": "developer", "content": "Hi"}, USER, {**ANSWER, key: "so"}]})
    assert not found.problems
    assert example.messages[2].reasoning == "so"
    assert example.to_json()["messages"][2]["reasoning_content"] == "so"
    assert Example.from_json(example.to_json()) == example
    assert example.row_hash != chat([("developer", "Hi"), ("user", "2+2?"), ("assistant", "4")]).row_hash


def test_words_and_a_call_are_one_turn_of_the_assistant():
    call = {"from": "function_call", "value": '[{"name": "add"}, {"name": "mul"}]'}
    results = [{"from": "observation", "value": text} for text in ("a", "b")]
    example, _ = read({"conversations": [HUMAN, {"from": "gpt", "value": "Let me see"}, call, *results, GPT]})
    assert [turn.role for turn in example.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert example.messages[1].content == "Let me see"
    assert [call["id"] for call in example.messages[1].tool_calls] == ["call_1", "call_2"]
    assert [turn.tool_call_id for turn in example.messages[2:4]] == ["call_1", "call_2"]


def test_a_fault_is_placed_under_the_names_that_the_file_uses():
    _, found = read({"conversations": [HUMAN, {"from": "gpt", "value": ""}]})
    assert found.problems[0].pointer == "/conversations/1/value"
    _, found = read(
        {"input": {"messages": [{}]}, "preferred_output": [ANSWER], "non_preferred_output": [WRONG]}
    )
    assert found.problems[0].pointer == "/input/messages/0"


def test_mending_leaves_the_space_that_separates_a_prompt_from_its_completion():
    example, found = read({"prompt": "Where is it?\n\n", "completion": " Over there."}, fix=True)
    assert [turn.content for turn in example.messages] == ["Where is it?\n\n", " Over there."]
    assert not found.changes


@pytest.mark.parametrize("shape", ["messages", "conversations"])
def test_turns_that_a_cell_of_a_table_holds_as_json_are_read(shape):
    turns = [USER, ANSWER] if shape == "messages" else [HUMAN, GPT]
    example, found = read({shape: json.dumps(turns)})
    assert example == SUM
    assert [change.reason for change in found.changes] == ["JSON in a text read as a list"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"conversations": [HUMAN, {**GPT, "loss": False}]}, "this says what is learned"),
        ({"messages": [USER, {**ANSWER, "channel": "analysis"}]}, "channels are not read"),
    ],
)
def test_keys_that_say_what_is_learned_are_never_left_out_in_silence(row, reason):
    _, found = read(row)
    assert any(reason in problem.reason for problem in found.problems)


def test_scores_of_a_pair_have_to_agree_with_its_order_and_are_kept():
    row = {"prompt": "2+2=", "chosen": "4", "rejected": "5", "score_chosen": 9.0, "score_rejected": 2.0}
    example, found = read(row)
    assert (example.metadata, found.changes) == ({"score_chosen": 9.0, "score_rejected": 2.0}, [])
    for chosen, reason in ((1.0, "swapped?"), (2.0, "no preference")):
        _, found = read({**row, "score_chosen": chosen})
        assert reason in found.problems[0].reason


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (" \n\n    if x:\n        y()\n ", "    if x:\n        y()"),
        ("  yes ", "yes"),
        ("yes\n  no", "yes\n  no"),
        ("\n yes\n", "yes"),
    ],
)
def test_mending_takes_spaces_off_the_ends_and_leaves_the_indent_of_code(text, mended):
    for row in ({"messages": [USER, {**ANSWER, "content": text}]}, {"instruction": "2+2?", "output": text}):
        example, found = read(row, fix=True)
        assert example.answer == mended
        assert bool(found.changes) == (text != mended)
