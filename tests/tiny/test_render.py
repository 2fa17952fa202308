import pytest
from chat_templates import (
    CALLS_AS_OBJECTS,
    CALLS_AS_TEXT,
    DEFAULT_SYSTEM,
    DROPS_SYSTEM,
    DROPS_THINKING,
    ENDS_THE_CONVERSATION,
    PROMPTS_TO_THINK,
    TRIMS,
    WRITES_BEFORE_ANSWERS,
    WRITES_REASONING,
    merging_tokenizer,
    with_template,
)
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML, tiny_tokenizer

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import ConfigError, DataError, ModelError
from tunesmith.runtime.render import end_of_turn_id, render, render_prompt
from tunesmith.runtime.templates import CHATML as OUR_CHATML
from tunesmith.runtime.templates import choose_template, control_tokens, describe, traits_of

TOKENIZER = tiny_tokenizer()
OURS = tiny_tokenizer(OUR_CHATML.read_text())
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=0, max_size=20)
CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALLING = Example(
    (
        Message("user", "1 + 0?"),
        Message("assistant", None, tool_calls=(CALL,)),
        Message("tool", "1", tool_call_id="1"),
        Message("assistant", "One."),
    ),
    tools=(TOOL,),
)


def learned_text(example: Example, tokenizer=TOKENIZER, **options) -> str:
    encoded = render(example, tokenizer, **options)
    return tokenizer.decode([token for token, weight in zip(*encoded, strict=True) if weight])


@given(question=TEXT, answer=TEXT, again=TEXT)
def test_the_token_ids_are_those_of_the_template(question: str, answer: str, again: str):
    example = chat([("user", question), ("assistant", answer), ("user", again), ("assistant", answer)])
    turns = [{"role": turn.role, "content": turn.content} for turn in example.messages]
    expected = TOKENIZER.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert list(render(example, TOKENIZER).token_ids) == expected


@given(question=TEXT, answer=TEXT)
def test_what_is_learned_follows_what_a_server_sends(question: str, answer: str):
    example = chat([("system", "Be brief."), ("user", question), ("assistant", answer)])
    encoded = render(example, TOKENIZER)
    prompt = render_prompt(example.prompt, TOKENIZER)
    assert list(encoded.token_ids[: len(prompt)]) == prompt
    assert encoded.weights.index(1) == len(prompt)


def test_each_assistant_turn_and_its_end_token_are_learned_and_nothing_else():
    example = chat([("user", "hi"), ("assistant", "hello"), ("user", "more"), ("assistant", "no")])
    assert learned_text(example) == "hello<|im_end|>no<|im_end|>"


def test_the_recipe_may_learn_the_last_turn_only_or_every_token():
    example = chat([("user", "hi"), ("assistant", "hello"), ("user", "more"), ("assistant", "no")])
    assert learned_text(example, learn="last") == "no<|im_end|>"
    assert learned_text(example, learn="all") == TOKENIZER.decode(render(example, TOKENIZER).token_ids)


@pytest.mark.parametrize(
    ("learn", "expected"),
    [
        ("assistant", "c<|im_end|>"),
        ("last", "c<|im_end|>"),
        (
            "all",
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n\n<|im_start|>assistant\nc<|im_end|>\n",
        ),
    ],
)
def test_a_turn_of_weight_zero_is_read_and_never_learned(learn: str, expected: str):
    messages = (Message("user", "a"), Message("assistant", "b", weight=0), Message("assistant", "c"))
    assert learned_text(Example(messages), learn=learn) == expected


def test_a_last_turn_of_weight_zero_leaves_nothing_to_learn_of_the_last():
    messages = (Message("user", "a"), Message("assistant", "b"), Message("assistant", "c", weight=0))
    assert learned_text(Example(messages), learn="last") == ""


def in_parts(*parts: tuple[str, float]) -> Example:
    text = "".join(part for part, _ in parts)
    return Example((Message("user", "q"), Message("assistant", text, parts=parts)))


def test_of_a_turn_in_parts_those_with_weight_are_learned_and_the_end_goes_with_the_last():
    assert learned_text(in_parts(("think ", 0), ("42", 1))) == "42<|im_end|>"
    assert learned_text(in_parts(("42", 1), (" or so", 0))) == "42"
    whole = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n42<|im_end|>\n"
    assert learned_text(in_parts(("think ", 0), ("42", 1)), learn="all") == whole


def test_a_token_that_reaches_over_the_edge_of_a_part_is_not_learned():
    tokenizer = merging_tokenizer()
    tokenizer.chat_template = CHATML
    assert learned_text(in_parts(("x", 0), ("abc", 1)), tokenizer) == "abc<|im_end|>"
    assert learned_text(in_parts(("xa", 0), ("bcy", 1)), tokenizer) == "y<|im_end|>"


