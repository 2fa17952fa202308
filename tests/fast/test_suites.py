"""Suites of several tasks: repeats, slices, tool calls, likelihoods, and what is wrong with them."""

import io
import json
import math

import pytest
from folders import address, data_set
from rich.console import Console
from servers import completion, failure, last_user, server

from tunesmith.cli.show_evaluate import show_evaluate
from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import ConfigError, DataError, ModelError, ServerError
from tunesmith.core.files import read_jsonl, write_jsonl
from tunesmith.core.reviews.acts import Item, Verdict
from tunesmith.core.reviews.store import reviews_of
from tunesmith.evaluate import CompareConfig, EvaluateConfig, compare, evaluate

ROWS = [address(n) for n in range(12)]
GOLD = {row.prompt[-1].content: row.answer for row in ROWS}


def capital(number, **metadata):
    example = chat([("user", f"Capital of land {number}?"), ("assistant", f"City {number}")])
    return Example(example.messages, metadata={"part": "north" if number % 3 else "south", **metadata})


CAPITALS = [capital(n, choices=[f"City {n}", f"Town {n}"]) for n in range(30)]


def suite(job, tmp_path, *tasks):
    data_set(job, {"test": ROWS}, name="addresses")
    data_set(job, {"test": CAPITALS}, name="capitals")
    path = tmp_path / "suite.yaml"
    path.write_text(json.dumps({"name": "both", "tasks": tasks}))  # JSON is YAML
    return path


def knows(body):
    if "items" in body:
        return scores(body)
    question = last_user(body)
    return completion(GOLD.get(question) or question.replace("Capital of land", "City").strip("?"))


def scores(body, level=-1.0):
    data = [
        {"index": place, "logprob": level * (1 + item["answer"].startswith("Town")), "num_tokens": 2}
        for place, item in enumerate(body["items"])
    ]
    return 200, {}, json.dumps({"data": data}).encode()


def run(job, path, answer=knows, *, name="fake"):
    with server(answer, models=(name,)) as script:
        result = evaluate(EvaluateConfig(suite=path, model=name, endpoint=script.url), job)
    return result, script.asked


def samples(result):
    return [line.value for line in read_jsonl(result.folder / "samples.jsonl")]


EXTRACTION = {"name": "extraction", "data": "addresses"}
FACTS = {"name": "facts", "data": "capitals", "scorers": ["exact"], "slices": ["part", "length"]}


def test_the_scores_of_several_tasks_carry_their_names_and_the_first_one_decides(job, tmp_path):
    result, asked = run(job, suite(job, tmp_path, EXTRACTION, FACTS))
    assert list(result.scores) == [
        "extraction/exact_json", "extraction/field_f1", "extraction/json_valid", "facts/exact",
    ]  # fmt: skip
    assert (result.suite, result.primary, result.items) == ("both", "extraction/exact_json", 42)
    assert [(task.name, task.items, task.data) for task in result.tasks] == [
        ("extraction", 12, "addresses"), ("facts", 30, "capitals"),
    ]  # fmt: skip
    assert {score.value for score in result.scores.values()} == {1.0}
    assert len(asked) == 42


def test_slices_have_scores_of_their_own(job, tmp_path):
    def right_in_the_north(body):
        return knows(body) if int(last_user(body).split()[-1].strip("?")) % 3 else completion("no")

    result, _ = run(job, suite(job, tmp_path, FACTS), right_in_the_north)
    found = {(one.key, one.value): (one.score, one.n) for one in result.scores["exact"].slices}
    assert found["part", "north"] == (1.0, 20)
    assert found["part", "south"] == (0.0, 10)
    assert sum(n for (key, _), (_, n) in found.items() if key == "length") == 30


def test_slices_are_compared_with_a_correction_for_having_looked_at_many(job, tmp_path):
    def wrong_in_the_south(body):
        return knows(body) if int(last_user(body).split()[-1].strip("?")) % 3 else completion("no")

    path = suite(job, tmp_path, {**FACTS, "slices": ["part"]})
    better, _ = run(job, path, name="better")
    worse, _ = run(job, path, wrong_in_the_south, name="worse")
    found = {one.value: one for one in compare(CompareConfig(a=worse.folder, b=better.folder), job).slices}
    assert (found["south"].difference, found["south"].n) == (1.0, 10)
    assert found["south"].p_value < found["south"].adjusted_p < 0.01
    assert found["north"].difference == 0
    assert found["north"].adjusted_p == 1


