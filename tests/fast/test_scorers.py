import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import sacrebleu
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import ConfigError
from tunesmith.core.scorers import (
    SCORERS,
    Case,
    Faulty,
    Likelihood,
    Reply,
    choose,
    choose_all,
    score_case,
    scorers_for,
)
from tunesmith.core.stats.classification import classify

GOLD = '{"city": "Chicago", "zip": "60601"}'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=6,
)


def case(gold, output, **metadata):
    return Case(replace(chat([("user", "q"), ("assistant", gold)]), metadata=metadata), Reply(output))


def value(name, gold, output, **options):
    return choose({"type": name, **options}).score(case(gold, output))


@pytest.mark.parametrize(
    ("output", "exact", "fields", "valid"),
    [
        (GOLD, 1, 1, 1),
        ('{"zip": "60601", "city": "Chicago"}', 1, 1, 1),
        ('{"zip" : " 60601", "city": "Chicago "}\n', 1, 1, 1),
        ('{"city": "chicago", "zip": "60601"}', 0, 0.5, 1),
        ('{"city": "Chicago"}', 0, 2 / 3, 1),
        ('{"city": "Chicago", "zip": 60601}', 0, 0.5, 1),
        ('{"zip": "Chicago", "city": "60601"}', 0, 0, 1),
        ("{}", 0, 0, 1),
        ("[]", 0, 0, 0),
        ('"Chicago"', 0, 0, 0),
        ("", 0, 0, 0),
        ("Chicago 60601", 0, 0, 0),
        (f"```json\n{GOLD}\n```", 1, 1, 0),
        (f"```json\n{GOLD}", 1, 1, 0),
        (f"Sure! {GOLD} Anything else?", 0, 1, 0),
        (f"{{braces}} then {GOLD}", 0, 1, 0),
        ('{"city": "Chicago", "zip": "606', 0, 0, 0),
        ('{"city": NaN}', 0, 0, 0),
        ('{"city": 1e999}', 0, 0, 1),
        ("[" * 5000, 0, 0, 0),
    ],
)
def test_json_answers_are_scored_whole_by_field_and_by_form(output, exact, fields, valid):
    found = [value(name, GOLD, output) for name in ("exact_json", "field_f1", "json_valid")]
    assert found == pytest.approx([exact, fields, valid])


def test_nested_fields_count_by_their_path():
    gold = '{"items": [{"name": "a", "price": 1.0}, {"name": "b"}], "notes": {}}'
    assert value("field_f1", gold, '{"items": [{"name": "a", "price": 1}]}') == pytest.approx(2 * 2 / 6)
    assert value("exact_json", gold, gold.replace("1.0", "1")) == 1
    assert value("field_f1", "{}", "{}") == 1


def test_keys_that_differ_in_white_space_alone_stay_two():
    gold = '{"a": 1, " a": 2}'
    assert value("exact_json", gold, '{" a": 2, "a": 1}') == 1
    assert value("exact_json", gold, '{"a": 1}') == 0


def test_true_is_not_one():
    assert value("exact_json", '{"a": true}', '{"a": 1}') == 0


@given(JSON)
def test_a_json_value_equals_itself_in_any_layout(anything):
    gold = json.dumps(anything)
    layout = json.dumps(anything, indent=3, sort_keys=True)
    assert value("exact_json", gold, layout) == 1
    assert value("json_valid", gold, layout) == 1


@pytest.mark.parametrize(
    ("output", "exact", "loose", "words"),
    [
        ("The Cat, sat.", 1, 1, 1),
        ("the cat sat", 0, 1, 1),
        ("sat the cat", 0, 0, 1),
        ("the dog sat", 0, 0, 2 / 3),
        ("", 0, 0, 0),
    ],
)
def test_text_answers_are_scored_exactly_loosely_and_by_word(output, exact, loose, words):
    found = [value(name, "The Cat, sat.", output) for name in ("exact", "normalised_exact", "token_f1")]
    assert found == pytest.approx([exact, loose, words])


NEEDS_METADATA = ("own", "code", "reasoning_gym")
OPTIONS = {
    "choice": {"choices": ["a", "b"]},
    "rules": {"rules": [{"rule": "at_most_words", "words": 3}]},
    "regex": {"pattern": "a+"},
    "json_schema": {"accepts": {"type": "object"}},
}
OF_TEXTS = sorted(
    name for name, scorer in SCORERS.items() if scorer.needs == "answer" and name not in NEEDS_METADATA
)


@given(st.sampled_from(OF_TEXTS), st.text(max_size=30), st.text(max_size=30))
def test_every_scorer_takes_every_text_and_stays_where_it_says(name, gold, output):
    found = value(name, gold, output, **OPTIONS.get(name, {}))
    if SCORERS[name].kind != "number":
        assert 0 <= found <= 1 + 1e-12
    if SCORERS[name].kind == "share":
        assert found in (0, 1)