@given(
    parts=st.lists(
        st.tuples(st.text("ab é😀\n", max_size=5), st.sampled_from([0.0, 1.0])), min_size=1, max_size=5
    )
)
def test_the_learned_parts_are_learned_to_the_letter(parts):
    expected = "".join(text for text, weight in parts if weight)
    expected += "<|im_end|>" if parts[-1][1] else ""
    assert learned_text(in_parts(*parts)) == expected


def test_an_answer_that_melts_into_the_prompt_is_refused():
    tokenizer = merging_tokenizer()
    tokenizer.chat_template = CHATML
    with pytest.raises(DataError, match=r"messages/1/content: the answer's first characters melt"):
        render(chat([("user", "a"), ("assistant", "\nb")]), tokenizer)


def test_content_null_is_refused_with_its_place():
    with pytest.raises(DataError, match="messages/1/content: content is null"):
        render(Example((Message("user", "a"), Message("assistant", None))), TOKENIZER)


def test_tools_that_the_template_ignores_are_refused_and_a_template_that_knows_them_is_named():
    example = Example((Message("user", "a"), Message("assistant", "b")), tools=(TOOL,))
    with pytest.raises(DataError, match=r"ignores them\n.*template: chatml"):
        render(example, TOKENIZER)


def test_tool_calls_that_the_template_ignores_are_refused():
    with pytest.raises(DataError, match=r"messages/1/tool_calls: .* ignores tool calls\n.*template: chatml"):
        render(Example(CALLING.messages), TOKENIZER)


def test_a_template_that_mentions_tools_and_ignores_them_is_found_out():
    """Looking for the word in the template is not enough."""
    tokenizer = tiny_tokenizer("{# tools and tool_calls #}" + CHATML)
    traits = traits_of(tokenizer)
    assert not traits.tools
    assert traits.tool_calls == "no"


@pytest.mark.parametrize("template", [CALLS_AS_OBJECTS, CALLS_AS_TEXT, OUR_CHATML.read_text()])
def test_arguments_of_calls_come_out_as_json_once(template: str):
    text = learned_text(CALLING, with_template(template))
    assert '{"a": 1}' in text
    assert "One.<|im_end|>" in text
    assert '\\"' not in text


def test_a_template_that_fails_on_null_beside_calls_is_given_an_empty_text():
    assert traits_of(with_template(CALLS_AS_TEXT)).null_content == "empty"
    assert traits_of(with_template(CALLS_AS_OBJECTS)).null_content == "null"
    assert traits_of(OURS).null_content == "null"


def test_a_template_that_needs_a_text_beside_calls_refuses_null():
    needy = CALLS_AS_TEXT.replace(
        "m['content'] + ''", "m['content'] if m['content'] else raise_exception('empty')"
    )
    with pytest.raises(DataError, match=r"content is null beside tool calls, .* fails on that"):
        render(CALLING, with_template(needy))


def test_our_chatml_writes_tools_calls_and_results():
    text = OURS.decode(render(CALLING, OURS).token_ids)
    assert '<tools>\n{"type": "function", "function": {"name": "add"' in text
    assert '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>' in text
    assert "<|im_start|>tool\n1<|im_end|>" in text
    assert traits_of(OURS)._replace(end_of_turn=None) == (
        None,
        True,
        "object",
        True,
        "null",
        True,
        False,
        "",
        False,
        "",
    )


def test_our_chatml_keeps_the_system_turn_beside_tools():
    example = Example((Message("system", "Be brief."), *CALLING.messages), tools=(TOOL,))
    text = OURS.decode(render(example, OURS).token_ids)
    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou can call")
    assert text.count("<|im_start|>system") == 1


def test_a_template_that_drops_the_system_turn_is_refused_only_where_there_is_one():
    tokenizer = tiny_tokenizer(DROPS_SYSTEM)
    assert not traits_of(tokenizer).system
    assert learned_text(chat([("user", "a"), ("assistant", "b")]), tokenizer) == "b<|im_end|>"
    with pytest.raises(
        DataError, match="messages/0/content: the chat template leaves out what this system turn"
    ):
        render(chat([("system", "x"), ("user", "a"), ("assistant", "b")]), tokenizer)
    with pytest.raises(DataError, match="leaves out"):
        render_prompt(chat([("system", "x"), ("user", "a")]).messages, tokenizer)