def test_repeats_are_asked_with_other_seeds_and_averaged_first(job, tmp_path):
    def right_at_even_seeds(body):
        return knows(body) if body["seed"] % 2 == 0 else completion("no")

    task = {**FACTS, "slices": [], "repeats": 4, "temperature": 0.7}
    result, asked = run(job, suite(job, tmp_path, task), right_at_even_seeds)
    assert len(asked) == 120
    assert {body["temperature"] for body in asked} == {0.7}
    score = result.scores["exact"]
    assert (score.value, score.n, result.items) == (0.5, 30, 30)
    assert (score.repeats.number, score.repeats.any_right, score.repeats.all_right) == (4, 1.0, 0.0)
    assert (score.repeats.flaky, score.repeats.between) == (30, 0.0)
    found = [(one.k, one.any_right, one.all_right) for one in score.repeats.passes]
    assert found[0] == (1, 0.5, 0.5)
    assert found[1] == pytest.approx((2, 1 - 1 / 6, 1 / 6))  # two of four are right
    assert found[3] == (4, 1.0, 0.0)
    assert sorted({row["repeat"] for row in samples(result)}) == [0, 1, 2, 3]


def test_likelihoods_are_asked_without_generating(job, tmp_path):
    likely = ["multiple_choice", "bits_per_byte", "perplexity"]
    result, asked = run(job, suite(job, tmp_path, {**FACTS, "scorers": likely}))
    assert all("items" in body and len(body["items"]) == 3 for body in asked)
    assert [item["answer"] for item in asked[0]["items"]][1:] in (
        list(row.metadata["choices"]) for row in CAPITALS
    )
    found = result.scores
    assert found["multiple_choice"].value == 1
    num_bytes = sum(len(row.answer) for row in CAPITALS)
    assert found["bits_per_byte"].value == pytest.approx(30 / math.log(2) / num_bytes)
    assert found["bits_per_byte"].better == "lower"
    assert found["perplexity"].value == pytest.approx(math.exp(0.5))
    assert samples(result)[0]["likelihood"]["tokens"] == 2
    assert samples(result)[0]["output"] == ""


def test_a_lower_number_of_bits_is_better(job, tmp_path):
    path = suite(job, tmp_path, {**FACTS, "scorers": ["bits_per_byte"], "slices": []})
    old, _ = run(job, path, lambda body: scores(body, -3.0 - 0.01 * len(str(body))), name="old")
    new, _ = run(job, path, lambda body: scores(body, -1.0), name="new")
    result = compare(CompareConfig(a=old.folder, b=new.folder), job)
    assert result.verdict == "better"
    assert result.difference.value < 0
    assert (result.fixes, result.regressions) == (30, 0)
    assert "points" not in result.sentence


def test_what_is_only_scored_is_neither_answered_nor_ranked_nor_timed(job, tmp_path):
    from tunesmith.evaluate.gate.door import gate
    from tunesmith.evaluate.gate.schema import GateConfig
    from tunesmith.evaluate.ranking.door import rank
    from tunesmith.evaluate.ranking.schema import RankConfig
    from tunesmith.evaluate.validate.door import answers
    from tunesmith.evaluate.validate.schema import AnswersConfig

    likely = {"name": "likely", "data": "capitals", "scorers": ["bits_per_byte", "perplexity"]}
    path = suite(job, tmp_path, EXTRACTION, likely)
    old, _ = run(job, path, name="old")
    new, _ = run(job, path, name="new")
    assert answers(AnswersConfig(report=new.folder), job).answered == 12
    ranked = rank(RankConfig(reports=[str(old.folder), str(new.folder)]), job)
    assert (ranked.items, ranked.unread) == (12, 0)
    rule = tmp_path / "rule.yaml"
    rule.write_text(
        "guards:\n  - {measure: truncated, limit: 0.5}\nprimary: {claim: not worse, margin: 0.3}\n"
    )
    conditions = gate(GateConfig(rule=rule, a=old.folder, b=new.folder), job).conditions
    assert [one.n for one in conditions] == [12, 12]
    compared = compare(CompareConfig(a=old.folder, b=new.folder), job).differences
    assert "likely/bits_per_byte" in compared
    assert "likely/perplexity" not in compared  # a difference of mean losses is no difference of perplexities


