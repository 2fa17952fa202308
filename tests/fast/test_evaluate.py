import io
import json
from pathlib import Path

import pytest
from folders import address, data_set
from rich.console import Console
from servers import completion, failure, last_user, server

from tunesmith.cli.show_evaluate import show_evaluate
from tunesmith.core.config import build
from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import ConfigError, DataError, FolderError, ModelError, ServerError, UserError
from tunesmith.core.files import read_json, read_jsonl, write_jsonl
from tunesmith.core.prompts import PromptShape
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.evaluate import EvaluateConfig, EvaluateResult, evaluate

ROWS = [address(n) for n in range(20)]
GOLD = {row.prompt[-1].content: row.answer for row in ROWS}


def right(body):
    return completion(GOLD[last_user(body)])


def every_other_right(body):
    number = int(last_user(body).split()[0])
    return right(body) if number % 2 else completion('{"number": "none"}')


def samples(folder: Path) -> list[dict]:
    return [line.value for line in read_jsonl(folder / "samples.jsonl")]


@pytest.fixture
def suite(job):
    return data_set(job, {"train": [address(n) for n in range(100, 110)], "test": ROWS})


def test_every_item_is_asked_once_and_scored_with_an_interval(job, suite):
    with server(every_other_right) as script:
        result = evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url), job)
    assert (result.items, result.errors, result.primary) == (20, 0, "exact_json")
    score = result.scores["exact_json"]
    assert (score.value, score.n, score.method) == (0.5, 20, "Wilson")
    assert (score.low, score.high) == pytest.approx((0.299, 0.701), abs=1e-3)
    assert result.scores["json_valid"].value == 1
    assert result.scores["field_f1"].value == pytest.approx(0.5)
    assert len(script.asked) == 20
    rows = samples(result.folder)
    assert [row["id"] for row in rows] == [row.row_hash for row in ROWS]
    assert set(rows[0]) == {
        "id", "task", "repeat", "group_id", "origin", "slices", "prompt", "gold", "output", "confidence",
        "tool_calls",
        "likelihood", "choices", "finish_reason", "error", "cached", "latency_seconds", "prompt_tokens",
        "completion_tokens", "scores", "weights", "failed",
    }  # fmt: skip
    assert read_json(result.folder / "scores.json")["scores"]["exact_json"]["low"] == score.low
    manifest = Manifest.read(result.folder)
    assert manifest.kind == "report"
    assert {entry.role for entry in manifest.inputs} == {"suite", "model"}
    assert EvaluateResult(**EvaluateResult.fields_from(manifest.summary, result.folder)) == result


def test_decoding_is_greedy_and_stops_at_the_closing_brace_where_the_server_can(job, suite):
    with server(right) as script:
        evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url), job)
    body = script.asked[0]
    assert body["temperature"] == 0
    assert body["stop"] == ["}"]
    assert body["include_stop_str_in_output"] is True
    longest = max(len(row.answer) for row in ROWS)
    assert longest // 2 < body["max_tokens"] < longest + 40


def test_a_foreign_server_gets_no_fields_that_it_may_not_know(job, suite):
    with server(right, owner="somebody", models=("gpt",)) as script:
        evaluate(EvaluateConfig(suite=suite, model="gpt", endpoint=script.url), job)
    assert not {"stop", "include_stop_str_in_output"} & set(script.asked[0])


def test_the_same_evaluation_is_not_done_again_whatever_the_transport(job, suite):
    with server(right) as script:
        first = evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url), job)
    with server(right) as script:
        with pytest.raises(AlreadyDone) as done:
            evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url, concurrency=2), job)
        assert done.value.folder == first.folder
        assert not script.asked
        other = evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url, limit=5), job)
    assert other.folder != first.folder


