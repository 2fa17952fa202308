"""People look at answers: a sample to review, and what they and the judge say together."""

import io

import numpy as np
import pytest
from folders import data_set
from rich.console import Console
from servers import completion, failure, last_user, server

from tunesmith.cli.show_validate import show_answers, show_validate
from tunesmith.core.conversation import chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.files import read_jsonl, write_jsonl
from tunesmith.core.reviews.acts import Item, Verdict
from tunesmith.core.reviews.store import reviews_of
from tunesmith.core.workspace import AlreadyDone
from tunesmith.evaluate import EvaluateConfig, evaluate
from tunesmith.evaluate.validate.door import answers, validate
from tunesmith.evaluate.validate.schema import AnswersConfig, ValidateConfig

ROWS = [chat([("user", f"question {n}"), ("assistant", f"answer {n}")]) for n in range(600)]


def number(text):
    return int(text.split()[-1])


def report(job, tmp_path, *, judge=True, silent=()):
    """A model that is right on three of four; its judge likes every second wrong answer, too."""

    def model(body):
        n = number(last_user(body))
        if n in silent:
            return failure(400)
        return completion(f"answer {n}" if n % 4 else "wrong " * (1 + n % 8) + str(n))

    def judging(body):
        said = body["messages"][1]["content"].split("[ANSWER ")[1].split("\n")[1]
        right = said.startswith("answer") or said.count("wrong") > 1
        return completion(f"Verdict: {5 if right else 1}")

    data_set(job, {"test": ROWS}, name="set")
    path = tmp_path / "suite.yaml"
    with server(model) as script, server(judging, models=("judge",)) as judge_script:
        more = f"    judge: {{model: judge, endpoint: '{judge_script.url}'}}\n" if judge else ""
        path.write_text(f"name: s\ntasks:\n  - name: t\n    data: set\n    scorers: [exact]\n{more}")
        return evaluate(EvaluateConfig(suite=path, model="fake", endpoint=script.url), job).folder


def reviewed(job, folder):
    """Ann accepts what is right."""
    rows = DataSet.open(folder).split("test")
    reviews = reviews_of(job.workspace)
    reviews.queue("q", "data-set", "answers", [Item(row.row_hash, float(n)) for n, row in enumerate(rows)])
    for row in rows:
        task = reviews.claim("q", "ann", row_hash=row.row_hash)
        reviews.decide(task, Verdict("accept" if "answer" in row.example.answer else "reject"))


def test_a_sample_of_answers_is_a_data_set_that_people_can_review(job, tmp_path):
    folder = report(job, tmp_path, silent={5, 6})
    result = answers(AnswersConfig(report=folder, sample=40), job)
    assert (result.rows, result.answered, result.left_out) == (40, 598, 2)
    rows = DataSet.open(result.folder).split("test")
    numbers = [number(row.example.prompt[-1].content) for row in rows]
    assert len(set(numbers)) == 40
    assert all(
        row.example.metadata["right_answer"] == f"answer {n}" for row, n in zip(rows, numbers, strict=True)
    )
    with pytest.raises(AlreadyDone):
        answers(AnswersConfig(report=folder, sample=40), job)
    other = answers(AnswersConfig(report=folder, sample=40, seed=1), job)
    assert other.fingerprint != result.fingerprint
    assert answers(AnswersConfig(report=folder, sample=1000), job).rows == 598


def test_people_take_off_what_the_judge_gets_wrong(job, tmp_path):
    folder = report(job, tmp_path)
    with pytest.raises(DataError, match="no answer of this report has a person's verdict"):
        validate(ValidateConfig(report=folder), job)
    reviewed(job, answers(AnswersConfig(report=folder, sample=80), job).folder)
    result = validate(ValidateConfig(report=folder), job)
    assert (result.judge, result.items, result.reviewed) == ("judge", 600, 80)
    assert result.judge_alone.value == pytest.approx(0.875)
    assert result.judge_alone.low > 0.76  # the judge alone is sure, and wrong
    assert result.corrected.low <= 0.75 <= result.corrected.high
    assert "PPI++, 80 human verdicts" in result.corrected.method
    width = result.corrected.high - result.corrected.low
    assert width < result.people.high - result.people.low
    assert result.confusion.judge_too_strict == 0
    assert result.confusion.judge_too_kind > 0
    assert sum(result.confusion.model_dump().values()) == 80
    assert 0.3 < result.kappa.value < 0.9
    assert result.length_bias is not None


