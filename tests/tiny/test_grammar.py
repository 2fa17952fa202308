"""Answers keep to their grammars; a grammar that cannot be is refused with one clear message."""

import json
import re
import threading
from functools import cache

import pytest
from grammar_answers import SCHEMAS, answer, check_json, closing
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer

from tunesmith.runtime.sampling import grammar as grammar_module
from tunesmith.runtime.sampling.grammar import GrammarBook
from tunesmith.runtime.sampling.port import Busy, CannotAdmit, Grammar

END, OTHER_END, VOCAB_SIZE = 257, 256, 264
FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@cache
def tokenizer():
    return tiny_tokenizer()


@cache
def book():
    return GrammarBook(tokenizer(), VOCAB_SIZE)


@cache
def wish():
    return closing(tokenizer(), VOCAB_SIZE, [END])


def start(kind, text="", stop_token_ids=(END,)):
    return book().start(Grammar(kind, text), stop_token_ids)


def ids(text):
    return tokenizer().encode(text)


def walk(matcher, text):
    """Accept a text byte by byte, each allowed; afterwards the matcher stands behind it."""
    for token_id in ids(text):
        assert matcher.allowed()[token_id], f"{tokenizer().decode([token_id])!r} of {text!r}"
        matcher.accept(token_id)
    return matcher


def allowed(matcher):
    return set(matcher.allowed().nonzero().squeeze(-1).tolist())


def answer_to(kind, text, seed=0):
    written, ended = answer(start(kind, text), tokenizer(), wish(), stop_token_ids=[END], seed=seed)
    assert ended, written
    return written


# --- what is allowed ---------------------------------------------------------------------------------


def test_a_stop_token_is_allowed_exactly_when_the_grammar_is_complete():
    matcher = start("regex", "[0-9]{2,3}", stop_token_ids=(END, OTHER_END))
    digits = set(ids("0123456789"))
    assert allowed(matcher) == digits
    walk(matcher, "1")
    assert allowed(matcher) == digits
    walk(matcher, "2")
    assert allowed(matcher) == digits | {END, OTHER_END}
    assert not matcher.ended
    walk(matcher, "3")
    assert allowed(matcher) == {END, OTHER_END}
    assert matcher.ended
    assert matcher.failure is None


def test_the_tokenizers_own_end_is_not_allowed_unless_it_is_a_stop_token():
    matcher = walk(start("regex", "a+", stop_token_ids=()), "a")
    assert allowed(matcher) == set(ids("a"))


def test_a_stop_token_that_is_text_ends_the_answer_and_is_nothing_else():
    comma, letter = ids(","), ids("a")
    matcher = start("regex", "[a,]+", stop_token_ids=comma)
    assert allowed(matcher) == set(letter)
    assert allowed(walk(matcher, "a")) == {*letter, *comma}


def test_an_answer_of_which_only_a_stop_token_is_left_has_ended_whole_or_not():
    whole = walk(start("regex", "a,?", stop_token_ids=ids(",")), "a")
    assert (whole.ended, whole.failure) == (True, None)
    broken = walk(start("regex", "a,b", stop_token_ids=ids(",")), "a")
    assert (broken.ended, allowed(broken)) == (True, set())
    assert broken.failure == "no token of this model can go on from here"


def test_ids_beyond_the_tokenizer_are_never_allowed():
    wide = GrammarBook(tokenizer(), 400).start(Grammar("regex", "(.|\n)+"), [END])
    assert len(wide.allowed()) == 400
    assert max(allowed(wide)) < 256


def test_a_vocabulary_smaller_than_the_tokenizers_is_cut():
    narrow = GrammarBook(tokenizer(), 200).start(Grammar("regex", "(.|\n)+"), [END])
    assert len(narrow.allowed()) == 200


def test_special_tokens_are_no_text():
    matcher = start("regex", r"(.|\n)*")
    assert allowed(matcher) - {END} <= set(range(256))
    walk(matcher, "<|im_start|")
    assert OTHER_END not in allowed(matcher)


def test_characters_of_several_bytes_come_whole():
    matcher = start("choice", '["é", "日本"]')
    first, second = ids("é")
    assert allowed(matcher) == {first, ids("日")[0]}
    matcher.accept(first)
    assert allowed(matcher) == {second}


def test_properties_come_in_the_order_of_the_schema_and_no_others_where_forbidden():
    schema = {
        "type": "object",
        "properties": {"b": {"type": "integer"}, "a": {"type": "integer"}},
        "required": ["b"],
        "additionalProperties": False,
    }
    walk(start("json_schema", json.dumps(schema)), '{"b":1,"a":2}')
    walk(start("json_schema", json.dumps(schema)), '{ "b" : 1 }')
    matcher = walk(start("json_schema", json.dumps(schema)), '{"')
    assert allowed(matcher) == set(ids("b"))
    open_schema = {**schema, "additionalProperties": True}
    walk(start("json_schema", json.dumps(open_schema)), '{"b":1,"z":[]}')


