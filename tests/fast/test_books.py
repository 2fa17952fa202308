import pytest

from tunesmith.core.errors import DataError
from tunesmith.data.books import PASSAGE_CHARACTERS, Book, paragraphs, passages

BOOK = Book("tale", "tale.txt", first="Once upon", end="THE END")
SENTENCE = "A sentence that goes on for a while, and then some more, to the end. " * 5


def tale(middle: str) -> bytes:
    return f"A TALE\r\n\r\nOnce upon a time\r\nthere was one.\r\n\r\n{middle}\r\n\r\nTHE END\r\n".encode()


def test_lines_of_a_paragraph_are_joined_and_indents_begin_new_ones():
    assert list(paragraphs("one\r\ntwo\r\n\r\n\r\nthree\r\n  four\r\nfive")) == [
        "one two",
        "three",
        "four five",
    ]


def test_prose_is_kept_in_order_and_everything_is_accounted_for():
    middle = "\r\n\r\n".join([SENTENCE, "CHAPTER II", *[SENTENCE] * 9])
    found = passages(tale(middle), BOOK)
    text = "\n\n".join(row["text"] for row in found.rows)
    assert text.startswith("Once upon a time there was one.")
    assert text.count("A sentence") == 50
    assert found.left_out == ["A TALE", "THE END", "CHAPTER II"]
    assert len(text.split("\n\n")) + len(found.left_out) == found.paragraphs
    assert all(len(row["text"]) < 2 * PASSAGE_CHARACTERS for row in found.rows)
    assert len(found.rows) == 3


def test_another_text_than_the_book_is_refused():
    with pytest.raises(DataError, match="not the book"):
        passages(b"Something else.\n\nTHE END", BOOK)