def test_few_verdicts_stand_alone_and_more_of_them_are_other_work(job, tmp_path):
    folder = report(job, tmp_path)
    reviewed(job, answers(AnswersConfig(report=folder, sample=10), job).folder)
    first = validate(ValidateConfig(report=folder), job)
    assert first.corrected.method.endswith("human verdicts alone")
    with pytest.raises(AlreadyDone):
        validate(ValidateConfig(report=folder), job)
    reviews = reviews_of(job.workspace)
    rows = DataSet.open(answers(AnswersConfig(report=folder, sample=50), job).folder).split("test")
    known = {task.row_hash for task in reviews.tasks("q")}
    new = [row for row in rows if row.row_hash not in known]
    reviews.queue("more", "data-set", "more", [Item(row.row_hash, 1.0) for row in new])
    for row in new:
        reviews.decide(reviews.claim("more", "ann", row_hash=row.row_hash), Verdict("accept"))
    second = validate(ValidateConfig(report=folder), job)
    assert second.folder != first.folder
    assert second.reviewed == 10 + len(new)


def test_without_a_judge_the_primary_score_is_held_against_people(job, tmp_path):
    folder = report(job, tmp_path, judge=False)
    reviewed(job, answers(AnswersConfig(report=folder, sample=60), job).folder)
    result = validate(ValidateConfig(report=folder), job)
    assert (result.judge, result.kappa.value) == ("exact", 1.0)
    with pytest.raises(ConfigError, match="did you mean 'exact'"):
        validate(ValidateConfig(report=folder, judge="exakt"), job)
    with pytest.raises(ConfigError, match="no such task"):
        answers(AnswersConfig(report=folder, task="u"), job)


def test_a_conflict_that_nobody_decided_is_counted_and_not_used(job, tmp_path):
    folder = report(job, tmp_path)
    rows = DataSet.open(answers(AnswersConfig(report=folder, sample=12), job).folder).split("test")
    reviews = reviews_of(job.workspace)
    reviews.queue(
        "q", "data-set", "x", [Item(row.row_hash, float(n), reviewers=2) for n, row in enumerate(rows)]
    )
    for who in ("ann", "bob"):
        for n, row in enumerate(rows):
            task = reviews.claim("q", who, row_hash=row.row_hash)
            reviews.decide(task, Verdict("reject" if n == 0 and who == "bob" else "accept"))
    result = validate(ValidateConfig(report=folder), job)
    assert (result.reviewed, result.open_conflicts) == (11, 1)


def test_the_terminal_shows_three_ways_to_know(job, tmp_path):
    folder = report(job, tmp_path)
    drawn = answers(AnswersConfig(report=folder, sample=80), job)
    reviewed(job, drawn.folder)
    console = Console(file=io.StringIO(), width=160)
    show_answers(drawn, console)
    show_validate(validate(ValidateConfig(report=folder), job), console)
    text = console.file.getvalue()
    assert "80 of 600 drawn at random" in text
    assert "tunesmith data review" in text
    for piece in ("people alone", "judge alone", "both (PPI++)", "kappa", "AC1", "too kind", "length bias"):
        assert piece in text


def test_the_length_bias_is_the_slope_of_the_judges_error():
    from tunesmith.evaluate.validate.door import Looked, length_bias

    generator = np.random.default_rng(0)
    words = 2.0 ** generator.integers(1, 7, 300) - 1
    human = generator.integers(2, size=300).astype(float)
    judge = human + 0.05 * np.log2(1 + words)
    looked = Looked(human, judge, [str(n) for n in range(300)], words, 0, 0)
    value, low, high = length_bias(looked, 0)
    assert value == pytest.approx(0.05)
    assert low <= value <= high
    assert length_bias(Looked(human[:5], judge, [], words, 0, 0), 0) == (None, None, None)


def test_equal_answers_to_equal_questions_are_looked_at_once(job, tmp_path):
    folder = report(job, tmp_path, judge=False)
    rows = [line.value for line in read_jsonl(folder / "samples.jsonl")]
    write_jsonl(folder / "samples.jsonl", [*rows, *({**row, "task": "again"} for row in rows)])
    assert answers(AnswersConfig(report=folder), job).answered == 600


def test_items_without_an_answer_are_left_out_of_every_figure(job, tmp_path):
    folder = report(job, tmp_path, silent=set(range(0, 600, 4)))  # all that would be wrong
    reviewed(job, answers(AnswersConfig(report=folder, sample=60), job).folder)
    result = validate(ValidateConfig(report=folder), job)
    assert (result.items, result.left_out) == (450, 150)
    assert result.judge_alone.value == result.corrected.value == 1