def test_white_space_is_free_unless_the_schema_says_otherwise():
    schema = {"type": "array", "items": {"type": "integer"}}
    walk(start("json_schema", json.dumps(schema)), "[1, \n\t2 ]")
    compact = {**schema, "x-guidance": {"whitespace_flexible": False}}
    assert not start("json_schema", json.dumps(compact)).allowed()[ids(" ")[0]]
    assert not walk(start("json_schema", json.dumps(compact)), "[1,").allowed()[ids(" ")[0]]


def test_a_json_object_is_an_object_with_anything_in_it():
    matcher = start("json_object")
    assert not matcher.allowed()[ids("[")[0]]
    walk(matcher, '{"a": [1, null, {"b": "c"}]}')
    assert matcher.ended


def test_a_schema_may_refer_to_itself():
    schema = {
        "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "$ref": "#/$defs/node",
    }
    assert walk(start("json_schema", json.dumps(schema)), "[[[],[]]]").ended


def test_a_token_against_the_grammar_is_a_failure_with_its_reason():
    matcher = start("regex", "[0-9]+")
    matcher.accept(ids("x")[0])
    assert matcher.ended
    assert matcher.failure
    assert allowed(matcher) == set()


def test_answers_to_the_same_grammar_do_not_disturb_each_other():
    first, second = start("regex", "ab*c"), start("regex", "ab*c")
    walk(first, "abbc")
    assert allowed(second) == set(ids("a"))
    assert allowed(start("regex", "ab*c")) == set(ids("a"))


# --- answers that ended by themselves ----------------------------------------------------------------


@FEW
@given(SCHEMAS, st.integers(0, 1000))
def test_an_answer_to_a_json_schema_parses_and_validates(schema, seed):
    check_json(answer_to("json_schema", json.dumps(schema), seed), schema)


@FEW
@given(st.integers(0, 1000))
def test_an_answer_to_json_object_is_an_object(seed):
    assert isinstance(json.loads(answer_to("json_object", "", seed)), dict)


@pytest.mark.parametrize(
    "pattern",
    [
        r"[0-9]{4}-[0-9]{2}",
        r"(a|bc)+d?",
        r"(yes|no)!?",
        r"[^a-z\n]{1,4}",
        r"/x\\y/",
        r"[0-9]+\.[0-9]*",
        "é+|日本",
        r"a b\nc",
    ],
)
def test_an_answer_to_a_regular_expression_matches_all_of_it(pattern):
    for seed in range(4):
        assert re.fullmatch(pattern, answer_to("regex", pattern, seed))


@FEW
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=6).filter(any))
def test_an_answer_to_choices_is_one_of_them_and_each_can_be(choices):
    text = json.dumps(choices)
    assert answer_to("choice", text) in choices
    for choice in choices:
        assert walk(start("choice", text), choice).allowed()[END]


@pytest.mark.parametrize("choice", ["a\nb", "\x7f", "\x01\t", '"\\/', "😀", "\u2028", "a|b", "i", "x" * 300])
def test_a_choice_may_hold_any_character(choice):
    assert walk(start("choice", json.dumps([choice])), choice).ended


def test_a_choice_may_begin_with_another():
    matcher = walk(start("choice", '["in", "inside", "inner"]'), "in")
    assert allowed(matcher) == {END, *ids("sn")}


def test_an_answer_to_a_lark_grammar_is_in_it():
    sums = 'start: term ("+" term)*\nterm: NUMBER | "(" start ")"\nNUMBER: /[1-9][0-9]{0,2}/'
    for seed in range(6):
        text = answer_to("lark", sums, seed)
        assert re.fullmatch(r"[1-9][0-9+()]*|\([0-9+()]+", text)
        assert isinstance(eval(text), int)
    assert answer_to("lark", 'start: "<" %json {"const": 7} ">"') == "<7>"


# --- refusals ----------------------------------------------------------------------------------------


