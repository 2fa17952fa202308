"""What a request asks of its answer → a grammar as llguidance reads it, or CannotAdmit.

Limits that the library does not have itself stand here: a long chain of references or a bad divisor in a
small text would take all of the stack, or a minute.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from math import isfinite
from typing import Any, Final, NoReturn

from llguidance import LLMatcher, LLParserLimits

from tunesmith.runtime.sampling.port import CannotAdmit, Grammar, GrammarKind

MAX_BYTES: Final[dict[GrammarKind, int]] = {
    "json_schema": 128 << 10,
    "json_object": 0,
    "regex": 8 << 10,
    "lark": 64 << 10,
    "choice": 256 << 10,
}
"""A regular expression takes time with the square of its length: 0.6 s at 8 KiB, 50 s at 80 KiB."""
MAX_DIVISOR = 100_000
"""Digits of `multipleOf`: the library builds a state for each remainder, 17 s for 1,000,003."""
LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
"""The library's own, but for states: 50,000 of them may take 100 MB."""
REASONS = {"NoExtensionBias": "no text matches it"}
"""The library's words that say nothing to those who do not know it."""
MAX_SUBSCHEMAS = 300
"""Parts of a refused schema that are tried one by one to find the one at fault."""
NEXT_STEPS: Final[dict[GrammarKind, str]] = {
    "json_schema": "simplify that part, or ask for json_object and check the answer yourself",
    "json_object": "ask without a grammar",
    "regex": "simplify it: no look-around, no backreferences, at most 8 KiB",
    "lark": "correct it (https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md)",
    "choice": 'give a JSON list of strings, such as ["yes", "no"]',
}


def written(grammar: Grammar) -> str:
    """The grammar in llguidance's words.

    Raises CannotAdmit for a text that cannot be one, and RecursionError for one that is nested too deeply.
    """
    try:
        size = len(grammar.text.encode())
    except UnicodeEncodeError as error:
        refuse(grammar, "the text is not valid Unicode", place=f"character {error.start + 1}")
    if grammar.kind != "json_object" and size > MAX_BYTES[grammar.kind]:
        limit = MAX_BYTES[grammar.kind]
        refuse(grammar, f"the text is too long: {size:,} bytes, at most {limit:,}")
    return WRITERS[grammar.kind](grammar)


def refuse(grammar: Grammar, what: str, *, value: str | None = None, place: str = "") -> NoReturn:
    """Say what is wrong with a grammar and where."""
    where = f"{grammar.kind}, {place}" if place else grammar.kind
    raise CannotAdmit(what, value=value, where=where, next_step=NEXT_STEPS[grammar.kind])


def refuse_as_library_says(grammar: Grammar, message: str) -> NoReturn:
    """Pass on what llguidance says, with the place as far as it can be found."""
    place = ""
    if grammar.kind == "regex" and (caret := re.search(r"^ {4}( *)\^", message, re.MULTILINE)):
        place = f"character {len(caret[1]) + 1}"
    elif grammar.kind == "json_schema":
        place = place_in_schema(read_json(grammar), reason(message))
    refuse(grammar, "this cannot be made into a grammar", value=reason(message), place=place)


def reason(message: str) -> str:
    """The first line of the library's message, or what its regex parser says: `error: …` after a picture."""
    fault = re.search(r"^error: (.+)$", message, re.MULTILINE)
    line = first_line(fault[1] if fault else message)
    return REASONS.get(line, line)


def first_line(text: str) -> str:
    """The first line of a text, shortened."""
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return line if len(line) <= 200 else line[:197] + "…"


# --- writers -----------------------------------------------------------------------------------------


def write_json_schema(grammar: Grammar) -> str:
    """`x-guidance` in the schema may set the library's options, but not make it skip what it cannot do."""
    schema = read_json(grammar)
    if not isinstance(schema, dict | bool):
        refuse(grammar, "a JSON schema is an object", value=first_line(grammar.text))
    check_divisors(grammar, schema)
    # Written anew: the library only pastes the text into its own JSON.
    text = json.dumps(schema)
    if isinstance(schema, bool):
        return LLMatcher.grammar_from_json_schema(text)
    try:
        return LLMatcher.grammar_from_json_schema(text, overrides={"lenient": False})
    except ValueError as error:
        refuse_as_library_says(grammar, str(error))


