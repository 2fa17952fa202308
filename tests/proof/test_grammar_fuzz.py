"""Grammars on many more examples than the small tests try, and on broken ones."""

import json
import re

from grammar_answers import SCHEMAS, answer, check_json, closing
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer

from tunesmith.runtime.sampling.grammar import GrammarBook
from tunesmith.runtime.sampling.port import CannotAdmit, Grammar

END, VOCAB_SIZE = 257, 264
TOKENIZER = tiny_tokenizer()
BOOK = GrammarBook(TOKENIZER, VOCAB_SIZE)
WISH_V = closing(TOKENIZER, VOCAB_SIZE, [END])
MANY = settings(max_examples=1_000, suppress_health_check=list(HealthCheck))

ATOMS = st.sampled_from(["a", "b", "[0-9]", "[^a-f]", ".", "é", "(yes|no)", "\\.", "/", '"', "x y"])
REGEXES = st.recursive(
    ATOMS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{0,3}", "{1,}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        )
        | st.lists(inner, min_size=1, max_size=4).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})")
    ),
    max_leaves=8,
)
KEYWORDS = st.sampled_from(
    (
        *("type", "properties", "items", "prefixItems", "required", "enum", "const", "anyOf", "allOf"),
        *("oneOf", "not", "if", "$ref", "$defs", "pattern", "format", "minimum", "maximum", "multipleOf"),
        *("exclusiveMinimum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "title"),
        *("additionalProperties", "patternProperties", "propertyNames", "x-guidance", "lenient"),
    )
)
WORDS = st.sampled_from(
    ["string", "integer", "object", "array", "#", "#/$defs/a", "a", "^[a", "date", "(a*)*"]
)
BROKEN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=12,
)
SYMBOLS = st.sampled_from([":", "|", "(", ")", "?", "*", "{2,3}", "\n", "{}", "&", "~", "[", "]", " ", "@b"])
TERMS = st.sampled_from(["start", "a", "A", '"x"', "/[a-z]+/", "[max_tokens=3]", "<[5]>", "<|im_end|>"])
COMMANDS = st.sampled_from(["%json", "%regex", "%llguidance", "%import", "%ignore"])
RULES = st.lists(SYMBOLS | TERMS | COMMANDS, max_size=14).map(" ".join)
REGEX_NOISE = st.text(max_size=20) | st.text("()[]{}|?*+\\^$.-a1,", max_size=12)
TEXTS = (
    BROKEN.map(lambda schema: Grammar("json_schema", json.dumps(schema)))
    | (RULES | st.text(max_size=30)).map(lambda text: Grammar("lark", text))
    | RULES.map(lambda text: Grammar("lark", f"start: {text}"))
    | REGEX_NOISE.map(lambda text: Grammar("regex", text))
)
"""Texts that look like grammars."""


def written(grammar, seed):
    matcher = BOOK.start(grammar, [END])
    text, ended = answer(matcher, TOKENIZER, WISH_V, stop_token_ids=[END], seed=seed)
    assume(ended)
    return text


def refusal(grammar):
    """Why a grammar is refused; None when it is not."""
    try:
        BOOK.start(grammar, [END])
    except CannotAdmit as error:
        return str(error)
    return None


@MANY
@given(SCHEMAS, st.integers(0, 10_000))
def test_answers_to_json_schemas_parse_and_validate(schema, seed):
    check_json(written(Grammar("json_schema", json.dumps(schema)), seed), schema)


@MANY
@given(REGEXES, st.integers(0, 10_000))
def test_answers_to_regular_expressions_match(pattern, seed):
    grammar = Grammar("regex", pattern)
    if (why := refusal(grammar)) is not None:
        assert "only the empty answer" in why
    else:
        assert re.fullmatch(pattern, written(grammar, seed))


@MANY
@given(TEXTS)
def test_no_text_crashes_the_library(grammar):
    if (why := refusal(grammar)) is not None:
        assert why.startswith(grammar.kind)
        return
    matcher = BOOK.start(grammar, [END])
    for _ in range(5):
        text = [token_id for token_id in matcher.allowed().nonzero().squeeze(-1).tolist() if token_id != END]
        if matcher.ended:
            break
        matcher.accept(text[len(text) // 2])
