"""Two ways to find what is learned, sharing no code: they agree, and a fault in either is seen."""

from pathlib import Path

import pytest
from chat_templates import (
    CALLS_AS_OBJECTS,
    CALLS_AS_TEXT,
    DEFAULT_SYSTEM,
    ENDS_THE_CONVERSATION,
    TRIMS,
    WRITES_BEFORE_ANSWERS,
    merging_tokenizer,
    with_template,
)
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML, tiny_tokenizer

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.recipe import Recipe
from tunesmith.runtime import mask_oracle, render, templates
from tunesmith.runtime.encoding import add_to_tokenizer, open_encoder
from tunesmith.runtime.mask_oracle import compare

CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
TWO_ANSWERS = chat([("user", "a"), ("assistant", "b c"), ("user", "d"), ("assistant", "e")])
OURS = templates.CHATML.read_text()
LETTERS = st.text("ab c\n.é😀", min_size=1, max_size=8)


def recipe(**objective: object) -> Recipe:
    return Recipe(data="d", objective=objective)


def checked(example: Example, tokenizer, **objective: object):
    settings = recipe(**objective)
    encoder = open_encoder(settings, tokenizer)
    return compare(example, encoder.encode(example, key="k"), tokenizer, settings.objective)


@st.composite
def conversations(draw) -> Example:
    turns = [Message("system", "be brief")] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns.append(Message("user", draw(LETTERS)))
        parts = draw(st.lists(st.tuples(LETTERS, st.sampled_from([0.0, 1.0])), max_size=3))
        if parts:
            turns.append(Message("assistant", "".join(text for text, _ in parts), parts=tuple(parts)))
        else:
            turns.append(Message("assistant", draw(LETTERS), weight=draw(st.sampled_from([None, 0.0, 1.0]))))
    return Example(tuple(turns))


@pytest.mark.parametrize(
    "template", [CHATML, OURS, DEFAULT_SYSTEM, ENDS_THE_CONVERSATION, WRITES_BEFORE_ANSWERS]
)
@given(example=conversations(), learn=st.sampled_from(["assistant", "last", "all"]))
def test_both_ways_agree_on_every_conversation(template: str, example: Example, learn: str):
    tokenizer = TOKENIZERS.setdefault(template, with_template(template))
    assert checked(example, tokenizer, learn=learn).agrees


TOKENIZERS: dict[str, object] = {}


@given(example=conversations(), learn=st.sampled_from(["assistant", "last", "all"]))
def test_both_ways_agree_where_letters_melt_into_tokens(example: Example, learn: str):
    tokenizer = TOKENIZERS.setdefault("merging", merging_tokenizer())
    tokenizer.chat_template = CHATML
    if any((turn.content or "").startswith("\n") for turn in example.messages if turn.role == "assistant"):
        return  # it melts into the prompt, and is refused
    assert checked(example, tokenizer, learn=learn).agrees


@pytest.mark.parametrize("template", [CALLS_AS_OBJECTS, CALLS_AS_TEXT, OURS])
def test_both_ways_agree_on_tool_calls(template: str):
    messages = (
        Message("user", "1 + 0?"),
        Message("assistant", None, tool_calls=(CALL,)),
        Message("tool", "1", tool_call_id="1"),
        Message("assistant", "One."),
    )
    found = checked(Example(messages, tools=(TOOL,)), with_template(template))
    assert found.agrees
    assert found.num_learned > 15


def test_both_ways_agree_where_the_template_trims():
    found = checked(chat([("user", "a"), ("assistant", " b ")]), with_template(TRIMS))
    assert found.agrees
    assert found.num_learned == 2


@given(texts=st.lists(st.tuples(LETTERS, st.sampled_from([0.0, 1.0])), min_size=1, max_size=4))
def test_both_ways_agree_on_plain_text(texts):
    example = Example(tuple(Message("text", text, weight=weight) for text, weight in texts))
    assert checked(example, TOKENIZERS.setdefault("plain", tiny_tokenizer(None))).agrees
    assert checked(example, TOKENIZERS.setdefault("plain merging", merging_tokenizer())).agrees


def test_rearranged_text_is_learned_whole():
    tokenizer = tiny_tokenizer(None)
    settings = {"kind": "text", "fill_in_the_middle": {"rate": 1.0}}
    add_to_tokenizer(open_encoder(recipe(**settings), tokenizer).new_tokens, tokenizer)
    assert checked(Example((Message("text", "def f(): pass"),)), tokenizer, **settings).agrees


def shifted(found):
    """A turn that begins a token late."""
    chars, tokens = found
    return chars, tokens._replace(begin=tokens.begin + 1)


def without_end(found):
    """A turn without its end-of-turn token: the model would never stop."""
    chars, tokens = found
    return chars, tokens._replace(end=tokens.end - 1)


@pytest.mark.parametrize(("fault", "places"), [(shifted, 2), (without_end, 2)])
def test_a_fault_planted_in_the_first_way_is_seen(monkeypatch, fault, places: int):
    true = render.find_turn
    monkeypatch.setattr(render, "find_turn", lambda *arguments: fault(true(*arguments)))
    assert len(checked(TWO_ANSWERS, tiny_tokenizer()).differences) == places


def test_a_question_that_is_learned_by_mistake_is_seen():
    tokenizer, settings = tiny_tokenizer(), recipe()
    encoded = open_encoder(settings, tokenizer).encode(TWO_ANSWERS, key="k")
    leaky = encoded._replace(weights=(1.0,) * len(encoded.weights))
    found = compare(TWO_ANSWERS, leaky, tokenizer, settings.objective)
    assert len(found.differences) == len(encoded.weights) - found.num_learned


def test_a_fault_planted_in_the_second_way_is_seen(monkeypatch):
    true = mask_oracle.answer_start
    monkeypatch.setattr(mask_oracle, "answer_start", lambda *arguments: true(*arguments) + 1)
    assert not checked(TWO_ANSWERS, tiny_tokenizer()).agrees
    monkeypatch.setattr(mask_oracle, "answer_start", lambda *arguments: None)
    assert "is not found" in checked(TWO_ANSWERS, tiny_tokenizer()).problem


def test_tokens_that_the_template_would_not_write_are_a_problem():
    tokenizer, settings = tiny_tokenizer(), recipe()
    encoded = open_encoder(settings, tokenizer).encode(TWO_ANSWERS, key="k")
    other = encoded._replace(token_ids=(*encoded.token_ids[:-1], 0))
    assert compare(TWO_ANSWERS, other, tokenizer, settings.objective).problem.endswith("these tokens")
    plain = Example((Message("text", "abc"),))
    encoded = open_encoder(settings, tokenizer).encode(plain, key="k")
    cut = encoded._replace(token_ids=encoded.token_ids[:-1], weights=encoded.weights[:-1])
    assert "does not end" in compare(plain, cut, tokenizer, settings.objective).problem
    wrong = encoded._replace(token_ids=(7, *encoded.token_ids[1:]))
    assert "do not read" in compare(plain, wrong, tokenizer, settings.objective).problem


def test_the_second_way_shares_no_code_with_the_first():
    text = Path(mask_oracle.__file__).read_text()
    assert "runtime.render" not in text
    assert "runtime.templates" not in text
