"""Two public sources: verses in two styles, and wishes with their shell commands."""

import pytest

from tunesmith.core.errors import DataError
from tunesmith.data.commands import INSTRUCTION, PAGES, rows_of
from tunesmith.data.verses import aligned, verses

TEXT = """
1. In the beginning [was] the word. 2. And it came to pass.
"""


def source(text=TEXT, begins="{1001001: 1, 1001002: 37}", ends="{1001001: 36, 1001002: 60}"):
    return f'from x import Bible\nbible = Bible(Version.OLD, """{text}""", {begins}, {ends})\n'.encode()


def test_a_verse_loses_its_number_and_the_marks_of_added_words():
    assert verses(source(), "old.py") == {
        1001001: "In the beginning was the word.",
        1001002: "And it came to pass.",
    }


@pytest.mark.parametrize(
    "content", [b"print('hello')", b"not python (", source(begins="[1]"), source(begins="open('x')"), b""]
)
def test_source_that_is_no_bible_is_refused_and_never_run(content):
    with pytest.raises(DataError, match="not the source of a Bible"):
        verses(content, "old.py")


def test_verses_of_both_texts_make_rows_and_all_others_are_named():
    old = {1001001: "And he spake unto them thus.", 1001002: "He went up to the mountain.", 2001001: "Yea.",
           1001003: "It was the third day there."}  # fmt: skip
    new = {1001001: "He spoke to them like this.", 1001002: "He went up to the mountain.", 2001001: "Yes.",
           1001004: "A verse of its own here."}  # fmt: skip
    found = aligned(old, new)
    (row,) = found.rows
    assert [turn["content"] for turn in row["messages"][1:]] == [old[1001001], new[1001001]]
    assert row["metadata"] == {"chapter": "1001", "verse": "1001001"}
    assert {one["verse"]: one["reason"] for one in found.left_out} == {
        1001002: "the same in both",
        1001003: "only in the old text",
        1001004: "only in the new text",
        2001001: "shorter than 20 characters",
    }


PAGE = """# tar

extract a file

    tar vfx archive.tar


# Basic Usage

Show the
contents:

    $ tar tf archive.tar

List twice:

    tar tf a
    a/b

    tar orphan

"""


def test_a_wish_and_its_one_command_make_a_row():
    found = rows_of(PAGE, "tar")
    asked = [tuple(turn["content"] for turn in row["messages"]) for row in found.rows]
    assert asked == [
        (INSTRUCTION, "tar: extract a file", "tar vfx archive.tar"),
        (INSTRUCTION, "tar: Show the contents", "tar tf archive.tar"),
    ]
    assert [one["reason"] for one in found.left_out] == [
        "2 lines: what it prints stands with it",
        "nothing says what it does",
    ]


def test_a_long_explanation_is_no_wish():
    found = rows_of(f"{'words ' * 80}\n\n    tar x\n", "tar")
    assert found.rows == []
    assert found.left_out[0]["reason"].startswith("longer than 300")


def test_only_pages_of_examples_are_read():
    assert PAGES.match("eg-1.2.3/eg/examples/tar.md")
    assert not PAGES.match("eg-1.2.3/README.md")
    assert not PAGES.match("eg-1.2.3/eg/examples/sub/tar.md")
