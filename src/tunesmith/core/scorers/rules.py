"""Rules of form that a text follows or not, each checked by a few lines of code and no judge.

The idea is IFEval's (arXiv:2311.07911): ask for what a program can verify.  Words and code are our own.
An empty answer follows no rule: a model that says nothing has not followed an instruction.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import Field, create_model

from tunesmith.core.config import Schema, build
from tunesmith.core.errors import ConfigError, nearest
from tunesmith.core.scorers.port import text_scorers

Count = Annotated[int, Field(ge=1, strict=True)]
Text = Annotated[str, Field(min_length=1, strict=True)]
Texts = Annotated[list[Text], Field(min_length=1)]

WORD = re.compile(r"\w+(?:['’-]\w+)*")
SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)")
BULLET = re.compile(r"^\s*[-*•]\s+\S", re.MULTILINE)
NUMBERED = re.compile(r"^\s*(\d+)[.)]\s+\S", re.MULTILINE)
FENCE = re.compile(r"^```\w*\n(.*)\n```$", re.DOTALL)
CLOSING = " \n.!\"'”’"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; `function` takes the text without white space at its ends, and the rule's arguments by name."""

    name: str
    function: Callable[..., bool]

    @property
    def what(self) -> str:
        """What it asks for, in one line."""
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")


def words_of(text: str) -> list[str]:
    """The words; an apostrophe or hyphen inside does not end one."""
    return WORD.findall(text)


def lines_of(text: str) -> list[str]:
    """The lines that are not blank."""
    return [line for line in text.splitlines() if line.strip()]


