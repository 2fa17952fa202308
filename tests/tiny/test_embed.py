import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tunesmith.core.errors import ModelError
from tunesmith.core.progress import Silent
from tunesmith.runtime.embed import BATCH_TOKENS, EncoderEmbedder, batches, open_embedder
from tunesmith.runtime.static_embeddings import (
    FIRST_CHARACTER,
    FIRST_WORD,
    StaticEmbedder,
    frequencies,
    weighted,
)

WORDS = ("the", "cat", "dog", "sleeps", "runs", "red", "house", "stands")


@pytest.fixture
def folder(tmp_path):
    """A BERT of two layers whose window is 12 tokens, two of them its own."""
    inner = Tokenizer(
        models.WordLevel(
            {word: n for n, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))},
            unk_token="[UNK]",
        )
    )
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=64, **special).save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    return tmp_path


def hidden_of(folder, tokens):
    model = BertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([tokens])).last_hidden_state[0]


def ids(words):
    return [4 + WORDS.index(word) for word in words.split()]


def unit(vector):
    return (vector / vector.norm()).numpy()


def test_a_vector_is_the_mean_over_the_tokens_of_its_text_whatever_shares_the_batch(folder):
    texts = ["the cat sleeps", "The DOG", "", "the red house stands the cat runs"]
    found = EncoderEmbedder(folder).embed(texts)
    assert found.dtype == np.float32
    for text, vector in zip(texts, found, strict=True):
        expected = unit(hidden_of(folder, [2, *ids(text.lower()), 3]).mean(0))
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_a_long_text_is_read_whole_in_windows(folder):
    text = " ".join(WORDS * 3)
    tokens = ids(text)
    windows = [hidden_of(folder, [2, *tokens[start : start + 10], 3]) for start in range(0, 24, 10)]
    expected = unit(torch.cat(windows).mean(0))
    np.testing.assert_allclose(EncoderEmbedder(folder).embed(["cat", text])[1], expected, atol=1e-6)


def test_an_encoder_that_means_its_first_token_is_read_there(folder):
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    expected = unit(hidden_of(folder, [2, *ids("the cat"), 3])[0])
    np.testing.assert_allclose(open_embedder(folder, Silent()).embed(["the cat"])[0], expected, atol=1e-6)


def test_what_an_encoder_means_and_is_not_done_here_is_refused(folder):
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(ModelError, match="Dense"):
        EncoderEmbedder(folder)
    (folder / "modules.json").unlink()
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ModelError, match="pooling_mode_max_tokens"):
        EncoderEmbedder(folder)


def test_pickled_weights_and_unknown_names_are_refused(folder):
    with pytest.raises(ModelError, match="did you mean 'static'"):
        open_embedder("statik", Silent())
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        EncoderEmbedder(folder)


def test_the_version_is_that_of_the_content(folder, tmp_path):
    before = EncoderEmbedder(folder).version
    assert EncoderEmbedder(folder).version == before
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 10}))
    assert EncoderEmbedder(folder).version != before


def test_batches_hold_every_window_once_and_no_more_tokens_than_allowed():
    lengths = [3, 500, 256, 7, 9000, *range(1, 400, 3)]
    found = list(batches(lengths))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    sizes = [len(batch) * max(lengths[place] for place in batch) for batch in found]
    assert max(size for size, batch in zip(sizes, found, strict=True) if len(batch) > 1) <= BATCH_TOKENS


def static_embedder(num_words=50):
    """A table of random vectors that share a direction; its vocabulary is laid out as BERT's is."""
    names = [f"[unused{n}]" for n in range(FIRST_CHARACTER)]
    names += [chr(0x4E00 + n) for n in range(FIRST_WORD - FIRST_CHARACTER)]
    names += [f"word{n}" for n in range(num_words)]
    tokenizer = Tokenizer(models.WordLevel({name: n for n, name in enumerate(names)}, unk_token="[unused0]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(len(names), 16, generator=generator)
    table = weighted(vectors, frequencies(tokenizer))
    return StaticEmbedder(table, tokenizer, "v"), table


def test_a_static_vector_is_the_sum_of_its_tokens_and_nothing_else_gives_zeros():
    embedder, table = static_embedder()
    long = " ".join(f"word{n % 50}" for n in range(3000))
    found = embedder.embed(["word3 word7 word7", "", "unheard", long])
    first = FIRST_WORD
    np.testing.assert_allclose(found[0], unit(table[first + 3] + 2 * table[first + 7]), atol=1e-6)
    assert not found[1:3].any()
    np.testing.assert_allclose(found[3], unit(60 * table[first:].sum(0)), atol=1e-5)
    assert embedder.embed([]).shape == (0, 16)


def test_frequent_words_weigh_less_and_their_common_direction_is_gone():
    tokenizer = static_embedder(num_words=200)[0]._tokenizer
    frequency = frequencies(tokenizer)
    assert frequency.sum() == pytest.approx(1)
    words = frequency[FIRST_WORD:]
    assert (words.diff() < 0).all()
    assert words[0] / words[9] == pytest.approx(10)
    shared = torch.nn.functional.normalize(torch.arange(16.0), dim=0)
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(len(frequency), 16, generator=generator)
    vectors += torch.where(frequency[:, None] > frequency[FIRST_WORD + 100], 9.0, 0.0) * shared
    table = weighted(vectors, frequency)
    assert float((table @ shared).abs().max()) < 0.2 * float(table.norm(dim=1).mean())
    norms = table[FIRST_WORD:].norm(dim=1)
    assert norms[0] < 0.1 * norms[150:].mean()
