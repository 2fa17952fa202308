"""Consistent instructions: in which form most rows are written, and which rows leave it.

`read_forms` gives the features of a row, `majority_forms` what the majority does with its share, `deviations`
where a row leaves it.  All three are pure: the check reports with them, `clean` normalises with them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Literal, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.similarity import normalise
from tunesmith.data.check.port import Check, Context, Fact, Finding
from tunesmith.data.check.texts.parts import answers_of, last_question
from tunesmith.data.check.texts.personal import hide

WORD = re.compile(r"\w+")
MAX_DISTINCT = 2_000
"""More different values of a feature than this are not told apart any further."""
OTHERS = "(others)"
NONE = "(none)"
MAX_VALUE = 4_000
"""A longer system prompt counts by its first characters."""
OPENING_WORDS = 3
LABEL = re.compile(r"\s*[^\s:][^\n:]{0,200}:(?=\s)")
MIN_ROWS = 20
LIST_LINE = re.compile(r"^[ \t]{0,12}([-*•+]|\d{1,3}[.)])\s", re.MULTILINE)
MARKDOWN = re.compile(r"^#{1,6} \S|\*\*[^*\n]{1,200}\*\*|^\|.{1,500}\|\s*$|```", re.MULTILINE)

Feature = Literal[
    "system_prompt", "prompt_opening", "prompt_casing", "prompt_ending", "prompt_edges",
    "answer_form", "answer_keys", "answer_list", "answer_casing", "answer_ending", "answer_edges",
]  # fmt: skip

CHECKED: Mapping[str, tuple[Feature, ...]] = {
    "system_prompt_forms": ("system_prompt",),
    "prompt_forms": ("prompt_opening", "prompt_casing", "prompt_ending", "prompt_edges"),
    "answer_forms": (
        "answer_form",
        "answer_keys",
        "answer_list",
        "answer_casing",
        "answer_ending",
        "answer_edges",
    ),
}
"""Features by the check that reports them."""


class Form(NamedTuple):
    """What the majority does in one feature."""

    value: str
    """The value most rows have; of a system prompt its whole text."""
    share: float
    """Its share of the rows that have the feature."""
    rows: int
    """How many rows have the feature."""
    others: tuple[tuple[str, int], ...] = ()
    """The next most frequent values, each with its rows."""


class Deviation(NamedTuple):
    """One feature in which a row leaves the majority."""

    feature: Feature
    value: str
    majority: str
    is_variant: bool
    """Whether the two differ in case, spaces and punctuation only: then they surely mean the same."""


def casing(text: str) -> str | None:
    """Case of the first letter, or of the whole text when that is in capitals; None without cased letters."""
    letter = next((letter for letter in text[:200] if letter.isupper() or letter.islower()), None)
    if letter is None:
        return None
    if text.isupper() and sum(map(str.isalpha, text[:50])) > 3:
        return "CAPITALS"
    return "Upper" if letter.isupper() else "lower"


def ending(text: str) -> str:
    """The sign that a text ends with; letters and digits, and rarer signs, have one name each."""
    last = text.rstrip()[-1:]
    if last.isalnum():
        return "word"
    return last if last in ".?!:;,)]}\"'`。？！：" else "other sign"


def opening_of(text: str) -> str:
    """What stands before the first colon of the first line, with it; else the first words."""
    label = LABEL.match(text)
    return " ".join(label[0].split()) if label else " ".join(text[:200].split()[:OPENING_WORDS])


def edges(text: str) -> str:
    """Spaces and line breaks around a text, as JSON shows them."""
    left = text[: len(text) - len(text.lstrip())]
    right = text[len(text.rstrip()) :] if text.strip() else ""
    return json.dumps([left[:20], right[:20]])


def answer_form(text: str, value: object) -> str:
    """JSON object or list, code, Markdown, lines, or one line of plain text."""
    if isinstance(value, dict):
        return "JSON object"
    if isinstance(value, list):
        return "JSON list"
    if text.lstrip().startswith("```"):
        return "code block"
    if MARKDOWN.search(text) or LIST_LINE.search(text):
        return "Markdown"
    return "several lines" if "\n" in text.strip() else "one line"


def parse(text: str) -> object:
    """A JSON object or list; None for any other text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def read_forms(example: Example) -> dict[Feature, str]:
    """The features that a row has; documents have none, since nothing is asked."""
    answers = answers_of(example)
    if not answers:
        return {}
    forms: dict[Feature, str] = {}
    if not example.is_text:
        system = [turn.content or "" for turn in example.messages if turn.role in ("system", "developer")]
        forms["system_prompt"] = "\n".join(system)[:MAX_VALUE] if system else NONE
    question = last_question(example)
    if question.strip():
        forms["prompt_opening"] = opening_of(question)
        forms["prompt_ending"] = ending(question)
        forms["prompt_edges"] = edges(question)
        if case := casing(question):
            forms["prompt_casing"] = case
    forms.update(read_answer(answers[-1].text))
    return forms


