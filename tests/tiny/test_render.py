import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML, tiny_tokenizer

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import DataError, ModelError
from tunesmith.runtime.render import render, render_prompt

TOKENIZER = tiny_tokenizer()
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=0, max_size=20)


def supervised_text(example: Example, tokenizer=TOKENIZER) -> str:
    encoded = render(example, tokenizer)
    return tokenizer.decode([token for token, on in zip(*encoded, strict=True) if on])


@given(question=TEXT, answer=TEXT, again=TEXT)
def test_the_token_ids_are_those_of_the_template(question: str, answer: str, again: str):
    example = chat([("user", question), ("assistant", answer), ("user", again), ("assistant", answer)])
    turns = [{"role": turn.role, "content": turn.content} for turn in example.messages]
    expected = TOKENIZER.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert list(render(example, TOKENIZER).token_ids) == expected


@given(question=TEXT, answer=TEXT)
def test_what_is_supervised_follows_what_a_server_sends(question: str, answer: str):
    example = chat([("system", "Be brief."), ("user", question), ("assistant", answer)])
    encoded = render(example, TOKENIZER)
    prompt = render_prompt(example.prompt, TOKENIZER)
    assert list(encoded.token_ids[: len(prompt)]) == prompt
    assert encoded.supervised.index(True) == len(prompt)


def test_each_assistant_turn_and_its_end_token_are_supervised_and_nothing_else():
    example = chat([("user", "hi"), ("assistant", "hello"), ("user", "more"), ("assistant", "no")])
    assert supervised_text(example) == "hello<|im_end|>no<|im_end|>"


def test_a_turn_of_weight_zero_is_read_and_not_learned():
    messages = (Message("user", "a"), Message("assistant", "b", weight=0), Message("assistant", "c"))
    assert supervised_text(Example(messages)) == "c<|im_end|>"


def test_content_null_is_refused_with_its_place():
    with pytest.raises(DataError, match="messages/1/content: content is null"):
        render(Example((Message("user", "a"), Message("assistant", None))), TOKENIZER)


def test_tools_that_the_template_ignores_are_refused():
    example = Example((Message("user", "a"), Message("assistant", "b")), tools=({"type": "function"},))
    with pytest.raises(DataError, match="ignores them"):
        render(example, TOKENIZER)


def test_tool_calls_that_the_template_ignores_are_refused():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with pytest.raises(DataError, match="ignores tool calls"):
        render(Example((Message("user", "a"), Message("assistant", None, tool_calls=(call,)))), TOKENIZER)


def test_a_tokenizer_without_template_is_refused():
    with pytest.raises(ModelError, match="no chat template"):
        render(chat([("user", "a"), ("assistant", "b")]), tiny_tokenizer(None))


def test_a_template_that_rewrites_earlier_turns_is_refused():
    rewriting = tiny_tokenizer("{% if messages|length > 2 %}long {% endif %}" + CHATML)
    example = chat([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")])
    with pytest.raises(ModelError, match="rewrites earlier turns"):
        render(example, rewriting)


def test_a_template_without_an_end_of_turn_token_is_refused():
    endless = tiny_tokenizer(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    with pytest.raises(ModelError, match="would never stop"):
        render(chat([("user", "a"), ("assistant", "b")]), endless)


def test_a_complaint_of_the_template_reaches_the_user():
    strict = tiny_tokenizer("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(DataError, match="roles must alternate"):
        render(chat([("user", "a"), ("assistant", "b")]), strict)
