import io
import json

import numpy as np
import pytest
from folders import address, data_set
from pydantic import ValidationError
from rich.console import Console
from servers import completion, last_user, server

from tunesmith.cli.show_compare import show_compare
from tunesmith.core import stats
from tunesmith.core.errors import ConfigError, DataError, FolderError
from tunesmith.core.files import read_json, read_jsonl, write_jsonl
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.evaluate import CompareConfig, EvaluateConfig, compare, evaluate
from tunesmith.evaluate.comparison.differences import Deciding, by_score, difference_of, verdict_of
from tunesmith.evaluate.comparison.door import Found, with_holm
from tunesmith.evaluate.comparison.reports import Pairs, common_items, open_report, shared_score
from tunesmith.evaluate.report.gather_results import compared_facts, model_facts

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


# Several candidates


def test_several_candidates_are_corrected_for_their_number(job):
    a = report(job, range(25), name="old")
    good, same, poor = (
        report(job, range(*ends), name=name)
        for ends, name in (((0, 40), "good"), ((1, 26), "same"), ((0, 12), "poor"))
    )
    result = compare(CompareConfig(a=a, b=poor, more=(good, same)), job)
    assert [one.role for one in result.candidates] == ["b", "c", "d"]
    assert [one.verdict for one in result.candidates] == ["worse", "better", "not enough data"]
    alone = [one.difference.p_value for one in result.candidates]
    assert [one.difference.adjusted_p for one in result.candidates] == pytest.approx(stats.holm(alone))
    # above them stands the foremost
    assert (result.role, result.b, result.verdict) == ("c", "good (as_is)", "better")
    assert result.difference == result.candidates[1].difference
    assert result.sentence.startswith("1 of 3 candidates is better than old (as_is). The foremost is C: good")
    assert "by Holm over 3 candidates" in result.sentence
    assert [entry.role for entry in Manifest.read(result.folder).inputs] == ["a", "b", "c", "d"]
    fixed = [line.value for line in read_jsonl(result.folder / "fixes-c.jsonl")]
    assert len(fixed) == result.fixes == 15
    others = [
        part for one in result.candidates for name, part in one.differences.items() if name != result.primary
    ]
    adjusted = stats.holm([part.p_value for part in others])
    assert [part.adjusted_p for part in others] == pytest.approx(adjusted)


def test_one_candidate_among_many_needs_more_than_one_alone(job):
    a = report(job, range(30), name="old")
    b = report(job, range(36), name="new")
    others = [report(job, range(n, 30 + n), name=f"other-{n}") for n in (1, 2, 3)]
    alone = compare(CompareConfig(a=a, b=b), job)
    assert alone.verdict == "better"
    assert alone.difference.adjusted_p == alone.difference.p_value
    result = compare(CompareConfig(a=a, b=b, more=tuple(others)), job)
    assert result.candidates[0].difference.p_value == alone.difference.p_value
    assert result.candidates[0].verdict == "not enough data"
    assert result.sentence.startswith("None of 4 candidates are better")


def test_a_tie_among_several_needs_the_wider_interval(job):
    a, b, c = (report(job, range(30), name=name) for name in ("old", "new", "newer"))
    _, reach = stats.tango(0, 0, 60)
    _, wide = stats.tango(0, 0, 60, confidence=1 - 0.05 / 2)
    margin = (reach + wide) / 2
    assert compare(CompareConfig(a=a, b=b, margin=margin), job).verdict == "tied"
    result = compare(CompareConfig(a=a, b=b, more=(c,), margin=margin), job)
    assert [one.verdict for one in result.candidates] == ["not enough data"] * 2
    result = compare(CompareConfig(a=a, b=b, more=(c,), margin=wide + 0.01), job)
    assert [one.verdict for one in result.candidates] == ["tied"] * 2


def test_the_terminal_shows_every_candidate(job):
    a = report(job, range(25), name="old")
    b, c = report(job, range(40), name="good"), report(job, range(12), name="poor")
    console = Console(width=160, file=io.StringIO())
    show_compare(compare(CompareConfig(a=a, b=b, more=(c,)), job), console)
    shown = console.file.getvalue()
    for piece in ("B: good", "C: poor", "p (Holm)", "+25.0", "-21.7", "1 of 2 candidates"):
        assert piece in shown


