"""People's verdicts decide between two models, with the judge's scores as predictions."""

import io
import json
import shutil

import numpy as np
import pytest
from folders import data_set
from rich.console import Console
from servers import completion, failure, last_user, server

from tunesmith.cli.show_compare import show_compare
from tunesmith.core import stats
from tunesmith.core.conversation import chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.files import read_jsonl, write_text
from tunesmith.core.job import Job
from tunesmith.core.reviews.acts import Item, Verdict
from tunesmith.core.reviews.store import reviews_of
from tunesmith.core.workspace import AlreadyDone, Workspace
from tunesmith.data import PrepareConfig, prepare
from tunesmith.evaluate import CompareConfig, EvaluateConfig, compare, evaluate
from tunesmith.evaluate.comparison.people import judged_pairs
from tunesmith.evaluate.comparison.reports import common_items, open_report
from tunesmith.evaluate.report import ReportConfig, report
from tunesmith.evaluate.validate.door import answers
from tunesmith.evaluate.validate.schema import AnswersConfig

ROWS = [chat([("user", f"question {n}"), ("assistant", f"answer {n}")]) for n in range(400)]
LUCK = np.random.default_rng(0).random((400, 4))


def number(text):
    return int(text.split()[-1])


def model(name, right, *, silent=(), signed=True):
    """Right on a share of the items; the two models agree on half of them beyond chance."""

    def answer(body):
        n = number(last_user(body))
        if n in silent:
            return failure(400)
        level = LUCK[n, 0] if LUCK[n, 1] < 0.5 or name == "old" else LUCK[n, 2]
        author = f" by {name}" if signed else ""
        return completion(f"{'answer' if level < right else 'wrong'}{author} {n}")

    return answer


