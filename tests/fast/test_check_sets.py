"""Checks over the whole corpus: each finds its fault and leaves its look-alike alone."""

import json
import random
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import DataError
from tunesmith.data.check.port import Context, Fact, Finding, Options
from tunesmith.data.check.sets import CHECKS, near
from tunesmith.data.check.sets.coverage import to_collect
from tunesmith.data.check.sets.diversity import vendi
from tunesmith.data.check.sets.label_errors import self_margins, suspects
from tunesmith.data.check.sets.shown import shown_differences
from tunesmith.data.corpus import Corpus, corpus_of
from tunesmith.data.differences import differences
from tunesmith.data.vectors import BLOCK, nearest, open_vectors, pairs_above

BY_NAME = {check.name: check for check in CHECKS}
NOUNS = """
river stone window garden market letter bridge doctor silver winter engine travel paper island music
castle farmer orange planet school kitchen forest thunder mirror ladder copper valley candle harbour wheel
"""
WORDS = NOUNS.split()


def ask(question, answer, **metadata):
    return Example((Message("user", question), Message("assistant", answer)), metadata=metadata)


def sentence(number, words=12):
    return " ".join(random.Random(number).choices(WORDS, k=words))


def varied(count, start=0):
    return [ask(sentence(start + number), sentence(5_000 + start + number)) for number in range(count)]


@contextmanager
def context(examples, job, splits=None, **options) -> Context:
    with corpus_of([]) as corpus:
        fill(corpus, examples, splits)
        with open_vectors(corpus, "words", job) as vectors:
            yield Context(corpus, Options(embeddings="words", **options), job, vectors)


def fill(corpus: Corpus, examples, splits):
    for number, example in enumerate(examples):
        corpus.add(example, split=splits[number] if splits else "")


def run(name, examples, job, splits=None, threshold=None, **options):
    check = BY_NAME[name]
    with context(examples, job, splits, **options) as ctx:
        said = list(check.whole(ctx, check.threshold if threshold is None else threshold))
    json.dumps([one.value for one in said if isinstance(one, Fact)], allow_nan=False)
    findings = [one for one in said if isinstance(one, Finding)]
    json.dumps([one.evidence for one in findings], allow_nan=False)
    return findings, {one.name: one.value for one in said if isinstance(one, Fact)}


# --- duplicates ----------------------------------------------------------------------------------------


def test_the_second_of_two_equal_rows_is_found_whatever_its_case_spaces_and_commas(job):
    rows = [*varied(5), ask("What is it,  then?", "A cat."), ask("what is it then", "a CAT")]
    findings, facts = run("exact_duplicates", rows, job)
    assert [(one.position, one.severity) for one in findings] == [(6, "warning")]
    assert findings[0].evidence["row"]["line"] == 6
    assert facts["exact_duplicates"] == {"clusters": 1, "extra_rows": 1}


@pytest.mark.parametrize(
    ("left", "right"),
    [(("2.5 kg", "yes"), ("25 kg", "yes")), (("Is it?", "yes"), ("Is it?", "no")), (("+", "a"), ("-", "a"))],
)
def test_rows_that_differ_in_a_number_an_answer_or_a_lone_sign_are_not_equal(left, right, job):
    assert run("exact_duplicates", [ask(*left), ask(*right)], job)[0] == []


def test_a_nearly_equal_row_is_found_and_another_number_makes_it_a_note(job):
    text = "please read the following report and say in one line what the river near the castle does"
    answer = "it floods the valley"
    rows = [
        *varied(20),
        ask(f"{text} in 2019", answer),
        ask(f"kindly {text} in 2019", answer),
        ask(f"{text} in 2020", answer),
    ]
    findings, _ = run("near_duplicates", rows, job)
    assert {one.position: one.severity for one in findings} == {21: "warning", 22: "note"}
    assert findings[1].evidence["differs"]["numbers"] == ["2019", "2020"]


def test_rows_of_one_template_are_not_near_duplicates(job):
    template = "You are given the name of a place and must say in which country it lies, in one word: "
    rows = [ask(f"{template}{sentence(number, 6)}", sentence(number + 900, 5)) for number in range(200)]
    assert run("near_duplicates", rows, job)[0] == []


