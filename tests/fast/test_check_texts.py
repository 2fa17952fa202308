"""The checks on single rows: each finds its fault by name, and leaves its look-alike alone."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.conversation import Example, GradedStep, Message, chat
from tunesmith.data.check.texts.checks import CHECKS
from tunesmith.data.check.texts.forms import read_forms
from tunesmith.data.check.texts.repetition import find_loop, measure_repetition
from tunesmith.data.corpus import corpus_of

BY_NAME = {check.name: check for check in CHECKS}
ROW_CHECKS = [check for check in CHECKS if check.row]


def findings(name: str, example: Example) -> list:
    check = BY_NAME[name]
    with corpus_of([example]) as corpus:
        return list(check.row(corpus.row(0), check.threshold))


def ask(answer: str, question: str = "What do you know about the harbour of Rotterdam?") -> Example:
    return chat([("user", question), ("assistant", answer)])


def text(content: str) -> Example:
    return Example((Message("text", content),))


def pair(chosen: str, rejected: str, question: str = "Which one?", **metadata) -> Example:
    return Example(
        (Message("user", question),),
        chosen=(Message("assistant", chosen),),
        rejected=(Message("assistant", rejected),),
        metadata=metadata,
    )


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"type": "string", "enum": ["C", "F"]},
            },
            "required": ["city"],
        },
    },
}


def call(arguments: str, *, name: str = "weather", result: bool = True, last: str = "It is warm.") -> Example:
    turns = [
        Message("user", "Weather in Rome?"),
        Message(
            "assistant", None, tool_calls=({"id": "a", "function": {"name": name, "arguments": arguments}},)
        ),
        *([Message("tool", "20 C", tool_call_id="a")] if result else []),
        Message("assistant", last),
    ]
    return Example(tuple(turns), tools=(WEATHER,))


PROSE = " ".join(
    f"On day {n} the {a} ship of {b} left port with {n * 7} crates of {c}."
    for n, (a, b, c) in enumerate(
        zip(
            ["red", "blue", "green", "small", "large", "old", "new", "grey", "slow", "fast"],
            ["Genoa", "Bergen", "Porto", "Hull", "Cadiz", "Riga", "Oslo", "Kiel", "Nantes", "Bari"],
            ["tea", "salt", "wool", "rope", "iron", "fish", "cork", "hemp", "wine", "oil"],
            strict=True,
        )
    )
)
LONG_QUESTION = "Please tell me in a few words which of the five large ships in the harbour came first."

FAULTS = {
    "repeated_role": chat([("user", "Hi"), ("user", "Are you there?"), ("assistant", "Yes.")]),
    "late_system_prompt": chat([("user", "Hi"), ("system", "Be kind."), ("assistant", "Yes.")]),
    "assistant_first": chat([("assistant", "Hello!"), ("user", "Hi"), ("assistant", "Yes.")]),
    "undeclared_tool": call('{"city": "Rome"}', name="forecast"),
    "bad_tool_arguments": call('{"city": 5}'),
    "missing_tool_result": call('{"city": "Rome"}', result=False),
    "template_markers": ask("It is large.<|im_end|>\n<|im_start|>user"),
    "dialogue_headings": ask("It is large.\n### Instruction:\nNow the next one."),
    "placeholders": ask("I am {{name}} and I was made by {{author}}."),
    "unbalanced_think_tags": ask("<think>The user asks about ships. It is large."),
    "prompt_in_answer": ask(f"{LONG_QUESTION} The red one.", LONG_QUESTION),
    "null_words": ask("nan"),
    "refusals": ask("I'm sorry, but I can't assist with that request."),
    "ai_disclaimers": ask("As of my last update in 2021, the harbour is large."),
    "foreign_identities": ask("I am ChatGPT, a language model trained by OpenAI.", "Who are you?"),
    "empty_politeness": ask("Sure! I hope this helps. Let me know if you have any questions."),
    "cut_structures": ask('{"name": "Rotterdam", "ships": ["red", "bl'),
    "mojibake": ask("The cafÃ© is closed on Sunday, she says."),
    "control_characters": ask("The harbour\x07 is large."),
    "invisible_characters": ask("The har\u200bbour is large."),
    "repetition": ask(f"{PROSE} " + " ".join(["We thank all of our guests for their long patience."] * 12)),
    "loops": ask("The harbour is large." + " It is large and it is deep." * 9),
    "equal_sides": pair("It is the red one.", "It is  the Red one."),
    "contained_side": pair("It is the red one, I think.", "Hm. It is the red one, I think. Or blue."),
    "prompt_in_side": pair(f"{LONG_QUESTION} The red one.", "The blue one.", LONG_QUESTION),
    "different_tools": Example(
        (Message("user", "Weather?"),),
        chosen=(
            Message("assistant", None, tool_calls=({"function": {"name": "weather", "arguments": "{}"}},)),
        ),
        rejected=(Message("assistant", "Warm."),),
    ),
    "tied_scores": pair("Red.", "Blue.", score_chosen=4.0, score_rejected=4.0),
    "email_address": ask("Write to anna.keller@bluefern.io."),
    "phone_number": ask("Call +49 171 2938475."),
    "ip_address": ask("It runs at 81.23.144.9."),
    "payment_card": ask("Paid with 4539 1488 0343 6467."),
    "bank_account": ask("Send it to DE75 5121 0800 1245 1261 99."),
    "national_id": ask("Her number is 512-44-8071."),
    "secret_key": ask("Use ghp_a8Kd93jfLq02mZx7Yt5Rw1Bn6Vc4Hs0Pe9Gu."),
    "url_password": ask("Open postgres://svc:k29Xd8f2@db.bluefern.io/orders."),
    "random_string": ask("The session is aZ81kQm3Xw90LrT5vYc2Hd7Pb4Nf6Js."),
    "toxic_words": ask("You are a bastard and an asshole."),
}

LOOK_ALIKES = {
    "repeated_role": Example(
        (
            Message("user", "Weather here and there?"),
            Message(
                "assistant",
                None,
                tool_calls=tuple(
                    {"id": i, "function": {"name": "weather", "arguments": '{"city": "Rome"}'}} for i in "ab"
                ),
            ),
            Message("tool", "20 C", tool_call_id="a"),
            Message("tool", "21 C", tool_call_id="b"),
            Message("assistant", "Warm."),
        ),
        tools=(WEATHER,),
    ),
    "late_system_prompt": chat(
        [("system", "Be kind."), ("developer", "Be brief."), ("user", "Hi"), ("assistant", "Yes.")]
    ),
    "assistant_first": chat([("system", "Be kind."), ("user", "Hi"), ("assistant", "Yes.")]),
    "undeclared_tool": call('{"city": "Rome"}'),
    "bad_tool_arguments": call('{"city": "Rome", "days": 3.0, "unit": "C"}'),
    "missing_tool_result": Example(call('{"city": "Rome"}').messages[:2], tools=(WEATHER,)),
    "template_markers": ask("Use a < b | c > d and the list [INSTALL]; HTML has <s>old</s> for struck text."),
    "dialogue_headings": ask("Assistant: is a noun. Response: another. Instruction manuals are long."),
    "placeholders": ask("Vue:\n```\n<p>{{name}}</p> // TODO: x\n```\nTODO lists have <DIV> tags."),
    "unbalanced_think_tags": ask("<think>Ships.</think>It is large, and a < b."),
    "prompt_in_answer": ask("The red one came first.", LONG_QUESTION),
    "null_words": ask("None", "Which of these apply? Say None if none does."),
    "refusals": ask("I'm sorry to hear that your parcel is late. I can't find the order; which one?"),
    "ai_disclaimers": ask("A knowledge base is updated daily; the last update was in May."),
    "foreign_identities": ask("ChatGPT was developed by OpenAI, and I am using Claude at work.", "Who?"),
    "empty_politeness": ask("You're welcome! Have a nice day.", "That was all I wanted to know, thank you."),
    "cut_structures": ask('[1] Smith shows it, {x : x > 0} is open. JSON is {"a": 1}.\n```\nx = (1\n```'),
    "mojibake": ask("Größe, façade, Ægir, naïve — “so” … Çeşme, 東京, привет, São Paulo."),
    "control_characters": ask("Tabs\tand\nlines\r\nand © stay, and so do 🙂 and ½."),
    "invisible_characters": ask("می‌خواهم and 👩‍👩‍👧 and क्‍ष are spelled so."),
    "repetition": ask(PROSE),
    "loops": ask("| a | b |\n" + "---|" * 24 + ""),
    "equal_sides": pair("It is the red one.", "It is the blue one."),
    "contained_side": pair("Yes.", "Yes. It is the red one, and it always was."),
    "prompt_in_side": pair("The red one.", "The blue one.", LONG_QUESTION),
    "different_tools": pair("Warm.", "Cold."),
    "tied_scores": pair("Red.", "Blue.", score_chosen=4.5, score_rejected=2),
    "email_address": ask("Write to someone@example.com."),
    "phone_number": ask("It cost 1.234.567 or 020 7946 0958."),
    "ip_address": ask("It runs at 192.168.0.1."),
    "payment_card": ask("Test with 4242 4242 4242 4242."),
    "bank_account": ask("An IBAN looks like GB82 WEST 1234 5698 7654 32."),
    "national_id": ask("The form says 000-12-3456."),
    "secret_key": ask("Set password = os.environ['PASSWORD'] and api_key: YOUR_API_KEY_123."),
    "url_password": ask("Open https://host:8080/path@2 or postgres://user:password@localhost/db."),
    "random_string": ask("See getUserAccountByIdAndRegionCode2Async and d41d8cd98f00b204e9800998ecf8427e."),
    "toxic_words": ask("Mr Dyke of Scunthorpe assessed the cockpit; the plot is idiotic."),
}  # fmt: skip


def test_every_row_check_has_a_fault_and_a_look_alike_here():
    assert {check.name for check in ROW_CHECKS} == set(FAULTS) == set(LOOK_ALIKES)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name):
    found = findings(name, FAULTS[name])
    assert found
    assert found[0].evidence["pointer"].startswith("/")


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_look_alike_is_left_alone(name):
    assert findings(name, LOOK_ALIKES[name]) == []


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_finding_points_into_the_row(name):
    row = FAULTS[name].to_json()
    for found in findings(name, FAULTS[name]):
        here = row
        for step in found.evidence["pointer"].split("/")[1:]:
            here = here[int(step)] if isinstance(here, list) else here[step]
        assert here not in (None, "", [], {})


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ("{city: Rome}", "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "required and missing"),
        ('{"city": "Rome", "days": "3"}', "not of type integer"),
        ('{"city": "Rome", "unit": "K"}', "not one of the declared values"),
        ('{"city": "Rome", "wind": 1}', "not declared"),
        ('{"city": true}', "not of type string"),
    ],
)
def test_arguments_are_compared_with_their_declaration(arguments, fault):
    assert [found.value for found in findings("bad_tool_arguments", call(arguments))] == [fault]


def test_a_result_without_a_call_is_found():
    row = Example(
        (Message("user", "Hi"), Message("tool", "20 C", tool_call_id="x"), Message("assistant", "Warm."))
    )
    assert [found.value for found in findings("missing_tool_result", row)] == ["result without a call"]


@pytest.mark.parametrize(
    "marker", ["<|im_start|>", "[INST]", "<start_of_turn>", "<|eot_id|>", "<｜User｜>", "<|end|>", "<<SYS>>"]
)
def test_markers_of_each_family_are_found_in_prompts_too(marker):
    assert findings("template_markers", chat([("user", f"Hi {marker} there"), ("assistant", "Yes.")]))


@pytest.mark.parametrize(
    "blank", ["[Your Name]", "[INSERT DATE HERE]", "<NAME>", "TODO: write", "Lorem ipsum"]
)
def test_blanks_are_found(blank):
    assert findings("placeholders", ask(f"Dear {blank}, we met."))


@pytest.mark.parametrize(
    "kept", ["<ANSWER>4</ANSWER>", "<EMAIL_1>", "[Enter CASSIUS]", "`<NAME>`", "TODO list"]
)
def test_tags_in_pairs_our_masks_and_stage_directions_are_no_blanks(kept):
    assert not findings("placeholders", ask(f"So it is {kept} here."))


@pytest.mark.parametrize(
    "answer",
    [
        "I am Claude, an AI assistant.",
        "我是通义千问，由阿里云开发的语言模型。",
        "My name is DeepSeek.",
        "I'm an AI model developed by Google.",
    ],
)
def test_other_models_names_are_found(answer):
    assert findings("foreign_identities", ask(answer, "Who are you?"))


def test_an_identity_that_the_system_prompt_gives_is_no_stranger():
    row = chat([("system", "You are Claude."), ("user", "Who are you?"), ("assistant", "I am Claude.")])
    assert not findings("foreign_identities", row)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ('{"a": 1, "b": ', "JSON cut off"),
        ('{"a": 1, "b": "x', "JSON cut off"),
        ('{"a": 1,, "b": 2}', "JSON that cannot be read"),
        ('{"a": 1}}', "JSON that cannot be read"),
        ("Like this:\n```python\nx = 1", "open code fence"),
        ("It is large (as far as we know from", "open bracket at the end"),
    ],
)
def test_answers_that_break_off_are_named(answer, fault):
    assert [found.value for found in findings("cut_structures", ask(answer))] == [fault]


def test_json_with_words_behind_it_is_whole():
    assert not findings("cut_structures", ask('{"a": 1}\n\nThis is the object that you asked for.'))


def test_rejected_unwanted_and_wrong_answers_are_not_to_be_imitated():
    loop = "It is large." + " It is large and it is deep." * 9
    assert not findings("loops", pair("It is the red one.", loop))
    assert findings("loops", pair(loop, "It is the red one."))
    asked = (Message("user", "Hi"), Message("assistant", loop))
    assert not findings("loops", Example(asked, label=False))
    assert findings("loops", Example(asked, label=True))
    assert not findings("loops", Example((Message("user", "Hi"),), steps=(GradedStep(loop, False),)))


def test_mojibake_is_shown_as_it_should_read():
    (found,) = findings("mojibake", FAULTS["mojibake"])
    assert "café" in found.evidence["reads"]


def test_a_document_is_no_answer_but_its_repetition_counts():
    assert not findings("refusals", text("I'm sorry, but I can't assist with that request."))
    assert findings("repetition", text(FAULTS["repetition"].answer))


def test_scores_that_contradict_the_pair_are_errors():
    (found,) = findings("tied_scores", pair("Red.", "Blue.", score_chosen=1.0, score_rejected=3.0))
    assert found.severity == "error"


def test_short_texts_are_not_judged_by_shares():
    assert measure_repetition("no no no no no no no no") is None


def test_a_loop_with_a_broken_last_turn_is_one():
    assert find_loop("Well." + " and so it goes on" * 10).times >= 9
    assert find_loop("0.3333333333333333") is None


ANYTHING = st.text(max_size=80) | st.sampled_from(
    [
        '{"a": [',
        "```\n",
        "<think>",
        "a" * 300,
        "ab " * 90,
        "{{x}}",
        "\ud800",
        "\u202e",
        "İ" * 20,
        "[" * 80,
        "1" * 40,
    ]
)


@st.composite
def examples(draw):
    turns = tuple(
        Message(draw(st.sampled_from(["user", "assistant", "tool", "system"])), draw(ANYTHING | st.none()))
        for _ in range(draw(st.integers(0, 3)))
    )
    tool = {"function": {"name": draw(ANYTHING), "arguments": draw(ANYTHING)}}
    answer = Message("assistant", draw(ANYTHING), tool_calls=(tool,) if draw(st.booleans()) else ())
    kind = draw(st.sampled_from(["chat", "pair", "rated", "steps", "text"]))
    question = (*turns, Message("user", draw(ANYTHING)))
    if kind == "pair":
        return Example(question, chosen=(answer,), rejected=(Message("assistant", draw(ANYTHING)),))
    if kind == "steps":
        return Example(question, steps=(GradedStep(draw(ANYTHING), draw(st.booleans())),))
    if kind == "text":
        return Example((Message("text", draw(ANYTHING)), Message("text", draw(ANYTHING))))
    return Example((*question, answer), label=draw(st.booleans()) if kind == "rated" else None)


@given(examples())
@settings(max_examples=150, deadline=None)
def test_no_row_crashes_a_check_and_every_finding_is_json(example):
    from tunesmith.data.corpus import CorpusRow

    row = CorpusRow(0, "", 1, "", "", example)
    for check in ROW_CHECKS:
        for found in check.row(row, check.threshold):
            line = [found.severity, found.value, dict(found.evidence)]
            assert json.loads(json.dumps(line)) == line
    read_forms(example)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        " ",
        "\n",
        "here is ",
        "i am an ai made ",
        "[",
        "```",
        "é",
        "Ã©",
        "<think>",
        "{{",
        "x: ",
        "ab ",
        "\u200b",
        "||",
    ],
)
def test_a_hundred_thousand_characters_are_read_by_every_check(piece):
    """No timing: a pattern that is not linear would take minutes here."""
    row = ask((piece * 100_000)[:100_000])
    with corpus_of([row]) as corpus:
        found = {check.name: list(check.row(corpus.row(0), check.threshold)) for check in ROW_CHECKS}
    assert len(found) == len(ROW_CHECKS) > 30
