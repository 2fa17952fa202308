import io
from dataclasses import replace

import numpy as np
import pytest
from folders import address, data_set
from rich.console import Console

from tunesmith.cli.show_select import show_balance, show_select
from tunesmith.core.conversation import Example, chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.files import read_json, read_jsonl
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.data.pool import PoolConfig, PoolResult
from tunesmith.data.pool import pool as run_pool
from tunesmith.data.select import BalanceConfig, SelectConfig, balance, select
from tunesmith.data.select.balancing import weights_of
from tunesmith.data.select.facts import covering, vendi
from tunesmith.data.select.methods import METHODS, Rows, facility_location, ranks
from tunesmith.data.select.schema import SelectResult


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pool(vectors=None, scores=None, lengths=None, likeness=None, seed=0, tradeoff=0.5, similar=0.9):
    count = len(next(one for one in (vectors, scores, lengths) if one is not None))
    return Rows(
        lengths=np.asarray(lengths if lengths is not None else np.ones(count), dtype=np.int64),
        vectors=lambda: vectors,
        scores=lambda: np.asarray(scores, dtype=np.float32),
        likeness=lambda: np.asarray(likeness, dtype=np.float32),
        seed=seed,
        tradeoff=tradeoff,
        similar=similar,
    )


def clusters(sizes, *, seed=0, width=16, spread=0.05):
    """Rows around a few directions, and which each belongs to."""
    draw = np.random.default_rng(seed)
    centres = unit(draw.normal(size=(len(sizes), width)))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return unit(centres[labels] + spread * draw.normal(size=(len(labels), width))), labels


def naive_facility_location(vectors, k):
    chosen, covered = [], np.zeros(len(vectors))
    for _ in range(k):
        gains = [np.maximum(vectors @ vectors[c] - covered, 0).sum() for c in range(len(vectors))]
        for done in chosen:
            gains[done] = -1
        chosen.append(int(np.argmax(gains)))
        covered = np.maximum(covered, vectors @ vectors[chosen[-1]])
    return chosen


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_gives_different_rows_as_many_as_asked_and_the_same_again(name):
    vectors, _ = clusters([30, 20, 10])
    rows = pool(vectors, np.linspace(0, 1, 60), np.arange(60), vectors[:3] @ vectors.T, similar=1.1)
    first, again = METHODS[name](rows, 17), METHODS[name](rows, 17)
    assert len(first) == len(set(first.tolist())) == 17
    assert first.tolist() == again.tolist()
    assert set(first.tolist()) <= set(range(60))


def test_lazy_facility_location_chooses_what_the_plain_greedy_chooses():
    vectors = unit(np.random.default_rng(3).normal(size=(70, 8)))
    assert facility_location(pool(vectors), 12).tolist() == naive_facility_location(vectors, 12)


def test_facility_location_and_k_center_reach_small_clusters_that_a_draw_misses():
    vectors, labels = clusters([300, 300, 3, 2], spread=0.001)
    for name in ("facility-location", "k-center"):
        assert set(labels[METHODS[name](pool(vectors), 4)]) == {0, 1, 2, 3}, name
    assert set(labels[METHODS["random"](pool(vectors), 4)]) < {0, 1, 2, 3}


def test_k_center_is_within_twice_of_every_draw():
    vectors = unit(np.random.default_rng(0).normal(size=(200, 4)))

    def radius(chosen):
        return float(np.sqrt(np.maximum(0, 2 - 2 * covering(vectors, np.arange(200), np.sort(chosen)))).max())

    draws = [METHODS["random"](pool(vectors, seed=seed), 15) for seed in range(30)]
    assert radius(METHODS["k-center"](pool(vectors), 15)) <= 2 * min(map(radius, draws))


def test_mmr_goes_from_the_best_scores_to_the_most_varied_rows_by_its_weight():
    vectors, labels = clusters([20, 20])
    scores = np.where(labels == 0, 1.0, 0.0) + np.linspace(0, 0.01, 40)
    best = METHODS["mmr"](pool(vectors, scores, tradeoff=1.0), 10)
    assert set(labels[best]) == {0}
    varied = METHODS["mmr"](pool(vectors, scores, tradeoff=0.2), 10)
    assert set(labels[varied]) == {0, 1}