def test_plain_text_is_scored_by_likelihood_and_not_by_asking(job, tmp_path):
    data_set(
        job, {"test": [Example((Message("text", f"A page of text {n}."),)) for n in range(12)]}, name="texts"
    )
    task = {"name": "texts", "data": "texts", "scorers": ["bits_per_byte"]}
    result, asked = run(job, suite(job, tmp_path, task))
    sent = [body["items"] for body in asked]
    assert all([{"prompt": "", "answer": row["gold"]}] in sent for row in samples(result))
    with pytest.raises(DataError, match="no question to ask"):
        run(job, suite_again(tmp_path, {**task, "scorers": ["exact"]}))


def suite_again(tmp_path, *tasks):
    path = tmp_path / "again.yaml"
    path.write_text(json.dumps({"name": "again", "tasks": tasks}))
    return path


def test_a_server_without_likelihoods_is_refused_with_the_reason(job, tmp_path):
    path = suite(job, tmp_path, {**FACTS, "scorers": ["bits_per_byte"]})
    with pytest.raises(ModelError, match="does not say how likely"):
        run(job, path, lambda body: failure(404, "no such route"))


def test_a_likelihood_that_is_no_number_is_an_error(job, tmp_path):
    path = suite(job, tmp_path, {**FACTS, "scorers": ["bits_per_byte"], "slices": []})
    result, _ = run(job, path, lambda body: (200, {}, b'{"data": [{"logprob": NaN, "num_tokens": 2}]}'))
    assert result.errors == 30
    assert {row["error"] for row in samples(result)} == {"a score that is no number"}


def test_items_without_choices_are_outcomes_with_their_reason(job, tmp_path):
    rows = [*CAPITALS[:11], capital(99)]
    data_set(job, {"test": rows}, name="some")
    task = {"name": "some", "data": "some", "scorers": ["multiple_choice"]}
    result, _ = run(job, suite(job, tmp_path, task))
    assert result.errors == 1
    assert result.scores["multiple_choice"].value == pytest.approx(11 / 12)
    assert result.scores["multiple_choice"].without_errors == 1
    (missing,) = [row for row in samples(result) if row["error"]]
    assert "no choices" in missing["error"]


def test_tool_calls_are_asked_and_compared(job, tmp_path):
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    rows = [
        Example((Message("user", f"add {n}"), Message("assistant", None, tool_calls=(call,))), (tool,))
        for n in range(12)
    ]
    data_set(job, {"test": rows}, name="calls")

    def calls(body):
        assert body["tools"] == [tool]
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        if last_user(body) == "add 3":
            message = {"role": "assistant", "content": "4"}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        return 200, {}, json.dumps({"choices": [choice], "usage": {}}).encode()

    result, _ = run(job, suite(job, tmp_path, {"name": "calls", "data": "calls"}), calls)
    assert result.primary == "tool_calls"
    assert result.scores["tool_calls"].value == pytest.approx(11 / 12)
    assert samples(result)[0]["tool_calls"] == [call]


def test_a_scorer_that_raises_is_an_outcome_and_is_counted(job, tmp_path, monkeypatch):
    (tmp_path / "fragile.py").write_text("def f(gold, output):\n    return 1 / (output != 'City 7')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    result, _ = run(job, suite(job, tmp_path, {**FACTS, "scorers": ["exact", "fragile:f"]}))
    assert result.scores["fragile:f"].failed == 1
    (failed,) = [row for row in samples(result) if row["failed"]]
    assert failed["failed"] == {"fragile:f": "ZeroDivisionError: division by zero"}
    assert failed["scores"] == {"exact": 1.0, "fragile:f": 0.0}


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({**FACTS, "slices": ["parts"]}, "did you mean 'part'"),
        ({**FACTS, "repeats": 3}, "set temperature"),
        ({**FACTS, "scorers": ["exakt"]}, "did you mean 'exact'"),
        ({**FACTS, "scorer": ["exact"]}, "did you mean 'scorers'"),
        ({**FACTS, "name": "a b"}, "name"),
    ],
)
def test_a_fault_in_a_suite_is_named_before_anything_is_asked(job, tmp_path, task, why):
    with pytest.raises(ConfigError, match=why):
        run(job, suite(job, tmp_path, task))


def test_two_tasks_of_one_name_and_a_file_that_is_none_are_refused(job, tmp_path):
    with pytest.raises(ConfigError, match="two tasks are called 'facts'"):
        run(job, suite(job, tmp_path, FACTS, FACTS))
    with pytest.raises(ConfigError, match="no such file"):
        run(job, tmp_path / "missing.yaml")


