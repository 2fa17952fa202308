"""The selftest of the checks: what is planted is what is counted, and what was there before is not."""

import json
from pathlib import Path
from random import Random

import pytest
from folders import address, data_set
from rich.console import Console
from sample_rows import write_rows

from tunesmith.cli.show_selftest import show_selftest
from tunesmith.core.conversation import chat
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.data.check.registry import CHECKS
from tunesmith.data.corpus import corpus_of
from tunesmith.data.selftest import SelftestConfig, SelftestResult, measure, plants
from tunesmith.data.selftest import selftest as run_selftest
from tunesmith.data.selftest.measure import Seen


def rows(count: int = 60):
    """Rows with a split, as the selftest draws them."""
    with corpus_of([address(at) for at in range(count)]) as corpus:
        return [row._replace(split="test" if row.position % 5 == 0 else "train") for row in corpus]


def by_check(result: SelftestResult) -> dict[str, object]:
    return {part.check: part for part in result.outcomes}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    from tunesmith.core.job import Job
    from tunesmith.core.workspace import Workspace

    folder = tmp_path_factory.mktemp("selftest")
    path = write_rows(folder / "rows.jsonl", 120)
    config = SelftestConfig(data=str(path), embeddings="words", rows=100)
    return run_selftest(config, Job(Workspace(folder / "workspace")))


def test_planted_copies_leaks_cuts_and_personal_data_are_found(measured):
    found = by_check(measured)
    for check in ("exact_duplicates", "split_leakage", "cut_structures", "email_address", "payment_card"):
        assert found[check].recall.value == 1.0, check
        assert found[check].precision.value == 1.0, check
        assert found[check].recall.low < 1.0, check


def test_rows_of_another_layout_are_read_by_a_mapping(job, tmp_path):
    lines = [json.dumps({"q": row.prompt[-1].content, "a": row.answer}) for row in map(address, range(30))]
    path, mapping = tmp_path / "rows.jsonl", tmp_path / "map.yaml"
    path.write_text("\n".join(lines) + "\n")
    mapping.write_text("prompt: q\nanswer: a\n")
    settings = {"data": str(path), "embeddings": "words", "plant": ("exact_duplicates",)}
    with pytest.raises(DataError, match="no known layout"):
        run_selftest(SelftestConfig(**settings), job)
    result = run_selftest(SelftestConfig(**settings, mapping=mapping), job)
    assert result.rows == 30


def test_what_cannot_be_planted_says_why(measured):
    reasons = {part.plant: part.reason for part in measured.not_planted}
    assert "no labels" in reasons["flipped_labels"]
    assert "--model" in reasons["shuffled_answers"]


def test_every_planted_row_is_written_down(measured):
    lines = [json.loads(line) for line in (measured.folder / "planted.jsonl").read_text().splitlines()]
    assert {line["plant"] for line in lines} >= {"exact_duplicates", "personal_data", "truncated_answers"}
    assert all(line["row"]["messages"] and line["source"]["line"] for line in lines)
    kept = json.loads((measured.folder / "selftest.json").read_text())
    assert len(kept["outcomes"]) == len(measured.outcomes)


def test_the_terminal_shows_recall_and_precision(measured, capsys):
    show_selftest(measured, Console(width=140, highlight=False))
    shown = capsys.readouterr().out
    assert "exact_duplicates" in shown
    assert "10/10" in shown
    assert "not planted  flipped_labels" in shown


def test_every_plant_is_found_by_checks_that_exist():
    everything = rows()
    for name in plants.PLANTS:
        if name != "flipped_labels":
            for one in plants.PLANTS[name](everything, Random(0), 16):
                assert set(one.checks) <= set(CHECKS), name


@pytest.mark.parametrize("name", [name for name in plants.PLANTS if name != "flipped_labels"])
def test_a_plant_is_the_same_for_the_same_seed_and_leaves_the_rows_alone(name):
    everything = rows()
    before = [row.example for row in everything]
    first, second = (list(plants.PLANTS[name](everything, Random(7), 10)) for _ in range(2))
    assert first == second
    assert first != list(plants.PLANTS[name](everything, Random(8), 10))
    assert [row.example for row in everything] == before
    if name not in ("exact_duplicates", "leaked_rows"):
        assert all(one.example != everything[one.source].example for one in first)