def test_a_chain_of_changes_is_not_one_cluster():
    pairs = near.Pairs(np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([0.6, 0.6, 0.6]))
    stars = near.clusters(pairs)
    assert stars[0] == near.Cluster(1, [0, 2], [0.6, 0.6])
    assert len(stars) == 1  # the last of the chain is like no representative


def test_the_search_finds_all_pairs_that_comparing_all_finds(job):
    rows = varied(60)
    for number in range(60):
        words = rows[number].messages[0].content.split()
        words[number % 12] = "changed"
        rows.append(ask(" ".join(words), rows[number].messages[1].content))
    with context(rows, job) as ctx:
        pairs = near.asked_pairs(ctx, 0.5)
    assert {(left, right) for left, right in zip(pairs.left, pairs.right, strict=True)} >= {
        (number, number + 60) for number in range(60) if number % 12 in (0, 11)
    }
    assert all(right == left + 60 for left, right in zip(pairs.left, pairs.right, strict=True))


def test_equal_meaning_in_the_same_words_is_proposed_and_equal_wording_is_left_to_the_other_check(job):
    words = sentence(1, 5).split() + "foxes never jumped across seventeen lazy hounds".split()  # noqa: SIM905
    turned = " ".join(words[::2] + words[1::2])
    rows = [*varied(30, start=50), ask(" ".join(words), "fine by me"), ask(turned, "fine by me")]
    findings, facts = run("semantic_duplicates", rows, job, threshold=0.5)
    assert [(one.position, one.severity) for one in findings] == [(31, "warning")]
    assert facts["semantic_duplicates"]["compared_share"] == 1
    rows[31] = ask(" ".join(words), "fine by me dear")
    assert run("semantic_duplicates", rows, job, threshold=0.5)[0] == []


def test_numbers_negations_and_names_tell_look_alikes_apart():
    assert differences("It has 1.022 MeV", "It has 1.032 MeV").numbers == ("1.022", "1.032")
    assert differences("He did go", "He didn't go").negations == ("didnt",)
    assert differences("We met Anna there", "We met Berta there").names == ("Anna", "Berta")
    assert not differences("The cat sat. It slept.", "It slept, and the cat sat.")


def test_a_stock_answer_to_many_questions_is_found_and_a_short_one_is_not(job):
    stock = "I am sorry but there is nothing that I can do about this"
    rows = [
        *varied(8),
        *(ask(sentence(700 + n), stock) for n in range(3)),
        *(ask(sentence(n), "yes") for n in (8, 9)),
    ]
    findings, _ = run("repeated_answers", rows, job)
    assert [one.position for one in findings] == [8, 9, 10]


# --- conflicts and labels ------------------------------------------------------------------------------


def test_one_question_with_two_labels_is_an_error_and_with_two_wordings_a_note(job):
    labelled = [ask(sentence(n), ("good", "bad")[n % 2]) for n in range(20)] + [ask(sentence(0), "bad")]
    findings, _ = run("conflicting_answers", labelled, job)
    assert {(one.position, one.severity) for one in findings} == {(0, "error"), (20, "error")}
    free = [
        *varied(20),
        ask("why is it so", "because of the wind that blows there"),
        ask("Why is it  so", "the wind does it every day"),
    ]
    findings, _ = run("conflicting_answers", free, job)
    assert {(one.position, one.severity) for one in findings} == {(20, "note"), (21, "note")}


def test_preference_pairs_of_one_prompt_do_not_conflict(job):
    turns = lambda text: (Message("assistant", text),)  # noqa: E731
    pairs = [
        Example((Message("user", "say it"),), chosen=turns(f"a {n}"), rejected=turns("b")) for n in range(4)
    ]
    assert run("conflicting_answers", pairs, job)[0] == []


def test_nearly_one_question_with_another_label_is_found(job):
    rows = [ask(sentence(n, 20), ("good", "bad")[n % 2]) for n in range(40)]
    rows.append(ask("kindly " + sentence(0, 20), "bad"))
    rows.append(ask("kindly " + sentence(2, 20), "good"))
    findings, _ = run("label_conflicts", rows, job)
    assert {one.position for one in findings} == {0, 40}
    assert findings[0].evidence["labels"] == {"answer": ["good", "bad"]}