def times_of(word: str, text: str) -> int:
    """How often a word or phrase stands in the text as whole words, capitals ignored."""
    return len(re.findall(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", text.casefold()))


def at_most_words(text: str, *, words: Count) -> bool:
    """No more words than `words`."""
    return len(words_of(text)) <= words


def at_least_words(text: str, *, words: Count) -> bool:
    """No fewer words than `words`."""
    return len(words_of(text)) >= words


def sentences(text: str, *, count: Count) -> bool:
    """Exactly `count` sentences; the last may lack its full stop."""
    return sum(bool(words_of(piece)) for piece in SENTENCE_END.split(text)) == count


def lines(text: str, *, count: Count) -> bool:
    """Exactly `count` lines, blank ones not counted."""
    return len(lines_of(text)) == count


def paragraphs(text: str, *, count: Count) -> bool:
    """Exactly `count` paragraphs with blank lines between them."""
    return sum(bool(piece.strip()) for piece in re.split(r"\n\s*\n", text)) == count


def bullets(text: str, *, count: Count) -> bool:
    """Exactly `count` lines that start with a bullet (-, * or •)."""
    return len(BULLET.findall(text)) == count


def numbered(text: str, *, count: Count) -> bool:
    """Lines numbered 1 to `count`, each once and in order."""
    return NUMBERED.findall(text) == [str(number) for number in range(1, count + 1)]


def lower_case(text: str) -> bool:
    """Letters, none of them a capital."""
    return any(map(str.isalpha, text)) and text == text.lower()


def capitals(text: str) -> bool:
    """Letters, all of them capitals."""
    return any(map(str.isalpha, text)) and text == text.upper()


def capital_words(text: str, *, count: Count) -> bool:
    """At least `count` words of two or more letters in capitals."""
    return sum(word.isupper() and len(word) > 1 for word in words_of(text)) >= count


def starts_with(text: str, *, start: Text) -> bool:
    """The first words are `start`, whatever the capitals."""
    rest = text.casefold().removeprefix(start.casefold())
    return len(rest) < len(text.casefold()) and not re.match(r"\w", rest)


def ends_with(text: str, *, end: Text) -> bool:
    """The last words are `end`, whatever the capitals and the closing punctuation."""
    body, tail = text.casefold().rstrip(CLOSING), end.casefold().rstrip(CLOSING)
    return body.endswith(tail) and not re.search(r"\w$", body.removesuffix(tail))


def mentions(text: str, *, word: Text) -> bool:
    """The word (or phrase) is there, whatever its capitals."""
    return times_of(word, text) > 0


def avoids(text: str, *, word: Text) -> bool:
    """The word (or phrase) is not there, whatever its capitals."""
    return times_of(word, text) == 0


def word_times(text: str, *, word: Text, times: Count) -> bool:
    """The word (or phrase) is there exactly `times` times."""
    return times_of(word, text) == times


def letter_times(text: str, *, letter: Annotated[str, Field(pattern=r"^[^\W\d_]$")], times: Count) -> bool:
    """The letter, small or capital, is there at least `times` times."""
    return text.casefold().count(letter.casefold()) >= times


def json_object(text: str, *, keys: Texts) -> bool:
    """Nothing but a JSON object with just these keys; a code fence around it is allowed."""
    fenced = FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):  # deep brackets are no object either
        return False
    return isinstance(value, dict) and set(value) == set(keys)


def double_quotes(text: str) -> bool:
    """Wrapped in double quotation marks, with something between them."""
    return len(text) > 2 and text[0] == text[-1] == '"'


def no_commas(text: str) -> bool:
    """Without a comma."""
    return "," not in text


def no_digits(text: str) -> bool:
    """Without a digit."""
    return not any(map(str.isdigit, text))


def title(text: str) -> bool:
    """A title in double angle brackets, as <<this>>."""
    return re.search(r"<<[^<>\n]*\w[^<>\n]*>>", text) is not None


def placeholders(text: str, *, count: Count) -> bool:
    """At least `count` places to fill in, each in square brackets."""
    return len(re.findall(r"\[[^\[\]\n]+\]", text)) >= count


def highlights(text: str, *, count: Count) -> bool:
    """At least `count` passages between asterisks, as *this* or **this**."""
    return len(re.findall(r"\*{1,2}[^\s*][^*\n]*\*{1,2}", text)) >= count


def one_of(text: str, *, answers: Texts) -> bool:
    """One of these answers and nothing else, whatever the capitals and a full stop."""
    return text.casefold().rstrip(".") in {answer.casefold().rstrip(".") for answer in answers}


def is_exactly(answer: str, *, text: Text) -> bool:
    """The given text and nothing else, to the letter."""
    return answer == text.strip()


def repeats(text: str, *, request: Text) -> bool:
    """First the request word for word, then something more."""
    return text.startswith(request) and bool(words_of(text.removeprefix(request)))


def postscript(text: str) -> bool:
    """The last line is a postscript: it starts with P.S. and goes on."""
    last = lines_of(text)[-1].strip()
    return last.upper().startswith("P.S.") and bool(words_of(last[4:]))


def parts(text: str, *, count: Count) -> bool:
    """Exactly `count` parts with *** between them, none of them empty."""
    pieces = text.split("***")
    return len(pieces) == count and all(words_of(piece) for piece in pieces)


RULES: Mapping[str, Rule] = {
    function.__name__: Rule(function.__name__, function)
    for function in (
        at_most_words, at_least_words, sentences, lines, paragraphs, bullets, numbered, lower_case, capitals,
        capital_words, starts_with, ends_with, mentions, avoids, word_times, letter_times, json_object,
        double_quotes, no_commas, no_digits, title, placeholders, highlights, one_of, is_exactly, repeats,
        postscript, parts,
    )
}  # fmt: skip


@cache
def arguments(name: str) -> type[Schema]:
    """The schema of a rule's arguments: its function's keyword-only parameters."""
    parameters = inspect.signature(RULES[name].function).parameters.values()
    fields: dict[str, Any] = {
        one.name: (one.annotation, ...) for one in parameters if one.kind is one.KEYWORD_ONLY
    }
    return create_model(name, __base__=Schema, **fields)


def follows(text: str, rules: Sequence[Mapping[str, Any]]) -> list[bool]:
    """One verdict for each rule (`rule`: its name, and its arguments).

    Raises ConfigError for a rule that is not known or has wrong arguments, whatever the text.
    """
    body = text.strip()
    return [bool(body) and check(body) for check in [checked(spec) for spec in rules]]


def checked(spec: Mapping[str, Any]) -> Callable[[str], bool]:
    """The rule of a spec with its arguments, ready for a text."""
    given = dict(spec)
    name = given.pop("rule", None)
    if not isinstance(name, str) or name not in RULES:
        step = nearest(str(name), RULES)
        raise ConfigError("unknown rule", value=str(name), where="rules", next_step=step)
    # by iter: a rule has an argument named keys, which dict() would take for a method
    options = dict(iter(build(arguments(name), given, source=f"rule {name}")))
    return lambda body: RULES[name].function(body, **options)


def rules(gold: str, output: str, *, rules: list[dict[str, Any]]) -> float:
    """1 when the output follows every rule of form, such as {rule: at_most_words, words: 20}."""
    return float(all(follows(output, rules)))


SCORERS = text_scorers(rules, kind="share")
