"""A declared rule over two reports."""

import io
import json

import pytest
from folders import address, data_set
from rich.console import Console
from servers import completion, last_user, server

from tunesmith.cli.show_evaluate import show_gate
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.files import read_json, read_jsonl, write_jsonl
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.evaluate import EvaluateConfig, evaluate
from tunesmith.evaluate.gate.door import gate
from tunesmith.evaluate.gate.schema import GateConfig

ROWS = [address(n) for n in range(60)]
GOLD = {row.prompt[-1].content: row.answer for row in ROWS}


def report(job, numbers, name):
    def answer(body):
        question = last_user(body)
        return completion(GOLD[question] if int(question.split()[0]) in numbers else '{"city": "Nowhere"}')

    try:
        folder = data_set(job, {"test": ROWS}, name="set")
    except AlreadyDone as done:
        folder = done.folder
    with server(answer, models=(name,)) as script:
        return evaluate(EvaluateConfig(suite=folder, model=name, endpoint=script.url), job).folder


@pytest.fixture
def reports(job):
    return report(job, range(10), "old"), report(job, range(2, 45), "new")


def held(job, tmp_path, reports, **rule):
    path = tmp_path / "rule.yaml"
    path.write_text(json.dumps(rule))
    return gate(GateConfig(rule=path, a=reports[0], b=reports[1]), job)


def with_samples(folder, change):
    """The same report with other samples, as another machine would have measured them."""
    rows = [line.value for line in read_jsonl(folder / "samples.jsonl")]
    write_jsonl(folder / "samples.jsonl", [{**row, **change(row)} for row in rows])


def test_a_clear_gain_without_guards_passes_and_the_other_way_round_fails(job, tmp_path, reports):
    result = held(job, tmp_path, reports)
    assert result.passed
    assert result.sentence == "new (as_is) may take the place of old (as_is): all 1 conditions hold."
    back = held(job, tmp_path, reports[::-1], primary={"claim": "better"})
    assert not back.passed
    assert "exact_json is not shown to be better: -55.0 points" in back.sentence


def test_the_folder_holds_the_rule_and_each_condition(job, tmp_path, reports):
    result = held(job, tmp_path, reports, guards=[{"score": "json_valid", "margin": 0.1}])
    value = read_json(result.folder / "gate.json")
    assert [one["name"] for one in value["conditions"]] == ["exact_json", "json_valid"]
    assert value["passed"] is True
    manifest = Manifest.read(result.folder)
    assert (manifest.kind, [entry.role for entry in manifest.inputs]) == ("gate", ["rule", "a", "b"])
    with pytest.raises(AlreadyDone):
        held(job, tmp_path, reports, guards=[{"score": "json_valid", "margin": 0.1}])


def test_not_worse_needs_an_interval_above_the_margin(job, tmp_path, reports):
    equal = report(job, range(10), "same")
    wide = held(job, tmp_path, (reports[0], equal), primary={"claim": "not worse", "margin": 0.1})
    narrow = held(job, tmp_path, (reports[0], equal), primary={"claim": "not worse", "margin": 0.01})
    assert wide.passed
    assert not narrow.passed


def test_a_guard_that_does_not_hold_fails_the_whole(job, tmp_path, reports):
    with_samples(reports[1], lambda row: {"finish_reason": "length"})
    result = held(job, tmp_path, reports, guards=[{"measure": "truncated", "margin": 0.05}])
    assert [one.holds for one in result.conditions] == [True, False]
    assert "truncated is not shown to be at most 5.0 points worse: +100.0 points" in result.sentence


