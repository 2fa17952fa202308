"""Results of lm-eval, Inspect and promptfoo as reports, from samples in the form that the tools write."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tunesmith.cli.show_import import show_import
from tunesmith.core.errors import ConfigError, DataError, UserError
from tunesmith.core.files import read_jsonl
from tunesmith.core.job import Job
from tunesmith.core.workspace import Manifest, Workspace
from tunesmith.data import prepare
from tunesmith.data.schema import PrepareConfig
from tunesmith.evaluate import CompareConfig, compare
from tunesmith.evaluate.gate.door import gate
from tunesmith.evaluate.gate.schema import GateConfig
from tunesmith.evaluate.imported import lm_eval
from tunesmith.evaluate.imported.door import import_results
from tunesmith.evaluate.imported.schema import ImportConfig
from tunesmith.evaluate.report import ReportConfig, report
from tunesmith.evaluate.report.gather_results import one_model

TIME = "2026-11-23T17-49-09.731926"


def take(job, path, **options):
    return import_results(ImportConfig(results=path, **options), job)


def samples(result):
    return [line.value for line in read_jsonl(result.folder / "samples.jsonl")]


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


# lm-eval


def generated(number, right, *, filtered="number", text=None):
    """A line of lm-eval 0.4.13 for a generated answer."""
    question = text or f"What is {number} plus 3?"
    return {
        "doc_id": number,
        "doc": {"question": question, "answer": str(number + 3), "level": "easy" if number < 5 else "hard"},
        "target": str(number + 3),
        "arguments": {"gen_args_0": {"arg_0": f"{question}\nAnswer:", "arg_1": {"until": ["\n"]}}},
        "resps": [[f"It is {number + 3}" if right else "no"]],
        "filtered_resps": [str(number + 3) if right else "[invalid]"],
        "filter": filtered,
        "metrics": ["exact_match"],
        "doc_hash": "3d1a",
        "prompt_hash": "52b0",
        "target_hash": "ef2d",
        "exact_match": float(right),
    }


def lm_eval_run(folder, rows, *, task="sums", model="m", shots=0, higher=None):
    path = write(folder / model / f"samples_{task}_{TIME}.jsonl", lines(*rows))
    results = {"model_name": model, "n-shot": {task: shots}}
    results["higher_is_better"] = {task: higher if higher is not None else {"exact_match": True}}
    write(folder / model / f"results_{TIME}.json", results)
    return path


def test_samples_of_lm_eval_become_a_report(job, tmp_path):
    path = lm_eval_run(tmp_path, [generated(number, number % 2) for number in range(10)], shots=2)
    result = take(job, path, slices=("level",))
    assert (result.harness, result.model, result.prompt, result.suite) == ("lm-eval", "m", "2-shot", "sums")
    assert (result.rows, result.kept, result.refused, result.items) == (10, 10, 0, 10)
    score = result.scores["exact_match"]
    assert (score.value, score.kind, score.better, result.primary) == (0.5, "share", "higher", "exact_match")
    assert {(one.value, one.n) for one in score.slices} == {("easy", 5), ("hard", 5)}
    first = samples(result)[1]
    assert first["prompt"] == [{"role": "user", "content": "What is 1 plus 3?\nAnswer:"}]
    assert (first["gold"], first["output"], first["scores"]) == ("4", "It is 4", {"exact_match": 1.0})


def test_the_page_shows_imported_answers_and_does_not_make_up_times(job, tmp_path):
    result = take(job, lm_eval_run(tmp_path, [generated(number, True) for number in range(10)]))
    facts = one_model(result.folder, Manifest.read(result.folder), "m")
    assert (facts.speed.median_seconds, facts.speed.tokens_per_second) == (None, None)
    assert len(facts.samples) == 10
    assert facts.scores[0].value == 1


def test_filters_of_one_document_are_one_answer_with_several_scores(job, tmp_path):
    rows = [generated(n, n > 3, filtered=name) for name in ("strict", "flexible") for n in range(6)]
    result = take(job, lm_eval_run(tmp_path, rows))
    assert (result.rows, list(result.scores)) == (6, ["exact_match,strict", "exact_match,flexible"])
    assert take(job, tmp_path, metric="exact_match,flexible").primary == "exact_match,flexible"


def test_likelihoods_and_chats_and_older_arguments_are_read():
    pair = {"gen_args_0": {"arg_0": "Q: Is 2 even?\nA:", "arg_1": " yes"}}
    assert (
        lm_eval.prompt_of(pair) == lm_eval.prompt_of([["Q: Is 2 even?\nA:", " yes"]]) == "Q: Is 2 even?\nA:"
    )
    assert lm_eval.output_of([[["-3.02", "False"]], [["-6.15", "False"]]]) == ""
    chat = '[{"role": "user", "content": "Hi"}]'
    assert lm_eval.prompt_of({"gen_args_0": {"arg_0": [chat], "arg_1": {}}}) == chat
    assert lm_eval.messages_of(chat) == [{"role": "user", "content": "Hi"}]
    assert lm_eval.messages_of("[1] is a list") == [{"role": "user", "content": "[1] is a list"}]
    assert lm_eval.messages_of("[1, 2]")[0]["content"] == "[1, 2]"
    assert lm_eval.messages_of('[{"role": "user"}]')[0]["content"] == '[{"role": "user"}]'


def test_every_line_of_lm_eval_is_accounted_for(job, tmp_path):
    bad = [
        "{torn",
        '"text"',
        json.dumps({"doc_id": 7}),
        json.dumps(generated(0, True)),
        json.dumps(generated(8, True, text="What is 1 plus 3?")),
    ]
    rows = [generated(n, True) for n in range(3)]
    # the document of line 8 differs from that of line 2 in its answer, so it is another item
    path = lm_eval_run(tmp_path, rows)
    path.write_text(path.read_text() + "\n".join(bad) + "\n\n")
    result = take(job, path)
    assert (result.rows, result.kept, result.refused) == (8, 4, 4)
    said = [(one.where.rsplit(":", 1)[1], one.reason) for one in result.refusals]
    assert [place for place, _ in said] == ["4", "5", "6", "7"]
    assert "document 0 stands in the file twice" in said[3][1]
    assert len((result.folder / "refused.jsonl").read_text().splitlines()) == 4


def test_the_same_question_under_two_numbers_is_taken_once(job, tmp_path):
    again = {**generated(1, True), "doc_id": 9}
    result = take(job, lm_eval_run(tmp_path, [generated(n, True) for n in range(3)] + [again]))
    assert (result.kept, result.refused, result.refusals[0].reason.rsplit(":", 1)[1]) == (3, 1, "2")


def test_metrics_without_a_number_for_each_item_are_left_out_and_named(job, tmp_path):
    rows = [{**generated(n, True), "metrics": ["exact_match", "bleu"], "bleu": ["a", "b"]} for n in range(3)]
    result = take(job, lm_eval_run(tmp_path, rows))
    assert (list(result.scores), result.left_out) == (["exact_match"], {"bleu": "it is no single number"})
    with pytest.raises(ConfigError, match=r"no such score \(it is no single number\)"):
        take(job, tmp_path, metric="bleu")


def test_the_direction_of_a_metric_is_lm_evals(job, tmp_path):
    rows = [{**generated(n, True), "metrics": ["loss"], "loss": 2.5 + n} for n in range(3)]
    result = take(job, lm_eval_run(tmp_path, rows, higher={"loss": False}))
    assert (result.scores["loss"].better, result.scores["loss"].kind) == ("lower", "number")


def test_a_likelihood_that_lm_eval_calls_perplexity_is_better_when_it_is_higher(job, tmp_path):
    folders = {}
    for model, logprob in (("a", -3.0), ("b", -1.0)):
        rows = [
            {
                **generated(n, True),
                "metrics": ["perplexity", "acc"],
                "perplexity": logprob - n / 100,
                "acc": 0.0,
            }
            for n in range(30)
        ]
        higher = {"perplexity": False, "acc": True}
        lm_eval_run(tmp_path, rows, task="lambada", model=model, higher=higher)
        folders[model] = take(job, tmp_path / model).folder
    result = compare(CompareConfig(a=folders["a"], b=folders["b"]), job)
    assert result.verdict == "better"
    assert result.difference.value == pytest.approx(2.0)


def test_other_directions_beside_the_same_samples_are_another_report(job, tmp_path):
    rows = [generated(n, n % 2) for n in range(12)]
    path = lm_eval_run(tmp_path, rows)
    before = take(job, path)
    lm_eval_run(tmp_path, rows, higher={"exact_match": False})
    after = take(job, path)
    ways = [one.scores["exact_match"].better for one in (before, after)]
    assert ways == ["higher", "lower"]
    assert before.folder != after.folder


def test_a_page_of_imported_reports_has_the_command_that_imports_them(job, tmp_path):
    data = prepared_data(job, tmp_path)
    folders = []
    for model, right in (("a", 3), ("b", 11)):
        lm_eval_run(tmp_path, [generated(n, n < right) for n in range(12)], model=model)
        folders.append(take(job, tmp_path / model).folder)
    comparison = compare(CompareConfig(a=folders[0], b=folders[1]), job).folder
    made = report(ReportConfig(data=data, reports=folders, comparison=comparison), job)
    page = (made.folder / "report.html").read_text()
    assert "tunesmith import-results" in page
    assert "How answers were drawn is not known" in page
    alone = report(ReportConfig(data=data, comparison=comparison, name="alone"), job)
    assert "not on this page" in (alone.folder / "report.html").read_text()


def prepared_data(job, tmp_path):
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    rows = [{"messages": [{**turns[0], "content": f"ask {n}"}, turns[1]]} for n in range(40)]
    config = PrepareConfig(source=write(tmp_path / "rows.jsonl", lines(*rows)), near_duplicates=0)
    return prepare(config, job).folder


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"eval": {}, "status": "success", "version": 2, "samples": 5}', "no list"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_log_that_nobody_can_read_is_refused(job, tmp_path, content, words):
    path = write(tmp_path / "log.json", content)
    with pytest.raises(DataError) as caught:
        take(job, path, from_="inspect")
    assert words in str(caught.value)


def test_numbers_that_no_float_holds_are_none(job, tmp_path):
    rows = [{**generated(n, True), "metrics": ["exact_match", "huge"], "huge": 10**400} for n in range(3)]
    result = take(job, lm_eval_run(tmp_path, rows))
    assert set(result.scores) == {"exact_match"}
    assert result.left_out == {"huge": "it is no single number"}


def test_without_results_beside_it_the_folder_names_the_model(job, tmp_path):
    path = write(tmp_path / "some-model" / "samples_sums.jsonl", lines(generated(1, True)))
    result = take(job, path)
    assert (result.model, result.prompt, result.suite) == ("some-model", "lm-eval", "sums")


def test_several_tasks_of_a_folder_are_one_report_and_two_runs_of_one_task_are_refused(job, tmp_path):
    lm_eval_run(tmp_path, [generated(n, True) for n in range(3)])
    lm_eval_run(tmp_path, [generated(n, False) for n in range(4)], task="more")
    write(tmp_path / "m" / f"results_{TIME}.json", {"model_name": "m", "n-shot": {"more": 0, "sums": 0}})
    result = take(job, tmp_path)
    assert {name: score.value for name, score in result.scores.items()} == {
        "more/exact_match": 0.0, "sums/exact_match": 1.0,
    }  # fmt: skip
    assert [(task.name, task.items, task.scores) for task in result.tasks] == [
        ("more", 4, ["more/exact_match"]), ("sums", 3, ["sums/exact_match"]),
    ]  # fmt: skip
    other = tmp_path / "m" / "samples_sums_2026-11-24T00-00-00.jsonl"
    other.write_text(lines(generated(1, True)))
    write(other.with_name("results_2026-11-24T00-00-00.json"), {"model_name": "m", "n-shot": {"sums": 0}})
    with pytest.raises(DataError, match="two runs of one task"):
        take(job, tmp_path)


# Comparing


def test_two_imports_pair_the_same_items_and_a_gate_holds_them_to_a_rule(job, tmp_path):
    first = take(job, lm_eval_run(tmp_path / "a", [generated(n, n % 3 == 0) for n in range(40)], model="old"))
    rows = [generated(n, n % 6 != 5) for n in reversed(range(1, 41))]
    second = take(job, lm_eval_run(tmp_path / "b", rows, model="new"))
    result = compare(CompareConfig(a=first.folder, b=second.folder), job)
    assert (result.n, result.only_a, result.only_b, result.verdict) == (39, 1, 1, "better")
    assert result.difference.test.startswith("McNemar")
    rule = write(tmp_path / "rule.yaml", "primary: {score: exact_match, claim: better}\n")
    assert gate(GateConfig(rule=rule, a=first.folder, b=second.folder), job).passed
    for measure in ("latency", "tokens", "truncated"):  # lm-eval does not say
        write(
            rule,
            f"guards: [{{measure: {measure}, limit: 1}}]\nprimary: {{score: exact_match, claim: better}}\n",
        )
        with pytest.raises(ConfigError, match=f"nothing says of new .*: '{measure}'|nothing says of old"):
            gate(GateConfig(rule=rule, a=first.folder, b=second.folder), job)


def test_scores_whose_kinds_were_told_differently_are_compared_by_the_wider_one(job, tmp_path):
    def graded(values):
        return [{**generated(n, True), "exact_match": value} for n, value in enumerate(values)]

    first = take(job, lm_eval_run(tmp_path / "a", graded([0.5] * 20), model="old"))
    second = take(job, lm_eval_run(tmp_path / "b", graded([1.0] * 20), model="new"))
    assert (first.scores["exact_match"].kind, second.scores["exact_match"].kind) == ("unit", "share")
    result = compare(CompareConfig(a=first.folder, b=second.folder), job)
    assert (result.difference.kind, result.difference.value) == ("unit", 0.5)
    assert not result.difference.test.startswith("McNemar")


# Inspect


def answered(number, value="C", *, epoch=1, **more):
    """A sample of Inspect 0.3.285."""
    question = f"What is {number} plus 3?"
    message = {"content": "It is so", "source": "generate", "role": "assistant", "model": "m"}
    return {
        "id": number,
        "epoch": epoch,
        "input": question,
        "target": str(number + 3),
        "messages": [{"content": question, "source": "input", "role": "user"}, message],
        "output": {
            "model": "m",
            "choices": [{"message": message, "stop_reason": "max_tokens" if number == 2 else "stop"}],
            "completion": "It is so",
            "usage": {"input_tokens": 6, "output_tokens": 3, "total_tokens": 9},
            "time": 0.25,
        },
        "scores": {"match": {"value": value, "answer": "It is so", "history": []}},
        "metadata": {"kind": "sum"},
        **more,
    }


def inspect_log(path, found, *, model="openai-api/local/m", status="success", task="sums"):
    run = {"task": task, "model": model, "created": "2026-11-23T17:49:18+00:00"}
    return write(path, {"version": 2, "status": status, "eval": run, "samples": found})


def test_a_log_of_inspect_becomes_a_report(job, tmp_path):
    found = [answered(n, "C" if n < 3 else "I", epoch=epoch) for epoch in (1, 2) for n in range(6)]
    result = take(job, inspect_log(tmp_path / "log.json", found), slices=("kind",))
    assert (result.harness, result.model, result.suite) == ("inspect", "openai-api/local/m", "sums")
    assert (result.kept, result.items, result.tasks[0].repeats, result.truncated) == (12, 6, 2, 2)
    assert (result.scores["match"].value, result.scores["match"].repeats.number) == (0.5, 2)
    assert (result.latency_median, result.prompt_tokens, result.completion_tokens) == (0.25, 72, 36)
    assert {(row["id"], row["repeat"]) for row in samples(result)} == {
        (row["id"], repeat) for row in samples(result) for repeat in (0, 1)
    }


def test_values_of_inspect_are_numbers_as_inspect_takes_them(job, tmp_path):
    values = ["C", "I", "P", "N", "yes", "False", "0.25", True, 3]
    found = [answered(n, value) for n, value in enumerate(values)]
    found[0]["scores"]["many"] = {"value": {"words": 2, "odd": "perhaps", "none": None}}
    found[1]["scores"]["many"] = {"value": {"words": float("nan"), "odd": "perhaps", "none": None}}
    result = take(job, inspect_log(tmp_path / "log.json", found))
    scores = [row["scores"]["match"] for row in samples(result)]
    assert scores == [1, 0, 0.5, 0, 1, 0, 0.25, 1, 3]
    assert result.scores["match"].kind == "number"
    assert (result.scores["many.words"].n, result.scores["many.words"].failed) == (1, 1)
    assert result.left_out == {
        "many.odd": 'it is no single number: "perhaps"', "many.none": "it is no single number",
    }  # fmt: skip


def test_samples_that_failed_score_0_and_others_are_refused_with_their_reason(job, tmp_path):
    error = {"message": "ValueError('no luck')", "traceback": "…"}
    picture = [{"role": "user", "content": [{"type": "image", "image": "data:…"}]}]
    found = [
        answered(0),
        answered(1, scores={}, output={"model": "m", "choices": [], "completion": ""}, error=error),
        answered(2, input=picture),
        answered(0),
        {"id": 5},
        answered(3, input=[{"role": "user", "content": [{"type": "text", "text": "attachment://a1"}]}],
                 attachments={"a1": "A long question"}),
    ]  # fmt: skip
    result = take(job, inspect_log(tmp_path / "log.json", found, status="error"))
    assert (result.rows, result.kept, result.refused, result.errors) == (6, 3, 3, 1)
    score = result.scores["match"]
    assert (score.value, score.without_errors) == (pytest.approx(2 / 3), 1.0)
    reasons = " | ".join(one.reason for one in result.refusals)
    assert "holds image, and only text is read" in reasons
    assert "the same question as" in reasons
    assert "KeyError" in reasons
    assert "did not end well (status 'error')" in result.notes[0]
    assert samples(result)[2]["prompt"][0]["content"] == "A long question"
    console = Console(file=io.StringIO(), width=140)
    show_import(result, console)
    said = console.file.getvalue()
    assert "6 answers of inspect: 3 taken, 3 refused; 1 did not come (scored 0)" in said
    assert "only text is read" in said


def test_choices_are_a_part_of_the_question(job, tmp_path):
    found = [answered(0, input="Which?", choices=list(pair)) for pair in ("ab", "cd", "ab")]
    result = take(job, inspect_log(tmp_path / "log.json", found))
    assert (result.items, result.refused) == (2, 1)


def test_a_packed_log_is_refused_with_the_command_that_unpacks_it(job, tmp_path):
    path = write(tmp_path / "logs" / "one.eval", "PK")
    for place in (path, path.parent):
        with pytest.raises(DataError, match=r"inspect log convert .* --to json"):
            take(job, place)


# promptfoo


def result_of(number, *, passed=True, provider="m", prompt="{{question}}", **more):
    """A result of promptfoo 0.123."""
    question = f"What is {number} plus 3?"
    return {
        "error": None if passed else 'Expected output to contain "3"',
        "failureReason": 0 if passed else 1,
        "gradingResult": {"pass": passed, "score": 0.75, "namedScoreWeights": {"right": 2, "idle": 0}},
        "latencyMs": 20,
        "namedScores": {"right": 0.5, "idle": 0},
        "prompt": {"raw": prompt.replace("{{question}}", question), "label": prompt, "config": {}},
        "provider": {"id": f"openai:chat:{provider}", "label": ""},
        "response": {
            "output": "It is so", "tokenUsage": {"prompt": 6, "completion": 3}, "finishReason": "stop",
        },
        "score": 0.75,
        "success": passed,
        "testCase": {"vars": {"question": question}, "metadata": {"kind": "sum"}, "assert": [
            {"type": "contains", "value": str(number + 3), "metric": "right"}]},
        "testIdx": number,
        "vars": {"question": question},
        **more,
    }  # fmt: skip


def promptfoo_file(path, found):
    return write(path, {"evalId": "eval-1", "results": {"version": 3, "results": found, "stats": {}}})


def test_results_of_promptfoo_become_a_report(job, tmp_path):
    found = [result_of(n, passed=n < 3) for _ in range(2) for n in range(4)]
    result = take(job, promptfoo_file(tmp_path / "out.json", found), slices=("kind",))
    assert (result.harness, result.model, result.prompt) == ("promptfoo", "openai:chat:m", "{{question}}")
    assert {name: score.value for name, score in result.scores.items()} == {
        "pass": 0.75, "score": 0.75, "right": 0.5,
    }  # fmt: skip
    assert (result.kept, result.items, result.tasks[0].repeats) == (8, 4, 2)
    first = samples(result)[0]
    assert (first["gold"], first["output"], first["slices"]) == ("3", "It is so", {"kind": "sum"})
    assert (first["latency_seconds"], first["finish_reason"]) == (0.02, "stop")


def test_one_model_and_prompt_of_several_is_chosen_and_the_others_are_counted(job, tmp_path):
    found = [
        result_of(n, provider=provider, prompt=prompt)
        for n in range(3)
        for provider in ("m", "k")
        for prompt in ("{{question}}", "Say: {{question}}")
    ]
    path = promptfoo_file(tmp_path / "out.json", found)
    with pytest.raises(
        ConfigError, match=r"--model: .* 2 different ones\n.*'openai:chat:m', 'openai:chat:k'"
    ):
        take(job, path)
    with pytest.raises(ConfigError, match="--prompt"):
        take(job, path, model="openai:chat:m")
    with pytest.raises(ConfigError, match="did you mean 'openai:chat:k'"):
        take(job, path, model="openai:chat:kk")
    result = take(job, path, model="openai:chat:k", prompt="Say: {{question}}")
    assert (result.rows, result.kept, result.elsewhere) == (12, 3, 9)
    other = take(job, path, model="openai:chat:m", prompt="{{question}}")
    assert compare(CompareConfig(a=result.folder, b=other.folder), job).n == 3


def test_tests_that_nothing_can_fail_are_refused_and_errors_score_0(job, tmp_path):
    idle = result_of(1)
    idle["testCase"]["assert"] = []
    failed = result_of(2, failureReason=2, error="API error: 404", response={"error": "404"}, score=0)
    path = promptfoo_file(tmp_path / "out.json", [result_of(0), idle, failed, {"vars": {}}])
    result = take(job, path)
    assert (result.rows, result.kept, result.refused, result.errors) == (4, 2, 2, 1)
    assert "no assertion" in result.refusals[0].reason
    assert (result.scores["pass"].value, samples(result)[1]["error"]) == (0.5, "API error: 404")


# What is no result


@pytest.mark.parametrize(
    ("name", "content", "options", "why"),
    [
        ("a.json", "{}", {}, "no results of a harness that is known"),
        ("a.json", "[1", {"from_": "inspect"}, "not valid JSON"),
        ("a.json", "[]", {"from_": "inspect"}, "no JSON object"),
        ("a.json", "{}", {"from_": "inspect"}, "it has no `eval`"),
        ("a.json", "{}", {"from_": "promptfoo"}, "no list `results.results`"),
        ("a.jsonl", "", {"from_": "lm-eval"}, "no answer could be taken .*: 'they are empty'"),
        ("a.jsonl", "{}\n", {"from_": "lm-eval"}, "no answer could be taken .*a.jsonl:1: not a row"),
    ],
)
def test_a_file_that_is_none_is_refused(job, tmp_path, name, content, options, why):
    with pytest.raises(DataError, match=why):
        take(job, write(tmp_path / name, content), **options)


def test_a_missing_file_an_empty_folder_and_answers_without_scores_are_refused(job, tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        take(job, tmp_path / "missing.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no results of a harness"):
        take(job, tmp_path / "empty")
    failed = result_of(2, failureReason=2, error="API error: 404")
    with pytest.raises(DataError, match="no answer of these results has a score: 'API error: 404'"):
        take(job, promptfoo_file(tmp_path / "out.json", [failed]))
    with pytest.raises(ConfigError, match="did you mean 'level'"):
        take(job, lm_eval_run(tmp_path / "l", [generated(1, True)]), slices=("levels",))


# Whatever stands in a file


def places(value, at=()):
    """Every place inside a JSON value."""
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield from places(below, (*at, key))


def with_value(value, at, new):
    """The JSON value with something else at one place."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = with_value(copy[at[0]], at[1:], new)
    return copy


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3) | st.just("\ud800"),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=2), below, max_size=2),
    max_leaves=4,
)
RUNS = {
    "lm-eval": [generated(n, n % 2) for n in range(3)],
    "inspect": [answered(n, "C") for n in range(3)],
    "promptfoo": [result_of(n) for n in range(3)],
}


@given(st.sampled_from(sorted(RUNS)), st.data())
def test_whatever_stands_in_a_row_it_is_taken_or_refused(tmp_path_factory, harness, data):
    tmp_path = tmp_path_factory.mktemp("any")
    rows = RUNS[harness]
    at = data.draw(st.sampled_from(sorted(places(rows[0]), key=str)))
    rows = [with_value(rows[0], at, data.draw(ANYTHING)), *rows[1:]]
    writers = {
        "lm-eval": lambda: lm_eval_run(tmp_path, rows),
        "inspect": lambda: inspect_log(tmp_path / "log.json", rows),
        "promptfoo": lambda: promptfoo_file(tmp_path / "out.json", rows),
    }
    try:
        result = take(Job(Workspace(tmp_path / "workspace")), writers[harness](), from_=harness)
    except ConfigError as error:
        assert "2 different ones" in str(error)  # noqa: PT017 (another model or prompt: to be chosen)
        return
    assert result.rows == result.kept + result.refused + result.elsewhere
    assert result.kept >= 2
    assert result.rows == 3
