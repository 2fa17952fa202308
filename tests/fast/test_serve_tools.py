"""Tools over HTTP: the fake says what it is told, so a question that is a call is answered with a call."""

import json

import openai
import pytest
from live_server import live
from serving import Scripted, check, recorded, strict_client

from tunesmith.core.fake import FakeModel
from tunesmith.core.record import Record, RecordWriter
from tunesmith.runtime.tool_calls import CallFormat
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import Chunk, ToolUse, Usage
from tunesmith.serve.backends.upstream import open_upstream

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME = {"type": "function", "function": {"name": "time"}}


def call(name="weather", **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def says(text):
    return [{"role": "user", "content": text}]


class Asked(EchoBackend):
    """Remembers what it was asked."""

    def __init__(self):
        super().__init__(FakeModel())
        self.asked = []

    async def start(self, request):
        self.asked.append(request)
        async for chunk in super().start(request):
            yield chunk


@pytest.fixture
def backend():
    return Asked()


@pytest.fixture
def record(tmp_path):
    return tmp_path / "record.sqlite"


@pytest.fixture
def client(backend, record):
    writer = RecordWriter(record)
    with live(("fake", backend), writer=writer) as running, strict_client(running.url) as made:
        yield made
    writer.close()


def ask(client, text, **more):
    messages = text if isinstance(text, list) else says(text)
    fields = {"tools": [WEATHER, TIME], **more}
    return client.chat.completions.create(model="fake", messages=messages, **fields)


def test_a_call_is_told_from_the_text_around_it(client, backend):
    made = ask(client, "Let me see. " + call(city="Rome") + "\n" + call("time"))
    (choice,) = made.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    calls = choice.message.tool_calls
    assert [one.function.name for one in calls] == ["weather", "time"]
    assert json.loads(calls[0].function.arguments) == {"city": "Rome"}
    assert len({one.id for one in calls}) == 2
    check(made.to_dict(), "CreateChatCompletionResponse")
    assert [tool["function"]["name"] for tool in backend.asked[0].prompt.tools] == ["weather", "time"]


def test_a_call_alone_has_no_content(client):
    message = ask(client, call(city="Rome")).choices[0].message
    assert message.content is None
    assert len(message.tool_calls) == 1


def test_an_answer_without_a_call_is_text(client):
    (choice,) = ask(client, "no tools today").choices
    assert (choice.finish_reason, choice.message.content) == ("stop", "no tools today")
    assert choice.message.tool_calls is None


def test_a_streamed_call_comes_whole(client):
    chunks = list(ask(client, "Wait. " + call(city="Rome") + call("time"), stream=True))
    for chunk in chunks:
        check(chunk.to_dict(), "CreateChatCompletionStreamResponse")
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == "Wait."
    calls = [one for delta in deltas for one in delta.tool_calls or ()]
    assert [(one.index, one.function.name) for one in calls] == [(0, "weather"), (1, "time")]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_each_of_several_answers_has_its_calls(client):
    made = ask(client, call(city="Rome"), n=2)
    assert [len(choice.message.tool_calls) for choice in made.choices] == [1, 1]


def test_one_call_at_a_time_ends_the_answer_behind_it(client, backend):
    made = ask(client, call(city="Rome") + "\n" + call("time"), parallel_tool_calls=False)
    (choice,) = made.choices
    assert [one.function.name for one in choice.message.tool_calls] == ["weather"]
    assert choice.finish_reason == "tool_calls"
    assert backend.asked[0].stop == ("</tool_call>",)
    with pytest.raises(openai.BadRequestError, match="parallel_tool_calls"):
        ask(client, "x", parallel_tool_calls=False, stop="y")


def test_a_required_call_is_held_to_by_a_grammar(client, backend):
    for choice, names in (
        ("required", ["weather", "time"]),
        ({"type": "function", "function": {"name": "time"}}, ["time"]),
    ):
        with pytest.raises(openai.BadRequestError, match="knows no grammar"):
            ask(client, "x", tool_choice=choice)
        grammar = backend.asked.pop().grammar
        assert grammar.kind == "lark"
        assert [name for name in ("weather", "time") if f'"const": "{name}"' in grammar.text] == names
    assert "schema" not in grammar.text
    with pytest.raises(openai.BadRequestError, match="response_format"):
        ask(client, "x", tool_choice="required", response_format={"type": "json_object"})


def test_tools_that_may_not_be_called_are_not_shown(client, backend):
    made = ask(client, call(city="Rome"), tool_choice="none")
    assert made.choices[0].message.content == call(city="Rome")
    assert backend.asked[0].prompt.tools == ()


def test_calls_and_their_results_are_taken_back(client, backend):
    first = ask(client, call(city="Rome")).choices[0].message
    turns = [
        *says("weather?"),
        first.to_dict(),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"},
        *says("and now?"),
    ]
    ask(client, turns)
    turn, result = backend.asked[-1].prompt.messages[1:3]
    assert (turn.content, turn.tool_calls[0]["function"]["name"]) == (None, "weather")
    assert (result.role, result.content, result.tool_call_id) == ("tool", "sunny", first.tool_calls[0].id)


WRONG = [
    ({"tools": [], "tool_choice": "required"}, "only allowed when 'tools' are specified"),
    ({"tools": [TIME, TIME]}, "two tools are called 'time'"),
    ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "is none of the tools: weather, time"),
    ({"tool_choice": "maybe"}, "Invalid 'tool_choice': expected 'none', 'auto', 'required' or"),
    ({"tool_choice": {"type": "custom"}}, "Invalid 'tool_choice': expected"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "Invalid value: 'custom'"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "name"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "has a 'tool_call_id'"),
    ({"messages": [{"role": "user", "content": "x", "tool_call_id": "1"}]}, "has a 'tool_call_id'"),
    (
        {"messages": [{"role": "user", "content": "x", "tool_calls": [{"id": "1", "type": "function"}]}]},
        "only an assistant calls tools",
    ),
    ({"messages": [{"role": "assistant", "content": None}]}, "got null"),
    ({"functions": [{"name": "x"}]}, "use 'tools' and 'tool_choice'"),
]


