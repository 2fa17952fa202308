import io

import pytest
from folders import address, data_set
from rich.console import Console
from servers import completion, last_user, server

from tunesmith.cli.show_evaluate import show_compare
from tunesmith.core import stats
from tunesmith.core.errors import ConfigError, DataError, FolderError
from tunesmith.core.files import read_json, read_jsonl, write_jsonl
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.evaluate import CompareConfig, EvaluateConfig, compare, evaluate

ROWS = [address(n) for n in range(60)]
GOLD = {row.prompt[-1].content: row.answer for row in ROWS}


def knows(numbers):
    """A model that is right on these items only."""

    def answer(body):
        question = last_user(body)
        return completion(GOLD[question] if int(question.split()[0]) in numbers else '{"city": "Nowhere"}')

    return answer


def report(job, numbers, *, name, rows=ROWS, groups=None, set_name="set"):
    folder = data_set_once(job, rows, groups, set_name)
    with server(knows(set(numbers)), models=(name,)) as script:
        return evaluate(EvaluateConfig(suite=folder, model=name, endpoint=script.url), job).folder


def data_set_once(job, rows, groups, name):
    try:
        return data_set(job, {"test": rows}, groups=groups, name=name)
    except AlreadyDone as done:
        return done.folder


def test_a_clear_gain_is_better_with_its_regressions_and_fixes(job):
    a, b = report(job, range(10), name="old"), report(job, range(2, 45), name="new")
    result = compare(CompareConfig(a=a, b=b), job)
    assert result.verdict == "better"
    assert (result.n, result.fixes, result.regressions) == (60, 35, 2)
    part = result.difference
    assert (part.a, part.b, part.value) == pytest.approx((10 / 60, 43 / 60, 33 / 60))
    assert (part.low, part.high) == pytest.approx(stats.tango(35, 2, 60))
    assert part.p_value == pytest.approx(stats.mcnemar(35, 2))
    assert (part.test, part.method) == ("McNemar mid-p", "Tango score interval")
    assert result.differences["field_f1"].test == "sign-flip test"
    sentence = result.sentence
    for piece in (
        "new (as_is) is better than old (as_is)",
        "exact_json",
        "+55.0 points",
        "60 items",
        "McNemar",
    ):
        assert piece in sentence
    assert sentence.count(".") - sentence.count("0.") >= 1
    assert "\n" not in sentence


def test_the_folder_holds_the_comparison_and_the_changed_items(job):
    a, b = report(job, range(10), name="old"), report(job, range(2, 45), name="new")
    result = compare(CompareConfig(a=a, b=b), job)
    value = read_json(result.folder / "comparison.json")
    assert value["verdict"] == "better"
    assert value["scores"]["exact_json"]["low"] == result.difference.low
    lost = [line.value for line in read_jsonl(result.folder / "regressions.jsonl")]
    assert [(row["a_score"], row["b_score"]) for row in lost] == [(1.0, 0.0)] * 2
    assert lost[0]["b_output"] == '{"city": "Nowhere"}'
    assert lost[0]["gold"] == lost[0]["a_output"]
    assert [entry.role for entry in Manifest.read(result.folder).inputs] == ["a", "b"]
    with pytest.raises(AlreadyDone):
        compare(CompareConfig(a=a, b=b), job)


def test_the_other_way_round_is_worse(job):
    a, b = report(job, range(10), name="old"), report(job, range(2, 45), name="new")
    result = compare(CompareConfig(a=b, b=a), job)
    assert result.verdict == "worse"
    assert result.difference.value < 0


def test_a_small_difference_on_few_items_is_not_enough_data(job):
    a, b = report(job, range(30), name="old"), report(job, range(33), name="new")
    result = compare(CompareConfig(a=a, b=b), job)
    assert result.verdict == "not enough data"
    assert result.difference.low < 0 < result.difference.high
    assert 0.03 < result.difference.detectable < 0.3
    assert result.difference.needed == stats.required_items(3 / 60, 3 / 60) > 60
    assert f"needs about {result.difference.needed} items" in result.sentence