def test_the_answers_choose_the_scorers():
    rows = [chat([("user", "q"), ("assistant", GOLD)]), chat([("user", "q"), ("assistant", "[1]")])]
    assert scorers_for(rows)[0] == "exact_json"
    assert scorers_for([*rows, chat([("user", "q"), ("assistant", "no")])]) == ["exact", "token_f1"]
    assert scorers_for([chat([("user", "q"), ("assistant", "42")])])[0] == "exact"
    assert scorers_for([calling(("f", "{}"))]) == ["tool_calls", "tool_names"]


# Choosing


def test_an_unknown_scorer_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'exact_json'"):
        choose("exactjson")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"tolerance": 1}, "a scorer without a type"),
        ({"type": "numeric", "tolerence": 1}, "did you mean 'tolerance'"),
        ({"type": "numeric", "tolerance": "much"}, "number"),
        ({"type": "regex"}, "pattern"),
        ("nowhere:f", "cannot be imported"),
        ("json:f", "no such function"),
        (":f", "not the name of a function"),
    ],
)
def test_a_scorer_that_cannot_be_chosen_is_refused_with_the_reason(spec, why):
    with pytest.raises(ConfigError, match=why):
        choose(spec)


def test_two_scorers_of_one_name_are_refused_and_a_name_of_its_own_helps():
    one, other = {"type": "regex", "pattern": "a"}, {"type": "regex", "pattern": "b"}
    with pytest.raises(ConfigError, match="two scorers have one name"):
        choose_all([one, other])
    assert [chosen.name for chosen in choose_all([one, {**other, "name": "b"}])] == ["regex", "b"]


def test_a_scorer_of_ones_own_takes_two_texts_or_a_case_and_may_fail(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "def longer(gold, output, *, by=0): return len(output) > len(gold) + by\n"
        "def marked(case): return case.example.metadata['mark']\n"
        "def odd(gold, output): return 2\n"
        "def many(a, b, c): return 0\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert choose("mine:longer").score(case("a", "bb")) == 1
    assert choose({"type": "mine:longer", "by": 5}).score(case("a", "bb")) == 0
    assert choose("mine:marked").score(case("a", "b", mark=0.5)) == 0.5
    scores, failed = score_case(choose_all(["exact", "mine:odd", "mine:marked"]), case("a", "a"))
    assert scores == {"exact": 1.0}
    assert failed == {
        "mine:odd": "ValueError: mine:odd gave 2, not a number from 0 to 1",
        "mine:marked": "KeyError: 'mark'",
    }
    with pytest.raises(ConfigError, match="takes 3 arguments"):
        choose("mine:many")


def test_any_answer_that_the_item_accepts_is_right():
    assert choose("exact").score(case("a", "b", accepted=["b", "c"])) == 1
    assert choose("exact").score(case("a", "d", accepted=["b", "c"])) == 0


# Texts


@given(st.text("abc .,é", max_size=40), st.text("abc .,é", max_size=40))
def test_chrf_equals_sacrebleus(gold, output):
    expected = sacrebleu.sentence_chrf(output, [gold]).score / 100
    if gold.split() and output.split():
        assert value("chrf", gold, output) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("gold", "output", "options", "right"),
    [
        ("42", "The answer is 42.", {}, 1),
        ("42", "41 or 42? 41", {}, 0),
        ("1,234.5", "about $1234.50", {}, 1),
        ("25%", "0.25", {}, 1),
        ("-3", "−3", {}, 1),
        ("1e3", "1000", {}, 1),
        ("10", "10.4", {"tolerance": 0.5}, 1),
        ("10", "10.4", {"tolerance": 0.01, "relative": True}, 0),
        ("42", "many", {}, 0),
        ("many", "42", {}, 0),
    ],
)
def test_the_last_number_of_an_answer_counts(gold, output, options, right):
    assert value("numeric", gold, output, **options) == right