def themed(count, wrong=()):
    """Rows whose words say their label; those named are labelled wrongly."""
    rows = []
    for number in range(count):
        theme = number % 2
        words = random.Random(number).choices(WORDS[:12] if theme else WORDS[15:], k=10)
        label = ("water", "fire")[theme ^ (number in wrong)]
        rows.append(ask(" ".join(words), label))
    return rows


def test_planted_label_errors_are_found_and_right_labels_left_alone(job):
    wrong = {3, 40, 77, 120}
    findings, facts = run("label_errors", themed(160, wrong), job)
    assert {one.position for one in findings} == wrong
    assert findings[0].evidence["given"] != findings[0].evidence["suggested"]
    assert facts["label_errors: answer"]["learnable"]


def test_labels_that_the_text_says_nothing_about_are_not_doubted(job):
    rows = [ask(sentence(n), random.Random(n + 1).choice(["a", "b"])) for n in range(150)]
    findings, facts = run("label_errors", rows, job)
    assert findings == []
    assert not facts["label_errors: answer"]["learnable"]


def test_fields_of_json_answers_are_labels_of_their_own(job):
    rows = [
        ask(row.messages[0].content, json.dumps({"kind": row.answer, "id": f"x{number}"}))
        for number, row in enumerate(themed(160, {5}))
    ]
    findings, facts = run("label_errors", rows, job)
    assert [(one.position, one.evidence["label"]) for one in findings] == [(5, "answer.kind")]
    assert list(facts) == ["label_errors: answer.kind"]


def test_the_confident_joint_counts_and_prunes_as_the_paper_says():
    probability = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.55, 0.45]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    found = suspects(probability, labels)
    assert found.row.tolist() == [2]  # row 5 leans to 0, but not as much as the rows of 0 do
    assert found.suggested.tolist() == [1]
    np.testing.assert_allclose(self_margins(probability, labels), [0.8, 0.6, -0.8, 0.6, 0.4, -0.1])


# --- outliers, balance, coverage, diversity ------------------------------------------------------------


def test_a_row_of_another_kind_is_an_outlier(job):
    rows = [
        ask(f"weather report for the {WORDS[n % 30]} of {WORDS[n // 30]}", "it will rain on that day")
        for n in range(90)
    ]
    rows.append(ask("SELECT id FROM t WHERE q=7", "zxcv qwerty"))
    findings, _ = run("outliers", rows, job)
    assert [one.position for one in findings][:1] == [90]
    assert run("outliers", rows[:90], job)[0] == []


def test_a_row_of_unusual_length_is_found(job):
    rows = [*varied(80), ask(sentence(1, 12), sentence(2, 900))]
    findings, _ = run("length_outliers", rows, job)
    assert [(one.position, one.evidence["of"]) for one in findings] == [(80, "answer")]
    assert run("length_outliers", rows[:80], job)[0] == []


def test_balance_counts_training_rows_and_words_and_names_what_dominates_and_starves(job):
    rows = [ask(sentence(n), sentence(n + 999), label="a", tier=str(n % 2)) for n in range(300)]
    rows += [ask(sentence(n), "one", label="b") for n in range(4)]
    splits = ["train"] * 299 + ["test"] + ["train"] * 4
    findings, facts = run("balance", rows, job, splits, slices=("tier",))
    table = facts["balance by metadata.label"]
    assert [(value["value"], value["rows"]) for value in table["values"]] == [("a", 299), ("b", 4)]
    assert table["values"][1]["tokens"] == 4 * 13
    assert table["unit"] == facts["unit"] == "words"
    assert 1 < table["effective"] < 1.2
    assert facts["balance by tier"]["rows_without"] == 4
    said = {(one.evidence["value"], one.evidence["why"]) for one in findings}
    assert {("a", "dominates"), ("b", "starved")} <= said


def test_a_slice_that_no_row_has_is_said(job):
    findings, _ = run("balance", varied(20), job, slices=("tier",))
    assert [(one.severity, one.evidence["by"]) for one in findings] == [("warning", "tier")]