def test_five_equal_candidates_are_seldom_called_different():
    """The whole verdict, on draws of 0 and 1: Holm keeps the chance of any false claim at 5 %."""
    generator, draws, items, alarms, uncorrected = np.random.default_rng(1), 400, 120, 0, 0
    for _ in range(draws):
        ease = generator.random(items)
        first = drawn(generator, ease)
        found = [found_of(first, drawn(generator, ease)) for _ in range(5)]
        corrected = [one.deciding.difference for one in with_holm(found)]
        verdicts = {verdict_of(one, items, 0.02, (one.low, one.high)) for one in corrected}
        alarms += bool(verdicts & {"better", "worse"})
        uncorrected += any(one.deciding.difference.p_value <= 0.05 for one in found)
    assert alarms / draws <= 0.05 + 2 * (0.05 * 0.95 / draws) ** 0.5
    assert uncorrected / draws > 0.1


def drawn(generator, ease):
    """A model of 60 % that finds half of the items as hard as the others do."""
    own = generator.random(len(ease))
    return (np.where(generator.random(len(ease)) < 0.5, ease, own) < 0.6).astype(float).tolist()


def found_of(first, second):
    items = [("items", str(n)) for n in range(len(first))]
    pairs = Pairs(items, first, second, [item[1] for item in items], [1.0] * len(items))
    score = {"kind": "share", "repeats": None, "better": "higher"}
    return Found(None, Deciding("exact", difference_of(pairs, score, 0), pairs, None), None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"more": ["c"] * 20}, "at most 20 candidates, not 21"),
        ({"people": True, "metric": "exact"}, "either a --metric decides or --people"),
        ({"judge": "judge"}, "--judge is for --people"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        CompareConfig(a="a", b="b", **settings)


def test_a_candidate_without_the_deciding_score_is_named(job):
    a, b = report(job, range(10), name="old"), report(job, range(20), name="new")
    with server(knows({1}), models=("odd",)) as script:
        odd = evaluate(
            EvaluateConfig(
                suite=data_set_once(job, ROWS, None, "set"),
                model="odd",
                endpoint=script.url,
                scorers=("field_f1",),
            ),
            job,
        ).folder
    with pytest.raises(ConfigError, match=r"A and odd \(as_is\) have no such score in common: 'exact_json'"):
        compare(CompareConfig(a=a, b=b, more=(odd,)), job)


def test_a_report_given_twice_among_several_is_refused(job):
    a, b = report(job, range(10), name="old"), report(job, range(20), name="new")
    for more in ((b,), (a,)):
        with pytest.raises(ConfigError, match="given twice"):
            compare(CompareConfig(a=a, b=b, more=more), job)


def test_the_page_is_about_the_foremost_candidate(job):
    a = report(job, range(25), name="old")
    b, c = report(job, range(12), name="poor"), report(job, range(40), name="good")
    result = compare(CompareConfig(a=a, b=b, more=(c,)), job)
    models = model_facts((a, b, c), ("Old", "Poor", "Good"))
    facts = compared_facts(result.folder, (a, b, c), models)
    assert (facts.outcome, facts.first, facts.second) == ("better", "Old", "Good")
    assert len(facts.fixes) == 15
    assert facts.main.p_value == result.difference.adjusted_p


def test_a_score_that_two_reports_know_by_different_values_is_taken_as_wide_as_both(job):
    """An imported report tells the kind of a score from its values."""
    a, b = (open_report(report(job, range(n), name=f"m{n}"), job) for n in (10, 20))
    assert shared_score(a, b, "exact_json")["kind"] == "share"
    a.scores["exact_json"]["kind"] = "unit"
    assert shared_score(a, b, "exact_json")["kind"] == "unit"
    assert by_score(a, b, common_items(a, b, 1), "exact_json", 0).difference.test == "sign-flip test"


def test_a_score_that_was_made_in_two_ways_is_not_compared(job, tmp_path):
    folder = data_set_once(job, ROWS, None, "set")
    made = []
    for tolerance, longest in ((0, 8), (1000, 64)):
        path = tmp_path / f"{tolerance}.yaml"
        scorer = {"type": "numeric", "tolerance": tolerance}
        task = {"name": "t", "data": str(folder), "split": "test", "scorers": ["exact_json", scorer]}
        path.write_text(json.dumps({"name": "s", "tasks": [{**task, "max_tokens": longest}]}))
        with server(knows(set(range(20)))) as script:
            config = EvaluateConfig(suite=path, model="fake", endpoint=script.url)
            made.append(evaluate(config, job).folder)
    result = compare(CompareConfig(a=made[0], b=made[1]), job)
    assert "the reports differ in max_tokens: 8 in A, 64 in B" in result.notes
    with pytest.raises(ConfigError, match="mean two things by numeric"):
        compare(CompareConfig(a=made[0], b=made[1], metric="numeric"), job)