def test_patterns_and_parts_and_edits():
    assert value("regex", "", "on 2026-11-23.", pattern=r"\d{4}-\d\d-\d\d") == 1
    assert value("regex", "", "on 2026-11-23.", pattern=r"\d{4}-\d\d-\d\d", whole=True) == 0
    with pytest.raises(ConfigError, match="not a regular expression"):
        value("regex", "", "", pattern="(")
    assert value("contains", "New York", "It is in new york, USA") == 1
    assert value("contains", "York", "Yorkshire") == 0
    assert value("edit_ratio", "kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert value("rouge_l", "police killed the gunman", "police kill the gunman") == pytest.approx(0.75)


@given(JSON, st.sampled_from(["object", "array", "string", "number", "null"]))
def test_a_schema_accepts_what_jsonschema_accepts(answer, kind):
    schema = {"type": kind, "maxProperties": 2, "maxItems": 2}
    expected = jsonschema.Draft202012Validator(schema).is_valid(answer)
    assert value("json_schema", "", json.dumps(answer), accepts=schema) == expected


def test_no_json_and_no_schema():
    assert value("json_schema", "", "no", accepts={}) == 0
    assert value("json_schema", "", "```json\n{}\n```", accepts={"type": "object"}) == 1
    with pytest.raises(ConfigError, match="not a JSON Schema"):
        value("json_schema", "", "1", accepts={"type": "nonsense"})


# Tool calls


def call(name, arguments):
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls):
    turn = Message("assistant", None, tool_calls=tuple(call(*one) for one in calls))
    return Example((Message("user", "q"), turn))


@pytest.mark.parametrize(
    ("said", "right", "names"),
    [
        ([("f", '{"b": 2, "a": 1}'), ("g", "{}")], 1, 1),
        ([("g", ""), ("f", '{"a": 1.0, "b": 2}')], 1, 1),
        ([("f", '{"a": 1}'), ("g", "{}")], 0, 1),
        ([("f", '{"a": 1, "b": 2}')], 0, 2 / 3),
        ([("f", "{broken"), ("g", "{}")], 0, 1),
        ([], 0, 0),
    ],
)
def test_calls_are_compared_by_name_and_arguments(said, right, names):
    reply = Reply(tool_calls=tuple(call(*one) for one in said))
    one = Case(calling(("f", '{"a": 1, "b": 2}'), ("g", "{}")), reply)
    assert (choose("tool_calls").score(one), choose("tool_names").score(one)) == pytest.approx((right, names))


def test_calls_can_have_an_order():
    one = Case(calling(("f", "{}"), ("g", "{}")), Reply(tool_calls=(call("g", "{}"), call("f", "{}"))))
    assert choose("tool_calls").score(one) == 1
    assert choose({"type": "tool_calls", "ordered": True}).score(one) == 0


# Likelihoods


def chosen_by(*levels, gold="b", choices=("a", "b"), per="byte"):
    one = case(gold, "", choices=list(choices))
    texts = (Likelihood(level, len(text), len(text)) for level, text in zip(levels, choices, strict=False))
    reply = Reply(choices=tuple(texts))
    return choose({"type": "multiple_choice", "per": per}).score(Case(one.example, reply))


def test_the_likeliest_choice_counts_and_equals_choose_none():
    assert chosen_by(-2.0, -1.0) == 1
    assert chosen_by(-1.0, -2.0) == 0
    assert chosen_by(-1.0, -1.0) == 0
    long = ("b", "a long choice")
    assert chosen_by(-2.0, -3.0, choices=long) == 0
    assert chosen_by(-2.0, -3.0, choices=long, per="none") == 1


@pytest.mark.parametrize(
    ("choices", "levels", "why"),
    [
        (("a", "c"), (-1, -1), "exactly once"),
        (("b", "b"), (-1, -1), "exactly once"),
        (("a", "b"), (-1,), "1 of 2 choices"),
    ],
)
def test_choices_that_cannot_be_compared_are_an_outcome_with_its_reason(choices, levels, why):
    with pytest.raises(Faulty, match=why):
        chosen_by(*levels, choices=choices)
    with pytest.raises(Faulty, match="no list of texts named choices"):
        choose("multiple_choice").score(case("a", ""))
    with pytest.raises(Faulty, match="not per letter"):
        chosen_by(-1, -1, per="letter")


def test_loss_and_bits_are_measured_per_token_and_per_byte():
    one = Case(case("häuser", "").example, Reply(likelihood=Likelihood(-7 * np.log(2), 2, 7)))
    assert choose("bits_per_byte").score(one) == pytest.approx(1)
    assert choose("gold_logprob").score(one) == pytest.approx(-3.5 * np.log(2))
    assert SCORERS["perplexity"].shown(choose("perplexity").score(one)) == pytest.approx(2**3.5)
    assert (SCORERS["bits_per_byte"].weight(one), SCORERS["perplexity"].weight(one)) == (7, 2)
    with pytest.raises(Faulty, match="was not measured"):
        choose("bits_per_byte").score(case("a", ""))


# Classification


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcx")), min_size=1, max_size=40))
def test_classes_equal_scikit_learns(pairs):
    golds, outputs = zip(*pairs, strict=True)
    labels = sorted(set(golds))
    found = classify(golds, [f" {output.upper()}." for output in outputs])
    expected = sklearn.metrics.f1_score(golds, outputs, labels=labels, average=None, zero_division=0.0)
    assert [one.f1 for one in found.classes] == pytest.approx(list(expected))
    assert found.macro_f1.value == pytest.approx(np.mean(expected))
    assert found.accuracy.value == pytest.approx(sklearn.metrics.accuracy_score(golds, outputs))
    recalls = sklearn.metrics.recall_score(golds, outputs, labels=labels, average=None, zero_division=0.0)
    assert [one.recall for one in found.classes] == pytest.approx(list(recalls))
    assert np.sum(found.confusion) == len(pairs)
    assert found.macro_f1.low <= found.macro_f1.value + 1e-9


