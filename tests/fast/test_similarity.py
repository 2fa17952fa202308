"""Same and nearly the same texts."""

import re
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.similarity import (
    MAX_SHINGLES,
    Groups,
    NearDuplicates,
    bands_for,
    jaccard,
    normalise,
    shingle_sets,
    shingles,
    text_hash,
)
from tunesmith.core.similarity import texts as texts_module
from tunesmith.core.similarity.minhash import signatures
from tunesmith.core.similarity.near import ShingleSets


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


@given(
    st.lists(st.text() | st.sampled_from(["Å", "e\u0301", "\u0338", "ﬁ", "", " \x1c", "A_b-c"]), max_size=4)
)
def test_normal_forms_join_as_their_texts_do(parts):
    normal = [normalise(part) for part in parts]
    assert normalise("\n".join(parts)) == " ".join(part for part in normal if part)
    assert normalise(normal[0] if normal else "") == (normal[0] if normal else "")


@given(st.text(st.characters(max_codepoint=127) | st.characters(exclude_categories=["Cs"])))
def test_words_are_what_a_regular_expression_finds(text):
    words = re.sub(r"\W+", " ", text).strip() or text
    assert texts_module.words_only(text) == f" {words} ".ljust(4)
    folded = unicodedata.normalize("NFKC", text).casefold()
    assert normalise(text) == re.sub(r"\s+", " ", folded).strip()


def test_every_character_is_white_space_for_both_or_neither():
    spaces = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    assert re.fullmatch(r"\s+", "".join(spaces))
    assert set(re.findall(r"\s", "".join(map(chr, range(sys.maxunicode + 1))))) == set(spaces)


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
    monkeypatch.setattr(texts_module, "MAX_SHINGLES", 10**9)
    exact = jaccard(*map(shingles, texts))
    monkeypatch.setattr(texts_module, "MAX_SHINGLES", 256)
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
    compared = 0
    similarities = ShingleSets.similarities

    def counted(sets, left, right, at_least=0.0):
        nonlocal compared
        compared += len(left)
        return similarities(sets, left, right, at_least)

    monkeypatch.setattr(ShingleSets, "similarities", counted)
    template = sentence(7, 60)
    roots = group_texts([f"{template} {number}" for number in range(600)])
    assert set(roots) == {0}
    assert compared < 6000


def test_many_texts_at_once_have_the_same_shingles_as_each_alone(monkeypatch):
    texts = ["", "a", "ab cd", "…!", "Ünïcode №", sentence(3), "x" * 50, *map(sentence, range(9))]
    alone = [shingles(text) for text in texts]
    monkeypatch.setattr(texts_module, "PIECE_CHARACTERS", 100)
    values, counts = shingle_sets([normalise(text) for text in texts])
    together = np.split(values, np.cumsum(counts)[:-1])
    assert all(np.array_equal(left, right) for left, right in zip(alone, together, strict=True))


def test_signatures_estimate_the_similarity_without_bias():
    errors = []
    for seed in range(60):
        words = sentence(seed, 40).split()
        other = words[: 20 + seed % 20] + sentence(seed + 1000, 10).split()
        values, counts = shingle_sets([" ".join(words), " ".join(other)])
        signature = signatures(values, counts, 128)
        errors.append((signature[:, 0] == signature[:, 1]).mean() - jaccard(*np.split(values, counts[:1])))
    assert abs(np.mean(errors)) < 4 * (0.25 / 128 / 60) ** 0.5


def test_similarities_of_many_pairs_are_those_of_each(monkeypatch):
    monkeypatch.setattr("tunesmith.core.similarity.near.COMPARED_AT_ONCE", 300)
    texts = [*map(sentence, range(6)), sentence(0) + " more", "a", sentence(9, 3000)]
    near = NearDuplicates(0.5, Groups())
    for member, text in enumerate(texts):
        near.add(member, text)
    left, right = np.triu_indices(len(texts))
    found = near.sets().similarities(left, right)
    expected = [jaccard(shingles(texts[a]), shingles(texts[b])) for a, b in zip(left, right, strict=True)]
    assert found == pytest.approx(expected)


def test_texts_added_after_a_root_was_asked_for_are_joined_too():
    groups = Groups()
    near = NearDuplicates(0.8, groups)
    near.add(groups.add(), sentence(1))
    assert groups.root(0) == 0
    near.add(groups.add(), sentence(1) + " x")
    assert groups.root(1) == 0
    assert groups.roots().tolist() == [0, 0]


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=30), st.integers(0, 5))
def test_equal_keys_are_joined(keys, repeat):
    keys = keys + keys[:repeat]
    groups = Groups()
    members = groups.add_many(len(keys))
    groups.join_equal(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16), members)
    assert groups.roots().tolist() == [keys.index(key) for key in keys]


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