def test_even_labels_get_no_note(job):
    rows = [ask(sentence(n), sentence(n + 999), label="ab"[n % 2]) for n in range(100)]
    assert [one for one in run("balance", rows, job)[0] if one.evidence["by"] == "metadata.label"] == []


def test_a_slice_that_only_the_test_has_is_a_warning_with_a_number_to_collect(job):
    rows = [ask(sentence(n), "ok", topic=("x" if n < 60 else "y")) for n in range(80)]
    splits = ["train"] * 60 + ["test"] * 20
    rows[70] = ask(sentence(70), "ok", topic="x")
    findings, facts = run("coverage", rows, job, splits)
    table = {entry["slice"]: entry for entry in facts["coverage by metadata.topic"]["slices"]}
    assert (table["y"]["train_rows"], table["y"]["test_rows"]) == (0, 19)
    assert table["y"]["collect"] == 1200  # 1,140 of 1,200 rows are then 95 % as in the test
    assert table["x"]["collect"] == 0
    mine = [one for one in findings if one.evidence["by"] == "metadata.topic"]
    assert [(one.severity, one.evidence["slice"]) for one in mine] == [("warning", "y")]


def test_what_to_collect_follows_its_rule():
    assert to_collect(50, 1000, 10, 100, 0.5) == 0  # half of its share is not less than half
    assert to_collect(40, 1000, 10, 100, 0.5) == 67  # (40 + 67) / 1,067 is a tenth
    assert to_collect(0, 1000, 2, 100, 0.5) == 0  # two test rows say nothing
    assert to_collect(5, 1000, 0, 0, 0.5) == 15
    assert to_collect(25, 1000, 0, 0, 0.5) == 0


def test_errors_of_a_report_are_counted_by_slice_and_those_of_other_rows_refused(job, tmp_path):
    rows = [ask(sentence(n), "ok", topic="xy"[n % 2]) for n in range(20)]
    lines = [{"id": row.row_hash, "scores": {"exact": float(n % 2)}} for n, row in enumerate(rows)]
    (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    _, facts = run("coverage", rows, job, report=tmp_path)
    table = {entry["slice"]: entry for entry in facts["coverage by metadata.topic"]["slices"]}
    assert (table["x"]["error"], table["y"]["error"], table["x"]["answers"]) == (1.0, 0.0, 10)
    with pytest.raises(DataError, match="other rows"):
        run("coverage", varied(5), job, report=tmp_path)
    with pytest.raises(DataError, match="no answers"):
        run("coverage", rows, job, report=tmp_path / "nothing")


def test_the_vendi_score_counts_different_rows():
    assert vendi(np.eye(8, dtype=np.float32)) == pytest.approx(8)
    assert vendi(np.repeat(np.eye(8, dtype=np.float32)[:2], 50, axis=0)) == pytest.approx(2)
    assert vendi(np.zeros((0, 8), dtype=np.float32)) == 0


def test_repeated_openings_are_noted_and_diversity_is_measured(job):
    rows = [ask(sentence(n), f"Certainly here is {sentence(n + 300)}") for n in range(30)] + varied(
        70, start=100
    )
    findings, facts = run("diversity", rows, job)
    assert [one.evidence["opening"] for one in findings] == ["certainly here is"]
    assert facts["vectors"]["vendi"] > 20
    assert 0 < facts["words of the answers"]["distinct_1"] < facts["words of the answers"]["distinct_3"] <= 1
    assert run("diversity", varied(100), job)[0] == []


def test_the_map_is_the_same_each_time_and_shows_groups_apart(job):
    rows = themed(120, {3})
    maps = [run("map", rows, job)[1]["map"] for _ in range(2)]
    assert maps[0] == maps[1]
    points = maps[0]["points"]
    places = np.array([[point["x"], point["y"]] for point in points])
    assert np.abs(places).max() == pytest.approx(1)
    side = np.array([number % 2 for number in range(120)], dtype=bool)
    apart = np.linalg.norm(places[side].mean(0) - places[~side].mean(0))
    assert apart > 2 * np.linalg.norm(places[side] - places[side].mean(0), axis=1).mean() * 0.5
    assert points[3]["finding"] == "doubted label"


# --- leaks ---------------------------------------------------------------------------------------------


def test_test_rows_that_stand_in_train_are_found_by_kind(job):
    rows = [*varied(40), ask(rows_text(3), "x"), ask("kindly " + rows_text(5), "y"), ask(sentence(999), "z")]
    splits = ["train"] * 40 + ["test"] * 3
    findings, facts = run("split_leakage", rows, job, splits)
    assert [(one.position, one.severity) for one in findings] == [(40, "error"), (41, "warning")]
    assert facts["split_leakage"] == {"test": {"rows": 3, "exact": 1, "near": 1, "share": 0.6667}}
    findings, facts = run("train_similarity", rows, job, splits, threshold=0.8)
    assert [one.position for one in findings] == [41]
    assert sum(facts["nearest_train: test"]["histogram"]["counts"]) == 3


def rows_text(number):
    return sentence(number)


def test_a_file_without_splits_is_told_what_a_random_split_would_leak(job):
    rows = [*varied(80), *varied(20)]
    _, facts = run("split_leakage", rows, job)
    # 40 of 100 rows stand twice; a test row's twin is in train four times out of five
    assert facts["random_split"]["leaked_exact"] == pytest.approx(0.4 * 0.8)


@pytest.fixture
def benchmark(tmp_path):
    header = "Answer the following question step by step and give a number at the end"
    items = [f"{header} {sentence(3_000 + number, 24)}" for number in range(30)]
    path = tmp_path / "bench.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({"messages": chat([("user", text), ("assistant", "1")]).to_json()["messages"]})
            for text in items
        )
    )
    return path, header


