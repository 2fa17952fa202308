import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_rows import row

from tunesmith.cli.review_terminal import labels_of, review
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError, OutOfSpace, UserError
from tunesmith.core.formats.containers.port import RawRow
from tunesmith.data.pool.classifier import fit, plateau
from tunesmith.data.pool.door import ROUND_KEY, pool
from tunesmith.data.pool.policy import choose, strategy_for
from tunesmith.data.pool.reading import prompt_row
from tunesmith.data.pool.schema import PoolConfig
from tunesmith.data.pool.strategies import STRATEGIES, Pool, cover, entropies, margins
from tunesmith.data.pool.uncertainty import disagreement, ranks
from tunesmith.data.preparation import prepare
from tunesmith.data.review.schema import ReviewConfig
from tunesmith.data.schema import PrepareConfig

WORDS = {
    "sport": "goal match team cup ball",
    "money": "bank stock price tax share",
    "film": "actor screen star song tv",
}


def question(number):
    generator = np.random.default_rng(number)
    label = list(WORDS)[number % 3]
    return " ".join(
        [*generator.permutation(WORDS[label].split())[:3], f"{number * 7919 % 100_003:05d}"]
    ), label


def view(num=60, labelled=6, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(classes, 8))
    vectors = centres[np.arange(num + labelled) % classes] + 0.3 * generator.normal(size=(num + labelled, 8))
    answers = [str(n % classes) for n in range(num, num + labelled)]
    known = fit(vectors[num:], answers) if labelled > 1 else None
    return Pool(vectors[:num], vectors[num:], known.probabilities(vectors[:num]) if known else None, seed)


# --- strategies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@settings(max_examples=25)
@given(num=st.integers(1, 40), count=st.integers(1, 50), seed=st.integers(0, 3))
def test_a_strategy_names_as_many_different_rows_as_there_are(name, num, count, seed):
    found = STRATEGIES[name](view(num, seed=seed), count).tolist()
    assert len(found) == len(set(found)) == min(num, count)
    assert all(0 <= place < num for place in found)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_equal_rows_do_not_stop_a_strategy(name):
    same = Pool(np.ones((12, 4)), np.ones((2, 4)), np.full((12, 2), 0.5), 0)
    assert len(set(STRATEGIES[name](same, 5).tolist())) == 5


