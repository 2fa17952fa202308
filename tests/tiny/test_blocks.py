"""Rearranged documents: nothing is lost, the rates are kept, and a row is always rearranged alike."""

from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer

from tunesmith.core.recipe import FillInTheMiddle
from tunesmith.runtime.blocks import chances, cut, find_frame, rearranged
from tunesmith.runtime.encoding import add_to_tokenizer

ALWAYS = FillInTheMiddle(rate=1.0)
MARKS = [ALWAYS.prefix, ALWAYS.middle, ALWAYS.suffix]
TOKENIZER = tiny_tokenizer()
add_to_tokenizer(MARKS, TOKENIZER)
PREFIX, MIDDLE, SUFFIX = (TOKENIZER.convert_tokens_to_ids(mark) for mark in MARKS)


def parts_of(ids: list[int]) -> tuple[str, str, str]:
    """Prefix, middle and suffix of a rearranged document, whichever way it was written."""
    after_prefix, middle = ids.index(PREFIX) + 1, ids.index(MIDDLE)
    suffix = ids.index(SUFFIX)
    assert ids.index(PREFIX) == 0
    if suffix == 1:
        return TOKENIZER.decode(ids[middle + 1 :]), "", TOKENIZER.decode(ids[suffix + 1 : middle])
    return (
        TOKENIZER.decode(ids[after_prefix:suffix]),
        TOKENIZER.decode(ids[middle + 1 :]),
        TOKENIZER.decode(ids[suffix + 1 : middle]),
    )


@given(
    text=st.text(max_size=40),
    places=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
)
def test_the_three_parts_are_the_document(text: str, places: tuple[float, float]):
    assert "".join(cut(text, places)) == text


@given(
    text=st.text(st.characters(codec="utf-8"), max_size=40),
    key=st.text(max_size=5),
    spm=st.sampled_from([0.0, 1.0]),
)
def test_a_rearranged_document_joins_again(text: str, key: str, spm: float):
    ids = rearranged(text, FillInTheMiddle(rate=1.0, spm_rate=spm), TOKENIZER, seed=0, key=key)
    prefix, middle, suffix = parts_of(ids)
    assert prefix + middle + suffix == text
    assert len(ids) == 3 + len(text.encode())


def test_every_cut_of_a_short_text_happens():
    found = {cut("ab", chances(0, str(key)).cuts) for key in range(300)}
    assert len(found) == 6


def test_rates_are_kept():
    drawn = [chances(0, str(key)) for key in range(4000)]
    for rate in (0.1, 0.5, 0.9):
        assert abs(sum(one.rearrange < rate for one in drawn) / 4000 - rate) < 0.03
        assert abs(sum(one.suffix_first < rate for one in drawn) / 4000 - rate) < 0.03
    both = sum(one.rearrange < 0.5 and one.suffix_first < 0.5 for one in drawn) / 4000
    assert abs(both - 0.25) < 0.03, "the two are independent"


def test_no_rate_no_change():
    assert all(
        rearranged("some text", FillInTheMiddle(rate=0.0), TOKENIZER, seed=0, key=str(key)) is None
        for key in range(50)
    )


def test_a_tokenizer_that_begins_no_text_by_itself_has_an_empty_begin():
    assert find_frame(TOKENIZER) == ((), TOKENIZER.eos_token_id)


def test_the_suffix_comes_first_where_the_recipe_says_so_and_the_prefix_elsewhere():
    text = "one two three four five six seven"
    for key in map(str, range(20)):
        split = cut(text, chances(0, key).cuts)
        prefix, middle, suffix = (TOKENIZER.encode(part) for part in split)
        psm, spm = (
            rearranged(text, FillInTheMiddle(rate=1.0, spm_rate=rate), TOKENIZER, seed=0, key=key)
            for rate in (0.0, 1.0)
        )
        assert psm == [PREFIX, *prefix, SUFFIX, *suffix, MIDDLE, *middle]
        assert spm == [PREFIX, SUFFIX, *suffix, MIDDLE, *prefix, *middle]