def test_deita_takes_the_best_of_what_is_alike_and_says_when_there_is_too_little():
    vectors, labels = clusters([10, 10, 10], spread=0.001)
    scores = np.random.default_rng(0).random(30)
    chosen = METHODS["deita"](pool(vectors, scores), 3)
    assert sorted(labels[chosen]) == [0, 1, 2]
    assert all(scores[row] == scores[labels == labels[row]].max() for row in chosen)
    assert scores[chosen].tolist() == sorted(scores[chosen], reverse=True)
    with pytest.raises(DataError, match="only 3 rows are less alike"):
        METHODS["deita"](pool(vectors, scores), 4)


def test_difficulty_above_one_is_never_chosen():
    scores = [0.2, 1.4, 0.9, 0.7, np.nan]
    assert METHODS["ifd"](pool(scores=scores), 2).tolist() == [2, 3]
    with pytest.raises(DataError, match="only 3 rows"):
        METHODS["ifd"](pool(scores=scores), 4)


def test_targets_take_turns():
    likeness = [[0.9, 0.8, 0.7, 0.1], [0.9, 0.2, 0.1, 0.8]]
    assert METHODS["rds"](pool(lengths=[1] * 4, likeness=likeness), 3).tolist() == [0, 3, 1]


def test_every_tenth_of_the_lengths_has_its_share():
    lengths = np.random.default_rng(0).permutation(1000)
    chosen = METHODS["length"](pool(lengths=lengths), 105)
    counts = np.bincount(lengths[chosen] // 100, minlength=10)
    assert set(counts.tolist()) <= {10, 11}


def test_equal_scores_share_a_rank():
    assert ranks(np.array([3, 1, 1, 9], dtype=np.float32)).tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6, 1])


def test_the_vendi_score_counts_rows_that_are_different():
    assert vendi(np.eye(6, dtype=np.float32), np.arange(6)) == pytest.approx(6)
    assert vendi(np.eye(6, dtype=np.float32)[[0, 0, 0]], np.arange(3)) == pytest.approx(1)


def asked(question, answer, **metadata):
    turns = chat([("user", question), ("assistant", answer)])
    return Example(turns.messages, metadata=metadata)


@pytest.fixture
def data(job):
    return data_set(
        job, {"train": [address(n) for n in range(100, 140)], "test": [address(n) for n in range(5)]}
    )


def test_a_selection_keeps_the_other_splits_and_lists_every_row_left_out(job, data):
    result = select(SelectConfig(data=data, rows=10, by="k-center", embeddings="words"), job)
    before, after = DataSet.open(data), DataSet.open(result.folder)
    after.verify()
    assert result.splits == {"train": 10, "test": 5}
    assert [row.row_hash for row in after.rows("test")] == [row.row_hash for row in before.rows("test")]
    dropped = {line.value["row_hash"] for line in read_jsonl(result.folder / "dropped.jsonl")}
    kept = {row.row_hash for row in after.rows("train")}
    assert kept | dropped == {row.row_hash for row in before.rows("train")}
    assert not kept & dropped
    choices = read_json(result.folder / "choices.json")
    assert set(choices["selected"]) == kept
    assert {name: len(rows) for name, rows in choices.items()} == {"selected": 10, "random": 10, "length": 10}
    assert [choice.name for choice in result.choices] == ["selected", "random", "length", "all"]
    manifest = Manifest.read(result.folder)
    assert manifest.inputs[0].id == Manifest.read(data).id
    assert SelectResult(**SelectResult.fields_from(manifest.summary, result.folder)) == result
    console = Console(width=110, file=io.StringIO())
    show_select(result, console)
    assert "tunesmith data show" in console.file.getvalue()


def test_more_rows_than_there_are_and_scores_that_are_not_there_are_refused(job, data):
    with pytest.raises(DataError, match="no more rows"):
        select(SelectConfig(data=data, rows=40), job)
    with pytest.raises(DataError, match="no row has this score: 'qualty'"):
        select(SelectConfig(data=data, rows=4, by="mmr", score=("qualty",), embeddings="words"), job)
    assert job.workspace.folders("data-set") == [data]