@pytest.mark.parametrize(("fields", "said"), WRONG)
def test_what_makes_no_sense_is_refused(client, fields, said):
    body = {"model": "fake", "messages": says("x"), "tools": [WEATHER, TIME], **fields}
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/chat/completions", body=body, cast_to=object)
    assert said in raised.value.body["message"]


def test_calls_are_recorded_beside_the_text(client, record):
    ask(client, "Wait. " + call(city="Rome"))
    entry = recorded(Record(record))
    assert (entry.answer, entry.finish_reason) == ("Wait.", "tool_calls")
    ((made,),) = entry.parameters["tool_calls"]
    assert made["function"]["name"] == "weather"


class NoForm(EchoBackend):
    """A model whose template shows no tools."""

    def tool_use(self):
        return None


class Bare(EchoBackend):
    """A model that writes calls as bare JSON, one in an answer."""

    def tool_use(self):
        return ToolUse(CallFormat("", "", "", "name", "parameters"))


def test_a_model_that_cannot_call_tools_says_so():
    with live(("fake", NoForm(FakeModel()))) as running, strict_client(running.url) as client:
        with pytest.raises(openai.BadRequestError, match="its chat template shows none"):
            ask(client, "x")
        assert ask(client, "x", tool_choice="none").choices[0].message.content == "x"


def test_another_form_of_calls_is_read_as_well():
    with live(("fake", Bare(FakeModel()))) as running, strict_client(running.url) as client:
        made = ask(client, '{"name": "time", "parameters": {}}', parallel_tool_calls=False)
        assert made.choices[0].message.tool_calls[0].function.name == "time"


def test_a_server_in_front_passes_tools_and_calls_on(backend):
    with live(("fake", backend)) as behind:
        front = open_upstream(behind.url, None)["fake"]
        with live(("fake", front)) as running, strict_client(running.url) as client:
            made = ask(client, "Wait. " + call(city="Rome") + call("time"))
            (choice,) = made.choices
            assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Wait.")
            assert [one.function.name for one in choice.message.tool_calls] == ["weather", "time"]
            assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": "Rome"}
            ask(client, call("time"), parallel_tool_calls=False)
            assert backend.asked[-1].calling.several is False
            with pytest.raises(openai.BadRequestError, match="knows no grammar"):
                ask(client, "x", tool_choice={"type": "function", "function": {"name": "time"}})
            assert backend.asked[-1].calling.only == "time"


def test_an_answer_that_is_cut_off_inside_a_call_is_given_as_text():
    half = '<tool_call>\n{"name": "ti'
    scripted = Scripted(lambda request: [Chunk(half), Chunk("", "length", Usage(1, 2))])
    scripted.calls_itself = False
    scripted.tool_use = EchoBackend(FakeModel()).tool_use
    with live(("fake", scripted)) as running, strict_client(running.url) as client:
        (choice,) = ask(client, "x").choices
        assert (choice.finish_reason, choice.message.content) == ("length", half)