def nested(depth):
    schema = '{"type": "integer"}'
    for _ in range(depth):
        schema = f'{{"type": "array", "items": {schema}}}'
    return schema


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("json_schema", '{"type":', "line 1, column 9: invalid JSON"),
        ("json_schema", "[1]", "a JSON schema is an object"),
        ("json_schema", '{"a": 1, "a": 2}', "key 'a' is given twice"),
        ("json_schema", '{"minimum": NaN}', "NaN is not a JSON number"),
        ("json_schema", '{"minimum": 1e400}', "1e400 is too large a number"),
        (
            "json_schema",
            '{"properties": {"a/b": {"type": "strin"}}}',
            "#/properties/a~1b: .*Invalid type: strin",
        ),
        ("json_schema", '{"items": {"if": {}, "then": {}}}', '#/items: .*Unimplemented keys: .*"if"'),
        ("json_schema", '{"x-guidance": {"lenient": true}, "if": {}}', 'Unimplemented keys: .*"if"'),
        ("json_schema", '{"$ref": "https://example.com/s.json"}', "does not fetch resources"),
        ("json_schema", '{"$ref": "#/$defs/none"}', "does not exist"),
        ("json_schema", '{"type": "integer", "minimum": 3, "maximum": 2}', "Unsatisfiable"),
        ("json_schema", "false", "schema is false"),
        ("json_schema", '{"type": "string", "pattern": "[a"}', "#: .*unclosed character class"),
        ("json_schema", '{"type": "integer", "multipleOf": 1000003}', "#/multipleOf: .*1,000,003 states"),
        ("json_schema", nested(200), "recursion limit"),
        ("json_schema", "[" * 50_000, "nested too deeply"),
        ("json_schema", '{"const": "' + "x" * 200_000 + '"}', "too long: 200,013 bytes, at most 131,072"),
        ("regex", "ab[0-9", "character 3: .*unclosed character class"),
        ("regex", "a(?=b)", "character 2: .*look-around"),
        ("regex", r"(a)\1", "backreferences"),
        ("regex", "x" * 9000, "too long: 9,000 bytes, at most 8,192"),
        ("regex", "", "only the empty answer"),
        ("regex", "a\ud800", "character 2: the text is not valid Unicode"),
        ("lark", "start: foo", 'unknown name: "foo"'),
        ("lark", "", "Empty grammar"),
        ("lark", 'rule: "a"', "no start rule found"),
        ("lark", "start: a\na: b\nb: a", "no text matches it"),
        ("lark", "start: " + "(" * 20_000, "too deeply nested"),
        ("lark", 'start: %json {"type": "integer", "multipleOf": 1000003}', "1,000,003 states"),
        ("choice", "yes", "invalid JSON"),
        ("choice", '["a", 1]', "choices are a JSON list of strings"),
        ("choice", '{"a": "b"}', "choices are a JSON list of strings"),
        ("choice", "[]", "no choice with a text"),
        ("choice", '["\\ud800"]', "surrogate"),
    ],
)
def test_a_grammar_that_cannot_be_is_refused_with_one_message(kind, text, words):
    with pytest.raises(CannotAdmit) as caught:
        start(kind, text)
    message = str(caught.value)
    assert message.startswith(kind)
    assert re.search(words, message)
    assert "\n  → " in message
    assert len(message) < 600
    assert message.count("\n") == 1


def chain_of_references(length):
    definitions = {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(length)}
    schema = {"$defs": {**definitions, str(length): {"const": 1}}, "$ref": "#/$defs/0"}
    return json.dumps(schema, separators=(",", ":"))


def test_the_longest_chain_of_references_or_rules_does_not_overflow_the_stack():
    """Either overflows the usual stack of 8 MiB, and with it the process."""
    walk(start("json_schema", chain_of_references(3800)), "1")
    rules = "".join(f"r{n}: r{n + 1}\n" for n in range(4800))
    walk(start("lark", f'start: r0\n{rules}r4800: "a"'), "a")


def test_a_grammar_whose_faults_show_in_the_middle_of_an_answer_ends_it_with_the_reason():
    matcher = start("regex", "a{1000000000}")
    matcher.accept(ids("a")[0])
    assert matcher.ended
    assert "too many expressions" in matcher.failure


def test_a_compilation_that_takes_too_long_is_refused_and_the_next_one_told_to_wait(monkeypatch):
    release = threading.Event()

    def slow(grammar, trie, compiled=grammar_module.compiled):
        release.wait(30)
        return compiled(grammar, trie)

    own = GrammarBook(tokenizer(), VOCAB_SIZE)
    monkeypatch.setattr(grammar_module, "compiled", slow)
    monkeypatch.setattr(grammar_module, "COMPILE_SECONDS", 0.01)
    try:
        with pytest.raises(CannotAdmit, match=r"more than 0\.01 seconds"):
            own.start(Grammar("regex", "a"), [END])
        with pytest.raises(Busy, match="still being compiled"):
            own.start(Grammar("regex", "b"), [END])
    finally:
        release.set()
    own._running.join(30)
    monkeypatch.undo()
    assert own.start(Grammar("regex", "b"), [END]).allowed()[ids("b")[0]]


def test_a_grammar_is_compiled_once_and_the_oldest_is_forgotten(monkeypatch):
    compiled = []

    def counting(grammar, trie, compile_it=grammar_module.compiled):
        compiled.append(grammar.text)
        return compile_it(grammar, trie)

    monkeypatch.setattr(grammar_module, "compiled", counting)
    monkeypatch.setattr(grammar_module, "MAX_COMPILED", 2)
    own = GrammarBook(tokenizer(), VOCAB_SIZE)
    for text in ("a", "b", "a", "c", "a", "b"):
        own.start(Grammar("regex", text), [END])
    assert compiled == ["a", "b", "c", "b"]


def test_threads_may_ask_at_the_same_time():
    found = []

    def ask(text):
        found.append(allowed(book().start(Grammar("regex", text), [END])) == set(ids(text)))

    threads = [threading.Thread(target=ask, args=(letter,)) for letter in "klmnopqr"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [True] * 8


def test_a_tokenizer_that_has_no_bytes_is_refused():
    class Slow:
        pass

    with pytest.raises(CannotAdmit, match="tokenizer does not work with grammars"):
        GrammarBook(Slow(), 10).start(Grammar("json_object"), [1])