def test_a_prompt_file_is_applied_and_is_part_of_the_work(job, suite, tmp_path):
    path = tmp_path / "p.json"
    PromptShape("short", "Be short.", (address(200),)).write(path)
    with server(right) as script:
        result = evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url, prompt=path), job)
    turns = script.asked[0]["messages"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[0]["content"] == "Be short."
    assert result.prompt == "short"
    assert Manifest.read(result.folder).config["prompt"] == "short"


def test_a_plan_folder_stands_for_its_best_prompt(job, suite):
    with job.workspace.open(verb="decide", kind="plan", name="p", config={}, inputs={}) as plan:
        PromptShape("best", "Be short.").write(plan / "prompts" / "best.json")
        plan.summary = {"best_prompt": "prompts/best.json"}
    with server(right) as script:
        result = evaluate(
            EvaluateConfig(suite=suite, model="fake", endpoint=script.url, prompt=plan.path), job
        )
        assert result.prompt == "best"
        with pytest.raises(FolderError, match="not a plan"):
            evaluate(
                EvaluateConfig(suite=suite, model="fake", endpoint=script.url, prompt=result.folder), job
            )


def test_tools_are_passed_on_and_answers_that_call_them_are_refused(job):
    tool = {"type": "function", "function": {"name": "f"}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    text = Example((Message("user", "q"), Message("assistant", "a")), (tool,))
    calls = Example((Message("user", "q"), Message("assistant", None, tool_calls=(call,))), (tool,))
    with server(lambda body: completion("a")) as script:
        suite = data_set(job, {"test": [text]}, name="texts")
        assert (
            evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url), job)
            .scores["exact"]
            .value
            == 1
        )
        assert script.asked[0]["tools"] == [tool]
        suite = data_set(job, {"test": [text, calls]}, name="calls")
        with pytest.raises(DataError, match="tool calls have no text to compare: '1 of 2 items'"):
            evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url), job)


def test_a_limit_takes_the_same_items_every_time(job, suite):
    with server(right) as script:
        result = evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url, limit=7), job)
    chosen = [row["id"] for row in samples(result.folder)]
    assert set(chosen) == set(sorted(row.row_hash for row in ROWS)[:7])


def test_a_failed_item_is_an_outcome_that_scores_zero(job, suite):
    def breaks_on_three(body):
        return failure(400, "no threes") if last_user(body).startswith("3 ") else right(body)

    with server(breaks_on_three) as script:
        result = evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url), job)
    assert (result.items, result.errors) == (20, 1)
    score = result.scores["exact_json"]
    assert (score.value, score.without_errors) == (0.95, 1.0)
    broken = next(row for row in samples(result.folder) if row["error"])
    assert broken["error"] == "HTTP 400: no threes"
    assert set(broken["scores"].values()) == {0.0}


def test_answers_cut_at_the_limit_are_counted(job, suite):
    with server(lambda body: completion("{", "length")) as script:
        result = evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url, max_tokens=1), job)
    assert result.truncated == 20
    assert script.asked[0]["max_tokens"] == 1


class Killed(BaseException):
    pass


def test_a_killed_evaluation_goes_on_with_what_is_missing(job, suite, monkeypatch):
    from tunesmith.evaluate import asking

    def killed_after(limit):
        written = []

        def append(path, row):
            if len(written) == limit:
                with path.open("a") as file:
                    file.write('{"id": "torn')
                raise Killed
            written.append(row["id"])
            original(path, row)

        return append

    original = asking.append_jsonl
    with server(right) as script:
        config = EvaluateConfig(suite=suite, model="fake", endpoint=script.url, concurrency=1)
        monkeypatch.setattr(asking, "append_jsonl", killed_after(8))
        with pytest.raises(Killed):
            evaluate(config, job)
        monkeypatch.setattr(asking, "append_jsonl", original)
        before = len(script.asked)
        result = evaluate(config, job)
    assert len(script.asked) - before == 12
    assert result.items == len(samples(result.folder)) == 20
    assert result.scores["exact_json"].value == 1


def test_a_server_that_goes_away_ends_the_work_and_keeps_the_answers(job, suite, monkeypatch):
    from tunesmith.core import endpoint
    from tunesmith.evaluate import server as asked

    class Impatient(endpoint.Endpoint):
        def __post_init__(self):
            self.sleep = lambda seconds: None
            self.attempts = 2
            super().__post_init__()

        def models(self):
            if asked := len(script.asked):
                raise ServerError("gone", value=asked)
            return super().models()

    monkeypatch.setattr(asked, "Endpoint", Impatient)
    with server(lambda body: right(body) if len(script.asked) <= 5 else failure(503)) as script:
        config = EvaluateConfig(suite=suite, model="fake", endpoint=script.url, concurrency=1)
        with pytest.raises(ServerError, match="gone"):
            evaluate(config, job)
    monkeypatch.undo()
    with server(right) as script:
        result = evaluate(config.model_copy(update={"endpoint": script.url}), job)
        assert len(script.asked) == 15
    assert (result.items, result.errors) == (20, 0)