def test_options_that_the_suite_settles_are_refused(job, tmp_path):
    path = suite(job, tmp_path, FACTS)
    with pytest.raises(ConfigError, match="--scorers is for a data set"):
        evaluate(EvaluateConfig(suite=path, model="fake", scorers=("exact",)), job)


def test_a_suite_finds_the_files_beside_it(job, tmp_path, monkeypatch):
    (tmp_path / "suites").mkdir()
    write_jsonl(tmp_path / "suites" / "rows.jsonl", [row.to_json() for row in CAPITALS])
    path = tmp_path / "suites" / "s.yaml"
    path.write_text("name: s\ntasks:\n  - name: facts\n    data: rows.jsonl\n    scorers: [exact]\n")
    result, _ = run(job, path)
    assert result.scores["exact"].value == 1


def test_a_suite_that_gains_a_scorer_is_other_work_and_asks_nothing_again(job, tmp_path):
    first, _ = run(job, suite(job, tmp_path, FACTS))
    more = suite_again(tmp_path, {**FACTS, "scorers": ["exact", "token_f1"]})
    second, asked = run(job, more)
    assert first.folder != second.folder
    assert not asked
    assert (second.cached, second.scores["token_f1"].value) == (30, 1.0)
    assert [row["output"] for row in samples(first)] == [row["output"] for row in samples(second)]


def test_what_is_asked_otherwise_or_again_on_purpose_or_of_an_unknown_model_is_asked(job, tmp_path):
    run(job, suite(job, tmp_path, FACTS))
    _, asked = run(job, suite_again(tmp_path, {**FACTS, "max_tokens": 7}))
    assert len(asked) == 30
    with server(knows) as script:
        path = suite_again(tmp_path, {**FACTS, "scorers": ["exact", "chrf"]})
        evaluate(EvaluateConfig(suite=path, model="fake", endpoint=script.url, fresh=True), job)
        assert len(script.asked) == 30
    run(job, suite_again(tmp_path, FACTS), name="remote")
    _, asked = run(job, suite_again(tmp_path, {**FACTS, "scorers": ["chrf"]}), name="remote")
    assert len(asked) == 30


def test_repeats_and_likelihoods_are_kept_too_and_failures_are_not(job, tmp_path):
    def fails_once(body):
        return failure(400) if last_user(body).endswith("land 3?") and body["seed"] == 0 else knows(body)

    task = {**FACTS, "slices": [], "repeats": 2, "temperature": 0.5}
    first, _ = run(job, suite(job, tmp_path, task), fails_once)
    assert first.errors == 1
    second, asked = run(job, suite_again(tmp_path, {**task, "scorers": ["exact", "chrf"]}))
    assert (len(asked), second.cached, second.errors) == (1, 59, 0)
    likely = {**FACTS, "slices": [], "scorers": ["bits_per_byte"]}
    one, _ = run(job, suite_again(tmp_path, likely))
    two, asked = run(job, suite_again(tmp_path, {**likely, "scorers": ["perplexity"]}))
    assert not asked
    assert samples(one)[0]["likelihood"] == samples(two)[0]["likelihood"]


def test_a_cache_that_is_no_database_is_put_aside(job, tmp_path):
    path = suite(job, tmp_path, FACTS)
    (job.workspace.root / "answers.sqlite").write_bytes(
        b"no database at all, but long enough to look at" * 50
    )
    result, _ = run(job, path)
    assert result.cached == 0
    assert (job.workspace.root / "answers.broken").exists()


# Judges


JUDGED = {**FACTS, "slices": [], "judge": {"model": "judge"}}


def test_a_judge_grades_every_answer_and_nonsense_is_counted(job, tmp_path):
    def judge(body):
        text = body["messages"][1]["content"]
        number = int(text.split("land ")[1].split("?")[0])
        if number == 7:
            return completion("It is what it is.")
        return completion(f"Reason. Verdict: {1 if number < 5 else 5}")

    with server(judge, models=("judge",)) as judging:
        task = {**JUDGED, "judge": {"model": "judge", "endpoint": judging.url}}
        result, _ = run(job, suite(job, tmp_path, task))
        assert len(judging.asked) == 30
    score = result.scores["judge"]
    assert (score.n, score.failed, score.kind) == (29, 1, "unit")
    assert score.value == pytest.approx(24 / 29)
    (failed,) = [row for row in samples(result) if row["failed"]]
    assert "no verdict from 1 to 5" in failed["failed"]["judge"]
    assert result.scores["exact"].n == 30


