"""The checks over a whole corpus: what is usual there, and which rows leave it."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from tunesmith.core.conversation import Example, GradedStep, Message, chat
from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace
from tunesmith.data.check.port import Context, Fact, Finding, Options
from tunesmith.data.check.texts.checks import CHECKS
from tunesmith.data.check.texts.endings import find_cap, is_ended
from tunesmith.data.check.texts.forms import deviations, majority_forms, read_forms
from tunesmith.data.check.texts.language import language_of
from tunesmith.data.corpus import corpus_of

BY_NAME = {check.name: check for check in CHECKS}


@contextmanager
def context_of(rows, tmp_path=Path("/nowhere")):
    def no_vectors(text):
        raise AssertionError("a check of texts asked for embeddings")

    with corpus_of(rows) as corpus:
        yield Context(corpus, Options(), Job(Workspace(tmp_path)), no_vectors)


def run(name: str, rows) -> list[Finding | Fact]:
    check = BY_NAME[name]
    with context_of(rows) as context:
        return list(check.whole(context, check.threshold))


def positions(name: str, rows) -> list[int | None]:
    return [found.position for found in run(name, rows) if isinstance(found, Finding)]


def facts(name: str, rows) -> dict:
    return {found.name: found.value for found in run(name, rows) if isinstance(found, Fact)}


def ask(answer: str, question: str = "Where is the red ship now?", system: str | None = None) -> Example:
    return chat([*([("system", system)] if system else []), ("user", question), ("assistant", answer)])


def pair(chosen: str, rejected: str) -> Example:
    return Example(
        (Message("user", "Which?"),),
        chosen=(Message("assistant", chosen),),
        rejected=(Message("assistant", rejected),),
    )


def rated(label: bool, answer: str) -> Example:
    return Example((Message("user", "Which?"), Message("assistant", answer)), label=label)


ENGLISH = (
    "The ship left the harbour early in the morning and nobody on the quay saw where it was going that day"
)
GERMAN = "Das Schiff verließ am frühen Morgen den Hafen und niemand am Kai sah, wohin es fuhr, sagt er heute"
NUMBERS = range(40)
FULL = [
    ask(f"The ship lies at quay {n} since then. It is loaded with {n + 3} crates and leaves at noon.")
    for n in NUMBERS
]


def test_an_answer_that_stops_is_found_where_all_others_end():
    cut = ask(
        "The ship lies at quay 4 since then. It is loaded with crates of tea and it leaves the harbour at"
    )
    assert positions("unfinished_answers", [*FULL, cut]) == [40]


def test_where_most_answers_have_no_stop_it_is_no_fault():
    headlines = [ask(f"Ship {n} leaves the harbour of Genoa") for n in NUMBERS]
    assert positions("unfinished_answers", headlines) == []
    assert facts("unfinished_answers", headlines)["answers_that_end"] == {"line": {"ended": 0, "answers": 40}}


def test_headlines_are_not_judged_by_the_habit_of_prose():
    assert positions("unfinished_answers", [*FULL, ask("Ship leaves harbour")]) == []


@pytest.mark.parametrize(
    "end", ["Done.", "Done!)", "好。", "See https://a.org/x", "`x`", "Well 🙂", "a | b |", '"Yes."']
)
def test_these_are_ends(end):
    assert is_ended(end)


def test_a_pile_at_the_greatest_length_is_a_cap():
    rows = [ask("x" * n + f"{n:03}") for n in range(60, 290, 3)] + [
        ask(f"{n:03}" + "y" * 297) for n in range(12)
    ]
    assert positions("capped_answers", rows) == list(range(77, 89))


def test_one_label_again_and_again_is_no_cap():
    label = "This text belongs to the class of business news, and to no other of the classes given above."
    assert positions("capped_answers", [ask(label) for _ in NUMBERS]) == []


def test_lengths_without_a_pile_have_no_cap():
    from collections import Counter

    assert find_cap(Counter(dict.fromkeys(range(100, 200), 2)), 100, 8.0) is None
    assert find_cap(Counter({**dict.fromkeys(range(100, 200), 2), 200: 40}), 100, 8.0) == 200


def test_a_row_in_another_language_is_found_and_short_rows_are_not_judged():
    rows = [ask(f"{ENGLISH} {n}.") for n in range(150)]
    assert positions("unusual_language", [*rows, ask(GERMAN), ask("Ja.")]) == [150]


def test_a_single_row_of_a_small_corpus_is_alone_in_its_language_and_two_are_not():
    rows = [ask(f"{ENGLISH} {n}.") for n in range(30)]
    assert positions("unusual_language", [*rows, ask(GERMAN)]) == [30]
    assert positions("unusual_language", [*rows, ask(GERMAN), ask(f"{GERMAN} Ja.")]) == []
    assert positions("unusual_language", [*rows[:10], ask(GERMAN)]) == []


def test_two_languages_that_share_the_corpus_are_both_usual():
    rows = [ask(f"{ENGLISH if n % 2 else GERMAN} {n}.") for n in NUMBERS]
    assert positions("unusual_language", rows) == []


def test_an_answer_in_another_language_than_its_prompt_is_found_unless_asked_for():
    rows = [ask(f"{ENGLISH} {n}.", f"{ENGLISH}, is it true, {n}?") for n in NUMBERS]
    odd = ask(GERMAN, f"{ENGLISH}, is it true?")
    asked = ask(GERMAN, f"Translate into German: {ENGLISH}")
    assert positions("answer_language", [*rows, odd, asked]) == [40]


def test_code_and_data_have_no_language():
    assert (
        language_of('{"harbour": "The ship left the harbour early in the morning and nobody saw it"}') is None
    )
    assert language_of("hi") is None
    assert language_of(ENGLISH).code == "en"


def test_the_majority_system_prompt_is_a_fact_and_a_variant_of_it_a_warning():
    rows = [ask("Yes.", system="You are a harbour guide.") for _ in NUMBERS]
    rows += [ask("Yes.", system="you are a Harbour guide"), ask("Yes.", system="Be a pirate.")]
    found = [one for one in run("system_prompt_forms", rows) if isinstance(one, Finding)]
    assert [(one.position, one.severity) for one in found] == [(40, "warning"), (41, "note")]
    value = facts("system_prompt_forms", rows)["system_prompt_forms"]["system_prompt"]
    assert value["value"] == "You are a harbour guide."


def test_rows_that_leave_the_form_of_prompts_and_answers_are_found():
    rows = [ask('{"city": "Rome", "country": "Italy"}', f"Place {n}: Rome?") for n in NUMBERS]
    rows += [
        ask('{"country": "Italy", "city": "Rome"}', "Place 1: Rome?"),
        ask("Rome lies in Italy.", "Place 2: Rome?"),
        ask('{"city": "Rome", "country": "Italy"}\n', "place 3: Rome?"),
    ]
    answers = [one for one in run("answer_forms", rows) if isinstance(one, Finding)]
    assert [(one.position, one.value, one.severity) for one in answers] == [
        (40, "answer_keys", "warning"),
        (41, "answer_form", "note"),
        (42, "answer_edges", "warning"),
    ]
    assert positions("prompt_forms", rows) == [42]


def test_forms_that_no_majority_shares_are_no_fault():
    rows = [ask("Yes.", question) for question in ("where is it?", "Where is it?") for _ in NUMBERS]
    assert positions("prompt_forms", rows) == []


def test_the_words_before_a_colon_are_how_a_prompt_opens():
    asked = [f"Question: {word} is it?" for word in ("what", "who", "when", "where") * 10]
    rows = [ask("yes.", question) for question in [*asked, "Q: what is it?", "What is it?"]]
    assert positions("prompt_forms", rows) == [40, 41]
    assert {found.value for found in run("prompt_forms", rows) if isinstance(found, Finding)} == {
        "prompt_opening"
    }


def test_the_pure_functions_say_what_cleaning_needs():
    rows = [ask("Yes.", system="Be kind.") for _ in NUMBERS]
    forms = majority_forms(rows, 0.9)
    assert forms["system_prompt"].value == "Be kind."
    assert forms["system_prompt"].share == 1.0
    (leaves,) = deviations(ask("Yes.", system="be kind"), forms)
    assert (leaves.feature, leaves.majority, leaves.is_variant) == ("system_prompt", "Be kind.", True)
    assert read_forms(Example((Message("text", "A document."),))) == {}


def test_secrets_in_a_majority_prompt_are_masked_in_the_report():
    rows = [ask("Yes.", system="Mail anna.keller@bluefern.io about it.") for _ in NUMBERS]
    assert "anna.keller" not in str(run("system_prompt_forms", rows))


def test_tools_that_are_declared_and_never_called_are_found():
    def row(called: str) -> Example:
        tools = tuple({"function": {"name": name}} for name in ("weather", "time"))
        calls = ({"function": {"name": called, "arguments": "{}"}},)
        return Example((Message("user", "?"), Message("assistant", None, tool_calls=calls)), tools=tools)

    found = [
        one for one in run("unused_tools", [row("weather") for _ in NUMBERS]) if isinstance(one, Finding)
    ]
    assert [one.evidence["text"] for one in found] == ["time"]
    assert positions("unused_tools", [*(row("weather") for _ in NUMBERS), row("time")]) == []


def test_pairs_that_length_tells_apart_are_found():
    biased = [pair("Yes, the red ship it is." + "!" * n, "No.") for n in NUMBERS]
    assert positions("length_bias", biased) == [None]
    assert positions("separable_pairs", biased)
    even = [
        pair(f"Ship {n}.", f"Boat {n}, I think.") if n % 2 else pair(f"Boat {n}, I think.", f"Ship {n}.")
        for n in NUMBERS
    ]
    assert positions("length_bias", even) == []
    assert positions("separable_pairs", even) == []


def test_chosen_answers_that_are_shorter_are_a_bias_too():
    (found,) = [
        one
        for one in run("length_bias", [pair("No.", "Yes, it is.") for _ in NUMBERS])
        if isinstance(one, Finding)
    ]
    assert "shorter answer in 100%" in found.evidence["text"]


def test_ratings_of_one_class_and_contradicting_ones_are_found():
    assert positions("one_sided_ratings", [rated(True, f"Ship {n}.") for n in NUMBERS]) == [None]
    both = [rated(n % 2 == 0, f"Ship {n}.") for n in NUMBERS]
    assert positions("one_sided_ratings", both) == []
    assert positions("contradicting_ratings", both) == []
    assert positions("contradicting_ratings", [*both, rated(True, "ship 1.")]) == [1, 40]


def test_steps_that_are_always_right_are_found():
    def steps(*labels: bool) -> Example:
        return Example((Message("user", "2 + 2?"),), steps=tuple(GradedStep("x", label) for label in labels))

    assert positions("flat_steps", [steps(True, True) for _ in NUMBERS]) == [None]
    assert positions("flat_steps", [steps(True, False) for _ in NUMBERS]) == []


def test_a_group_that_stands_near_negative_words_is_named_and_even_groups_are_not():
    bad = [ask("The immigrants are criminals, he says.") for _ in NUMBERS]
    good = [ask("The women are engineers, he says.") for _ in NUMBERS]
    found = [one for one in run("group_term_imbalance", [*bad, *good]) if isinstance(one, Finding)]
    assert [one.evidence["text"].split(":")[0] for one in found] == ["immigrants"]
    assert positions("group_term_imbalance", good) == []


def test_every_check_over_the_corpus_takes_an_empty_one_and_one_of_documents():
    for rows in ([], [Example((Message("text", "A document of one line."),))] * 3):
        for check in CHECKS:
            if check.whole:
                assert positions(check.name, rows) == []
