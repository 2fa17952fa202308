"""Looking up texts that are most like a question."""

import pytest

from tunesmith.core.retrieval import Retriever

TEXTS = ["the cat sat on the mat", "stocks fell on Monday", "a cat and a dog", "rain in the north"]


def test_the_text_with_the_rarest_common_words_comes_first():
    assert Retriever(TEXTS).nearest("where does the dog sleep", 2)[0] == 2
    assert Retriever(TEXTS).nearest("Stocks!", 1) == [1]


def test_equal_texts_keep_their_order():
    assert Retriever(["same words", "same words", "other"]).nearest("same", 2) == [0, 1]


@pytest.mark.parametrize("query", ["", "?!", "zebra"])
def test_a_question_without_known_words_takes_the_first_ones(query):
    assert Retriever(TEXTS).nearest(query, 2) == [0, 1]


def test_texts_without_words_are_no_trouble():
    assert Retriever(["", "...", "word"]).nearest("word", 1) == [2]
    assert Retriever([""]).nearest("word", 3) == [0]