def judging(body):
    """A judge that errs on one of five items, and is kind to the new model."""
    said = body["messages"][1]["content"].split("[ANSWER ")[1].split("\n")[1]
    n, is_right = number(said), said.startswith("answer")
    if LUCK[n, 3] < 0.2:
        is_right = "new" in said or n % 2 == 0
    return completion(f"Verdict: {5 if is_right else 1}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workspace with reports of a model of 50 % and one of 75 %, graded by one judge."""
    place = tmp_path_factory.mktemp("finished")
    job = Job(Workspace(place / "workspace"))
    return job, made(job, place, {"old": 0.5, "new": 0.75})


@pytest.fixture
def pair(job, finished):
    """The two reports, in a workspace of the test's own."""
    origin, folders = finished
    root = job.workspace.root
    shutil.copytree(origin.workspace.root, root, ignore=shutil.ignore_patterns("index.sqlite*"))
    job.workspace.reindex()
    return [root / folder.relative_to(origin.workspace.root) for folder in folders]


def made(job, tmp_path, models, **settings):
    data_set(job, {"test": ROWS}, name="set")
    return asked(job, tmp_path, models, **settings)


def asked(job, tmp_path, models, **settings):
    with server(judging, models=("judge",)) as judge:
        path = tmp_path / "suite.yaml"
        path.write_text(
            "name: s\ntasks:\n  - name: t\n    data: set\n    scorers: [exact]\n    slices: [length]\n"
            f"    judge: {{model: judge, endpoint: '{judge.url}'}}\n"
        )
        found = []
        for name, right in models.items():
            with server(model(name, right, **settings), models=(name,)) as script:
                config = EvaluateConfig(suite=path, model=name, endpoint=script.url)
                found.append(evaluate(config, job).folder)
    return found


def drawn(job, folder, **settings):
    return answers(AnswersConfig(report=folder, **settings), job).folder


def reviewed(job, folder, *, only=None, skip=()):
    """Ann accepts what is right."""
    rows = DataSet.open(folder).split("test")
    rows = [row for row in rows if number(row.example.answer) not in skip]
    rows = list(rows)[:only]
    reviews = reviews_of(job.workspace)
    queue = folder.name
    reviews.queue(queue, "data-set", "answers", [Item(row.row_hash, float(n)) for n, row in enumerate(rows)])
    for row in rows:
        task = reviews.claim(queue, "ann", row_hash=row.row_hash)
        reviews.decide(task, Verdict("accept" if "answer" in row.example.answer else "reject"))
    return {number(row.example.answer) for row in rows}


def by_people(job, a, b, **settings):
    return compare(CompareConfig(a=a, b=b, people=True, **settings), job)


def test_the_same_items_are_drawn_of_both_reports_and_a_larger_sample_holds_the_smaller(job, pair):
    def numbers(folder):
        return {number(row.example.answer) for row in DataSet.open(folder).split("test")}

    few, other = (numbers(drawn(job, folder, sample=40)) for folder in pair)
    assert few == other
    assert few < numbers(drawn(job, pair[0], sample=60))
    assert few != numbers(drawn(job, pair[0], sample=40, seed=1))


def test_people_decide_and_the_judge_narrows_the_interval(job, pair):
    for folder in pair:
        reviewed(job, drawn(job, folder, sample=100))
    result = by_people(job, *pair)
    people, part = result.people, result.difference
    assert (result.primary, result.verdict) == ("people", "better")
    assert (people.judge, people.judged, people.drawn, people.others) == ("judge", 100, 100, 300)
    assert (result.groups, part.n) == (100, 400)
    assert part.method.startswith("PPI++, people's verdicts on 100 items")
    assert part.low < 0.25 < part.high
    assert 0.3 < people.weight < 1
    assert people.narrower > 0.1
    width = people.alone.high - people.alone.low
    assert part.high - part.low == pytest.approx((1 - people.narrower) * width)
    assert part.value == pytest.approx(part.b - part.a)
    # the fixes are those that people saw
    fixes = [line.value for line in read_jsonl(result.folder / "fixes.jsonl")]
    assert {(row["a_score"], row["b_score"]) for row in fixes} == {(0.0, 1.0)}
    assert people.alone.value == pytest.approx((result.fixes - result.regressions) / 100)
    assert "accepted by people" in result.sentence
    assert "narrower than that of the 100 items that people judged" in result.sentence
    assert result.notes == []
    # the scores stand beside it, corrected
    assert list(result.differences) == ["people", "exact", "judge"]
    assert result.differences["judge"].adjusted_p >= result.differences["judge"].p_value
    assert {one.key for one in result.slices} == {"length"}


def test_the_difference_is_that_of_the_statistics(job, pair):
    for folder in pair:
        reviewed(job, drawn(job, folder, sample=100))
    a, b = (open_report(folder, job) for folder in pair)
    pairs = judged_pairs(a, b, common_items(a, b, 1), None, job)
    first = [float(a.by_item[item][0]["output"].startswith("answer")) for item in pairs.items[:100]]
    assert pairs.first.human.tolist() == first
    expected = stats.judged_difference(pairs.first, pairs.second, pairs.groups)
    assert by_people(job, *pair).difference.p_value == expected.found.p_value


def test_few_verdicts_leave_people_alone_and_more_are_other_work(job, pair):
    for folder in pair:
        reviewed(job, drawn(job, folder, sample=20))
    result = by_people(job, *pair)
    assert (result.people.judged, result.people.weight, result.people.narrower) == (20, 0, 0)
    assert result.difference.method == "Tango score interval, human verdicts alone"
    assert result.difference.test == "McNemar mid-p"
    assert (result.n, result.groups) == (20, 20)
    assert "judge is left out: that takes 30 independent items" in result.sentence
    with pytest.raises(AlreadyDone):
        by_people(job, *pair)
    for folder in pair:
        reviewed(job, drawn(job, folder, sample=50))
    more = by_people(job, *pair)
    assert more.folder != result.folder
    assert more.people.judged == 50


def test_verdicts_that_were_not_drawn_at_random_are_refused_or_left_out(job, pair):
    a, b = pair
    reviewed(job, drawn(job, a, sample=60))
    with pytest.raises(DataError, match="no answers of this report were drawn for people"):
        by_people(job, a, b)
    # another seed draws other items: what both draws hold is random, too, and small
    other = drawn(job, b, sample=60, seed=5)
    with pytest.raises(DataError, match="people judged both answers of none of the"):
        by_people(job, a, b)
    reviewed(job, other)
    few = by_people(job, a, b)
    assert few.people.judged == few.people.drawn < 25
    reviewed(job, drawn(job, b, sample=60))
    assert by_people(job, a, b).people.judged >= 60


def test_answers_that_both_models_gave_count_only_where_both_were_drawn(job, tmp_path):
    """Else, of two draws, the items on which the models agree would be judged more often than the others."""
    a, b = made(job, tmp_path, {"old": 0.5, "new": 0.75}, signed=False)
    draws = [drawn(job, folder, sample=100, seed=seed) for seed, folder in enumerate((a, b))]
    numbers = [reviewed(job, folder) for folder in draws]
    result = by_people(job, a, b)
    assert result.people.judged == result.people.drawn == len(numbers[0] & numbers[1]) < 50
    (note,) = result.notes
    assert "were not drawn from both reports were left out" in note


def test_verdicts_on_answers_that_nobody_drew_do_not_count(job, pair):
    a, b = pair
    for folder in pair:
        reviewed(job, drawn(job, folder, sample=40))
        # somebody looks at answers of his own choice
        samples = [line.value for line in read_jsonl(folder / "samples.jsonl")][:30]
        rows = [
            chat([("user", one["prompt"][-1]["content"]), ("assistant", one["output"])]) for one in samples
        ]
        hand_picked = data_set(job, {"test": rows}, name=f"picked-{folder.name}")
        reviewed(job, hand_picked)
    result = by_people(job, a, b)
    assert result.people.judged == 40
    assert any("were not drawn from both reports were left out" in note for note in result.notes)


def test_answers_left_open_are_said(job, pair):
    a, b = pair
    reviewed(job, drawn(job, a, sample=80))
    reviewed(job, drawn(job, b, sample=80), only=50)
    result = by_people(job, a, b)
    assert (result.people.judged, result.people.drawn) == (50, 80)
    assert result.notes == [
        "30 of 80 items drawn from both reports lack a settled verdict: if they were left open for what they"
        " are, the difference is off"
    ]


def test_items_without_an_answer_are_left_out_and_said(job, tmp_path):
    a, b = made(job, tmp_path, {"old": 0.5, "new": 0.75}, silent={1, 2, 3})
    for folder in (a, b):
        reviewed(job, drawn(job, folder, sample=60))
    result = by_people(job, a, b)
    assert result.people.judged + result.people.others == 397
    assert "3 items lack an answer, or a score of judge, in one report" in result.notes[-1]


def test_another_score_can_be_the_prediction(job, pair):
    for folder in pair:
        reviewed(job, drawn(job, folder, sample=60))
    result = by_people(job, *pair, judge="exact")  # never right here: it predicts nothing
    assert (result.people.judge, result.people.weight) == ("exact", 0)
    with pytest.raises(ConfigError, match="did you mean 'exact'"):
        by_people(job, *pair, judge="exakt")


def test_several_candidates_by_people_are_corrected(job, tmp_path, pair):
    a, b, c = *pair, *asked(job, tmp_path, {"third": 0.5})
    for folder in (a, b, c):
        reviewed(job, drawn(job, folder, sample=80))
    result = by_people(job, a, b, more=(c,))
    assert [one.people.judged for one in result.candidates] == [80, 80]
    assert result.role == "b"
    assert result.difference.adjusted_p > result.difference.p_value


def test_terminal_and_page_show_what_people_say(job, pair, tmp_path):
    for folder in pair:
        reviewed(job, drawn(job, folder, sample=80))
    result = by_people(job, *pair)
    console = Console(file=io.StringIO(), width=160)
    show_compare(result, console)
    text = console.file.getvalue()
    for piece in ("What people say", "people alone", "with judge", "PPI++", "of 80 items that people judged"):
        assert piece in text
    lines = [json.dumps({"prompt": f"ask {n}", "completion": f"say {n}"}) for n in range(40)]
    write_text(tmp_path / "rows.jsonl", "\n".join(lines))
    data = prepare(PrepareConfig(source=tmp_path / "rows.jsonl", near_duplicates=0), job).folder
    page = report(ReportConfig(data=data, reports=pair, comparison=result.folder), job)
    html = (page.folder / "report.html").read_text()
    assert "Accepted by people" in html
    assert page.difference.value == result.difference.value
