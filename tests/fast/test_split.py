"""Splitting by group with a keyed hash."""

import hmac
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.dataset import SPLITS
from tunesmith.core.errors import DataError
from tunesmith.data.split import GroupTable, Plan, Sizes, assign_table, draws


class Group(NamedTuple):
    key: str
    rows: int


def assign(groups, sizes, *, salt):
    """The name of each group's split."""
    nothing = np.zeros(len(groups))
    rows = np.array([group.rows for group in groups], dtype=np.int64)
    keys = [group.key for group in groups]
    table = GroupTable(keys, rows, nothing.astype(np.int64), nothing, nothing.astype(bool))
    return [SPLITS[code] for code in assign_table(table, Plan(sizes, salt)).tolist()]


def singles(count, start=0):
    return [Group(f"key {number}", 1) for number in range(start, start + count)]


def rows_of(groups, splits, name):
    return sum(group.rows for group, split in zip(groups, splits, strict=True) if split == name)


ASKED = [("a", "test"), ("b", "test"), ("a", "validation")]


def test_a_draw_depends_on_salt_split_and_key_only():
    drawn = [draws(salt, split, ["key", "other"]).tolist() for salt, split in ASKED]
    assert drawn[0][0] == draws(*ASKED[0], ["key"])[0]
    assert len({number for numbers in drawn for number in numbers}) == 6


@given(st.text(max_size=90), st.sampled_from(["test", "validation"]), st.lists(st.text(max_size=9)))
def test_a_draw_is_the_hmac_of_split_and_key(salt, split, keys):
    digests = [hmac.digest(salt.encode(), f"{split} {key}".encode(), "sha256") for key in keys]
    expected = [int.from_bytes(digest[:7]) / (1 << 56) for digest in digests]
    assert draws(salt, split, keys).tolist() == expected


def test_draws_are_uniform():
    drawn = np.sort(draws("salt", "test", map(str, range(4000))))
    distance = np.abs(drawn - (np.arange(4000) + 0.5) / 4000).max()
    assert distance < 1.63 / 4000**0.5  # Kolmogorov–Smirnov, 1 % level


@given(
    st.lists(st.integers(1, 4), min_size=30, max_size=80),
    st.sampled_from([0, 0.1, 0.3, 5, 10]),
    st.sampled_from([0, 0.2, 7]),
    st.text(max_size=3),
)
def test_counts_are_met_and_nothing_that_was_asked_for_is_empty(sizes, validation, test, salt):
    groups = [Group(str(number), rows) for number, rows in enumerate([1] * 20 + sizes)]
    splits = assign(groups, Sizes(validation, test), salt=salt)
    assert len(splits) == len(groups)
    assert rows_of(groups, splits, "train") > 0
    for name, size in (("validation", validation), ("test", test)):
        rows = rows_of(groups, splits, name)
        assert (rows > 0) == (size > 0)
        assert size < 1 or rows <= size
    if test >= 1:
        assert rows_of(groups, splits, "test") == test


@given(st.integers(100, 300), st.integers(1, 200))
def test_with_shares_rows_that_are_added_move_no_old_row(before, added):
    groups = singles(before)
    old = assign(groups, Sizes(0.1, 0.1), salt="s")
    new = assign(groups + singles(added, start=before), Sizes(0.1, 0.1), salt="s")
    assert new[:before] == old


@given(st.integers(60, 200), st.integers(1, 100))
def test_with_counts_an_old_row_moves_only_when_a_new_one_takes_its_place(before, added):
    groups = singles(before)
    old = assign(groups, Sizes(0, 20), salt="s")
    new = assign(groups + singles(added, start=before), Sizes(0, 20), salt="s")
    assert not any(was == "train" and now == "test" for was, now in zip(old, new[:before], strict=True))
    left = sum(was != now for was, now in zip(old, new[:before], strict=True))
    assert left == new[before:].count("test")


def test_changing_the_size_of_validation_never_moves_a_test_row():
    groups = singles(200)
    first = assign(groups, Sizes(0.1, 20), salt="s")
    second = assign(groups, Sizes(50, 20), salt="s")
    assert [split == "test" for split in first] == [split == "test" for split in second]


def test_shares_are_right_on_average():
    splits = assign(singles(4000), Sizes(0.2, 0.1), salt="s")
    assert splits.count("test") == pytest.approx(400, abs=4 * (4000 * 0.09) ** 0.5)
    assert splits.count("validation") == pytest.approx(800, abs=4 * (4000 * 0.16) ** 0.5)


def test_a_group_too_large_for_a_split_goes_to_train():
    groups = [Group("large", 50), *singles(50)]
    assert all(assign(groups, Sizes(0.1, 0.1), salt=str(salt))[0] == "train" for salt in range(30))


@pytest.mark.parametrize(
    ("groups", "sizes", "message"),
    [
        (singles(2), Sizes(0.1, 0.1), "2 can be used, at least 3 are needed"),
        (singles(30), Sizes(20, 10), "30 can be used, at least 31 are needed"),
        ([Group("one", 40)], Sizes(0.1, 0.1), "all rows belong to one group"),
        ([Group("one", 40), Group("two", 1)], Sizes(0.1, 0.1), "only 2 groups"),
        ([Group(str(number), 9) for number in range(9)], Sizes(0, 5), "no group of rows fits"),
    ],
)
def test_what_cannot_be_split_is_refused(groups, sizes, message):
    with pytest.raises(DataError, match=message):
        assign(groups, sizes, salt="s")