def write_json_object(_grammar: Grammar) -> str:
    """Any JSON object."""
    return LLMatcher.grammar_from_json_schema('{"type": "object"}')


def write_regex(grammar: Grammar) -> str:
    """The whole answer matches: the expression is anchored at both ends."""
    return LLMatcher.grammar_from_regex(grammar.text)


def write_lark(grammar: Grammar) -> str:
    """Llguidance's dialect of Lark, whose rule `start` is the answer."""
    for block in re.finditer(r"%json\s*", grammar.text):
        try:
            schema, _ = json.JSONDecoder().raw_decode(grammar.text, block.end())
        except ValueError:
            continue  # the library says what is wrong with it
        check_divisors(grammar, schema)
    return LLMatcher.grammar_from_lark(grammar.text)


def write_choice(grammar: Grammar) -> str:
    """One terminal with all strings as alternatives."""
    choices = read_json(grammar)
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        refuse(grammar, "choices are a JSON list of strings", value=first_line(grammar.text))
    if not any(choices):
        refuse(grammar, "there is no choice with a text in it", value=first_line(grammar.text))
    try:
        "".join(choices).encode()
    except UnicodeEncodeError:
        refuse(grammar, "half of a surrogate pair is no character", value=first_line(grammar.text))
    literals = (json.dumps(choice) for choice in dict.fromkeys(choices))  # in ASCII, as Lark wants
    return LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {' | '.join(literals)}")


WRITERS: Final[dict[GrammarKind, Callable[[Grammar], str]]] = {
    "json_schema": write_json_schema,
    "json_object": write_json_object,
    "regex": write_regex,
    "lark": write_lark,
    "choice": write_choice,
}


# --- JSON --------------------------------------------------------------------------------------------


def read_json(grammar: Grammar) -> Any:
    """The text as JSON.  Raises CannotAdmit with line and column, and RecursionError."""
    try:
        return json.loads(
            grammar.text,
            object_pairs_hook=_without_doubles,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        refuse(grammar, "invalid JSON", value=error.msg, place=f"line {error.lineno}, column {error.colno}")
    except ValueError as error:
        refuse(grammar, "invalid JSON", value=first_line(str(error)))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {double!r} is given twice")
    return found


def _finite(digits: str) -> float:
    if not isfinite(number := float(digits)):
        raise ValueError(f"{digits} is too large a number")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def subschemas(value: Any, place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object inside a JSON value with its pointer, the innermost first."""
    if isinstance(value, dict):
        for key, inner in value.items():
            escaped = key.replace("~", "~0").replace("/", "~1")
            yield from subschemas(inner, f"{place}/{escaped}")
        yield place, value
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from subschemas(inner, f"{place}/{index}")


def check_divisors(grammar: Grammar, schema: Any) -> None:
    """Refuse a `multipleOf` with so many digits that the library would take minutes."""
    for place, part in subschemas(schema):
        divisor = part.get("multipleOf")
        if not isinstance(divisor, int | float) or isinstance(divisor, bool):
            continue
        digits = int("".join(map(str, Decimal(str(divisor)).normalize().as_tuple().digits)))
        if digits > MAX_DIVISOR:
            what = f"multipleOf needs {digits:,} states, at most {MAX_DIVISOR:,}"
            refuse(grammar, what, value=str(divisor), place=f"{place}/multipleOf")


def place_in_schema(schema: Any, message: str) -> str:
    """Pointer to the innermost part that the library refuses with the same message; "" when none does."""
    parts = list(subschemas(schema))
    if not isinstance(schema, dict) or len(parts) > MAX_SUBSCHEMAS:
        return ""
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    for place, part in parts:
        text = LLMatcher.grammar_from_json_schema(json.dumps({**shared, **part}))
        if reason(LLMatcher.validate_grammar(text, None, limits=LIMITS)) == message:
            return place
    return ""
