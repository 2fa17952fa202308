"""The bytes behind a token, for each way in which tokenizers keep them."""

import pytest
from tiny_models import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from tunesmith.runtime.sampling.token_bytes import TokenBytes, bytes_of_letters, readable


@pytest.mark.parametrize("text", ["plain words", "é, 漢字 and 🙂", "\n\t  spaces  ", "<|im_start|>user"])
def test_the_bytes_of_a_byte_level_tokenizers_tokens_are_those_of_the_text(text):
    tokenizer = tiny_tokenizer()
    known = TokenBytes(tokenizer)
    assert b"".join(map(known.of, tokenizer.encode(text, add_special_tokens=False))) == text.encode()


def test_a_number_that_only_pads_the_vocabulary_has_no_bytes():
    assert TokenBytes(tiny_tokenizer()).of(263) == b""


def test_the_table_holds_every_byte_once():
    assert sorted(bytes_of_letters().values()) == [bytes([byte]) for byte in range(256)]


def test_pieces_with_a_mark_for_spaces_and_bytes_that_fall_back_are_read():
    pieces = {"▁hello": 0, "▁": 1, "<0xE2>": 2, "wor": 3, "ld": 4}
    inner = Tokenizer(models.BPE(vocab=pieces, merges=[], byte_fallback=True))
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    known = TokenBytes(PreTrainedTokenizerFast(tokenizer_object=inner))
    assert [known.of(token) for token in range(5)] == [b" hello", b" ", b"\xe2", b"wor", b"ld"]


def test_a_part_of_a_character_is_shown_as_bytes():
    assert readable("é".encode()) == "é"
    assert readable(b"\xe6\xbc") == "bytes:\\xe6\\xbc"