def test_scores_of_the_metadata_are_multiplied_and_none_may_be_missing(job):
    rows = [asked(f"{n} apples", "x", quality=n, depth=5 - n) for n in range(6)]
    folder = data_set(job, {"train": rows})
    config = SelectConfig(
        data=folder, rows=1, by="mmr", score=("quality", "depth"), tradeoff=1.0, embeddings="words"
    )
    chosen = select(config, job)
    assert next(iter(DataSet.open(chosen.folder).rows("train"))).example.metadata["quality"] in (2, 3)
    folder = data_set(job, {"train": [*rows, asked("no score", "x")]}, name="gap")
    with pytest.raises(DataError, match="1 rows have no score"):
        select(config.model_copy(update={"data": folder}), job)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"by": "mmr"}, "needs a --score"),
        ({"by": "random", "score": ("x",)}, "takes no --score"),
        ({"by": "ifd"}, "needs a --model"),
        ({"by": "deita", "score": ("perplexity",)}, "needs a --model"),
        ({"by": "rds", "model": "m"}, "go together"),
        ({"by": "random", "target": "t"}, "go together"),
    ],
)
def test_settings_that_a_method_does_not_use_or_lacks_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        SelectConfig(data="d", rows=3, **settings)


@pytest.fixture
def labelled(job):
    rows = [
        asked(f"text {n}", "yes" if n % 8 else "no", source="web" if n % 4 else "book") for n in range(64)
    ]
    return data_set(job, {"train": rows, "test": [asked("another text", "no", source="web")]})


def test_a_cap_keeps_at_most_so_many_of_each_value(job, labelled):
    result = balance(BalanceConfig(data=labelled, by="answer", cap=10), job)
    assert {value.value: (value.before, value.after) for value in result.values} == {
        "yes": (56, 10),
        "no": (8, 8),
    }
    assert result.splits == {"train": 18, "test": 1}
    dropped = [line.value for line in read_jsonl(result.folder / "dropped.jsonl")]
    assert len(dropped) == 46
    assert dropped[0]["reason"] == "too many rows of this value: yes"
    console = Console(width=110, file=io.StringIO())
    show_balance(result, console)
    assert "yes" in console.file.getvalue()


def test_temperature_gives_shares_of_the_power_and_keeps_the_rarest_whole(job, labelled):
    result = balance(BalanceConfig(data=labelled, by="source", temperature=2), job)
    sizes = {value.value: value.after for value in result.values}
    assert sizes["book"] == 16
    assert sizes["web"] == round(16 * (48 / 16) ** 0.5)
    same = balance(BalanceConfig(data=labelled, by="source", temperature=1), job)
    assert same.dropped == 0


def test_weights_drop_nothing_and_stand_in_each_row(job, labelled):
    result = balance(BalanceConfig(data=labelled, by="answer", weights=True, power=1e9), job)
    assert result.dropped == 0
    weights = {value.value: value.weight for value in result.values}
    assert weights["yes"] * 56 == pytest.approx(32)
    assert weights["no"] * 8 == pytest.approx(32)
    before = [row.row_hash for row in DataSet.open(labelled).rows("train")]
    rows = list(DataSet.open(result.folder).rows("train"))
    assert [row.row_hash for row in rows] == before
    assert rows[0].example.metadata["sampling_weight"] == pytest.approx(4)
    assert "sampling_weight" not in next(iter(DataSet.open(result.folder).rows("test"))).example.metadata


def test_weights_leave_the_length_of_an_epoch_as_it_is():
    counts = {"a": 90, "b": 9, "c": 1}
    for power in (1.0, 2.0, 5.0):
        weights = weights_of(counts, power)
        assert sum(weights[name] * count for name, count in counts.items()) == pytest.approx(100)
    assert list(weights_of(counts, 1.0).values()) == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    ("by", "said"),
    [("sourc", "no row has this key"), ("turns", "same value"), ("text", "no row")],
)
def test_what_cannot_be_balanced_by_is_refused(job, labelled, by, said):
    with pytest.raises(DataError, match=said):
        balance(BalanceConfig(data=labelled, by=by, cap=3), job)