def test_a_sentence_around_a_label_is_another_answer():
    assert value("label", "positive", "Positive.") == 1
    assert value("label", "positive", "It is positive") == 0


# What answers are like


@pytest.mark.parametrize(
    ("output", "refused"),
    [
        ("I'm sorry, but I can't help with that.", 1),
        ("I can help with that.", 0),
        ("", 0),
        ("He said: I'm sorry, but I can't help with that.", 0),
    ],
)
def test_refusals_open_an_answer(output, refused):
    assert value("refusal", "", output) == refused


def test_layout_is_counted_by_line_and_by_word():
    text = "# Title\n\n- one\n- **two** words\n1. three\nplain text"
    assert value("lists", "", text) == pytest.approx(3 / 5)
    assert value("headings", "", text) == pytest.approx(1 / 5)
    assert value("bold", "", text) == pytest.approx(100 / 11)
    assert value("length_words", "", text) == 11


def test_short_words_read_more_easily_than_long_ones():
    easy = value("readability", "", "The cat sat on the mat. It was a big cat.")
    hard = value(
        "readability", "", "Institutional heterogeneity necessitates organisational differentiation."
    )
    assert easy > 100 > 0 > hard
    # Flesch's own count of "The cat sat on the mat.": 6 words, 6 syllables
    assert value("readability", "", "The cat sat on the mat.") == pytest.approx(206.835 - 6.09 - 84.6)


def test_style_is_more_alike_within_one_way_of_writing():
    gold = "And he said unto them, Go ye into all the world, and preach."
    old, new = "And ye said unto him, Preach ye into the world.", "He told them to travel everywhere."
    assert value("style_similarity", gold, gold) == pytest.approx(1)
    assert value("style_similarity", gold, old) > value("style_similarity", gold, new) + 0.2


# Letters, rules, and items with a scorer of their own


@pytest.mark.parametrize(
    ("output", "right"),
    [
        ("B", 1), ("b", 1), ("(B)", 1), ("B.", 1), ("B) Paris", 1), ("The answer is B.", 1),
        ("Answer: **B**", 1),
        ("Paris", 1), ("paris.", 1), ("A", 0), ("A city in France is Paris", 0), ("Lyon", 0), ("", 0),
        ("B\n\nBecause it is the capital.", 1), ("I think the answer is A, no: answer B", 1),
    ],
)  # fmt: skip
def test_a_letter_that_stands_alone_is_the_choice(output, right):
    assert value("choice", "B", output, choices=["Lyon", "Paris", "Nice"]) == right


def test_rules_hold_all_together_and_an_unknown_one_is_refused():
    rules = [{"rule": "at_most_words", "words": 3}, {"rule": "lower_case"}]
    assert value("rules", "", "only three words", rules=rules) == 1
    assert value("rules", "", "only Three words", rules=rules) == 0
    with pytest.raises(ConfigError, match="did you mean 'lower_case'"):
        value("rules", "", "x", rules=[{"rule": "lowercase"}])


def test_an_item_can_name_its_own_scorer():
    own = choose("own")
    assert own.score(case("41", "It is 42", scorer={"type": "numeric", "tolerance": 1})) == 1
    assert own.score(case("a", "b", scorer="exact")) == 0
    with pytest.raises(Faulty, match="name no scorer"):
        own.score(case("a", "a"))
    with pytest.raises(Faulty, match="did you mean 'exact'"):
        own.score(case("a", "a", scorer="exakt"))
    with pytest.raises(Faulty, match="no number from 0 to 1"):
        own.score(case("a", "a", scorer="length_words"))


def test_a_fault_of_the_suite_is_raised_and_not_counted_as_wrong_answers():
    with pytest.raises(ConfigError, match="not a regular expression"):
        score_case(choose_all(["exact", {"type": "regex", "pattern": "("}]), case("a", "a"))


def test_a_program_is_right_when_it_passes_the_items_tests():
    tests = "assert add(1, 2) == 3"
    right = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nEnjoy!"
    assert choose("code").score(case("", right, tests=tests)) == 1
    assert choose("code").score(case("", right.replace("+", "-"), tests=tests)) == 0
    assert choose("code").score(case("", "", tests=tests)) == 0
    with pytest.raises(Faulty, match="have no tests"):
        choose("code").score(case("", right))
