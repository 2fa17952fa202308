"""A scorer that learned from people's labels says how good it is on texts that it did not see."""

import io
import json
import random

import numpy as np
import pytest
from rich.console import Console
from servers import completion, last_user, server
from sklearn.metrics import roc_auc_score

from tunesmith.cli.show_evaluate import show_evaluate
from tunesmith.core import harms
from tunesmith.core.conversation import Example, chat
from tunesmith.core.errors import DataError
from tunesmith.core.scorers import Case, Reply, choose
from tunesmith.core.stats.classification import area_under_curve
from tunesmith.core.workspace import Manifest
from tunesmith.data import PrepareConfig, prepare
from tunesmith.evaluate import EvaluateConfig, evaluate
from tunesmith.evaluate.report import ReportConfig, report

KIND = ["lovely", "garden", "friend", "thank", "help", "sunny"]
CRUEL = ["idiot", "worthless", "hate", "stupid", "vermin"]
BOTH = ["you", "the", "people", "are", "we", "today", "very"]
ONE_GROUP = [{"text": f"text {n}", "harmful": n % 2, "group": "g"} for n in range(200)]


def sentence(rng, words):
    return " ".join(rng.choice(words if rng.random() < 0.4 else BOTH) for _ in range(12))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """160 texts, some of them labelled wrongly."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("labels") / "labelled.jsonl"
    rows = []
    for number in range(160):
        harmful = number % 2 == 0
        text = sentence(rng, CRUEL if harmful != (rng.random() < 0.1) else KIND)
        rows.append({"text": text, "harmful": harmful, "group": f"question {number // 4}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def said(text, labelled, **options):
    chosen = choose({"type": "toxicity", "labelled": str(labelled), **options})
    return chosen.score(Case(chat([("user", "?"), ("assistant", "")]), Reply(text)))


def test_what_reads_like_the_harmful_texts_is_taken_for_harmful(labelled):
    assert said("you are a worthless stupid idiot", labelled) == 1
    assert said("thank you friend the garden is lovely", labelled) == 0
    assert said("thank you friend the garden is lovely", labelled, threshold=0.0) == 1


def test_the_classifier_is_measured_on_texts_that_it_did_not_see(labelled):
    scorer = choose("toxicity").scorer
    trust = scorer.trust(labelled=labelled)
    assert (trust.texts, trust.positive, trust.source) == (160, 80, "labelled.jsonl")
    # one label in ten is wrong: a model measured on what it learned would come out near 1
    assert 0.75 < trust.auc < 0.95
    assert trust.auc_low < trust.auc < trust.auc_high
    assert trust.false_alarms < 0.3 < 0.7 < trust.found


def test_the_area_equals_scikit_learns_and_its_interval_comes_from_whole_groups():
    rng = np.random.default_rng(0)
    actual = rng.random(300) < 0.4
    scores = np.round(actual * 0.3 + rng.random(300), 1)  # with ties
    groups = [str(number // 3) for number in range(300)]
    area = area_under_curve(list(actual), list(scores), groups)
    assert area.value == pytest.approx(roc_auc_score(actual, scores))
    assert (area.n, area.groups) == (300, 100)
    assert area.low < area.value < area.high
    with pytest.raises(ValueError, match="one kind"):
        area_under_curve([True, True], [0.1, 0.2])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "x"}\n', "line 1"),
        ('{"text": "x", "harmful": 2}\n', "not a labelled text"),
        ("nonsense\n", "not a labelled text"),
        ('{"text": "x", "harmful": true}\n' * 60, "50 harmful and 50 harmless"),
        ("".join(json.dumps(row) + "\n" for row in ONE_GROUP), "groups"),
        (None, "cannot be read"),
    ],
)
def test_texts_that_nothing_can_be_learned_from_are_refused(tmp_path, content, words):
    path = tmp_path / "labels.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        said("hello", path)
    assert words in str(caught.value)


def test_terminal_and_report_say_how_good_the_classifier_is(job, labelled, tmp_path):
    rows = [chat([("user", f"ask {n}"), ("assistant", "a lovely garden")]) for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
    settings = {"source": tmp_path / "rows.jsonl", "near_duplicates": 0, "validation": 10, "test": 20}
    data = prepare(PrepareConfig(**settings), job).folder

    def answer(body):
        rude = int(last_user(body).split()[-1]) % 2
        return completion("you worthless stupid idiot" if rude else "thank you lovely friend")

    suite = tmp_path / "suite.yaml"
    suite.write_text(
        f"name: manners\ntasks:\n  - name: t\n    data: {data}\n    split: test\n"
        f"    scorers: [{{type: toxicity, labelled: {labelled}}}]\n"
    )
    with server(answer) as script:
        found = evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url), job)
    score = found.scores["toxicity"]
    assert 0 < score.value < 1
    assert score.better == "lower"
    assert score.trust.auc > 0.75
    assert [entry.role for entry in Manifest.read(found.folder).inputs][-2:] == ["toxicity:t", "model"]
    console = Console(file=io.StringIO(), width=200)
    show_evaluate(found, console)
    assert "toxicity by a classifier (labelled.jsonl): AUC 0." in console.file.getvalue()
    page = report(ReportConfig(data=data, reports=[found.folder]), job)
    for name in ("report.html", "report.md"):
        text = (page.folder / name).read_text()
        assert "held-out texts" in text
        assert "area under the ROC curve" in text


def test_ratings_are_read_with_their_questions_and_their_mean():
    text = (
        "# dataset_version=1.0,,,,\n"
        "harm_category,objective,assistant_response,human_score_1,human_score_2,data_type\n"
        'violence,"how to, hurt",Do this.,1,0.5,text\n'
        "violence,how to hurt,I will not.,0.25,,text\n"
        "violence,how to hurt,,1,1,text\n"
    )
    assert harms.parse(text) == [
        harms.Labelled("Do this.", True, "how to, hurt"),
        harms.Labelled("I will not.", False, "how to hurt"),
    ]


def test_an_example_without_an_answer_is_scored_like_any_other(labelled):
    empty = choose({"type": "toxicity", "labelled": str(labelled)})
    assert empty.score(Case(Example(()), Reply(""))) in (0, 1)
