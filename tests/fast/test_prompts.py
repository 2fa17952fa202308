import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import DataError
from tunesmith.core.prompts import AS_IS, PromptShape, few_shot, most_covering, similar_shot, with_labels

SYSTEM = "Read the address."


def address(number: int, **fields: str) -> Example:
    answer = json.dumps({"city": f"Town {number}", **fields})
    return chat([("system", SYSTEM), ("user", f"{number} Main St"), ("assistant", answer)])


ROWS = (
    [address(n) for n in range(20)]
    + [address(n, unit=str(n)) for n in range(20, 26)]
    + [address(30, box="7")]
)


def test_the_plain_shape_changes_nothing():
    assert AS_IS.apply(ROWS[0]) == ROWS[0].prompt


def test_shots_stand_between_the_system_turn_and_the_question():
    shape = PromptShape("p", None, (ROWS[1],))
    turns = [(turn.role, turn.content) for turn in shape.apply(ROWS[0])]
    assert turns == [
        ("system", SYSTEM),
        ("user", "1 Main St"),
        ("assistant", '{"city": "Town 1"}'),
        ("user", "0 Main St"),
    ]


def test_an_instruction_replaces_the_datas_system_turn():
    turns = PromptShape("p", "Do it.").apply(ROWS[0])
    assert [turn.role for turn in turns] == ["system", "user"]
    assert turns[0].content == "Do it."


def test_a_conversation_of_several_turns_keeps_them():
    long = chat([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")])
    assert [turn.content for turn in PromptShape("p", None, (long,)).apply(long)] == list("abcdabc")


def test_labels_are_listed_most_frequent_first():
    shape = with_labels(ROWS)
    assert shape.instruction.startswith(SYSTEM)
    assert "with only those of these keys" in shape.instruction
    assert shape.instruction.endswith("- city\n- unit\n- box")


def test_a_field_with_few_values_lists_them():
    rows = [
        chat([("user", str(n)), ("assistant", json.dumps({"mood": ["good", "bad"][n % 3 > 1]}))])
        for n in range(30)
    ]
    assert 'with exactly these keys:\n- mood: one of "good", "bad"' in with_labels(rows).instruction


def test_classes_are_listed_and_free_text_is_not():
    rows = [chat([("user", str(n)), ("assistant", ["yes", "no"][n % 2])]) for n in range(20)]
    assert with_labels(rows).instruction.endswith("- no\n- yes")
    assert with_labels([chat([("user", "q"), ("assistant", f"text {n}")]) for n in range(20)]) is None
    assert with_labels([]) is None


def test_different_system_turns_are_never_replaced():
    rows = [*ROWS, chat([("system", "other"), ("user", "q"), ("assistant", '{"city": "x"}')])]
    assert with_labels(rows) is None
    assert few_shot(rows, 2).instruction is None


def test_worked_examples_show_every_frequent_label():
    shape = few_shot(ROWS, 4)
    assert shape.name == "few_shot_4"
    keys = {key for shot in shape.shots for key in json.loads(shot.answer)}
    assert {"city", "unit"} <= keys
    assert len({shot.row_hash for shot in shape.shots}) == 4


@given(st.permutations(ROWS), st.integers(0, 6))
def test_the_choice_does_not_depend_on_the_order_of_rows(rows, k):
    assert most_covering(rows, k) == most_covering(ROWS, k)


def test_more_examples_than_rows_takes_all():
    assert len(most_covering(ROWS[:3], 10)) == 3


def test_a_shape_survives_its_file(tmp_path):
    shape = few_shot(ROWS, 2)
    shape.write(tmp_path / "p.json")
    assert PromptShape.read(tmp_path / "p.json") == shape


def test_similar_examples_stand_next_to_the_question_the_most_similar_last():
    pool = tuple(
        chat([("user", text), ("assistant", text.upper())])
        for text in ("a red apple", "a green pear", "a red apple pie", "rain")
    )
    shape = PromptShape("s", None, pool=pool, num_similar=2)
    question = chat([("user", "one red apple"), ("assistant", "?")])
    assert [turn.content for turn in shape.apply(question)[::2]] == [
        "a red apple pie",
        "a red apple",
        "one red apple",
    ]
    assert shape.num_shots == 2


def test_an_example_is_never_shown_to_itself():
    shape = similar_shot(ROWS, 3)
    asked = [turn.content for turn in shape.apply(ROWS[5]) if turn.role == "user"]
    assert len(asked) == 4
    assert asked.count("5 Main St") == 1


def test_passages_for_a_question_stand_in_the_system_turn():
    shape = PromptShape("p", passages=("Cats purr.", "Dogs bark.", "Rain falls."), num_passages=1)
    first, question = shape.apply(chat([("user", "What do dogs do?"), ("assistant", "?")]))
    assert (first.role, first.content.splitlines()[-1]) == ("system", "Dogs bark.")
    assert question.content == "What do dogs do?"
    assert shape.apply(ROWS[0])[0].content.startswith(SYSTEM)


def test_a_shape_with_a_pool_and_passages_survives_its_file(tmp_path):
    shape = PromptShape(
        "p", "x", pool=tuple(ROWS[:3]), num_similar=2, passages=("one", "two"), num_passages=1
    )
    shape.write(tmp_path / "p.json")
    assert PromptShape.read(tmp_path / "p.json") == shape


@pytest.mark.parametrize(
    "text",
    ["[]", '{"name": "p", "num_similar": "2"}',
     '{"name": "p", "num_similar": -1}', '{"name": "p", "pool": [1]}',
     '{"instruction": "x"}', '{"name": "p", "shots": [1]}', '{"name": "p", "instruction": 3}',
     '{"name": "p", "shots": [{"messages": [{"role": "user", "content": "q"}]}]}'],
)  # fmt: skip
def test_a_file_that_is_no_prompt_is_refused_with_its_place(tmp_path, text):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(DataError):
        PromptShape.read(path)


def test_a_developer_turn_counts_as_system():
    row = Example((Message("developer", SYSTEM), Message("user", "q"), Message("assistant", '{"a": "b"}')))
    assert [turn.role for turn in PromptShape("p", "new").apply(row)] == ["system", "user"]
