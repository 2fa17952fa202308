"""Answers under a grammar: a matcher and `choose`, with random logits in the place of a model."""

import json

import torch
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tunesmith.runtime.sampling.choose import choose
from tunesmith.runtime.sampling.port import Request
from tunesmith.runtime.sampling.row import Row
from tunesmith.runtime.sampling.stopping import StopFilter, TokenText

END_AFTER = 40
"""Tokens after which the random model does what it can to come to an end."""
MAX_TOKENS = 600


def closing(tokenizer, vocab_size, stop_token_ids):
    """Logits that prefer ends (of strings, lists, objects, answers), and what patterns need before them."""
    wish_V = torch.zeros(vocab_size)
    for text, logit in (('"]}', 30.0), ("ab@.", 26.0), (",", 20.0), ("0", 10.0)):
        for letter in text:
            wish_V[tokenizer.encode(letter, add_special_tokens=False)[0]] = logit
    for token_id in range(vocab_size):
        if tokenizer.decode([token_id]).isspace():
            wish_V[token_id] = -60.0
    wish_V[list(stop_token_ids)] = 50.0
    return wish_V


def answer(matcher, tokenizer, wish_V, *, stop_token_ids, seed):
    """Text of an answer from random logits, and whether it ended by itself."""
    request = Request((0,), MAX_TOKENS, temperature=1.0, seed=seed, stop_token_ids=frozenset(stop_token_ids))
    row = Row(0, request, TokenText(lambda _: ""), StopFilter(()), seed)
    row.matcher = matcher
    generator = torch.Generator().manual_seed(seed)
    ended = False
    while not ended and len(row.generated) < MAX_TOKENS:
        logits_1V = torch.randn(1, len(wish_V), generator=generator) * 3
        logits_1V += wish_V if len(row.generated) >= END_AFTER else wish_V.clamp(-60, 0)
        token_id = choose([row], logits_1V)[0].token_id
        if token_id in stop_token_ids:
            ended = True
        else:
            row.generated.append(token_id)
            matcher.accept(token_id)
            ended = matcher.ended
    assert matcher.failure is None, matcher.failure
    settings = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    return tokenizer.decode(row.generated, **settings), ended


def check_json(text, schema):
    """The text parses and keeps to the schema."""
    Draft202012Validator(schema).validate(json.loads(text))


NAMES = st.sampled_from(["a", "b c", "name", 'q"uote', "é/~", "x-1", "日本", ""])
PATTERNS = st.sampled_from(
    ["^[a-z]+$", "^\\d{3}-\\d{2}$", "b+", "^(yes|no|maybe so)$", "^[^aeiou]{2,5}$", "^\\w+@\\w+\\.(com|org)$"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1000, 1000),
    st.text(max_size=6),
    st.sampled_from([0.5, -2.25, 1e3]),
)


@st.composite
def bounds(draw, low, high, numbers, **extra):
    """Two bounds, the lower first, each given or not, and never without a value between them."""
    first, second = sorted((draw(numbers), draw(numbers)))
    return {**extra, **draw(st.sampled_from([{}, {low: first}, {high: second}, {low: first, high: second}]))}


LEAVES = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}]),
    bounds("minimum", "maximum", st.integers(-300, 300), type="integer"),
    bounds("minimum", "maximum", st.sampled_from([-12.5, -0.75, 0, 0.1, 3.14, 99, 1000.5]), type="number"),
    bounds("exclusiveMinimum", "exclusiveMaximum", st.sampled_from([-50, 7, 1234]), type="number").filter(
        lambda schema: schema.get("exclusiveMinimum", -1e9) < schema.get("exclusiveMaximum", 1e9)
    ),
    st.builds(lambda n: {"type": "integer", "multipleOf": n}, st.integers(1, 12)),
    bounds("minLength", "maxLength", st.integers(0, 12), type="string"),
    st.builds(lambda pattern: {"type": "string", "pattern": pattern}, PATTERNS),
    st.builds(lambda values: {"enum": values}, st.lists(SCALARS, min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, SCALARS),
    st.sampled_from([{"type": "string", "format": kind} for kind in ("date", "date-time", "uuid", "ipv4")]),
)


@st.composite
def objects(draw, inner):
    """Some properties, some of them required, others allowed or not."""
    properties = draw(st.dictionaries(NAMES, inner, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    others = draw(
        st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": {"type": "null"}}])
    )
    return {"type": "object", "properties": properties, "required": required, **others}


def _inside(inner):
    return st.one_of(
        objects(inner),
        st.builds(
            lambda item, sizes: {**sizes, "items": item},
            inner,
            bounds("minItems", "maxItems", st.integers(0, 4), type="array"),
        ),
        st.builds(
            lambda items: {"type": "array", "prefixItems": items, "items": False}, st.lists(inner, max_size=3)
        ),
        st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=3)),
    )


SCHEMAS = st.recursive(LEAVES, _inside, max_leaves=8)
"""JSON schemas of every kind that a request may ask for, each with at least one value."""