def test_flipped_labels_are_other_labels_of_the_data():
    labels = ("good", "bad", "odd")
    with corpus_of(
        chat([("user", f"question {at}"), ("assistant", labels[at % 3])]) for at in range(30)
    ) as corpus:
        everything = list(corpus)
    flipped = list(plants.flipped_labels(everything, Random(0), 9))
    assert len(flipped) == 9
    for one in flipped:
        assert one.example.answer in labels
        assert one.example.answer != everything[one.source].example.answer


def test_leaked_rows_stand_in_the_test_split_and_come_from_train():
    everything = rows()
    for one in plants.leaked_rows(everything, Random(0), 10):
        assert one.split == "test"
        assert everything[one.source].split == "train"
    with pytest.raises(plants.CannotPlant):
        list(plants.leaked_rows([row._replace(split="") for row in everything], Random(0), 10))


def test_findings_of_before_count_neither_as_found_nor_as_false():
    # faults at 0 (found), 1 (not found), 2 (a row that was found before); 7 is a false finding, 8 an old one
    places = {0: {0}, 1: {1}, 2: {2}}
    seen = Seen(dict.fromkeys((0, 2, 7, 8), 1.0), {})
    before = Seen(dict.fromkeys((2, 8), 1.0), {})
    found = measure.judge("plant", ["check"], places, [seen], [before])
    assert (found.planted, found.found, found.false, found.before) == (2, 1, 1, 2)
    assert found.recall.value == 0.5
    assert found.precision.value == 0.5


def test_a_copy_may_be_found_by_its_source_unless_that_was_found_before():
    places = {10: {10, 3}, 11: {11, 4}}
    seen, before = Seen({3: 1.0, 4: 1.0}, {}), Seen({4: 1.0}, {})
    found = measure.judge("plant", ["check"], places, [seen], [before])
    assert (found.found, found.false) == (1, 0)


def test_a_ranking_check_is_judged_on_the_rows_it_looked_at():
    ranked = {0: 3.0, 1: 2.0, 2: 1.0, 3: 2.0, 4: 0.5}
    seen = Seen({0: 3.0}, ranked)
    found = measure.judge("plant", ["check"], {0: {0}, 1: {1}, 9: {9}}, [seen], [Seen({}, {})])
    assert (found.planted, found.found) == (2, 1)
    # pairs of fault and other row: 3 > 1, 2, .5; 2 > 1, .5; 2 = 2
    assert found.auc.value == pytest.approx(5.5 / 6)
    assert found.auc.low < found.auc.value <= found.auc.high


def test_a_perfect_order_of_few_rows_is_no_certainty():
    found = measure.area({0: 3.0, 1: 2.0, 2: 1.0, 3: 0.5}, {0, 1}, set())
    assert found.value == found.high == 1.0
    assert found.low < 0.5


def test_a_check_that_finds_nothing_has_no_precision():
    found = measure.judge("plant", ["check"], {0: {0}}, [Seen({}, {})], [Seen({}, {})])
    assert found.precision is None
    assert found.recall.value == 0.0
    assert found.recall.high > 0.5


def test_wrong_settings_are_refused(job, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", 40)
    with pytest.raises(ConfigError, match="did you mean 'leaked_rows'"):
        run_selftest(SelftestConfig(data=str(path), plant=("leaked_row",)), job)
    with pytest.raises(DataError, match="at least 20 rows"):
        run_selftest(SelftestConfig(data=str(write_rows(tmp_path / "few.jsonl", 5))), job)
    few = write_rows(tmp_path / "half.jsonl", 5)
    few.write_text(few.read_text() + "{}\n" * 30)
    with pytest.raises(DataError, match=r"mend the others \(30\)"):
        run_selftest(SelftestConfig(data=str(few), shape="openai-chat"), job)
    with pytest.raises(DataError, match="no such file"):
        run_selftest(SelftestConfig(data=str(Path("nowhere.jsonl"))), job)


def test_a_data_set_keeps_its_own_splits(job):
    folder = data_set(job, {"train": [address(at) for at in range(40)]})
    config = SelftestConfig(data=str(folder), plant=("leaked_rows",), embeddings="words")
    found = by_check(run_selftest(config, job))["split_leakage"]
    assert found.recall.value == 1.0
    assert found.before == 0


def test_rows_that_cannot_be_read_are_counted(job, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", 40)
    path.write_text(path.read_text() + "not json\n")
    result = run_selftest(SelftestConfig(data=str(path), plant=("exact_duplicates",)), job)
    assert (result.rows, result.unreadable) == (40, 1)
