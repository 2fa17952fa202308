"""What stood around the questions that a model learned from, and requests held against it."""

import pytest

from tunesmith.core.conversation import Example, Message
from tunesmith.core.prompt_shape import PromptShape

ASK, SYSTEM, OTHER = Message("user", "Who?"), Message("system", "Be brief."), Message("developer", "Rhyme.")
ANSWER = Message("assistant", "Me.")
FIND = {"type": "function", "function": {"name": "find", "parameters": {}}}
SEND = {"name": "send"}


def example(*turns, tools=()):
    return Example((*turns, ASK, ANSWER), tools=tools)


SAME = [example(SYSTEM, tools=(FIND, SEND))] * 3
MIXED = [example(SYSTEM), example(), example(OTHER), example(tools=(FIND,))]
BARE = [example(), example()]
SEVERAL = [example(SYSTEM, tools=(FIND,)), example(OTHER, tools=(SEND,))]


@pytest.mark.parametrize(
    ("learned", "turns", "tools", "expected"),
    [
        (SAME, (SYSTEM, ASK), (SEND, FIND), ()),
        (SAME, (ASK,), (), ("system-missing", "tools-missing")),
        (SAME, (OTHER, ASK), (FIND,), ("system-other", "tools-other")),
        (BARE, (ASK,), (), ()),
        (BARE, (SYSTEM, ASK), (FIND,), ("system-unexpected", "tools-unexpected")),
        (MIXED, (ASK,), (), ()),
        (MIXED, (SYSTEM, ASK), (FIND,), ()),
        (MIXED, (ASK,), (SEND,), ("tools-other",)),
        (SEVERAL, (SYSTEM, ASK), (SEND,), ()),
        (SEVERAL, (Message("system", "New."), ASK), (SEND, FIND), ()),
        (SEVERAL, (ASK,), (SEND,), ("system-missing",)),
        ([], (SYSTEM, ASK), (FIND,), ()),
        ([Example((Message("text", "plain"),))], (SYSTEM, ASK), (), ()),
    ],
)
def test_a_request_deviates_where_it_is_unlike_every_example(learned, turns, tools, expected):
    assert PromptShape.of(learned).deviations(turns, tools) == expected


def test_a_shape_is_kept_beside_the_weights(tmp_path):
    assert PromptShape.read(tmp_path) is None
    made = PromptShape.of(SAME)
    made.write(tmp_path)
    assert PromptShape.read(tmp_path) == made == PromptShape(3, 3, "Be brief.", 3, "find, send")
