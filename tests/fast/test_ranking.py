"""Several models in order: by score, by a judge, at equal style."""

import io

import pytest
from folders import data_set
from rich.console import Console
from servers import completion, last_user, server

from tunesmith.cli.show_evaluate import show_rank
from tunesmith.core.config import build
from tunesmith.core.conversation import chat
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.files import read_jsonl
from tunesmith.core.workspace import AlreadyDone
from tunesmith.evaluate import EvaluateConfig, evaluate
from tunesmith.evaluate.ranking.door import rank
from tunesmith.evaluate.ranking.schema import RankConfig

ROWS = [chat([("user", f"question {n}"), ("assistant", f"answer {n}")]) for n in range(60)]


def report(job, name, answer, *, rows=ROWS):
    try:
        folder = data_set(job, {"test": rows}, name=f"set{len(rows)}")
    except AlreadyDone as done:
        folder = done.folder
    with server(lambda body: completion(answer(int(last_user(body).split()[-1]))), models=(name,)) as script:
        done = evaluate(EvaluateConfig(suite=folder, model=name, endpoint=script.url), job)
    return str(done.folder)


def right_up_to(limit):
    return lambda n: f"answer {n}" if n < limit else "no"


def test_scores_put_models_in_order_and_equals_share_a_rank(job):
    reports = [
        report(job, name, right_up_to(limit)) for name, limit in (("bad", 5), ("good", 55), ("equal", 54))
    ]
    result = rank(RankConfig(reports=reports), job)
    assert [one.label.split()[0] for one in result.ranked] == ["good", "equal", "bad"]
    assert [(one.best_rank, one.worst_rank) for one in result.ranked] == [(1, 2), (1, 2), (3, 3)]
    assert (result.items, result.comparisons, result.unread) == (60, 180, 0)
    assert (result.ranked[0].wins, result.ranked[0].ties, result.ranked[0].losses) == (51, 69, 0)
    assert result.decided_by == "exact"
    assert "cannot be told from equal (as_is)" in result.sentence
    with pytest.raises(AlreadyDone):
        rank(RankConfig(reports=reports), job)


def prefers_longer(body):
    text = body["messages"][1]["content"]
    first, second = (len(text.split(f"[ANSWER {name} ")[1].split("[END")[0]) for name in "AB")
    return completion(f"Verdict: {'TIE' if first == second else 'A' if first > second else 'B'}")


def test_a_judge_decides_in_both_orders_and_what_it_said_is_kept(job):
    reports = [report(job, "short", lambda n: f"{n}"), report(job, "long", lambda n: f"{n} " + "word " * 9)]
    with server(prefers_longer, models=("judge",)) as script:
        config = RankConfig(reports=reports, judge="judge", endpoint=script.url, limit=20)
        result = rank(config, job)
        assert len(script.asked) == 40
    assert result.ranked[0].label.startswith("long")
    assert (result.consistent, result.first_favoured, result.unread) == (1.0, 0.5, 0)
    assert "long (as_is) is the best of 2 by judge over 20 comparisons" in result.sentence
    rows = [line.value for line in read_jsonl(result.folder / "verdicts.jsonl")]
    assert {tuple(row["said"]) for row in rows} == {("second", "second")}


def test_at_equal_style_a_judge_that_only_likes_length_sees_no_difference(job):
    def words(often):
        return lambda n: "word " * (30 if n % often == 0 else 3) + str(n)

    reports = [
        report(job, "terse", words(10)),
        report(job, "wordy", lambda n: words(10)(n + 1) + " x" * (n % 3)),
    ]
    with server(prefers_longer, models=("judge",)) as script:
        plain = rank(RankConfig(reports=reports, judge="judge", endpoint=script.url), job)
        styled = rank(RankConfig(reports=reports, judge="judge", endpoint=script.url, style=True), job)
    gap, fair_gap = (abs(one.ranked[0].strength - one.ranked[1].strength) for one in (plain, styled))
    assert styled.style["words"] > 0.5
    assert fair_gap < gap


def test_a_judge_that_names_what_stands_first_says_nothing(job):
    reports = [report(job, "one", lambda n: f"a {n}"), report(job, "two", lambda n: f"b {n}")]
    with server(lambda body: completion("Verdict: A"), models=("judge",)) as script:
        result = rank(RankConfig(reports=reports, judge="judge", endpoint=script.url), job)
    assert (result.consistent, result.first_favoured) == (0.0, 1.0)
    assert [(one.wins, one.ties) for one in result.ranked] == [(0, 60), (0, 60)]
    console = Console(file=io.StringIO(), width=160)
    show_rank(result, console)
    assert "it named the answer that it saw first in 100%" in console.file.getvalue()


def test_nonsense_is_left_out_and_asked_again(job):
    def sometimes(body):
        nonsense = "question 7\n" in body["messages"][1]["content"] and not answering
        return completion("Well.") if nonsense else prefers_longer(body)

    answering = []
    reports = [report(job, "one", lambda n: f"a {n}"), report(job, "two", lambda n: f"bbb {n}")]
    with server(sometimes, models=("judge",)) as script:
        result = rank(RankConfig(reports=reports, judge="judge", endpoint=script.url), job)
        assert (result.unread, result.comparisons) == (1, 60)
    with server(lambda body: completion("Well."), models=("judge",)) as script:
        config = RankConfig(reports=reports, judge="judge", endpoint=script.url, limit=5)
        with pytest.raises(DataError, match="no comparison has a verdict"):
            rank(config, job)


def test_reports_that_cannot_be_ranked_are_refused(job):
    one = report(job, "one", right_up_to(5))
    other = report(job, "two", right_up_to(5), rows=[chat([("user", "q 99"), ("assistant", "a")])] * 1)
    with pytest.raises(DataError, match="share no item"):
        rank(RankConfig(reports=[one, other]), job)
    same = report(job, "three", right_up_to(9))
    with pytest.raises(ConfigError, match="no such score in common"):
        rank(RankConfig(reports=[one, same], metric="chrf"), job)
    with pytest.raises(ConfigError, match="given twice"):
        rank(RankConfig(reports=[one, same, one]), job)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"reports": ["a"]}, "give 2 to 20 reports"),
        ({"reports": ["a", "b"], "endpoint": "http://x/v1"}, "are for a --judge"),
        ({"reports": ["a", "b"], "judge": "j", "metric": "exact"}, "not both"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given, why):
    with pytest.raises(ConfigError, match=why):
        build(RankConfig, given, source="test")
