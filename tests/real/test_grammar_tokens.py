"""Grammars on a vocabulary of 49,152 tokens: the embedded model's tokenizer, random logits."""

import json

import pytest
from grammar_answers import answer, check_json, closing

from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace
from tunesmith.runtime.catalogue import EMBEDDED, locate
from tunesmith.runtime.models import read_tokenizer
from tunesmith.runtime.sampling.grammar import GrammarBook
from tunesmith.runtime.sampling.port import Grammar

VOCAB_SIZE = 49_152
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 30},
        "kind": {"enum": ["shop", "house", "école"]},
        "rooms": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 40}, "maxItems": 4},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"},
        "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
    },
    "required": ["name", "kind", "rooms", "code", "note"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    job = Job(Workspace(tmp_path_factory.mktemp("grammar") / ".tunesmith"))
    return read_tokenizer(locate(EMBEDDED.name, job).path)


def test_answers_of_the_embedded_models_tokens_are_json_that_validates(tokenizer):
    stop_ids = [tokenizer.eos_token_id]
    book, wish_V = GrammarBook(tokenizer, VOCAB_SIZE), closing(tokenizer, VOCAB_SIZE, stop_ids)
    for seed in range(10):
        matcher = book.start(Grammar("json_schema", json.dumps(SCHEMA)), stop_ids)
        text, ended = answer(matcher, tokenizer, wish_V, stop_token_ids=stop_ids, seed=seed)
        assert ended, text
        check_json(text, SCHEMA)


def walked(matcher, token_ids):
    for token_id in token_ids:
        assert not matcher.ended
        assert matcher.allowed()[token_id]
        matcher.accept(token_id)
    return matcher


def test_a_text_that_is_free_may_be_cut_anyhow_and_a_forced_one_as_the_tokenizer_cuts_it(tokenizer):
    book, text = GrammarBook(tokenizer, VOCAB_SIZE), "return the books"
    own = tokenizer.encode(text, add_special_tokens=False)
    letters = [tokenizer.encode(letter, add_special_tokens=False)[0] for letter in text]
    assert len(own) < len(letters)
    for token_ids in (own, letters):
        walked(book.start(Grammar("regex", "[a-z ]{16}"), [tokenizer.eos_token_id]), token_ids)
    forced = book.start(Grammar("regex", text), [tokenizer.eos_token_id])
    assert forced.allowed().nonzero().squeeze(-1).tolist() == own[:1]
    assert walked(forced, own).ended