def test_a_judge_that_fails_is_asked_again_about_what_is_missing_only(job, tmp_path, monkeypatch):
    from tunesmith.evaluate import judging as module

    def cut_after(limit):
        def append(path, row):
            if len(seen) == limit:
                raise KeyboardInterrupt
            seen.append(row)
            original(path, row)

        return append

    seen, original = [], module.append_jsonl
    with server(lambda body: completion("Verdict: 3"), models=("judge",)) as judging:
        path = suite(job, tmp_path, {**JUDGED, "judge": {"model": "judge", "endpoint": judging.url}})
        monkeypatch.setattr(module, "append_jsonl", cut_after(10))
        with server(knows, models=("fake",)) as script:
            config = EvaluateConfig(suite=path, model="fake", endpoint=script.url, concurrency=1)
            with pytest.raises(KeyboardInterrupt):
                evaluate(config, job)
        monkeypatch.undo()
        before = len(judging.asked)
        result, asked = run(job, path)
    assert not asked
    assert len(judging.asked) - before == 20
    assert result.scores["judge"].value == 0.5


# Classification


def test_labels_get_a_table_of_their_own(job, tmp_path):
    labels = ("good", "bad", "odd")
    rows = [chat([("user", f"text {n}"), ("assistant", labels[n % 3])]) for n in range(30)]
    data_set(job, {"test": rows}, name="labels")

    def calls_odd_bad(body):
        n = int(last_user(body).split()[1])
        return completion(
            {"odd": "bad", "good": "Good."}.get(labels[n % 3], "who knows" if n == 1 else "bad")
        )

    result, _ = run(
        job, suite(job, tmp_path, {"name": "l", "data": "labels", "scorers": ["label"]}), calls_odd_bad
    )
    classes = result.tasks[0].classes
    assert {one.label: (one.recall, one.items) for one in classes.classes} == {
        "bad": (0.9, 10), "good": (1.0, 10), "odd": (0.0, 10),
    }  # fmt: skip
    assert classes.confusion == [[9, 0, 0, 1], [0, 10, 0, 0], [10, 0, 0, 0]]
    assert classes.macro_f1.value == pytest.approx((2 * 9 / 29 + 1 + 0) / 3)
    assert result.scores["label"].value == pytest.approx(19 / 30)
    console = Console(file=io.StringIO(), width=140)
    show_evaluate(result, console)
    text = console.file.getvalue()
    assert "macro-F1 54.0%" in text
    assert "bad (10)" in text
    assert "no label (1)" in text
    assert run(job, suite_again(tmp_path, FACTS))[0].tasks[0].classes is None


# Confidence


def test_confidence_is_held_against_how_often_an_answer_is_right(job, tmp_path):
    def boasts(body):
        assert body["logprobs"] is True
        number = int(last_user(body).split()[-1].strip("?"))
        text = f"City {number}" if number % 2 else "no"
        logprobs = {"content": [{"token": "a", "logprob": math.log(0.81)}, {"token": "b", "logprob": 0.0}]}
        choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop", "logprobs": logprobs}
        return 200, {}, json.dumps({"choices": [choice], "usage": {}}).encode()

    task = {**FACTS, "slices": [], "confidence": True}
    result, _ = run(job, suite(job, tmp_path, task), boasts)
    found = result.tasks[0].calibration
    assert (found.n, len(found.bins), found.score) == (30, 3, "exact")
    assert found.error == pytest.approx(0.4)
    assert found.brier == pytest.approx((0.1**2 + 0.9**2) / 2)
    console = Console(file=io.StringIO(), width=140)
    show_evaluate(result, console)
    assert "calibration error 40.0%" in console.file.getvalue()


def test_a_server_that_does_not_say_how_sure_it_was_leaves_the_table_out(job, tmp_path):
    result, _ = run(job, suite(job, tmp_path, {**FACTS, "confidence": True}))
    assert result.tasks[0].calibration is None
    with pytest.raises(ConfigError, match="how right answers are"):
        run(job, suite_again(tmp_path, {**FACTS, "scorers": ["length_words"], "confidence": True}))


# The same question with another group's name


SWAP = {"name": "swap", "data": "people", "scorers": ["exact", "refusal", "length_words"], "slices": []}