def test_a_file_is_a_suite_too_and_each_row_is_accounted_for(job, tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [row.to_json() for row in (*ROWS[:6], ROWS[0])]
    write_jsonl(path, [*rows, {"messages": [{"role": "user", "content": "no answer"}]}])
    with server(right) as script:
        result = evaluate(EvaluateConfig(suite=path, model="fake", endpoint=script.url), job)
    assert (result.items, result.duplicates, result.refused, result.split) == (6, 1, 1, None)


def test_rows_of_one_group_widen_the_interval(job):
    groups = {row.row_hash: f"g{n // 5}" for n, row in enumerate(ROWS)}
    folder = data_set(job, {"test": ROWS}, groups=groups, name="grouped")
    with server(every_other_right) as script:
        result = evaluate(EvaluateConfig(suite=folder, model="fake", endpoint=script.url), job)
    assert result.scores["exact_json"].groups == 4
    assert result.scores["field_f1"].method.endswith("over groups")


def test_a_model_that_is_only_behind_the_url_is_known_by_url_and_name(job, suite):
    with server(right, models=("remote/x",)) as script:
        result = evaluate(EvaluateConfig(suite=suite, model="remote/x", endpoint=script.url), job)
    assert next(e for e in Manifest.read(result.folder).inputs if e.role == "model").kind == "remote"


def test_a_model_may_be_served_under_another_name(job, suite):
    with server(right, models=("v1-abc",)) as script:
        evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url, served_as="v1-abc"), job)
        assert script.asked[0]["model"] == "v1-abc"


def test_a_server_without_the_model_is_refused_with_the_nearest_name(job, suite):
    with server(right, models=("faked",)) as script, pytest.raises(ModelError, match="did you mean 'faked'"):
        evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url), job)


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"suite": "missing.jsonl"}, DataError, "no such file"),
        ({"suite": "missing"}, FolderError, "no folder"),
        ({"split": "validation"}, DataError, "no such split"),
        ({"scorers": ["exakt"]}, ConfigError, "did you mean 'exact'"),
        ({"prompt": "missing.json"}, DataError, "no such file"),
        ({"api_key_variable": "NOT_SET_ANYWHERE"}, ConfigError, "not set"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_message(job, suite, changes, kind, says):
    with server(right) as script, pytest.raises(kind, match=says) as caught:
        evaluate(EvaluateConfig(**{"suite": suite, "model": "fake", "endpoint": script.url, **changes}), job)
    assert isinstance(caught.value, UserError)
    assert not script.asked


@pytest.mark.parametrize("changes", [{"served_as": "x"}, {"api_key_variable": "X"}])
def test_what_only_a_server_that_runs_already_could_use_is_refused_without_one(suite, changes):
    with pytest.raises(ConfigError, match="give its --endpoint"):
        build(EvaluateConfig, {"suite": str(suite), **changes}, source="command line")


def test_an_empty_split_is_refused(job):
    folder = data_set(job, {"train": ROWS, "test": []}, name="empty")
    with server(right) as script, pytest.raises(DataError, match="no items"):
        evaluate(EvaluateConfig(suite=folder, model="fake", endpoint=script.url), job)


def test_plain_text_is_no_suite(job, tmp_path):
    (tmp_path / "docs.jsonl").write_text('{"text": "once"}\n{"text": "twice"}\n')
    with server(right) as script, pytest.raises(DataError, match=r"no question to ask by chat.*: '2 rows'"):
        evaluate(EvaluateConfig(suite=tmp_path / "docs.jsonl", model="fake", endpoint=script.url), job)
    assert not script.asked


def test_rows_without_one_right_answer_are_no_suite(job, tmp_path):
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    with server(right) as script, pytest.raises(DataError, match=r"preference pairs.*no single right answer"):
        evaluate(EvaluateConfig(suite=tmp_path / "pairs.jsonl", model="fake", endpoint=script.url), job)
    assert not script.asked


def test_the_key_comes_from_the_variable_that_is_named(job, suite, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    with server(right) as script:
        result = evaluate(
            EvaluateConfig(suite=suite, model="fake", endpoint=script.url, api_key_variable="MY_KEY"), job
        )
    assert script.headers[0]["Authorization"] == "Bearer secret"
    for path in result.folder.glob("*.json*"):
        assert "secret" not in path.read_text()


def test_the_terminal_shows_each_score(job, suite):
    with server(every_other_right) as script:
        result = evaluate(EvaluateConfig(suite=suite, model="fake", endpoint=script.url), job)
    console = Console(width=100, file=io.StringIO())
    show_evaluate(result, console)
    shown = console.file.getvalue()
    assert "exact_json" in shown
    assert "29.9% – 70.1%" in shown
