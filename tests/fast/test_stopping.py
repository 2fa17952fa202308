from hypothesis import given
from hypothesis import strategies as st

from tunesmith.runtime.sampling.stopping import StopFilter, TokenText


def decode(token_ids):
    """A tokenizer with one token for each byte."""
    return bytes(token_ids).decode("utf-8", errors="replace")


def first_stop(text, stop):
    """The stop string that is complete first, by its definition."""
    for end in range(len(text) + 1):
        for begin in range(end):
            if text[begin:end] in stop:
                return begin, end
    return None


def through(pieces, stop, *, include_stop=False):
    stopper = StopFilter(stop, include_stop=include_stop)
    return "".join(stopper.push(piece) for piece in pieces) + stopper.finish()


@given(st.text())
def test_pieces_of_tokens_join_to_the_text_and_never_split_a_character(text):
    stream = TokenText(decode)
    pieces = [stream.push(byte) for byte in text.encode()]
    assert "".join(pieces) + stream.finish() == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_a_character_that_never_becomes_whole_comes_out_at_the_end():
    stream = TokenText(decode)
    assert [stream.push(byte) for byte in "é".encode()[:1]] == [""]
    assert stream.finish() == "\ufffd"


def test_a_stop_string_across_pieces_ends_the_text_before_it():
    assert through(["Hello wor", "ld EN", "D and more"], ["END"]) == "Hello world "


def test_a_stop_string_can_be_kept():
    assert through(['{"a": ', "1", "} and"], ["}"], include_stop=True) == '{"a": 1}'


def test_what_only_looked_like_a_stop_string_comes_out():
    stopper = StopFilter(["STOP"])
    assert stopper.push("a ST") == "a "
    assert stopper.push("ART") == "START"
    assert not stopper.stopped


STOPS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3)


@given(st.lists(st.text("ab", max_size=4)), STOPS)
def test_how_the_text_is_cut_changes_nothing_and_no_beginning_of_a_stop_string_gets_out(pieces, stop):
    text = "".join(pieces)
    found = first_stop(text, stop)
    starts = [begin for begin in range(len(text)) if found and text[begin : found[1]] in stop]
    expected = text if found is None else text[: min(starts)]
    assert through(pieces, stop) == expected
    stopper, out = StopFilter(stop), ""
    for piece in pieces:
        out += stopper.push(piece)
        assert expected.startswith(out)
