"""The runner of the data checks: what is found is counted, what did not run says why, the page is safe."""

import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from folders import address, data_set
from rich.console import Console
from sample_rows import write_rows

from tunesmith.cli.show_check import show_check
from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import ConfigError, DataError, FolderError, MissingPackage, ModelError, UserError
from tunesmith.core.job import Job
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.data.check import (
    CheckConfig,
    CheckResult,
    charts,
    door,
    registry,
    sample,
    selection,
    unreadable,
)
from tunesmith.data.check import check as run_check
from tunesmith.data.check.histogram import histogram
from tunesmith.data.check.plain import plain
from tunesmith.data.check.port import Check, Context, Fact, Finding, Found, Looked
from tunesmith.data.check.run import why_not
from tunesmith.data.check.schema import CheckOutcome
from tunesmith.data.check.sets.duplicates import short
from tunesmith.data.check.sets.mapping import flat
from tunesmith.data.check.texts.parts import parts_of
from tunesmith.data.check.texts.personal import mask_example, opening
from tunesmith.data.corpus import CorpusRow

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}</style></svg>"


def find_long(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Answers over so many characters."""
    if len(row.example.answer) > threshold:
        yield Found(
            "warning", len(row.example.answer), {"pointer": "/messages/1", "text": row.example.answer}
        )


def find_red(row: CorpusRow, threshold: float) -> Iterator[Found]:
    if "red" in row.example.answer:
        yield Found("error", "red", {"text": row.example.answer})


def find_twins(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    first: dict[str, CorpusRow] = {}
    for row in context.corpus:
        key = row.example.answer[:20]
        if key in first:
            yield Finding(row.position, "note", 0.9, {"row": first[key].place, "text": "much the same"})
        first.setdefault(key, row)
    yield Fact("histogram", histogram([1, 2, 2, 3], unit="words", limit=2))
    yield Fact("share", np.float32(0.5))


def lacks_package(context: Context, threshold: float) -> Iterator[Finding]:
    yield Finding(0, "error", 1, {})
    raise MissingPackage("scikit-learn is not installed", next_step="pip install 'tunesmith[data]'")


def lacks_module(row: CorpusRow, threshold: float) -> Iterator[Found]:
    yield Found("error", 1, {})
    if row.position == 3:
        raise ImportError("gone", name="ftfy")


def looks_at_some(context: Context, threshold: float) -> Iterator[Finding | Looked]:
    yield Looked(4)
    yield Finding(0, "warning", 2.0, {"text": "odd"})


FAKES = (
    *unreadable.CHECKS,
    Check("long_answers", "Answers over so many characters.", "answers", row=find_long, threshold=40),
    Check("red", "Answers that say red.", "safety", row=find_red),
    Check("twins", "Rows that are much the same.", "duplicates", whole=find_twins, threshold=0.5),
    Check("packaged", "Needs a package.", "labels", whole=lacks_package),
    Check("modular", "Needs a module.", "answers", row=lacks_module),
    Check("sampled", "Looks at a sample.", "model", whole=looks_at_some),
    Check("asks", "Needs a model.", "model", whole=looks_at_some, needs=frozenset({"model"})),
)


@pytest.fixture(autouse=True)
def fake_checks(monkeypatch):
    monkeypatch.setattr(door, "CHECKS", {check.name: check for check in FAKES})


def rows_file(folder: Path, num_rows: int = 12) -> Path:
    return write_rows(folder / "rows.jsonl", num_rows)


def outcome(result: CheckResult, name: str) -> CheckOutcome:
    return next(part for part in result.checks if part.check == name)


def lines_of(result: CheckResult) -> list[dict[str, object]]:
    return [json.loads(line) for line in (result.folder / "findings.jsonl").read_text().splitlines()]


def test_every_finding_is_a_line_with_its_row_value_and_threshold(job, tmp_path):
    result = run_check(CheckConfig(data=str(rows_file(tmp_path)), only=("red", "long_answers")), job)
    lines = lines_of(result)
    assert len(lines) == result.errors + result.warnings + result.notes
    assert [line["row"]["line"] for line in lines if line["check"] == "red"] == [1, 7]
    assert set(lines[0]) == {"check", "row", "severity", "value", "threshold", "evidence"}
    assert len(lines[0]["row"]["row_hash"]) == 64
    assert outcome(result, "red").rows == result.rows_with_errors == 2
    assert {line["threshold"] for line in lines if line["check"] == "long_answers"} == {40}


def test_what_fails_for_want_of_a_package_is_not_run_and_leaves_no_finding(job, tmp_path):
    result = run_check(CheckConfig(data=str(rows_file(tmp_path))), job)
    reasons = {part.check: part.reason for part in result.not_run}
    assert set(reasons) == {"packaged", "modular", "asks"}
    assert "scikit-learn is not installed" in reasons["packaged"]
    assert "ftfy" in reasons["modular"]
    assert "--model" in reasons["asks"]
    assert not {line["check"] for line in lines_of(result)} & set(reasons)
    page = (result.folder / result.page).read_text()
    assert "Nothing is known about what these would have found" in page
    assert "scikit-learn is not installed" in page


def test_a_check_that_was_asked_for_and_did_not_run_fails_the_command(job, tmp_path):
    result = run_check(CheckConfig(data=str(rows_file(tmp_path)), only=("packaged",)), job)
    assert not result.passed
    assert not result.errors


def test_a_sampled_check_has_an_interval_and_the_others_have_none(job, tmp_path):
    result = run_check(CheckConfig(data=str(rows_file(tmp_path)), only=("sampled", "red")), job)
    part = outcome(result, "sampled")
    assert (part.looked_at, part.share) == (4, 0.25)
    assert part.low < 0.25 < part.high
    assert outcome(result, "red").low is None
    assert "4 of 12 rows" in result.sampled


@pytest.mark.parametrize(
    ("only", "fail_on", "passed"),
    [
        ("red", "error", False),
        ("red", "never", True),
        ("sampled", "error", True),
        ("sampled", "warning", False),
        ("twins", "warning", True),
    ],
)
def test_the_exit_code_follows_fail_on(job, tmp_path, only, fail_on, passed):
    config = CheckConfig(data=str(rows_file(tmp_path)), only=(only,), fail_on=fail_on)
    assert run_check(config, job).passed is passed


def test_rows_that_cannot_be_read_are_findings_with_their_line(job, tmp_path):
    path = rows_file(tmp_path, 3)
    with path.open("a") as file:
        file.write('{"messages": 5}\n{broken\n')
    result = run_check(CheckConfig(data=str(path), only=("unreadable",)), job)
    assert (result.rows, result.unreadable, outcome(result, "unreadable").rows) == (3, 2, 2)
    assert [line["row"]["line"] for line in lines_of(result)] == [4, 5]
    assert not result.passed


def test_a_file_without_a_readable_row_runs_nothing_else(job, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"messages": 5}\n')
    result = run_check(CheckConfig(data=str(path)), job)
    assert outcome(result, "unreadable").rows == 1
    assert {part.reason for part in result.not_run} >= {"no row can be read"}


def test_one_row_is_enough(job, tmp_path):
    result = run_check(CheckConfig(data=str(rows_file(tmp_path, 1)), only=("red", "twins")), job)
    assert result.rows == 1
    assert not result.not_run


def test_the_rows_of_a_data_set_name_their_split(job):
    folder = data_set(job, {"train": [address(1), address(2)], "test": [address(3), address(7)]})
    result = run_check(CheckConfig(data=str(folder), only=("modular", "long_answers")), job)
    assert {line["row"]["split"] for line in lines_of(result)} == {"train", "test"}
    assert Manifest.read(result.folder).inputs[0].id == Manifest.read(folder).id


def test_thresholds_move_what_is_found_and_are_written_down(job, tmp_path):
    path = rows_file(tmp_path)
    config = CheckConfig(data=str(path), only=("long_answers",), threshold=("long_answers=1e6",))
    result = run_check(config, job)
    assert outcome(result, "long_answers").findings == 0
    assert outcome(result, "long_answers").threshold == 1e6


def test_finished_work_is_not_done_again_and_its_result_comes_back(job, tmp_path):
    config = CheckConfig(data=str(rows_file(tmp_path)))
    result = run_check(config, job)
    with pytest.raises(AlreadyDone) as done:
        run_check(config, job)
    summary = Manifest.read(done.value.folder).summary
    assert CheckResult.model_validate(CheckResult.fields_from(summary, done.value.folder)) == result


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"data": "nowhere.jsonl"}, DataError, "no such file"),
        ({"data": "nowhere"}, FolderError, "no folder of this name"),
        ({"data": ""}, DataError, "no data are named"),
        ({"only": ("twin",)}, ConfigError, "did you mean 'twins'"),
        ({"skip": ("twin",)}, ConfigError, "did you mean 'twins'"),
        ({"only": ("red",), "skip": ("red",)}, ConfigError, "no check is left"),
        ({"threshold": ("twin=1",)}, ConfigError, "did you mean 'twins'"),
        ({"threshold": ("twins",)}, ConfigError, "NAME=VALUE"),
        ({"threshold": ("twins=much",)}, ConfigError, "not a number"),
        ({"threshold": ("twins=nan",)}, ConfigError, "not a number"),
        ({"model": "smollm3"}, ModelError, "no model of this name"),
        ({"shape": "sharegtp"}, ConfigError, "did you mean 'sharegpt'"),
        ({"mapping": Path("nowhere.yaml")}, ConfigError, "nowhere.yaml"),
        ({"embeddings": "statik"}, UserError, "did you mean 'static'"),
        ({"benchmark": (Path("nowhere.jsonl"),)}, DataError, "no such file"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_read(job, tmp_path, changes, error, match):
    with pytest.raises(error, match=match):
        run_check(CheckConfig(**{"data": str(rows_file(tmp_path)), **changes}), job)
    assert not list(job.workspace.root.glob("checks/*/findings.jsonl"))


def test_a_file_is_read_by_a_shape_a_mapping_and_with_repairs(job, tmp_path):
    path = tmp_path / "odd.jsonl"
    row = {
        "q": "2+2?",
        "messages": [{"role": "Human", "content": "2+2?"}, {"role": "assistant", "content": "4"}],
    }
    path.write_text(json.dumps(row) + "\n")
    mapping = tmp_path / "map.yaml"
    mapping.write_text("messages: messages\n")

    def counts(**settings: object) -> tuple[int, int]:
        result = run_check(CheckConfig(data=str(path), only=("asks",), **settings), job)
        return result.rows, result.unreadable

    assert counts() == (0, 1)
    assert counts(fix=True) == (1, 0)
    assert counts(mapping=mapping) == (0, 1)
    mapping.write_text("prompt: q\nanswer: messages.1.content\n")
    assert counts(mapping=mapping) == (1, 0)  # another mapping is another check
    assert counts(shape="text") == (0, 1)


def test_the_next_commands_read_the_file_in_the_same_way(job, tmp_path):
    path = rows_file(tmp_path)
    result = run_check(CheckConfig(data=str(path), only=("asks",), shape="openai-chat", fix=True), job)
    assert result.next[-1] == f"tunesmith data prepare {path} --shape openai-chat --fix"


@pytest.mark.parametrize("spelled", ["by path", "by name"])
def test_a_data_set_may_have_a_dot_in_its_name(job, spelled):
    folder = data_set(job, {"train": [address(1)], "test": [address(2)]}, name="set.v2")
    data = str(folder) if spelled == "by path" else folder.name
    assert "." in folder.name
    assert run_check(CheckConfig(data=data, only=("asks",)), job).rows == 2


@pytest.mark.parametrize("part", ["#train", "#test"])
def test_a_folder_of_files_is_checked_by_its_part(job, tmp_path, part):
    folder = tmp_path / "files"
    for name, num_rows in (("train", 3), ("test", 5)):
        (folder / name).mkdir(parents=True)
        rows_file(folder / name, num_rows)
    with pytest.raises(DataError, match="several splits"):
        run_check(CheckConfig(data=str(folder), only=("asks",)), job)
    result = run_check(CheckConfig(data=f"{folder}{part}", only=("asks",)), job)
    assert result.rows == {"#train": 3, "#test": 5}[part]


@pytest.mark.parametrize("settings", [{"shape": "alpaca"}, {"fix": True}, {"mapping": Path("map.yaml")}])
def test_a_data_set_is_not_read_in_another_way(job, settings):
    folder = data_set(job, {"train": [address(1)]})
    with pytest.raises(ConfigError, match="read already"):
        run_check(CheckConfig(data=str(folder), only=("asks",), **settings), job)


def test_an_empty_file_is_refused(job, tmp_path):
    path = tmp_path / "empty.jsonl"
    path.touch()
    with pytest.raises(DataError, match="empty"):
        run_check(CheckConfig(data=str(path)), job)


def test_a_recipe_stands_for_its_data_set_and_its_model(job, tmp_path):
    folder = data_set(job, {"train": [address(1), address(2)]})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: fake\nengine: fake\ndata: {folder}\nmax_length: 64\n")
    result = run_check(CheckConfig(data=str(recipe), only=("asks", "long_answers")), job)
    assert result.rows == 2
    assert {entry.role for entry in Manifest.read(result.folder).inputs} == {"data", "model"}
    recipe.write_text(f"data: [{{path: {folder}, name: a}}, {{path: {folder}, name: b}}]\n")
    with pytest.raises(ConfigError, match="mixes 2 data sets"):
        run_check(CheckConfig(data=str(recipe)), job)


# --- the page ------------------------------------------------------------------------------------------


class Outline(HTMLParser):
    """Tags that are opened, attributes, and text; fails when tags do not close in order."""

    VOID = frozenset({"meta", "br", "img", "input", "hr", "link"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.names, self.ids, self.targets, self.text = [], [], set(), [], [], ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}
        self.ids += [value for name, value in attrs if name == "id"]
        self.targets += [value for name, value in attrs if name == "href"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(job: Job, examples, **settings) -> tuple[str, Outline]:
    folder = data_set(job, {"train": examples})
    result = run_check(CheckConfig(data=str(folder), **settings), job)
    page = (result.folder / result.page).read_text()
    return page, Outline(page)


def test_hostile_rows_are_shown_as_text(job):
    rows = [chat([("user", f"{HOSTILE} {at}"), ("assistant", f"red {HOSTILE}{at}")]) for at in range(4)]
    page, outline = page_of(job, rows)
    assert not {"script", "img", "iframe", "link"} & set(outline.tags)
    assert not {name for name in outline.names if name.startswith("on")} | (outline.names & {"src", "style"})
    assert page.lower().count("</style") == 1
    assert "<script>" in outline.text
    assert "{{ 7*7 }}" in outline.text


def test_the_page_is_whole_by_itself(job):
    page, outline = page_of(job, [address(at) for at in range(8)])
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page
    assert len(outline.ids) == len(set(outline.ids))
    assert {target[1:] for target in outline.targets} <= set(outline.ids)
    assert all(target.startswith("#") for target in outline.targets)
    assert 'class="histogram"' in page


def test_a_duplicate_is_shown_with_what_differs(job):
    rows = [
        chat([("user", f"question {at}"), ("assistant", f"an answer of some length, {at}")]) for at in (1, 2)
    ]
    page, _ = page_of(job, rows, only=("twins",))
    assert '<mark class="gold">2</mark>' in page
    assert '<mark class="output">1</mark>' in page


def test_secrets_stand_neither_on_the_page_nor_in_the_findings(job):
    secret = "jonas.keller@northwind-traders.com"
    folder = data_set(job, {"train": [chat([("user", f"mail {secret}"), ("assistant", f"red {secret}")])]})
    result = run_check(CheckConfig(data=str(folder), only=("red",)), job)
    assert "red" in (result.folder / "findings.jsonl").read_text()
    for file in ("findings.jsonl", "report.html", "manifest.json"):
        assert secret not in (result.folder / file).read_text()


def test_equal_data_give_equal_bytes(job, tmp_path):
    config = CheckConfig(data=str(rows_file(tmp_path)))
    first = run_check(config, job)
    second = run_check(config, Job(job.workspace, out=tmp_path / "again"))
    for name in ("findings.jsonl", "facts.json", "report.html"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_the_terminal_names_findings_examples_and_what_did_not_run(job, tmp_path, capsys):
    result = run_check(CheckConfig(data=str(rows_file(tmp_path))), job)
    for width in (80, 200):
        show_check(result, Console(width=width, highlight=False))
        shown = capsys.readouterr().out
        assert re.search(r"● red +2 +16.7 %", shown)
        assert "not run  packaged" in shown
        assert "25.0 %" in shown
        assert "report.html" in shown


# --- parts ---------------------------------------------------------------------------------------------


def test_a_sample_is_uniform_without_repeats_and_sized_by_the_first_rows(job):
    seen: list[int] = []
    clock = iter([0.0, 8.0]).__next__
    drawn = sample.run_on_sample(1000, seen.extend, title="t", seconds=50, seed=1, job=job, clock=clock)
    assert len(drawn.positions) == len(set(seen)) == 50
    assert sorted(seen) == drawn.positions.tolist()
    assert drawn.num_rows == 1000
    assert 300 < np.mean(seen) < 700


@pytest.mark.parametrize("num_rows", [0, 1, 7, 8, 9])
def test_without_a_limit_every_row_is_taken(job, num_rows):
    seen: list[int] = []
    drawn = sample.run_on_sample(num_rows, seen.extend, title="t", seconds=0, seed=0, job=job)
    assert sorted(seen) == list(range(num_rows))
    assert len(drawn.positions) == drawn.num_rows == num_rows


def test_histograms_count_every_value():
    found = histogram([*range(100), 5000], unit="words", limit=50)
    assert sum(found["counts"]) == 101
    assert len(found["edges"]) == len(found["counts"]) + 1
    assert histogram([3], unit="words")["counts"] == [1]


def test_facts_become_json():
    value = {"a": np.float32(0.5), 2: np.array([1, 2]), "c": (float("nan"), np.int64(3), Path("x"), "\ud800")}
    assert json.dumps(plain(value), allow_nan=False)
    assert plain(value)["2"] == [1, 2]


def test_the_map_gives_each_row_a_place_and_a_colour_for_each_layer():
    places = [{"split": "train", "line": at, "row_hash": ""} for at in range(30)]
    points = [
        {
            "x": at / 10,
            "y": -at / 10,
            "row": place,
            "label": f"l{at % 12}",
            "finding": "",
            "split": "train",
            "topic": "",
        }
        for at, place in enumerate(places)
    ]
    found = charts.map_of({"points": points, "of": 40, "label": "topic"})
    assert [layer.name for layer in found.layers] == ["finding", "topic"]
    assert sum(number for _, number in found.layers[1].groups) == 30
    assert found.layers[1].groups[-1][0] == "5 others"
    assert {min(point.x for point in found.points), max(point.x for point in found.points)} == {0, 1}
    assert str(charts.scatter(found)).count("<circle") == 30
    assert charts.map_of({"points": []}) is None


def test_thresholds_of_all_checks_are_known():
    checks = {check.name: check for check in FAKES}
    assert selection.thresholds(checks, ["twins=0.25"])["twins"] == 0.25
    assert selection.thresholds(checks, [])["long_answers"] == 40


def tells_an_address(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    yield Fact("points", [{"text": "write to jane.roe@mail.example-corp.com", "row": 0}])
    yield Finding(0, "note", "jane.roe@mail.example-corp.com", {})


def test_facts_and_values_hide_personal_data_too(job, tmp_path, monkeypatch):
    tells = Check("tells", "Tells an address.", "coverage", whole=tells_an_address)
    monkeypatch.setattr(door, "CHECKS", {"tells": tells})
    folder = run_check(CheckConfig(data=str(rows_file(tmp_path)), embeddings="words"), job).folder
    for name in ("facts.json", "findings.jsonl", "report.html"):
        text = (folder / name).read_text()
        assert "jane.roe" not in text, name
    assert "<EMAIL_1>" in (folder / "facts.json").read_text()


@pytest.mark.parametrize("begins", [short, flat, lambda text: opening(text, 90)])
def test_a_secret_that_the_end_of_a_piece_cuts_is_hidden(begins):
    for lead in range(60, 100):
        shown = begins("x" * lead + " jane.roe.the.third@mail.example-corp.com and more words")
        assert "jane.roe" not in shown, lead


def test_what_a_row_says_does_not_command_the_terminal(job, tmp_path):
    row = chat([("user", "q"), ("assistant", "red \x1b]0;owned\x07")])
    (rows := tmp_path / "rows.jsonl").write_text(json.dumps(row.to_json()) + "\n")
    out = io.StringIO()
    show_check(run_check(CheckConfig(data=str(rows)), job), Console(file=out, width=120))
    assert "␛]0;owned␇" in out.getvalue()
    assert "\x1b]0" not in out.getvalue()


def test_reasoning_is_looked_at_and_masked():
    answer = Message("assistant", "yes", reasoning="ask jane.roe@mail.example-corp.com first")
    row = Example((Message("user", "q"), answer))
    assert [part.pointer for part in parts_of(row)][1] == "/messages/1/reasoning_content"
    assert mask_example(row).example.messages[1].reasoning == "ask <EMAIL_1> first"


def test_checks_that_have_nothing_to_look_at_are_not_counted_as_passed(job, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(door, "CHECKS", registry.CHECKS)
    wanted = ("refusals", "equal_sides", "unused_tools", "benchmark_overlap", "train_similarity")
    result = run_check(CheckConfig(data=str(rows_file(tmp_path)), only=wanted, embeddings="words"), job)
    looked = {part.check: part.looked_at > 0 for part in result.checks}
    assert looked == dict.fromkeys(wanted, False) | {"refusals": True}
    show_check(result, Console(width=200))
    said = capsys.readouterr().out
    assert "nothing found by refusals" in said
    assert "nothing to look at for unused_tools, equal_sides" in said
    page = (result.folder / result.page).read_text()
    assert "Nothing to look at for" in page


def test_an_id_of_the_hub_is_fetched_and_checked(job, tmp_path, monkeypatch):
    (tmp_path / "hub").mkdir()
    num_rows = len(write_rows(tmp_path / "hub" / "train.jsonl").read_text().splitlines())
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda ref, **_: str(tmp_path / "hub"))
    result = run_check(CheckConfig(data="someone/rows", only=("red",)), job)
    assert result.rows == num_rows


@pytest.mark.parametrize(("package", "said"), [("torch", "tunesmith[train]"), ("ftfy", "tunesmith[data]")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package, said):
    assert said in why_not(ImportError("gone", name=package))