def test_an_item_inside_a_training_row_is_an_error_and_its_header_alone_is_nothing(benchmark, job):
    path, header = benchmark
    planted = f"some words before {sentence(3_007, 24)} and after"
    rows = [*varied(40), ask(planted, "1"), ask(f"{header} {sentence(8_000, 24)}", "2")]
    findings, facts = run("benchmark_overlap", rows, job, benchmarks=(path,))
    assert [(one.position, one.severity) for one in findings] == [(40, "error")]
    assert findings[0].value == 1.0
    assert findings[0].evidence["item"]["line"] == 8
    assert facts["benchmarks"]["bench.jsonl"]["contaminated"] == 1
    assert facts["benchmarks"]["bench.jsonl"]["is_contaminated"]


def test_an_item_with_every_seventh_word_changed_is_for_review_and_half_an_item_is_left_alone(benchmark, job):
    path, _ = benchmark
    words = sentence(3_007, 24).split()
    for at in range(6, 24, 7):
        words[at] = "changed"
    half = " ".join(sentence(3_009, 24).split()[:10])
    findings, _ = run(
        "benchmark_overlap", [*varied(40), ask(" ".join(words), "1"), ask(half, "2")], job, benchmarks=(path,)
    )
    assert [(one.position, one.severity) for one in findings] == [(40, "warning")]


def test_rows_of_the_test_split_are_not_trained_on_and_may_hold_a_benchmark(benchmark, job):
    path, _ = benchmark
    rows = [*varied(40), ask(sentence(3_007, 24), "1")]
    assert run("benchmark_overlap", rows, job, ["train"] * 40 + ["test"], benchmarks=(path,))[0] == []


def test_a_broken_index_is_refused_by_name(job, tmp_path):
    path = tmp_path / "x.idx"
    path.write_bytes(b"DTTIDX01\xff\x00\x00\x00{}")
    with pytest.raises(DataError, match="not a whole index"):
        run("benchmark_overlap", varied(3), job, benchmarks=(path,))


# --- vectors -------------------------------------------------------------------------------------------


def test_no_pair_is_missed_by_ruling_out_in_few_dimensions():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(400, 128)).astype(np.float32)
    rows[200:] = rows[:200] + draw.normal(size=(200, 128)) * draw.uniform(0, 1.5, (200, 1))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = pairs_above(rows, np.arange(400), 0.7, most=10**9)
    left, right = np.nonzero(np.triu(rows @ rows.T, 1) >= 0.7)
    assert sorted(zip(found.left, found.right, strict=True)) == list(zip(left, right, strict=True))


