"""Calls of tools: their form found in templates, read from answers, held to by grammars."""

import json

import pytest
from chat_templates import LLAMA, MISTRAL, PYTHONIC, with_template
from tiny_models import CHATML, tiny_tokenizer

from tunesmith.runtime.templates import CHATML as OWN_TEMPLATE
from tunesmith.runtime.tool_calls import HERMES, Call, CallFormat, CallReader, calls_grammar, find_call_format


def test_our_own_template_writes_calls_as_hermes_does():
    assert find_call_format(tiny_tokenizer(OWN_TEMPLATE.read_text())) == HERMES


def test_the_form_of_other_families_is_found():
    assert find_call_format(with_template(LLAMA)) == CallFormat("", "", "", "name", "parameters")
    assert find_call_format(with_template(MISTRAL)) == CallFormat("[TOOL_CALLS]", "", "", in_list=True)
    assert find_call_format(with_template(PYTHONIC)) is None
    assert find_call_format(tiny_tokenizer(CHATML)) is None


LLAMA_FORM = CallFormat("", "", "", "name", "parameters")
MISTRAL_FORM = CallFormat("[TOOL_CALLS]", "", "", in_list=True)
A, B = Call("add", '{"x": 1}'), Call("sub", '{"y": "</tool_call>"}')


def hermes(*calls):
    return "\n".join(
        f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n</tool_call>'
        for call in calls
    )


CASES = [
    (HERMES, hermes(A), "", [A]),
    (HERMES, hermes(A, B), "", [A, B]),
    (HERMES, "Let me see. " + hermes(B), "Let me see.", [B]),
    (HERMES, "a <tool is no call", "a <tool is no call", []),
    (HERMES, "<tool_call>\nnot json", "<tool_call>\nnot json", []),
    (HERMES, '<tool_call>\n{"name": "add", "argu', '<tool_call>\n{"name": "add", "argu', []),
    (HERMES, hermes(A) + "\nand more", "and more", [A]),
    (HERMES, '<tool_call>{"name": "add"}</tool_call>', "", [Call("add", "{}")]),
    (LLAMA_FORM, '{"name": "add", "parameters": {"x": 1}}', "", [A]),
    (LLAMA_FORM, "hello {there}", "hello {there}", []),
    (LLAMA_FORM, '{"a": 1}', '{"a": 1}', []),
    (HERMES, "spaces at the end \n", "spaces at the end \n", []),
    (HERMES, hermes(A) + "\n", "", [A]),
    (HERMES, "a<tool_call>[1]</tool_call>", "a<tool_call>[1]</tool_call>", []),
    (MISTRAL_FORM, '[TOOL_CALLS][{"name": "add", "arguments": {"x": 1}, "id": "abc"}]', "", [A]),
]


def read(form, parts):
    reader, text, calls = CallReader(form), "", []
    for part in parts:
        found = reader.push(part)
        text, calls = text + found.text, [*calls, *found.calls]
    return text + reader.finish().text, calls


@pytest.mark.parametrize(("form", "answer", "text", "calls"), CASES)
def test_calls_are_read_however_the_answer_is_cut(form, answer, text, calls):
    assert read(form, [answer]) == (text, calls)
    assert read(form, answer) == (text, calls)
    for place in range(1, len(answer)):
        assert read(form, [answer[:place], answer[place:]]) == (text, calls)


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"x": {"type": "integer"}},
            "required": ["x"],
            "additionalProperties": False,
        },
    },
}
SUB = {"type": "function", "function": {"name": "sub"}}


def accepts(grammar, text):
    """Whether a text is an answer of the grammar, by bytes."""
    import llguidance

    tokenizer = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(grammar))
    taken = matcher.try_consume_tokens(tokenizer.tokenize_str(text))
    return taken == len(text.encode()) and matcher.is_accepting()


def test_the_grammar_takes_calls_of_the_tools_and_nothing_else():
    grammar = calls_grammar(HERMES, [ADD, SUB], {}, several=True)
    assert accepts(grammar, hermes(A))
    assert accepts(grammar, hermes(A, Call("sub", '{"q": [1]}')))
    assert not accepts(grammar, hermes(Call("mul", "{}")))
    assert not accepts(grammar, hermes(Call("add", '{"x": "one"}')))
    assert not accepts(grammar, "no")
    one = calls_grammar(HERMES, [ADD], {}, several=False)
    assert accepts(one, hermes(A))
    assert not accepts(one, hermes(A, A))
    listed = calls_grammar(MISTRAL_FORM, [ADD], {}, several=True)
    assert accepts(listed, "[TOOL_CALLS]" + json.dumps([{"name": "add", "arguments": {"x": 1}}]))


def test_special_tokens_stand_in_a_grammar_by_their_number():
    grammar = calls_grammar(MISTRAL_FORM, [ADD], {"[TOOL_CALLS]": 7, "[INST]": 8}, several=True)
    assert grammar.startswith("start: <[7]> call ")