def test_a_tie_needs_an_interval_inside_the_margin(job):
    a, b = report(job, range(30), name="old"), report(job, range(30), name="new")
    assert compare(CompareConfig(a=a, b=b), job).verdict == "not enough data"
    result = compare(CompareConfig(a=a, b=b, margin=0.1), job)
    assert result.verdict == "tied"
    assert result.fixes == result.regressions == 0


def test_very_few_items_give_no_verdict(job):
    few = ROWS[:8]
    a = report(job, [], name="old", rows=few, set_name="few")
    b = report(job, range(60), name="new", rows=few, set_name="few")
    assert compare(CompareConfig(a=a, b=b), job).verdict == "not enough data"


def test_groups_decide_how_much_the_items_say(job):
    groups = {row.row_hash: f"g{n // 10}" for n, row in enumerate(ROWS)}
    a = report(job, [], name="old", groups=groups, set_name="grouped")
    b = report(job, range(20), name="new", groups=groups, set_name="grouped")
    result = compare(CompareConfig(a=a, b=b), job)
    assert result.groups == 6
    assert result.difference.test == "McNemar by sign flips over groups"
    assert "effective items" in result.difference.method
    assert result.verdict == "not enough data"


def test_only_common_items_count_and_the_rest_is_named(job):
    a = report(job, range(60), name="old", rows=ROWS[:40], set_name="first")
    b = report(job, range(60), name="new", rows=ROWS[10:], set_name="second")
    result = compare(CompareConfig(a=a, b=b), job)
    assert (result.n, result.only_a, result.only_b) == (30, 10, 20)
    assert "30 items stand in one report only and were left out" in result.notes
    with pytest.raises(DataError, match="30 in common, 40 in A, 50 in B"):
        compare(CompareConfig(a=a, b=b, at_least=31), job)


def test_reports_without_common_items_are_refused(job):
    a = report(job, [], name="old", rows=ROWS[:20], set_name="first")
    b = report(job, [], name="new", rows=ROWS[20:], set_name="second")
    with pytest.raises(DataError, match="too few items"):
        compare(CompareConfig(a=a, b=b), job)


def test_another_score_can_decide_and_an_unknown_one_is_refused(job):
    a, b = report(job, range(10), name="old"), report(job, range(45), name="new")
    assert compare(CompareConfig(a=a, b=b, metric="field_f1"), job).primary == "field_f1"
    with pytest.raises(ConfigError, match="did you mean 'field_f1'"):
        compare(CompareConfig(a=a, b=b, metric="fields_f1"), job)


def test_a_folder_that_is_no_report_is_refused(job, tmp_path):
    a = report(job, range(10), name="old")
    with pytest.raises(FolderError, match="not a report"):
        compare(CompareConfig(a=a, b=data_set(job, {"test": ROWS}, name="other")), job)
    with pytest.raises(FolderError, match="not a folder that tunesmith made"):
        compare(CompareConfig(a=a, b=tmp_path), job)


def test_the_terminal_shows_verdict_and_scores(job):
    a, b = report(job, range(10), name="old"), report(job, range(2, 45), name="new")
    console = Console(width=120, file=io.StringIO())
    show_compare(compare(CompareConfig(a=a, b=b), job), console)
    shown = console.file.getvalue()
    assert "better" in shown
    assert "+55.0" in shown
    assert "decides" in shown


def test_a_score_that_no_item_has_in_both_reports_is_refused(job):
    a, b = report(job, range(10), name="old"), report(job, range(20), name="new")
    rows = [line.value for line in read_jsonl(b / "samples.jsonl")]
    write_jsonl(b / "samples.jsonl", [{**row, "scores": {}} for row in rows])
    with pytest.raises(DataError, match="no item has this score in both reports: 'exact_json'"):
        compare(CompareConfig(a=a, b=b), job)