def test_a_template_that_drops_reasoning_is_refused_where_it_would():
    tokenizer = tiny_tokenizer(DROPS_THINKING)
    thinking = "<think>hm</think>yes"
    assert learned_text(chat([("user", "a"), ("assistant", thinking)]), tokenizer) == f"{thinking}<|im_end|>"
    with pytest.raises(DataError, match="leaves out what this assistant turn says"):
        render(chat([("user", "a"), ("assistant", thinking), ("user", "b"), ("assistant", "no")]), tokenizer)


def test_a_template_that_trims_is_told_and_refused_only_for_parts():
    tokenizer = tiny_tokenizer(TRIMS)
    assert traits_of(tokenizer).trims
    assert any("spaces" in note for note in describe(traits_of(tokenizer)))
    assert learned_text(chat([("user", "a"), ("assistant", " b ")]), tokenizer) == "b<|im_end|>"
    with pytest.raises(DataError, match="its parts cannot be placed"):
        render(in_parts((" a", 0), ("b", 1)), tokenizer)


def test_a_system_prompt_that_the_template_adds_is_told():
    traits = traits_of(tiny_tokenizer(DEFAULT_SYSTEM))
    assert traits.default_system == "Be good."
    assert any("'Be good.'" in note for note in describe(traits))
    assert describe(traits_of(TOKENIZER)) == []


def test_a_token_after_the_whole_conversation_is_not_the_end_of_a_turn():
    tokenizer = with_template(ENDS_THE_CONVERSATION)
    example = chat([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")])
    assert learned_text(example, tokenizer) == "b<|im_end|>d<|im_end|>"
    assert tokenizer.decode([end_of_turn_id(tokenizer)]) == "<|im_end|>"


def test_a_template_that_prompts_with_other_words_than_it_writes_is_refused():
    with pytest.raises(ModelError, match="prompts with other words than it writes before an answer"):
        render(chat([("user", "a"), ("assistant", "b")]), tiny_tokenizer(PROMPTS_TO_THINK))


def test_what_a_template_writes_before_an_answer_is_for_the_model_to_say():
    example = chat([("user", "a"), ("assistant", "b")])
    tokenizer = tiny_tokenizer(WRITES_BEFORE_ANSWERS)
    assert learned_text(example, tokenizer) == "<think></think>b<|im_end|>"


def test_plain_text_is_no_turn():
    with pytest.raises(DataError, match="plain text is no turn"):
        render_prompt([Message("text", "a")], TOKENIZER)


def test_a_tokenizer_without_template_is_refused():
    with pytest.raises(ModelError, match=r"no chat template.*\n.*template: chatml"):
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


def test_a_template_of_ones_own_is_read_from_its_file(tmp_path):
    path, tokenizer = tmp_path / "mine.jinja", tiny_tokenizer(None)
    path.write_text(CHATML.replace("<|im_end|>", "<|stop|>"))
    choose_template(str(path), tokenizer)
    assert control_tokens(tokenizer) == ("<|im_start|>", "<|stop|>")
    with pytest.raises(ConfigError, match="cannot be read"):
        choose_template("nonsense", tokenizer)
    path.write_text("line\n{% for x %}")
    with pytest.raises(ConfigError, match=r"mine.jinja:2: this is not a Jinja template"):
        choose_template(str(path), tokenizer)
    path.write_text(
        "{% for m in messages %}{% generation %}{{ m }}{% endgeneration %}{% break %}{% endfor %}"
    )
    choose_template(str(path), tokenizer)


def test_a_template_cannot_reach_out_of_its_sandbox():
    escaping = tiny_tokenizer("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(DataError, match="unsafe"):
        render(chat([("user", "a"), ("assistant", "b")]), escaping)


THOUGHT = Example((Message("user", "a"), Message("assistant", "b", reasoning="so")))


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_reaches_the_template_under_its_own_key_and_is_learned(key: str):
    tokenizer = tiny_tokenizer(WRITES_REASONING.replace("reasoning_content", key))
    assert traits_of(tokenizer).reasoning, "transformers fills in two of the keys itself"
    assert learned_text(THOUGHT, tokenizer) == "<think>\nso\n</think>\n\nb<|im_end|>"


def test_reasoning_that_a_template_leaves_out_refuses_the_row_by_name():
    with pytest.raises(
        DataError, match=r"messages/1/reasoning_content: this model's chat template leaves out"
    ):
        render(THOUGHT, OURS)
    again = Example((*THOUGHT.messages, Message("user", "c"), Message("assistant", "d")))
    with pytest.raises(
        DataError, match=r"messages/1/reasoning_content: .*leaves out the reasoning of this turn"
    ):
        render(again, tiny_tokenizer(WRITES_REASONING))