@pytest.mark.parametrize("count", [1, 5])
def test_neighbours_in_blocks_are_those_of_the_whole_matrix(count, monkeypatch):
    monkeypatch.setattr("tunesmith.data.vectors.BLOCK", 16)
    rows = np.random.default_rng(1).normal(size=(70, 8)).astype(np.float32)
    found = nearest(rows, np.arange(70), np.arange(10, 70), count)
    product = rows @ rows.T
    np.fill_diagonal(product, -np.inf)
    expected = np.argsort(-product[:, 10:], axis=1)[:, :count] + 10
    np.testing.assert_array_equal(found.position, expected)
    assert nearest(rows, np.array([3]), np.array([3]), 2).position.tolist() == [[-1, -1]]
    assert BLOCK > 16


def test_words_vectors_are_unit_repeatable_and_zero_for_nothing(job):
    rows = [*varied(10), ask("", ""), ask("!!!", "")]
    found = []
    for _ in range(2):
        with context(rows, job) as ctx:
            found.append(np.array(ctx.vectors("prompt")))
    np.testing.assert_array_equal(found[0], found[1])
    length = np.linalg.norm(found[0], axis=1)
    np.testing.assert_allclose(length[:10], 1, atol=1e-5)
    assert (ctx.vectors("prompt").shape[1]) == 256


# --- odd corpora ---------------------------------------------------------------------------------------

ONE = ask("hi", "hello there")
ODD = {
    "none": [],
    "one": [ONE],
    "two": varied(2),
    "all equal": [ONE] * 120,
    "empty": [ask("", "")] * 60,
    "empty text": [Example((Message("text", ""),))] * 60,
    "text": [Example((Message("text", sentence(n)),)) for n in range(70)],
    "no answer": [chat([("user", "a b c")])] * 3,
    "no spaces": [ask("这是一个没有空格的句子" * 3 + chr(0x4E00 + n), "好") for n in range(60)],
    "pairs": [
        Example(
            (Message("user", "q"),),
            chosen=(Message("assistant", "a"),),
            rejected=(Message("assistant", "b"),),
        )
    ]
    * 4,
}


@pytest.mark.parametrize("which", ODD)
@pytest.mark.parametrize("has_splits", [False, True])
def test_no_odd_corpus_stops_a_check(which, has_splits, job):
    rows = ODD[which]
    splits = ["train" if number % 2 else "test" for number in range(len(rows))] if has_splits else None
    with context(rows, job, splits) as ctx:
        for check in CHECKS:
            for one in check.whole(ctx, check.threshold):
                json.dumps(list(one), allow_nan=False)
                assert not isinstance(one, Finding) or one.position is None or 0 <= one.position < len(rows)


def test_options_are_part_of_what_is_remembered(job):
    with context(varied(30), job) as ctx:
        first = near.asked_pairs(ctx, 0.5)
        assert near.asked_pairs(ctx, 0.5) is first
        assert near.asked_pairs(replace(ctx, options=Options(seed=1)), 0.5) is not first


def test_an_instruction_that_all_training_rows_share_covers_no_item(job, tmp_path):
    shared = sentence(4_000, 20)
    path = tmp_path / "bench.jsonl"
    lines = [ask(f"{shared} {sentence(4_100 + number, 10)}", "1").to_json() for number in range(3)]
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = [ask(f"{shared} {sentence(number, 10)}", "2") for number in range(60)]
    assert run("benchmark_overlap", rows, job, benchmarks=(path,))[0] == []
    assert len(run("benchmark_overlap", rows[:10], job, benchmarks=(path,))[0]) == 10


def test_what_differs_between_two_texts_shows_no_piece_of_a_secret():
    texts = [f"the card is {card} and the key sk-proj-{key}, thanks" for card, key in (
        ("4716 2210 5188 5662", "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb3dEf6hIj9kLm2n"),
        ("4716 2210 5188 5670", "Qw8eRt5yUi2oPa9sDf6gHj3kLz1xCv4bNm7qWe8rTy5uIo2p"),
    )]  # fmt: skip
    shown = json.dumps(shown_differences(*texts))
    assert not any(piece in shown for piece in ("5662", "5670", "Ab3dEf", "Qw8eRt"))
    assert shown_differences("at 3 o'clock", "at 4 o'clock") == {"numbers": ["3", "4"]}
