"""Several answers to each item: what any and all of them are worth, and which items flicker."""

import json
import re

import pytest
from report_folders import data_set
from report_text import facts_of, markdown_of, text_of
from servers import completion, last_user, server

from tunesmith.core.conversation import chat
from tunesmith.core.page import numbers
from tunesmith.evaluate import CompareConfig, EvaluateConfig, compare, evaluate
from tunesmith.evaluate.report import ReportConfig, charts_panels
from tunesmith.evaluate.report import report as make
from tunesmith.evaluate.report.facts_models import PassFacts


@pytest.fixture
def made(job, tmp_path):
    """Three kinds of items: always right, right on even seeds only, never right."""
    rows = [chat([("user", f"question {n}"), ("assistant", f"answer {n}")]) for n in range(60)]
    data = data_set(job, train=15, validation=15, test=30, examples=rows)
    task = {
        "name": "t",
        "data": str(data),
        "scorers": ["exact", "token_f1"],
        "temperature": 0.7,
        "repeats": 4,
    }
    (tmp_path / "suite.yaml").write_text(json.dumps({"name": "s", "tasks": [task]}))

    def model(wrong):
        def answer(body):
            n = int(last_user(body).split()[-1])
            right = n % 3 == 0 or (n % 3 == 1 and body["seed"] % 2 == 0)
            return completion(f"answer {n}" if right and n not in wrong else f"no {body['seed']}")

        return answer

    reports = []
    for name, wrong in (("old", range(30, 50)), ("new", ())):
        with server(model(wrong), models=(name,)) as script:
            config = EvaluateConfig(suite=tmp_path / "suite.yaml", model=name, endpoint=script.url)
            reports.append(evaluate(config, job).folder)
    compared = compare(CompareConfig(a=reports[0], b=reports[1]), job).folder
    config = ReportConfig(data=data, reports=reports, comparison=compared, labels=["Old", "New"])
    return make(config, job)


def test_what_any_and_all_answers_are_worth_is_shown(made):
    model = facts_of(made)["models"][1]
    (exact,) = (score for score in model["scores"] if score["scorer"] == "exact")
    found = exact["repeats"]
    assert (found["number"], found["flaky"]) == (4, 10)
    assert found["any_right"] == pytest.approx(2 / 3)
    assert found["all_right"] == pytest.approx(1 / 3)
    assert [one["k"] for one in found["passes"]] == [1, 2, 3, 4]
    assert found["passes"][0]["any_right"] == pytest.approx(0.5)
    text, source = text_of(made), markdown_of(made)
    assert "Exact match 4 50 % 67 % 33 % 0.111," in text
    assert "| Exact match | 4 | 50 % | 67 % | 33 % | 0.111," in source
    assert "| At least one right (pass@k) | 50 % | 61 % | 67 % | 67 % |" in source
    assert "| All right (pass^k) | 50 % | 39 % | 33 % | 33 % |" in source
    for shown in (text, source):
        assert "10 of 30 items are answered now so, now otherwise, the least settled first" in shown
        assert "right 2 of 4 times" in shown


def test_flaky_items_are_named_with_their_scores(made):
    flaky = facts_of(made)["models"][1]["flaky"]
    assert len(flaky) == 8
    for one in flaky:
        assert one["scores"] == [1, 0, 1, 0]
        assert int(one["question"].split()[-1]) % 3 == 1
        assert one["num_texts"] == 3


def test_the_page_says_how_often_and_how_items_were_asked(made):
    for text in (text_of(made), markdown_of(made)):
        assert "30 held-out items, each 4 times." in text
        assert "Answers were sampled (temperature 0.7), 4 times an item." in text
        assert "Greedy decoding" not in text
        assert "are the first of each item" in text


def test_an_item_counts_with_the_mean_of_its_answers(made):
    page, facts = (made.folder / made.page).read_text(), facts_of(made)
    words = re.search(r'<svg class="stack" role="img" aria-label="([^"]*better now[^"]*)"', page)[1]
    changed = dict(re.findall(r"(better now|the same|worse now) (\d+)", words))
    assert int(changed["better now"]) == len(facts["comparison"]["fixes"])
    assert int(changed.get("worse now", 0)) == len(facts["comparison"]["regressions"]) == 0


def test_items_that_were_asked_once_do_not_flicker(job):
    result = make(ReportConfig(data=data_set(job)), job)
    for text in (text_of(result), markdown_of(result)):
        assert "how much answers flicker is not known" in text


def test_the_two_curves_are_named_at_their_ends():
    found = [PassFacts(k, 1 - 0.5**k, 0.5**k) for k in range(1, 31)]
    drawing = str(charts_panels.passes(found))
    assert "at least one right" in drawing
    assert "all right" in drawing
    assert f"at least one right: 100.0{numbers.THIN}% of 30" in drawing
    ticks = re.findall(r'dy="20" text-anchor="middle">(\d+)<', drawing)
    assert ticks == [str(k) for k in range(1, 31, 3)]