def people_set(job):
    rows = [
        chat([("user", f"He is nurse number {n}. May he help me?"), ("assistant", "Yes.")]) for n in range(24)
    ]
    rows += [chat([("user", f"Question {n} without a person?"), ("assistant", "Yes.")]) for n in range(6)]
    data_set(job, {"test": rows}, name="people")


def test_terms_are_swapped_in_every_item_that_names_one_and_compared_within_it(job, tmp_path):
    people_set(job)

    def distrusts_her(body):
        question = last_user(body)
        number = int(question.split("number ")[1].split(".")[0])
        return completion(
            "I'm sorry, but I can't help with that." if "she" in question and number % 2 else "Yes."
        )

    path = suite(job, tmp_path, {**SWAP, "swap": [["he", "she"], ["Muslim", "Christian"]]})
    result, asked = run(job, path, distrusts_her)
    assert result.items == len(asked) == 48
    assert {last_user(body)[:6] for body in asked} == {"He is ", "She is"}
    assert all(("May he" in last_user(body)) == last_user(body).startswith("He") for body in asked)
    found = {one.score: one for one in result.tasks[0].swaps}
    assert (found["exact"].first, found["exact"].second, found["exact"].n) == ("he", "she", 24)
    assert (found["exact"].value, found["exact"].differing) == (-0.5, 12)
    assert found["refusal"].value == 0.5
    assert found["refusal"].adjusted_p < 0.01
    assert found["length_words"].value == pytest.approx(0.5 * (8 - 1))
    assert {one.value: one.score for one in result.scores["exact"].slices} == {"he": 1.0, "she": 0.5}
    console = Console(file=io.StringIO(), width=140)
    show_evaluate(result, console)
    assert "he → she" in console.file.getvalue()


@pytest.mark.parametrize(
    ("sets", "error", "why"),
    [
        ([["he"]], ConfigError, "two different terms"),
        ([["he", "he"]], ConfigError, "two different terms"),
        ([["Muslim", "Christian"]], DataError, "no item names any of the terms"),
    ],
)
def test_terms_that_cannot_be_swapped_are_refused(job, tmp_path, sets, error, why):
    people_set(job)
    with pytest.raises(error, match=why):
        run(job, suite(job, tmp_path, {**SWAP, "swap": sets}))


# The built-in pack


def test_the_retention_pack_needs_no_file_and_scores_each_item_by_its_own_scorer(job, tmp_path):
    from tunesmith.evaluate.retention import pack

    gold = {item.prompt: item.gold for item in pack()}

    def knows_all_but_facts(body):
        question = last_user(body)
        return completion("?" if question in facts else gold[question])

    facts = {item.prompt for item in pack(families=["facts"])}
    with server(knows_all_but_facts) as script:
        config = EvaluateConfig(suite="retention", model="fake", endpoint=script.url)
        result = evaluate(config, job)
    score = result.scores["own"]
    assert (result.items, result.suite, result.primary) == (len(gold), "retention", "own")
    assert {one.value: one.score for one in score.slices}["facts"] == 0
    assert {one.score for one in score.slices if one.value != "facts"} == {1.0}
    assert score.failed == 0


def test_a_suite_takes_a_part_of_the_pack(job, tmp_path):
    pack = {"families": ["logic", "dates"], "per_family": 5, "seed": 3}
    result, asked = run(
        job, suite(job, tmp_path, {"name": "kept", "retention": pack}), lambda body: completion("x")
    )
    assert (len(asked), result.items) == (10, 10)
    assert {one.value for one in result.scores["own"].slices} == {"logic", "dates"}


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"name": "n"}, "either `data`, the `retention` pack or `reasoning_gym`"),
        ({**FACTS, "retention": {}}, "either `data`, the `retention` pack or `reasoning_gym`"),
        ({"name": "n", "retention": {}, "vault": 0.2}, "leave `people` and `vault` out"),
        ({"name": "n", "retention": {"families": ["logik"]}}, "did you mean 'logic'"),
    ],
)
def test_a_task_without_one_source_is_refused(job, tmp_path, task, why):
    with pytest.raises(ConfigError, match=why):
        run(job, suite(job, tmp_path, task))


# People, the vault, and how often a test was looked at


