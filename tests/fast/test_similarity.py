"""Same and nearly the same texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import similarity
from tunesmith.core.similarity import (
    MAX_SHINGLES,
    Groups,
    NearDuplicates,
    bands_for,
    jaccard,
    normalise,
    shingles,
    text_hash,
)


def group_texts(texts, threshold=0.8):
    groups = Groups()
    near = NearDuplicates(threshold, groups)
    for text in texts:
        near.add(groups.add(), text)
    return [groups.root(member) for member in range(len(texts))]


def sentence(seed, words=40):
    return " ".join(np.random.default_rng(seed).choice(VOCABULARY, words))


VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("nder", "lix", "vam", "stor")]


def test_normal_form_ignores_case_spaces_and_unicode_variants():
    assert normalise("  Main\tSTREET\n№ 1 ") == "main street no 1"
    assert text_hash("Straße") == text_hash("STRASSE")
    assert text_hash("Main St") != text_hash("Main St.")


def test_addresses_that_differ_in_punctuation_are_near_duplicates():
    pairs = [
        ("Box# 63, Cordova, AK 99574", "Box # 63, Cordova, AK 99574"),
        ("10 S Dearborn, Chicago, IL 60603", "10 S. Dearborn, Chicago, IL 60603"),
        ("1005 Gravenstein Hwy N, Sebastopol CA", "1005 Gravenstein Hwy, N Sebastopol CA"),
    ]
    assert all(group_texts(pair) == [0, 0] for pair in pairs)


def test_different_addresses_are_not():
    assert group_texts(["123 Main Street, Springfield", "9 Oak Avenue, Portland"]) == [0, 1]


@given(st.text(max_size=40), st.text(max_size=40))
def test_similarity_is_the_jaccard_similarity_of_the_runs(left, right):
    similar = jaccard(shingles(left), shingles(right))
    assert 0 <= similar <= 1
    assert jaccard(shingles(left), shingles(left)) == 1
    assert similar == jaccard(shingles(right), shingles(left))


def test_short_texts_are_compared_exactly():
    def runs(text):
        return {f" {text} "[start : start + 4] for start in range(len(text) - 1)}

    left, right = "the quick brown fox", "the quick brown cat"
    expected = len(runs(left) & runs(right)) / len(runs(left) | runs(right))
    assert jaccard(shingles(left), shingles(right)) == pytest.approx(expected)


def test_long_texts_are_estimated_within_their_standard_error(monkeypatch):
    texts = [sentence(1, 3000) + sentence(seed, 1500) for seed in (2, 3)]
    monkeypatch.setattr(similarity, "MAX_SHINGLES", 10**9)
    exact = jaccard(*map(shingles, texts))
    monkeypatch.setattr(similarity, "MAX_SHINGLES", 256)
    assert jaccard(*map(shingles, texts)) == pytest.approx(exact, abs=4 * (0.25 / 256) ** 0.5)
    assert MAX_SHINGLES == 2048


def test_groups_agree_with_comparing_all_pairs():
    rng = np.random.default_rng(0)
    texts = []
    for seed in range(40):
        words = sentence(seed, 25).split()
        for _ in range(4):
            words = [str(rng.choice(VOCABULARY)) if rng.random() < 0.04 else word for word in words]
            texts.append(" ".join(words))
    expected = Groups()
    sets = [shingles(text) for text in texts]
    for member in range(len(texts)):
        expected.add()
        for other in range(member):
            if jaccard(sets[member], sets[other]) >= 0.8:
                expected.join(member, other)
    roots = [expected.root(member) for member in range(len(texts))]
    assert group_texts(texts) == roots
    assert len(set(roots)) < len(texts)


def test_many_variants_of_one_template_cost_few_comparisons(monkeypatch):
    calls = 0

    def counted(left, right):
        nonlocal calls
        calls += 1
        return jaccard(left, right)

    monkeypatch.setattr(similarity, "jaccard", counted)
    template = sentence(7, 60)
    roots = group_texts([f"{template} {number}" for number in range(600)])
    assert set(roots) == {0}
    assert calls < 6000


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19))))
def test_the_root_of_a_group_is_its_smallest_member(pairs):
    groups = Groups()
    for _ in range(20):
        groups.add()
    together = {member: {member} for member in range(20)}
    for left, right in pairs:
        groups.join(left, right)
        merged = together[left] | together[right]
        together.update(dict.fromkeys(merged, merged))
    assert [groups.root(member) for member in range(20)] == [min(together[member]) for member in range(20)]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_bands_find_a_pair_at_the_threshold(threshold):
    bands, rows = bands_for(threshold)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands >= 0.995