def test_latency_is_held_against_the_other_model_or_against_a_limit(job, tmp_path, reports):
    with_samples(reports[0], lambda row: {"latency_seconds": 1.0})
    with_samples(reports[1], lambda row: {"latency_seconds": 1.1 + int(row["id"][0], 16) / 1000})
    result = held(
        job,
        tmp_path,
        reports,
        guards=[
            {"measure": "latency", "margin": 0.2},
            {"measure": "latency", "margin": 0.05},
            {"measure": "latency", "limit": 1.2},
            {"measure": "errors", "limit": 0.01},
            {"measure": "errors", "limit": 0.2},
            {"score": "json_valid", "limit": 0.9},
        ],
    )
    assert [one.holds for one in result.conditions[1:]] == [True, False, True, False, True, True]
    assert result.conditions[1].value == pytest.approx(0.107, abs=0.01)
    # no error among 60 answers still leaves room for 6 %
    assert result.conditions[4].high == pytest.approx(0.06, abs=0.005)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"primary": {"score": "exactjson"}}, "did you mean 'exact_json'"),
        ({"primary": {"claim": "not worse"}}, "needs a margin above 0"),
        ({"primary": {"margin": 0.1}}, "has no margin"),
        ({"guards": [{"margin": 0.1}]}, "either a `score` or a `measure`"),
        ({"guards": [{"score": "exact_json"}]}, "either a `margin` against A or a `limit`"),
        ({"guards": [{"score": "exakt", "margin": 0.1}]}, "no such score in common"),
        ({"guards": [{"measure": "speed", "margin": 0.1}]}, "latency"),
        ({"guard": []}, "did you mean 'guards'"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(job, tmp_path, reports, rule, why):
    with pytest.raises(ConfigError, match=why):
        held(job, tmp_path, reports, **rule)


def test_too_few_common_items_are_refused(job, tmp_path, reports):
    with pytest.raises(DataError, match="share too few items"):
        held(job, tmp_path, reports, at_least=61)


def test_the_terminal_shows_each_condition(job, tmp_path, reports):
    result = held(job, tmp_path, reports, guards=[{"measure": "errors", "limit": 0.01}])
    console = Console(file=io.StringIO(), width=200)
    show_gate(result, console)
    text = console.file.getvalue()
    assert "fail" in text
    assert "✓ exact_json is better: +55.0 points" in text
    assert "✗ errors is not shown to keep to 1.0%: 0.0%" in text


def test_the_built_in_rule_wants_better_answers_whole_and_as_soon(job, reports):
    for folder in reports:
        with_samples(folder, lambda row: {"latency_seconds": 0.1, "finish_reason": "stop", "error": None})
    result = gate(GateConfig(rule="release", a=reports[0], b=reports[1]), job)
    assert [one.name for one in result.conditions] == ["exact_json", "errors", "truncated", "latency"]
    assert [one.holds for one in result.conditions] == [True, False, False, True]
    assert "0.0% (95 % interval 0.0% to 6.0%" in result.conditions[1].sentence, "60 items show no less"


def test_too_few_independent_items_show_nothing(job, tmp_path, reports):
    one = [report(job, numbers, name) for numbers, name in ((range(0), "weak"), (range(60), "strong"))]
    for folder in one:
        rows = [line.value for line in read_jsonl(folder / "samples.jsonl")][:6]
        write_jsonl(folder / "samples.jsonl", rows)
    result = held(job, tmp_path, one, guards=[{"measure": "latency", "margin": 99}])
    assert not any(part.holds for part in result.conditions)
    assert "6 independent items, and 10 are the fewest" in result.sentence


def test_failed_requests_are_no_fast_answers(job, tmp_path, reports):
    with_samples(reports[0], lambda row: {"latency_seconds": 1.0, "error": None})
    slow = {"latency_seconds": 2.0, "error": None}

    def half_failed(row):
        return slow if int(row["id"], 16) % 2 else {"latency_seconds": 0.0, "error": "HTTP 500"}

    with_samples(reports[1], half_failed)
    result = held(job, tmp_path, reports, guards=[{"measure": "latency", "margin": 0.25}])
    latency = result.conditions[1]
    assert (latency.holds, latency.value) == (False, 1.0)
    assert 0 < latency.n < 60


def test_a_rule_counts_the_items_that_have_the_score(job, tmp_path, reports):
    def every_second(row):
        return {} if int(row["id"], 16) % 2 else {"scores": {}}

    with_samples(reports[1], every_second)
    with pytest.raises(DataError, match="too few items have the score exact_json"):
        held(job, tmp_path, reports, at_least=60)
