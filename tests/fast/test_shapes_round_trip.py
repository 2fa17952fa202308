"""Every layout that is written holds the example, or says that it cannot; and nothing crashes a reader."""

import io
import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.core.conversation import Example, GradedStep, Message
from tunesmith.core.errors import UserError
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.read import Reading, read_stream
from tunesmith.core.formats.shapes.registry import SHAPES, fitting
from tunesmith.core.formats.writers.port import Unfit
from tunesmith.core.formats.writers.registry import WRITERS, write_row

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
ASKED = st.builds(Message, st.just("user"), TEXTS)
SAID = st.builds(Message, st.just("assistant"), TEXTS)
THOUGHT = st.builds(Message, st.just("assistant"), TEXTS, reasoning=st.none() | TEXTS)
WEIGHED = st.builds(Message, st.just("assistant"), TEXTS, weight=st.sampled_from([None, 1.0]))
SYSTEM = st.builds(Message, st.just("system"), TEXTS)
METADATA = st.just({}) | st.fixed_dictionaries({"source": TEXTS, "group_id": st.integers()})
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def without_tags(example):
    """`<think>` and `Human:` in a text mean something to readers; other tests look at them."""
    return "think>" not in json.dumps(example.to_json())


@st.composite
def conversations(draw, *, systems=True, answers=THOUGHT, tools=False):
    start = draw(st.lists(SYSTEM, max_size=1)) if systems else []
    rounds = draw(st.lists(st.tuples(ASKED, answers), min_size=1, max_size=3))
    turns = [turn for pair in rounds for turn in pair]
    if tools and draw(st.booleans()):
        calls = [
            {"id": f"id{number}", "type": "function", "function": {"name": "add", "arguments": text}}
            for number, text in enumerate(
                draw(st.lists(st.sampled_from(['{"a": 1}', "{}", "a"]), min_size=1))
            )
        ]
        results = [Message("tool", draw(TEXTS), tool_call_id=call["id"]) for call in calls]
        turns[-1:] = [Message("assistant", None, tool_calls=tuple(calls)), *results, turns[-1]]
    return Example((*start, *turns), (TOOL,) if tools else (), draw(METADATA))


@st.composite
def pairs(draw, *, systems=True, answers=SAID):
    base = draw(conversations(systems=systems, answers=answers))
    chosen, rejected = draw(st.lists(answers, min_size=2, max_size=2, unique_by=lambda turn: turn.content))
    return Example(base.messages[:-1], (), base.metadata, (chosen,), (rejected,))


@st.composite
def text_pairs(draw):
    prompt, chosen, rejected = draw(st.lists(TEXTS, min_size=3, max_size=3, unique=True))
    sides = ((Message("text", chosen),), (Message("text", rejected),))
    return Example((Message("text", prompt, weight=0.0),), (), draw(METADATA), *sides)


PLAIN = st.builds(lambda text, metadata: Example((Message("text", text),), (), metadata), TEXTS, METADATA)
COMPLETIONS = st.builds(
    lambda prompt, text: Example((Message("text", prompt, weight=0.0), Message("text", text))), TEXTS, TEXTS
).filter(lambda one: not one.answer.startswith(one.messages[0].content))
RATED = st.builds(
    lambda one, label: Example(one.messages, one.tools, one.metadata, label=label),
    conversations(tools=True) | COMPLETIONS,
    st.booleans(),
)
CHAT_RATED = st.builds(
    lambda one, label: Example(one.messages, one.tools, one.metadata, label=label),
    conversations(tools=True),
    st.booleans(),
)
STEPS = st.builds(
    lambda prompt, steps: Example(prompt, steps=tuple(steps)),
    st.tuples(ASKED) | st.tuples(TEXTS.map(lambda text: Message("text", text, weight=0.0))),
    st.lists(st.builds(GradedStep, TEXTS, st.booleans()), min_size=1, max_size=4),
)
SCORED = st.builds(
    lambda one, low: Example(
        one.messages, (), {"score_chosen": low + 1, "score_rejected": low}, one.chosen, one.rejected
    ),
    pairs(),
    st.integers(0, 9),
)
SIMPLE = conversations(answers=SAID)
ONE = st.builds(lambda ask, say: Example((ask, say)), ASKED, SAID)
ONE_PAIR = pairs().filter(lambda one: sum(turn.role == "user" for turn in one.messages) == 1)
RATED_PAIR = st.builds(
    lambda one, low: replace(one, metadata={"score_chosen": low + 1, "score_rejected": low}),
    ONE_PAIR.filter(lambda one: len(one.messages) == 1),
    st.integers(0, 8),
)
TALKS = pairs(systems=False).filter(
    lambda one: not any(mark in json.dumps(one.to_json()) for mark in ("Human", "Assistant"))
)