def test_free_text_is_no_label(job, data):
    folder = data_set(job, {"train": [asked(f"{n}", f"{n} " * 40) for n in range(3)]}, name="texts")
    with pytest.raises(DataError, match="free text"):
        balance(BalanceConfig(data=folder, by="answer", cap=3), job)


@pytest.mark.parametrize("settings", [{}, {"cap": 3, "weights": True}, {"temperature": 0.5}])
def test_one_way_of_balancing_is_given(settings):
    with pytest.raises(ValueError, match="--temperature"):
        BalanceConfig(data="d", by="x", **settings)


# --- a pool --------------------------------------------------------------------------------------------


def pool_and_labels(job, folder):
    """Unlabelled rows in a file, and a small labelled data set."""
    rows = [chat([("user", f"text {n} on {'goals' if n % 2 else 'taxes'}"), ("assistant", "ab"[n % 2])])
            for n in range(40)]  # fmt: skip
    data = data_set(job, {"train": rows[:20], "validation": rows[20:30], "test": rows[30:]})
    path = folder / "pool.jsonl"
    path.write_text("".join(f'{{"prompt": "unread {n} of {n * n} letters"}}\n' for n in range(30)))
    return path, data


def test_select_with_a_pool_is_the_same_round_of_active_learning(job, tmp_path):
    path, data = pool_and_labels(job, tmp_path)
    settings = {"pool": path, "labelled": data, "rows": 4, "embeddings": "words", "seed": 3}
    settings |= {"near_duplicates": 0.8}
    direct = run_pool(PoolConfig(**settings), job)
    del settings["near_duplicates"]
    with pytest.raises(AlreadyDone) as done:
        select(SelectConfig(**settings), job)
    assert done.value.folder == direct.folder
    found = select(SelectConfig(**settings | {"seed": 4}), job)
    assert isinstance(found, PoolResult)
    assert Manifest.read(found.folder).verb == "data pool"
    out = io.StringIO()
    show_select(found, Console(file=out, width=100))
    assert "4 = 3 by" in out.getvalue()
    assert "tunesmith data review" in out.getvalue()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give a data set to choose from, or --pool"),
        ({"data": "x", "pool": "p", "labelled": "y"}, "give a data set to choose from, or --pool"),
        ({"pool": "p"}, "--pool and --labelled go together"),
        ({"data": "x", "labelled": "p"}, "--pool and --labelled go together"),
        ({"pool": "p", "labelled": "y", "by": "length"}, "not chosen from by --by"),
        ({"pool": "p", "labelled": "y", "max_length": 9}, "not chosen from by --max-length"),
    ],
)
def test_settings_that_a_pool_has_no_use_for_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SelectConfig(rows=4, **settings)


# --- scores that are multiplied, texts that a terminal would obey --------------------------------------


def test_several_scores_of_which_one_is_below_0_are_refused(job):
    rows = [
        replace(chat([("user", f"say {n}"), ("assistant", f"{n}")]), metadata={"a": n - 5, "b": n})
        for n in range(12)
    ]
    data = data_set(job, {"train": rows})
    settings = {"data": data, "rows": 3, "by": "mmr", "embeddings": "words"}
    with pytest.raises(DataError, match="below 0 cannot be multiplied"):
        select(SelectConfig(**settings, score=("b", "a")), job)
    assert select(SelectConfig(**settings, score=("a",)), job).splits["train"] == 3


def test_values_of_rows_do_not_move_the_cursor(job):
    rows = [chat([("user", f"say {n}"), ("assistant", f"\x1b[2J{n % 2}")]) for n in range(8)]
    found = balance(BalanceConfig(data=data_set(job, {"train": rows}), by="answer", cap=1), job)
    out = io.StringIO()
    show_balance(found, Console(file=out, width=100))
    assert "␛[2J0" in out.getvalue()
    assert "\x1b" not in out.getvalue()