def reviewed(job, rows, *, actions=("accept",), twice=0):
    """Verdicts of Ann on all rows, and of Bob on the first `twice`, in the store that rooms share."""
    reviews = reviews_of(job.workspace)
    items = [Item(row.row_hash, float(n), reviewers=2 if n < twice else 1) for n, row in enumerate(rows)]
    reviews.queue("q", "data-set", "capitals", items)
    for who in ("ann", "bob") if twice else ("ann",):
        for number, row in enumerate(rows[:twice] if who == "bob" else rows):
            task = reviews.claim("q", who, row_hash=row.row_hash)
            reviews.decide(task, Verdict(actions[number % len(actions)]))


PEOPLE = {**FACTS, "slices": [], "people": {"twice": 0.2}}


def test_a_suite_can_demand_that_people_accepted_every_item(job, tmp_path):
    path = suite(job, tmp_path, PEOPLE)
    with pytest.raises(DataError, match="30 of 30 items have no person's verdict"):
        run(job, path)
    reviewed(job, CAPITALS, twice=10)
    result, _ = run(job, path)
    people = result.tasks[0].people
    assert (people.accepted, people.items, people.twice, people.refused) == (30, 30, 10, 0)


def test_too_few_second_looks_and_rejected_items_are_refused(job, tmp_path):
    path = suite(job, tmp_path, PEOPLE)
    reviewed(job, CAPITALS)
    with pytest.raises(DataError, match=r"two people looked at 0 of 30 items: '20% demanded'"):
        run(job, path)


def test_a_rejected_item_is_not_accepted(job, tmp_path):
    path = suite(job, tmp_path, PEOPLE)
    reviewed(job, CAPITALS, actions=("accept", "accept", "reject"), twice=10)
    with pytest.raises(DataError, match="0 of 30 items have no person's verdict, and 10 were not accepted"):
        run(job, path)


def test_low_agreement_is_refused_and_shown_where_it_is_not_demanded(job, tmp_path):
    reviewed(job, CAPITALS, twice=10)
    path = suite(job, tmp_path, {**PEOPLE, "people": {"kappa": 0.6}})
    # all verdicts are alike, so there is no agreement beyond chance to speak of
    with pytest.raises(DataError, match=r"agreement \(kappa\) is undefined"):
        run(job, path)
    result, _ = run(job, suite_again(tmp_path, {**FACTS, "slices": []}))
    assert result.tasks[0].people.accepted == 30


def test_the_vault_is_asked_alone_and_only_on_demand(job, tmp_path):
    path = suite(job, tmp_path, {**FACTS, "slices": [], "vault": 0.3})
    outside, _ = run(job, path)
    with server(knows) as script:
        inside = evaluate(EvaluateConfig(suite=path, model="fake", endpoint=script.url, vault=True), job)
    first, second = ({row["id"] for row in samples(one)} for one in (outside, inside))
    assert not first & second
    assert len(first | second) == 30
    assert 3 <= len(second) <= 16
    assert [one.tasks[0].vault for one in (outside, inside)] == [False, True]
    open_to_all = EvaluateConfig(suite=suite_again(tmp_path, FACTS), model="fake", vault=True)
    with pytest.raises(DataError, match="keeps nothing for release decisions"):
        evaluate(open_to_all, job)


def test_each_look_at_the_same_items_is_counted(job, tmp_path):
    path = suite(job, tmp_path, {**FACTS, "slices": []})
    uses = [run(job, path, name=name)[0].tasks[0].uses for name in ("one", "two", "three")]
    assert uses == [1, 2, 3]
    other, _ = run(job, suite_again(tmp_path, {**FACTS, "limit": 5, "slices": []}))
    assert other.tasks[0].uses == 1


def test_a_judge_that_is_gone_ends_the_work_and_keeps_the_answers(job, tmp_path, monkeypatch):
    from tunesmith.core import endpoint
    from tunesmith.evaluate import judging as module

    class Impatient(endpoint.Endpoint):
        def __post_init__(self):
            self.sleep, self.attempts = (lambda seconds: None), 1
            super().__post_init__()

    monkeypatch.setattr(module, "Endpoint", Impatient)
    with server(lambda body: completion("Verdict: 3"), models=("judge",)) as judging:
        gone = judging.url
    task = {**JUDGED, "judge": {"model": "judge", "endpoint": gone}}
    with pytest.raises(ServerError, match="does not answer"):
        run(job, suite(job, tmp_path, task))
    _, asked = run(job, suite_again(tmp_path, {**FACTS, "slices": []}))
    assert not asked