FITTING = {
    "tunesmith": conversations(tools=True) | PLAIN | COMPLETIONS | pairs() | text_pairs() | RATED | STEPS,
    "openai-chat": conversations(tools=True, answers=THOUGHT | WEIGHED),
    "openai-preference": pairs(),
    "trl-conversational": conversations(tools=True),
    "sharegpt": conversations(tools=True, answers=THOUGHT | WEIGHED),
    "llamafactory-ranking": pairs(),
    "llamafactory-v1": conversations(tools=True, answers=THOUGHT | WEIGHED),
    "llamafactory-v1-pair": pairs(),
    "alpaca": SIMPLE,
    "prompt-response": ONE,
    "question-answer": ONE,
    "question-response": ONE,
    "query-response": ONE,
    "text-input-output": ONE,
    "input-output": ONE,
    "prompt-completion": COMPLETIONS,
    "text": PLAIN,
    "preference": pairs(answers=THOUGHT) | text_pairs(),
    "preference-implicit": pairs(answers=THOUGHT),
    "ultrafeedback-binarized": SCORED,
    "preference-question": ONE_PAIR,
    "ultrafeedback": RATED_PAIR,
    "hh": TALKS,
    "kto": RATED,
    "rated-chat": CHAT_RATED,
    "sharegpt-rated": CHAT_RATED,
    "alpaca-kto": st.builds(lambda one, label: replace(one, label=label), SIMPLE, st.booleans()),
    "stepwise": STEPS,
}


def test_every_layout_that_is_written_is_tried():
    assert FITTING.keys() == WRITERS.keys()


def test_every_layout_that_is_read_is_written():
    of_our_own = {"pair-chat", "steps-chat"}  # what the writer `tunesmith` writes of pairs and steps
    needs_a_mapping = {"labelled-text"}
    written = {writer.shape for writer in WRITERS.values()}
    assert SHAPES.keys() - written == of_our_own | needs_a_mapping


@pytest.mark.parametrize("name", sorted(FITTING))
def test_what_is_written_is_read_as_the_same_example(name):
    writer = WRITERS[name]

    @settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much])
    @given(FITTING[name].filter(without_tags))
    def check(example):
        row = json.loads(json.dumps(writer.write(example)))
        names = {shape.name for shape in fitting(row)}
        assert writer.shape in names or writer.shape == "mixed"
        (read,) = read_stream(io.BytesIO(json.dumps(row).encode() + b"\n"), "x.jsonl", Reading(writer.shape))
        assert not read.problems, read
        assert read.example == writer.level(example)
        assert write_row(example, writer) == row

    check()


ANYTHING = st.one_of(*(FITTING[name] for name in ("tunesmith", "ultrafeedback-binarized", "openai-chat")))


@settings(max_examples=60)
@given(ANYTHING, st.sampled_from(sorted(WRITERS)))
def test_a_layout_holds_all_of_an_example_or_refuses_it(example, name):
    writer = WRITERS[name]
    try:
        row = write_row(example, writer)
    except Unfit as error:
        assert str(error)  # noqa: PT017
        return
    shapes = [SHAPES[writer.shape]] if writer.shape in SHAPES else fitting(row)
    assert shapes[0].read(row, Findings()) == writer.level(example)


