"""The commands on the page are those that made its numbers: run again, they find their work done."""

import json
import re
import shlex

import click
import pytest
from report_folders import answers, data_set, journey, report, reviewed
from report_text import facts_of, markdown_of, text_of
from servers import completion, last_user, server

from tunesmith.cli.main import root as command_line
from tunesmith.cli.options import configuration, given
from tunesmith.cli.verbs import BY_NAME, load
from tunesmith.core.conversation import chat
from tunesmith.core.files import write_jsonl
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.evaluate import CompareConfig, EvaluateConfig, compare, evaluate
from tunesmith.evaluate.ranking.door import rank
from tunesmith.evaluate.ranking.schema import RankConfig
from tunesmith.evaluate.report import ReportConfig
from tunesmith.evaluate.report import report as make

COMMON = ("config", "out", "workspace", "json", "quiet")


def run_again(line, job):
    """The folder that a command finds its work done in."""
    _, *words = shlex.split(line)
    program = command_line()
    name, command, words = program.resolve_command(click.Context(program), words)
    values = given(command.make_context(name, words).params)
    config = configuration(BY_NAME[name], {key: values[key] for key in values if key not in COMMON}, None)
    with pytest.raises(AlreadyDone) as done:
        load(BY_NAME[name].door)(config, job)
    return done.value.folder


def commands_of(result):
    return {one["makes"]: one["line"] for one in facts_of(result)["commands"]}


def asked(job, suite, *, limit=None, prompt=None, knows=lambda n: True, **more):
    """The fake model, as a script says what it answers."""

    def answer(body):
        n = int(last_user(body).split()[-1])
        return completion(f"answer {n}" if knows(n) else "no")

    with server(answer) as script:
        config = EvaluateConfig(
            suite=suite, model="fake", endpoint=script.url, limit=limit, prompt=prompt, **more
        )
        return evaluate(config, job).folder


@pytest.fixture
def here(job, monkeypatch):
    """A user stands in the folder of the workspace."""
    job.workspace.root.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(job.workspace.root.parent)
    return job.workspace.root.parent


def rows():
    return [chat([("user", f"question {n}"), ("assistant", f"answer {n}")]) for n in range(60)]


def test_every_number_has_the_command_that_made_it(job, here):
    data = data_set(job, train=10, validation=10, test=40, examples=rows())
    (here / "prompts").mkdir()
    shape = {"name": "short prompt", "system": 'Be short; "quote" it\'s.'}
    (here / "prompts" / "short one.json").write_text(json.dumps(shape))
    plain = asked(job, data, limit=30, knows=lambda n: n % 3)
    prompt = here / "prompts" / "short one.json"
    shaped = asked(
        job, data, limit=30, prompt=prompt, scorers=("exact", "token_f1"), slices=("length",), seed=3
    )
    compared = compare(CompareConfig(a=plain, b=shaped, margin=0.1, metric="token_f1"), job).folder
    ranking = rank(RankConfig(reports=[str(plain), str(shaped)], metric="exact", limit=20), job).folder
    validation = reviewed(job, shaped, lambda one: "answer" in one.answer)
    config = ReportConfig(
        data=data,
        reports=[plain, shaped],
        comparison=compared,
        ranking=ranking,
        validation=[validation],
        labels=["It's plain", "Shaped"],
        reproduce=["make all; echo 'done'"],
    )
    result = make(config, job)
    lines = commands_of(result)
    for folder in (plain, shaped, compared, ranking, validation):
        assert run_again(lines[Manifest.read(folder).id], job) == folder
    assert run_again(lines[None], job) == result.folder
    assert "'prompts/short one.json'" in lines[Manifest.read(shaped).id]
    for text in (text_of(result), markdown_of(result)):
        for line in lines.values():
            assert line in text


def test_a_suite_and_the_retention_pack_have_their_commands(job, here):
    write_jsonl(here / "rows.jsonl", [one.to_json() for one in rows()])
    tasks = [{"name": name, "data": "rows.jsonl", "repeats": 2, "temperature": 0.5} for name in ("a", "b")]
    (here / "suite.yaml").write_text(json.dumps({"name": "s", "tasks": tasks}))
    suite = asked(job, here / "suite.yaml", limit=12)
    file = asked(job, here / "rows.jsonl", limit=12, max_tokens=9)
    with server(lambda body: completion("4")) as script:
        kept = evaluate(EvaluateConfig(suite="retention", model="fake", endpoint=script.url), job).folder
    lines = commands_of(make(ReportConfig(data=data_set(job), reports=[suite, file], hard=[kept]), job))
    assert lines[Manifest.read(suite).id] == "tunesmith evaluate suite.yaml --model fake --limit 12"
    assert (
        "tunesmith evaluate rows.jsonl --model fake --limit 12 --max-tokens 9"
        in lines[Manifest.read(file).id]
    )
    assert lines[Manifest.read(kept).id].startswith("tunesmith evaluate retention --model fake")
    for folder in (suite, file, kept):
        assert run_again(lines[Manifest.read(folder).id], job) == folder


def test_a_data_set_with_a_dot_in_its_name_is_called_by_its_id(job, here):
    data = data_set(job, train=10, validation=10, test=40, examples=rows(), name="v1.5")
    folder = asked(job, data, limit=12)
    line = commands_of(make(ReportConfig(data=data, reports=[folder]), job))[Manifest.read(folder).id]
    assert f"evaluate {Manifest.read(data).id[:12]} " in line
    assert run_again(line, job) == folder


def test_a_model_behind_a_url_is_asked_at_the_readers_own_address(job, here):
    data = data_set(job, train=10, validation=10, test=40, examples=rows())
    with server(lambda body: completion("no"), models=("large",)) as script:
        config = EvaluateConfig(suite=data, model="large", endpoint=script.url)
        folder = evaluate(config, job).folder
    result = make(ReportConfig(data=data, reports=[folder]), job)
    assert commands_of(result)[Manifest.read(folder).id].endswith('--endpoint "$ENDPOINT"')
    for text in (text_of(result), markdown_of(result)):
        assert "put your own into the variable ENDPOINT" in text
        assert script.url not in text


def test_reports_behind_a_comparison_have_their_commands_too(job):
    data = data_set(job)
    reports = [report(job, kind, answers(kind, range(70, 90)), data=data) for kind in ("base", "tuned")]
    kept = compare(CompareConfig(a=reports[0], b=reports[1]), job).folder
    lines = commands_of(make(ReportConfig(data=data, retention=kept), job))
    assert {Manifest.read(folder).id for folder in (*reports, kept)} < set(lines)


def test_a_command_says_nothing_of_this_machine(job):
    result = make(ReportConfig(**journey(job)), job)
    lines = commands_of(result)
    assert len(lines) == 7
    for line in lines.values():
        assert not re.search(r"(^|[ ='\"])(/|~)", line)
        assert "somebody" not in line
    tuned = next(line for line in lines.values() if line.startswith("tunesmith evaluate addresses"))
    assert "--scorers exact_json --scorers field_f1 --scorers json_valid" in tuned


def test_a_name_with_a_line_end_does_not_become_a_command(job):
    data = data_set(job)
    folder = report(job, "r", answers("base", range(70, 90)), data=data)
    config = ReportConfig(data=data, reports=[folder], labels=["a\nrm -rf x"], title="b\nrm -rf y")
    result = make(config, job)
    source = (result.folder / result.markdown).read_text()
    outside = re.sub(r"'[^']*'", "", source)  # what a shell would not take as one quoted word
    assert not re.search(r"^rm", outside, re.MULTILINE)
