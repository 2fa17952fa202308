"""`tunesmith data show RECIPE`: what the model will see, with the same encoder and limits as in training."""

from collections.abc import Mapping

import pytest
import yaml
from rich.console import Console
from tiny_models import tiny_model_folder, tiny_tokenizer
from train_folders import data_set

from tunesmith.cli.show_data import show_show
from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ModelError, UserError
from tunesmith.core.recipe import Recipe
from tunesmith.data import ShowConfig, show
from tunesmith.data.schema import ShowResult
from tunesmith.runtime.encoding import open_encoder
from tunesmith.train.corpus import Limits, open_corpus

SHORT, LONG = chat([("user", "a"), ("assistant", "b")]), chat([("user", "a"), ("assistant", "b" * 60)])
CALLED = Example((Message("user", "a"), Message("assistant", "b")), tools=({"function": {"name": "f"}},))
BUILT: dict[str, str] = {}


@pytest.fixture
def model(tmp_path_factory) -> str:
    if not BUILT:
        BUILT["model"] = str(tiny_model_folder(tmp_path_factory.mktemp("model")))
    return BUILT["model"]


def shown(tmp_path, job, recipe: Mapping[str, object], **options: object) -> ShowResult:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return show(ShowConfig(data=str(path), **options), job)


def prepared(tmp_path, *examples: Example) -> str:
    return str(data_set(tmp_path, {"train": list(examples)}))


def test_tokens_weights_and_counts_are_those_of_training(tmp_path, job, model):
    data = prepared(tmp_path, SHORT, LONG)
    recipe = {"model": model, "data": data, "max_length": 40, "too_long": "truncate_right"}
    result = shown(tmp_path, job, recipe)
    encoder = open_encoder(Recipe(**recipe), tiny_tokenizer())
    corpus = open_corpus(
        tmp_path / "corpus",
        "train",
        {"one": DataSet.open(result.folder)},
        lambda example, key: encoder.encode(example, key=key),
        limits=Limits(40, "truncate_right"),
        encoding_key=encoder.key,
    )
    pieces = [piece for example in result.examples for piece in example.pieces]
    assert [tuple(token.id for token in piece) for piece in pieces] == [
        item.encoded.token_ids for item in corpus
    ]
    assert [tuple(token.weight for token in piece) for piece in pieces] == [
        item.encoded.weights for item in corpus
    ]
    total = corpus.accounting["total"]
    assert result.counts.outcomes == {"kept": 1, "truncated": 1}
    for name in ("tokens", "learned_tokens", "tokens_cut", "learned_tokens_cut", "longest"):
        assert result.counts.model_dump()[name] == total[name]


def test_rows_that_stop_a_run_are_shown_with_the_reason(tmp_path, job, model):
    recipe = {"model": model, "data": prepared(tmp_path, LONG, CALLED), "max_length": 40}
    result = shown(tmp_path, job, recipe)
    assert [example.outcome for example in result.examples] == ["refused", "faulty"]
    assert "ignores them" in result.examples[1].problem
    assert result.counts.outcomes == {"refused": 1, "faulty": 1}
    assert "line 2" in result.counts.problems[0]


def test_the_models_own_context_is_a_limit_too(tmp_path, job, model):
    recipe = {"model": model, "data": prepared(tmp_path, SHORT), "max_length": 4096}
    assert shown(tmp_path, job, recipe).counts.limit == 512


def test_packed_text_is_counted_in_blocks_and_new_tokens_are_marked(tmp_path, job, model):
    documents = [Example((Message("text", f"{number} and more words"),)) for number in range(9)]
    objective = {"kind": "text", "block_length": 32, "fill_in_the_middle": {"rate": 1.0}}
    result = shown(
        tmp_path,
        job,
        {"model": model, "data": prepared(tmp_path, *documents), "objective": objective},
        rows=1,
    )
    kinds = {token.text: token.kind for token in result.examples[0].pieces[0]}
    assert kinds["<|fim_prefix|>"] == "new"
    assert kinds["<|im_end|>"] == "special"
    assert kinds["w"] == "text"
    assert result.counts.block_length == 32
    assert result.counts.rows == 9
    assert result.counts.learned_tokens == result.counts.tokens


def test_each_source_of_a_mixture_is_shown(tmp_path, job, model):
    sources = [
        {"path": prepared(tmp_path, SHORT), "name": "one"},
        {"path": prepared(tmp_path, LONG), "name": "two"},
    ]
    result = shown(tmp_path, job, {"model": model, "data": sources}, count=1)
    assert [(example.source, example.line) for example in result.examples] == [("one", 1), ("two", 1)]


def test_the_terminal_tells_learned_tokens_apart(tmp_path, job, model):
    result = shown(tmp_path, job, {"model": model, "data": prepared(tmp_path, SHORT), "max_length": 40})
    console = Console(record=True, width=100, force_terminal=True, color_system="standard", quiet=False)
    with console.capture() as captured:
        show_show(result, console)
    text = captured.get()
    green, grey = "\x1b[1;7;32m<|im_end|>", "\x1b[7;90m<|im_end|>"
    assert green in text
    assert grey in text
    assert "⏎" in text
    assert "1 of 1 counted = 1 used whole" in text


def test_what_cannot_be_shown_is_refused_with_words(tmp_path, job, model):
    data = prepared(tmp_path, SHORT)
    with pytest.raises(ModelError, match="the fake model has no tokenizer"):
        shown(tmp_path, job, {"model": "fake", "engine": "fake", "data": data})
    with pytest.raises(UserError, match="has no row there"):
        shown(tmp_path, job, {"model": model, "data": data}, skip=5)
