"""What answers cost, and the plane of quality and seconds."""

import re

import pytest
from report_folders import answers, data_set, example, journey, report, run, sample, tuned_model
from report_text import facts_of, markdown_of, text_of

from tunesmith.core.page import numbers
from tunesmith.evaluate.report import ReportConfig, charts_panels
from tunesmith.evaluate.report import report as make
from tunesmith.evaluate.report.charts_panels import Dot, Mark
from tunesmith.evaluate.report.facts_models import Score


def timed(numbers_of_items, *, seconds, tokens=50):
    rows = answers("tuned", numbers_of_items)
    for at, row in enumerate(rows, start=1):
        row |= {"latency_seconds": seconds * at, "completion_tokens": tokens, "prompt_tokens": 200}
    return rows


def test_seconds_tokens_cut_and_failed_answers_are_counted_from_the_samples(job):
    data = data_set(job)
    rows = timed(range(70, 90), seconds=0.1)
    rows[0] |= {"finish_reason": "length", "cached": True}
    rows[19] = sample(example(89), "", error="gone")
    made = make(ReportConfig(data=data, reports=[report(job, "r", rows, data=data)]), job)
    speed = facts_of(made)["models"][0]["speed"]
    assert (speed["num_asked"], speed["num_answers"], speed["num_known"]) == (20, 19, 1)
    assert speed["median_seconds"] == pytest.approx(1.0)
    assert speed["late_seconds"] == pytest.approx(1.81)
    assert speed["tokens_per_second"] == pytest.approx(19 * 50 / 19.0)
    assert (speed["prompt_tokens"], speed["answer_tokens"]) == (19 * 200, 19 * 50)
    assert speed["cut"]["value"] == speed["failed"]["value"] == 0.05
    assert speed["cut"]["low"] < 0.05 < speed["cut"]["high"]
    for text in (text_of(made), markdown_of(made)):
        assert "as in the data) 1 of 19" in text
        assert "as in the data) 3 800 and 950" in text
    table = re.search(
        r"\| Base model, prompt as in the data \| 1 s \| 1.81 s \| 50 \| 200 \| 50 \|", markdown_of(made)
    )
    assert table


def test_likelihoods_are_no_answers(job):
    data = data_set(job)
    rows = [sample(example(at), "", finish=None, scorers=("exact_json",)) for at in range(70, 90)]
    made = make(ReportConfig(data=data, reports=[report(job, "r", rows, data=data)]), job)
    assert facts_of(made)["models"][0]["speed"]["num_asked"] == 0
    for text in (text_of(made), markdown_of(made)):
        assert "No model was asked for an answer." in text


def test_a_server_that_counts_no_tokens_gets_a_dash(job):
    data = data_set(job)
    rows = [row | {"prompt_tokens": 0, "completion_tokens": 0} for row in answers("tuned", range(70, 90))]
    made = make(ReportConfig(data=data, reports=[report(job, "r", rows, data=data)]), job)
    assert f"| 0.8 s | 0.8 s | {numbers.NOT_MEASURED} | {numbers.NOT_MEASURED} |" in markdown_of(made)
    assert "Tokens of all prompts" not in text_of(made)


def test_the_plane_names_every_candidate_and_training_stands_below(job):
    made = make(ReportConfig(**journey(job)), job)
    page = (made.folder / made.page).read_text()
    plane = re.search(r'<svg class="plane".*?</figure>', page, re.DOTALL)[0]
    labels = re.findall(r'<text class="note"[^>]*>([^<]+)<', plane)
    assert labels == ["Base model, prompt as in the data", "Base model, 4-shot prompt", "Tuned model"]
    assert plane.count('class="mark tuned"') == 1
    assert "Tuned model: 55" in plane
    for text in (text_of(made), markdown_of(made)):
        assert "Training took 9 min 27 s and at most 1.9 GB of memory, once." in text


def test_every_repeat_is_an_answer_that_costs(job):
    data = data_set(job)
    rows = [row | {"repeat": at} for row in answers("tuned", range(70, 90)) for at in range(3)]
    ran = run(job, data)
    folder = report(job, "r", rows, data=data, model=tuned_model(ran))
    facts = facts_of(make(ReportConfig(data=data, reports=[folder]), job))
    assert facts["models"][0]["speed"]["num_answers"] == 60


def test_labels_are_moved_apart_and_stay_inside():
    places = charts_panels.spread([0.98, 0.97, 0.5, 0.99])
    assert sorted(places) == [places[2], places[1], places[0], places[3]]
    gaps = [b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)]
    assert min(gaps) >= charts_panels.GAP - 1e-9
    assert max(places) <= 1
    assert charts_panels.spread([0.2, 0.7]) == [0.2, 0.7]
    many = charts_panels.spread([1.0] * 40)
    assert 0 <= min(many) <= max(many) <= 1


def test_a_label_stands_where_nothing_is():
    assert not charts_panels.stands_before(Dot(0.3, 0.5), 0.3, [Dot(0.9, 0.5), Dot(0.4, 0.9)])
    assert charts_panels.stands_before(Dot(0.5, 0.5), 0.3, [Dot(0.7, 0.5)])
    assert charts_panels.stands_before(Dot(0.9, 0.5), 0.3, [])
    assert not charts_panels.stands_before(Dot(0.1, 0.5), 0.3, [Dot(0.2, 0.5)])


def test_a_number_where_less_is_better_has_an_axis_of_its_own():
    scores = [Score("bits", value, value - 0.1, value + 0.1, 9, "number", "lower") for value in (2.4, 3.1)]
    drawing = str(
        charts_panels.tradeoff([Mark("a", False, 0.0042, scores[0]), Mark("b", True, 0.0, scores[1])])
    )
    assert f"4.2{numbers.THIN}ms" in drawing
    assert "%</text>" not in drawing
    assert drawing.count('class="mark') == 2