def read_answer(text: str) -> dict[Feature, str]:
    """The features of an answer."""
    value = parse(text)
    forms: dict[Feature, str] = {"answer_form": answer_form(text, value), "answer_edges": edges(text)}
    if isinstance(value, dict):
        forms["answer_keys"] = ", ".join(value)[:MAX_VALUE]
    elif value is None:
        forms["answer_ending"] = "sentence end" if (sign := ending(text)) in ".!?。！？" else sign
        if case := casing(text):
            forms["answer_casing"] = case
        if match := LIST_LINE.search(text):
            forms["answer_list"] = "1" + match[1][-1] if match[1][0].isdigit() else match[1]
    return forms


def majority_forms(rows: Iterable[Example], least_share: float) -> dict[Feature, Form]:
    """The forms that at least this share of the rows has, by feature; under 20 rows with a feature, none.

    Keys in another order count as another form.  One pass; at most 2,000 values of a feature are held.
    """
    counts: dict[Feature, Counter[str]] = {}
    for example in rows:
        for feature, value in read_forms(example).items():
            counter = counts.setdefault(feature, Counter())
            counter[value if value in counter or len(counter) < MAX_DISTINCT else OTHERS] += 1
    forms = {feature: majority(counter) for feature, counter in counts.items()}
    return {
        feature: form
        for feature, form in forms.items()
        if form.share >= least_share and form.rows >= MIN_ROWS
    }


def majority(counter: Counter[str]) -> Form:
    """The most frequent value with its share, and the five after it."""
    (value, most), *others = counter.most_common(6)
    total = counter.total()
    return Form(value, most / total, total, tuple(others))


def deviations(example: Example, forms: Mapping[Feature, Form]) -> Iterator[Deviation]:
    """Where a row leaves the majority's form."""
    for feature, value in read_forms(example).items():
        form = forms.get(feature)
        if form is not None and value != form.value:
            yield Deviation(feature, value, form.value, is_variant(feature, value, form.value))


def is_variant(feature: Feature, value: str, usual: str) -> bool:
    """Whether two values differ in case, spaces, punctuation, or the order of keys only."""
    if feature == "answer_keys":
        return sorted(value.split(", ")) == sorted(usual.split(", "))
    if feature in ("prompt_edges", "answer_edges"):
        return True
    left, right = (WORD.findall(normalise(text)) for text in (value, usual))
    return bool(left) and left == right


def find_deviations(name: str, context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """The majority's forms as a fact, and each row that leaves them."""
    found = majority_forms((row.example for row in context.corpus), 0.0)
    mine = {feature: form for feature, form in found.items() if feature in CHECKED[name]}
    if mine:
        yield Fact(name, {feature: show_form(form) for feature, form in mine.items()})
    judged = {feature: form for feature, form in mine.items() if threshold <= form.share < 1}
    if not judged:
        return
    for row in context.corpus:
        for leaves in deviations(row.example, judged):
            evidence = {
                "pointer": pointer_of(row.example, leaves.feature),
                "feature": leaves.feature,
                "text": hide(leaves.value, 0, min(len(leaves.value), 160)),
                "majority": hide(leaves.majority, 0, min(len(leaves.majority), 160)),
                "share": round(judged[leaves.feature].share, 4),
            }
            yield Finding(row.position, "warning" if leaves.is_variant else "note", leaves.feature, evidence)


def show_form(form: Form) -> dict[str, object]:
    """A form for the report, masked."""
    others = {hide(value, 0, min(len(value), 80)): rows for value, rows in form.others}
    return {
        "value": hide(form.value, 0, min(len(form.value), 400)),
        "share": round(form.share, 4),
        "rows": form.rows,
        "others": others,
    }


def pointer_of(example: Example, feature: Feature) -> str:
    """Where in the row a feature stands."""
    if feature.startswith("answer"):
        return answers_of(example)[-1].pointer
    wanted = ("system", "developer") if feature == "system_prompt" else ("user", "text")
    places = [place for place, turn in enumerate(example.prompt) if turn.role in wanted]
    return f"/messages/{places[-1]}/content" if places else "/messages"


ABOUT = {
    "system_prompt_forms": "System prompts unlike the one that at least this share of the rows has; a "
    "warning where only "
    "case, spaces or punctuation differ.",
    "prompt_forms": "Prompts that open or end (words, case, sign, spaces) unlike this share of the rows.",
    "answer_forms": "Answers whose form (JSON, its keys and their order, Markdown, list sign, case, ending, "
    "spaces around) is "
    "unlike that of at least this share of the rows.",
}

CHECKS = tuple(
    Check(name, about, "consistency", whole=partial(find_deviations, name), threshold=0.9)
    for name, about in ABOUT.items()
)