def test_typical_rows_come_from_every_cluster_and_not_from_the_edge():
    generator = np.random.default_rng(0)
    centres = np.eye(5) * 10
    vectors = np.repeat(centres, 30, axis=0) + generator.normal(size=(150, 5)) * 0.5
    vectors[::30] += generator.normal(size=(5, 5)) * 2  # one stray row in each
    found = STRATEGIES["typical"](Pool(vectors, np.zeros((0, 5)), None, 0), 5)
    assert sorted(found // 30) == [0, 1, 2, 3, 4]
    assert not set(found) & set(range(0, 150, 30))
    # with four clusters labelled, the fifth is asked for first
    labelled = centres[:4]
    assert STRATEGIES["typical"](Pool(vectors, labelled, None, 0), 1)[0] // 30 == 4


def test_uncertain_rows_are_those_between_classes():
    vectors = np.array([[x, 0.0] for x in np.linspace(-1, 1, 41)])
    known = fit(np.array([[-1.0, 0], [1.0, 0]]), ["a", "b"])
    probability = known.probabilities(vectors)
    assert margins(probability).argmax() == entropies(probability).argmax() == 20
    for name in ("margin", "entropy"):
        found = STRATEGIES[name](Pool(vectors, vectors[:0], probability, 0), 2)
        assert np.abs(vectors[found, 0]).max() < 0.6


def test_labels_spread_through_the_pool_to_where_no_label_is():
    """Two rings of rows, one label each: a line through the labels would cut both."""
    turn = np.linspace(0, np.pi, 60)
    first = np.column_stack([np.cos(turn), np.sin(turn), np.full(60, 0.3)])
    second = np.column_stack([np.cos(turn), np.sin(turn), np.full(60, -0.3)])
    vectors = np.concatenate([first, second])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    answers = ["a"] * 60 + ["b"] * 60
    labelled = [0, 119]  # at opposite ends
    known = fit(vectors[labelled], ["a", "b"], vectors)
    alone = fit(vectors[labelled], ["a", "b"])
    assert np.mean(known.right(vectors, answers)) > 0.95 > np.mean(alone.right(vectors, answers)) + 0.1


def test_badge_prefers_uncertain_rows_in_different_places():
    vectors = np.array([[1.0, 0], [0.99, 0.01], [0, 1.0], [0.01, 0.99], [1.0, 0], [0, 1.0]])
    probability = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [1.0, 0], [1.0, 0]])
    pairs = []
    for seed in range(40):
        found = STRATEGIES["badge"](Pool(vectors, vectors[:0], probability, seed), 2)
        pairs.append(sorted(int(place) // 2 for place in found))
    assert [0, 0] not in pairs  # a copy of what was chosen brings nothing
    assert pairs.count([0, 1]) > 20  # squared distance 1 against .5 for a row that is certain


def test_free_answers_are_chosen_from_every_cluster_by_uncertainty():
    generator = np.random.default_rng(0)
    vectors = np.repeat(np.eye(3) * 10, 20, axis=0) + generator.normal(size=(60, 3)) * 0.1
    asked = []

    def score(places):
        asked.extend(places.tolist())
        return np.array([float(place % 20) for place in places])

    found = cover(vectors, 3, score, seed=0)
    assert sorted(found // 20) == [0, 1, 2]
    assert len(asked) == 12  # four of each cluster cost the model's time
    for cluster in range(3):
        assert max(place for place in asked if place // 20 == cluster) in found


def test_uncertainty_is_ranked_and_equal_answers_agree():
    assert ranks(np.array([3.0, 1.0, 3.0, 0.0])).tolist() == [2.5 / 3, 1 / 3, 2.5 / 3, 0.0]
    assert disagreement(["the same words"] * 3) == 0.0
    assert disagreement(["", ""]) == 0.0
    assert disagreement(["one thing entirely", "xyzzy plugh 42"]) > 0.9


# --- policy --------------------------------------------------------------------------------------------


def test_typicality_rules_until_20_labels_a_class():
    assert strategy_for(0, 0) == strategy_for(99, 5) == "typical"
    assert strategy_for(100, 5) == "margin"


def test_the_probability_of_inclusion_is_right_in_a_simulation():
    """The mean over the pool, estimated from chosen rows by inverse probability, is unbiased."""
    values = np.random.default_rng(9).random(60) + np.linspace(0, 2, 60)
    estimates = []
    for seed in range(120):
        found = choose(replace(view(), seed=seed), 20, 100, 3, uniform=0.3)
        assert found.strategy == "margin"
        estimates.append(sum(values[one.position] / one.probability for one in found.rows) / 60)
    error = np.std(estimates) / len(estimates) ** 0.5
    assert abs(np.mean(estimates) - values.mean()) < 4 * error


def test_a_random_choice_is_one_draw_whose_probabilities_estimate_the_mean_without_bias():
    values = np.random.default_rng(9).random(60) + np.linspace(0, 2, 60)
    estimates = []
    for seed in range(200):
        found = choose(replace(view(), seed=seed), 20, 100, 3, uniform=0.3, method="random")
        assert {one.probability for one in found.rows} == {20 / len(view())}
        estimates.append(sum(values[one.position] / one.probability for one in found.rows) / len(view()))
    error = np.std(estimates) / len(estimates) ** 0.5
    assert abs(np.mean(estimates) - values[: len(view())].mean()) < 4 * error


def test_covering_equal_rows_gives_as_many_as_asked():
    vectors = np.zeros((30, 4), dtype=np.float32)
    found = cover(vectors, 12, lambda places: np.zeros(len(places)), seed=0)
    assert len(set(found.tolist())) == 12


def test_a_share_is_uniform_and_says_so():
    found = choose(view(), 20, 6, 3, uniform=0.15)
    by = [one.by for one in found.rows]
    assert (by.count("typical"), by.count("uniform")) == (17, 3)
    assert {one.probability for one in found.rows} == {1.0, 3 / 43}
    assert len({one.position for one in found.rows}) == 20


# --- the stop rule -------------------------------------------------------------------------------------


def history(*shares, rows=2000):
    generator = np.random.default_rng(0)
    luck = generator.random(rows)
    return [{str(n): int(luck[n] < share) for n in range(rows)} for share in shares]


def test_rounds_stop_when_they_surely_gain_nothing_and_only_then():
    assert not plateau(history(0.5, 0.6), least_gain=0.01).stop
    rising = plateau(history(0.5, 0.6, 0.7), least_gain=0.01)
    assert (rising.stop, rising.gain.low > 0) == (False, True)
    flat = plateau(history(0.5, 0.7, 0.7, 0.7), least_gain=0.01)
    assert flat.stop
    assert "plateau" in flat.why
    few = plateau(history(0.5, 0.7, 0.7, 0.7, rows=40), least_gain=0.01)
    assert not few.stop
    assert "more held-out rows" in few.why


# --- the whole loop ------------------------------------------------------------------------------------


def start(tmp_path, job, rows=90, **sizes):
    path = tmp_path / "start.jsonl"
    path.write_text("\n".join(row(*question(n)) for n in range(rows)) + "\n")
    config = PrepareConfig(source=path, near_duplicates=0, **{"validation": 30, "test": 30, **sizes})
    return prepare(config, job).folder


def asked_for(tmp_path, labelled, lines=None, **more):
    path = tmp_path / "pool.jsonl"
    lines = lines or [json.dumps({"prompt": question(n)[0]}) for n in range(90, 200)]
    path.write_text("\n".join(lines) + "\n")
    values = {"rows": 10, "embeddings": "words", "near_duplicates": 0, **more}
    return PoolConfig(pool=path, labelled=labelled, **values)


def answer(folder, tmp_path, job):
    """Answer what waits, and make the data set of it."""
    truth = dict(question(n) for n in range(200))
    decisions = []
    for one in DataSet.open(folder).rows("train"):
        if one.example.messages[-1].role == "user":
            example = one.example.to_json()
            example["messages"].append(
                {"role": "assistant", "content": truth[one.example.messages[0].content]}
            )
            decisions.append({"row_hash": one.row_hash, "action": "edit", "example": example})
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, decisions)))
    done = review(ReviewConfig(data=str(folder), as_="ann", decisions=path, again=0), job)
    assert done.queued == done.edited == len(decisions)
    return review(ReviewConfig(data=str(folder), apply=True), job).folder


def test_rounds_follow_each_other_and_keep_their_state(tmp_path, job):
    labelled = start(tmp_path, job)
    held = [one.row_hash for one in DataSet.open(labelled).rows("test")]
    for number in (1, 2, 3):
        result = pool(asked_for(tmp_path, labelled), job)
        assert (result.round, result.labelled, result.chosen, result.uniform) == (
            number,
            20 + 10 * number,
            10,
            2,
        )
        assert result.labels == sorted(WORDS)
        assert [score.labelled for score in result.scores] == [20 + 10 * n for n in range(1, number + 1)]
        assert DataSet.open(result.folder).manifest.inputs[0].id == DataSet.open(labelled).manifest.id
        assert labels_of(ReviewConfig(data="x"), DataSet.open(result.folder)) == sorted(WORDS)
        with pytest.raises(UserError, match="10 rows of this round still wait"):
            pool(asked_for(tmp_path, result.folder), job)
        labelled = answer(result.folder, tmp_path, job)
    data = DataSet.open(labelled)
    data.verify()
    facts = [one.example.metadata[ROUND_KEY] for one in data.rows("train") if one.example.metadata]
    assert len(facts) == 30
    assert {one["round"] for one in facts} == {1, 2, 3}
    assert {one["inclusion_probability"] for one in facts if one["by"] == "typical"} == {1.0}
    assert [one.row_hash for one in data.rows("test")] == held
    assert "rounds gained" in result.why


def test_every_row_of_the_pool_is_accounted_for(tmp_path, job):
    labelled = start(tmp_path, job)
    known = question(0)[0]
    held = next(DataSet.open(labelled).rows("test")).example.messages[0].content
    lines = [json.dumps({"prompt": question(n)[0]}) for n in range(90, 120)]
    lines += [
        lines[0],
        json.dumps({"prompt": known}),
        json.dumps({"text": f"{held}!"}),
        "",
        "{",
        '{"prompt": 3}',
        "[]",
        '{"prompt": "twice", "prompt": "another"}',
        '{"prompt": "no number", "metadata": {"v": NaN}}',
        '{"prompt": "half \\ud800 a pair"}',
    ]
    result = pool(asked_for(tmp_path, labelled, lines, near_duplicates=0.8), job)
    dropped = [json.loads(line) for line in (result.folder / "dropped.jsonl").read_text().splitlines()]
    assert result.pool_rows + len(dropped) == len(lines) - 1  # but for the blank line
    assert sorted(result.pool_out.values()) == [1, 2, 6]
    assert {one["line"] for one in dropped} == {31, 32, 33, 35, 36, 37, 38, 39, 40}


def test_a_labelled_set_without_random_held_out_rows_is_refused(tmp_path, job):
    labelled = start(tmp_path, job, test=0)
    with pytest.raises(UserError, match="no test rows"):
        pool(asked_for(tmp_path, labelled), job)


def test_a_row_that_a_reviewer_rejected_is_not_offered_again(tmp_path, job):
    first = pool(asked_for(tmp_path, start(tmp_path, job), rows=10), job).folder
    waiting = [row for row in DataSet.open(first).rows("train") if row.example.messages[-1].role == "user"]
    path = tmp_path / "rejections.jsonl"
    said = [{"row_hash": row.row_hash, "action": "reject", "reason": "unclear"} for row in waiting]
    path.write_text("\n".join(map(json.dumps, said)))
    review(ReviewConfig(data=str(first), as_="ann", decisions=path, again=0), job)
    labelled = review(ReviewConfig(data=str(first), apply=True), job).folder
    free = pool(asked_for(tmp_path, labelled, rows=100), job)
    assert free.pool_out["rejected by a reviewer in a round before"] == 10
    offered = {row.example.messages[0].content for row in DataSet.open(free.folder).rows("train")}
    assert not offered & {row.example.messages[0].content for row in waiting}


def test_too_small_a_pool_and_one_without_rows_are_refused(tmp_path, job):
    labelled = start(tmp_path, job)
    with pytest.raises(UserError, match="110 rows that can be chosen"):
        pool(asked_for(tmp_path, labelled, rows=500), job)
    with pytest.raises(DataError, match="no row of the pool can be read: not valid JSON"):
        pool(asked_for(tmp_path, labelled, ["{,}"]), job)
    with pytest.raises(UserError, match="free answers have no classes"):
        pool(asked_for(tmp_path, labelled, task="answers", by="margin"), job)


def test_a_pool_is_read_whatever_its_encoding_and_a_cut_one_is_refused(tmp_path, job):
    labelled = start(tmp_path, job)
    config = asked_for(tmp_path, labelled)
    path = Path(config.pool)
    text = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-16")
    assert pool(config, job).chosen == config.rows
    path.write_text(text + '{"prompt": "what is', encoding="utf-8")
    with pytest.raises(DataError, match="half-written"):
        pool(config, job)


def test_a_pool_that_is_no_file_is_said_to_be_what_it_is(tmp_path, job):
    labelled = start(tmp_path, job)
    config = asked_for(tmp_path, labelled)
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    for name, said in (("pipe.jsonl", "a pipe or a device"), ("gone.jsonl", "no such file")):
        with pytest.raises(DataError, match=said):
            pool(config.model_copy(update={"pool": tmp_path / name}), job)


def test_a_full_disk_under_the_result_names_the_result(tmp_path, job, monkeypatch):
    config = asked_for(tmp_path, start(tmp_path, job))

    def full(*args, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tunesmith.data.pool.door.write_rows", full)
    with pytest.raises(OutOfSpace) as error:
        pool(config, job)
    assert str(job.workspace.root) in error.value.message()


def test_a_pool_of_labelled_rows_is_refused_with_what_became_of_them(tmp_path, job):
    labelled = start(tmp_path, job)
    known = [json.dumps({"prompt": question(n)[0]}) for n in range(20)]
    with pytest.raises(UserError) as refused:
        pool(asked_for(tmp_path, labelled, known), job)
    said = str(refused.value)
    assert "0 rows that can be chosen (20 left out: the prompt is labelled already" in said
    assert "give a pool of other rows" in said


def test_free_answers_are_covered_without_a_model(tmp_path, job):
    result = pool(asked_for(tmp_path, start(tmp_path, job), task="answers"), job)
    assert (result.task, result.strategy, result.labels, result.stop) == ("answers", "cover", [], False)


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "hi"},
        {"text": "hi"},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"prompt": "hi", "metadata": {"a": 1}},
    ],
)
def test_a_row_may_lack_its_answer(value):
    assert [turn.content for turn in prompt_row(RawRow(1, value)).messages] == ["hi"]


@pytest.mark.parametrize(
    "value", [3, {}, {"prompt": " "}, {"messages": []}, {"messages": [{"role": "user"}]}, {"q": "x"}]
)
def test_a_row_without_a_prompt_is_refused(value):
    with pytest.raises(DataError):
        prompt_row(RawRow(1, value))