@pytest.mark.parametrize(
    ("name", "example", "why"),
    [
        ("alpaca", Example((Message("user", "a"), Message("assistant", "b")), (TOOL,)), "no place for tools"),
        ("alpaca", Example((Message("user", "a", name="Ann"), Message("assistant", "b"))), "names"),
        ("alpaca", Example((Message("user", "a"), Message("assistant", "b", weight=1.0))), "weights"),
        ("openai-chat", Example((Message("text", "a"),)), "this is plain text"),
        (
            "openai-chat",
            Example((Message("user", "a"), Message("assistant", "b")), label=True),
            "rated answers",
        ),
        (
            "sharegpt",
            Example((Message("developer", "x"), Message("user", "a"), Message("assistant", "b"))),
            "role",
        ),
        ("text", Example((Message("text", "a", weight=1.0),)), "/messages/*/weight would be lost"),
        (
            "hh",
            Example(
                (Message("user", "a\n\nHuman: b"),),
                chosen=(Message("assistant", "c"),),
                rejected=(Message("assistant", "d"),),
            ),
            "inside a text",
        ),
    ],
)
def test_what_a_layout_cannot_hold_is_named(name, example, why):
    with pytest.raises(Unfit, match=r".*") as caught:
        write_row(example, WRITERS[name])
    assert why in str(caught.value)


WORDS = [
    "user",
    "assistant",
    "human",
    "gpt",
    "tool",
    "function_call",
    "observation",
    "system",
    "text",
    "",
    "nan",
]
WORDS += [
    "\n\nHuman: a\n\nAssistant: b",
    "[]",
    "{}",
    '{"name": "f"}',
    "true",
    "</think>a",
    "value",
    "reasoning",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=4)
)
KEYS = sorted(
    {
        key
        for name in [
            "role",
            "content",
            "name",
            "tool_calls",
            "tool_call_id",
            "weight",
            "from",
            "value",
            "type",
            "text",
            "loss_weight",
            "id",
            "function",
            "arguments",
            "parameters",
            "metadata",
            "group",
            "system",
            "tools",
            "input",
            "history",
            "response",
            "overall_score",
            "annotations",
            "Rating",
            "score_chosen",
            "score_rejected",
            "instruction",
            "output",
            "question",
            "answer",
            "thinking",
            "reasoning_content",
        ]
        for key in [name]
    }
    | {
        "messages",
        "conversations",
        "conversation",
        "prompt",
        "completion",
        "completions",
        "chosen",
        "rejected",
        "label",
        "labels",
        "kto_tag",
        "steps",
        "preferred_output",
        "non_preferred_output",
        "chosen_messages",
        "rejected_messages",
        "query",
        "text_input",
        "images",
    }
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
ROWS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)


@pytest.mark.parametrize("fix", [False, True])
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_no_value_crashes_a_layout(name, fix):
    shape = SHAPES[name]

    @settings(max_examples=25)
    @given(ROWS)
    def check(row):
        found = Findings(fix)
        example = shape.read(row, found)
        assert example is not None or found.problems
        if example is not None and not found.problems:
            again = Example.from_json(json.loads(json.dumps(example.to_json())))
            assert again == example

    check()


@settings(max_examples=80)
@given(st.lists(ROWS | VALUES, max_size=6), st.sampled_from([None, "mixed", "sharegpt"]), st.booleans())
def test_every_row_of_a_file_is_accounted_for(rows, shape, fix):
    content = "".join(json.dumps(row) + "\n" for row in [{"id": 1}, *rows]).encode()
    try:
        read = list(read_stream(io.BytesIO(content), "x.jsonl", Reading(shape, fix=fix)))
    except UserError:
        return
    assert [row.line for row in read] == list(range(1, len(rows) + 2))
    assert all((row.example is None) == bool(row.problems) for row in read)
