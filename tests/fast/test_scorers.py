import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.conversation import chat
from tunesmith.core.errors import ConfigError
from tunesmith.core.scorers import SCORERS, choose_scorers, score_all, scorer

GOLD = '{"city": "Chicago", "zip": "60601"}'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=6,
)


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
    found = score_all(["exact_json", "field_f1", "json_valid"], GOLD, output)
    assert list(found.values()) == pytest.approx([exact, fields, valid])


def test_nested_fields_count_by_their_path():
    gold = '{"items": [{"name": "a", "price": 1.0}, {"name": "b"}], "notes": {}}'
    assert scorer("field_f1").function(gold, '{"items": [{"name": "a", "price": 1}]}') == pytest.approx(
        2 * 2 / 6
    )
    assert scorer("exact_json").function(gold, gold.replace("1.0", "1")) == 1
    assert scorer("field_f1").function("{}", "{}") == 1


def test_true_is_not_one():
    assert scorer("exact_json").function('{"a": true}', '{"a": 1}') == 0


@given(JSON)
def test_a_json_value_equals_itself_in_any_layout(value):
    gold = json.dumps(value)
    layout = json.dumps(value, indent=3, sort_keys=True)
    assert scorer("exact_json").function(gold, layout) == 1
    assert scorer("json_valid").function(gold, layout) == 1


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
    found = score_all(["exact", "normalised_exact", "token_f1"], "The Cat, sat.", output)
    assert list(found.values()) == pytest.approx([exact, loose, words])


@given(st.sampled_from(sorted(SCORERS)), st.text(max_size=30), st.text(max_size=30))
def test_every_scorer_takes_every_text_and_stays_between_0_and_1(name, gold, output):
    value = scorer(name).function(gold, output)
    assert 0 <= value <= 1
    if scorer(name).share:
        assert value in (0, 1)


def test_the_answers_choose_the_scorers():
    rows = [chat([("user", "q"), ("assistant", GOLD)]), chat([("user", "q"), ("assistant", "[1]")])]
    assert choose_scorers(rows)[0] == "exact_json"
    assert choose_scorers([*rows, chat([("user", "q"), ("assistant", "no")])]) == ["exact", "token_f1"]
    assert choose_scorers([chat([("user", "q"), ("assistant", "42")])])[0] == "exact"


def test_an_unknown_scorer_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'exact_json'"):
        scorer("exactjson")
