"""The report of a suite: slices, numbers where less is better, people, worn items."""

import json
import re
from html import unescape

from servers import completion, last_user, server

from tunesmith.core.conversation import Example, chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.files import read_json, write_jsonl
from tunesmith.core.reviews.acts import Item, Verdict
from tunesmith.core.reviews.store import reviews_of
from tunesmith.data import prepare
from tunesmith.data.schema import PrepareConfig
from tunesmith.evaluate import CompareConfig, EvaluateConfig, compare, evaluate
from tunesmith.evaluate.gate.door import gate
from tunesmith.evaluate.gate.schema import GateConfig
from tunesmith.evaluate.report import ReportConfig, notes, report


def model(knows, level):
    """Right where `knows` says so; likelihoods that depend on the question a little."""

    def answer(body):
        if "items" in body:
            score = {"logprob": level - len(str(body)) / 1000, "num_tokens": 3}
            return 200, {}, json.dumps({"data": [score]}).encode()
        number = int(last_user(body).split()[-1].strip("?"))
        return completion(f"City {number}" if knows(number) else "no")

    return answer


def prepared(job, tmp_path):
    """Capitals of made-up lands; Ann accepted every test item."""
    rows = []
    for n in range(200):
        turns = chat([("user", f"Capital of land {n}?"), ("assistant", f"City {n}")]).messages
        rows.append(Example(turns, metadata={"part": "north" if n % 2 else "south"}).to_json())
    write_jsonl(tmp_path / "capitals.jsonl", rows)
    config = PrepareConfig(source=tmp_path / "capitals.jsonl", near_duplicates=0, name="capitals")
    folder = prepare(config, job).folder
    test = DataSet.open(folder).split("test")
    reviews = reviews_of(job.workspace)
    reviews.queue("q", "data-set", "capitals", [Item(row.row_hash, 1.0) for row in test])
    for row in test:
        reviews.decide(reviews.claim("q", "ann", row_hash=row.row_hash), Verdict("accept"))
    return folder


def suite_reports(job, tmp_path):
    """Two models on a suite with slices and a number where less is better."""
    data = prepared(job, tmp_path)
    path = tmp_path / "suite.yaml"
    task = {"name": "facts", "data": str(data), "slices": ["part"], "people": {}}
    path.write_text(json.dumps({"name": "s", "tasks": [{**task, "scorers": ["exact", "bits_per_byte"]}]}))
    reports = []
    for name, knows, level in (("old", lambda n: n % 5 == 0, -8.0), ("new", lambda n: n % 9, -2.0)):
        with server(model(knows, level), models=(name,)) as script:
            config = EvaluateConfig(suite=path, model=name, endpoint=script.url)
            reports.append(evaluate(config, job).folder)
    return data, reports, compare(CompareConfig(a=reports[0], b=reports[1]), job).folder


def test_a_suite_shows_slices_numbers_people_and_how_worn_its_items_are(job, tmp_path):
    data, reports, comparison = suite_reports(job, tmp_path)
    config = ReportConfig(data=data, reports=tuple(reports), comparison=comparison, labels=("Old", "New"))
    made = report(config, job)
    html = (made.folder / "report.html").read_text()
    text = unescape(re.sub(r"<[^>]+>", " ", html))
    text = " ".join(text.split())
    assert "Part: south" in text
    assert "p is corrected for 2 looks" in text
    assert re.search(r"People accepted (\d+) of the \1 items of capitals", text)
    assert "were asked for 2 reports by then" in text
    assert "The models did not answer" not in text
    assert "other items than this data set's" not in text
    facts = read_json(made.folder / "report.json")
    bits = {part["scorer"]: part for part in facts["comparison"]["differences"]}["bits_per_byte"]
    assert bits["value"] < 0
    assert bits["better"] == "lower"
    assert "Bits per byte" in text
    assert not re.search(r"Bits per byte\s*[\d.]+\s*%", text)
    assert "less is better" in text


def test_scores_of_several_tasks_are_named_behind_their_task():
    assert notes.scorer_name("extraction/exact_json") == "Extraction: exact match"
    assert notes.scorer_name("facts/bits_per_byte") == "Facts: bits per byte"
    assert notes.scorer_name("mine:odd") == "Mine:odd"
    assert notes.scorer_meaning("mine:odd") == ""
    assert "less is better" in notes.scorer_meaning("facts/perplexity")


def test_how_sure_a_model_was_is_drawn(job, tmp_path):
    data = prepared(job, tmp_path)
    path = tmp_path / "sure.yaml"
    task = {"name": "facts", "data": str(data), "scorers": ["exact"], "confidence": True, "split": "train"}
    path.write_text(json.dumps({"name": "s", "tasks": [task]}))

    def boasts(body):
        number = int(last_user(body).split()[-1].strip("?"))
        logprobs = {"content": [{"token": "a", "logprob": -0.01 * (1 + number % 70)}]}
        text = f"City {number}" if number % 3 else "no"
        choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop", "logprobs": logprobs}
        return 200, {}, json.dumps({"choices": [choice], "usage": {}}).encode()

    with server(boasts, models=("one",)) as script:
        done = evaluate(EvaluateConfig(suite=path, model="one", endpoint=script.url), job).folder
    made = report(ReportConfig(data=data, reports=(done,), labels=("One",)), job)
    html = (made.folder / "report.html").read_text()
    assert html.count('class="reliability"') == 1
    assert "calibration error" in html
    assert len(re.findall(r"sure \d+", html)) >= 10
    assert "- One: calibration error" in (made.folder / "report.md").read_text()


def test_what_a_rule_says_stands_with_each_condition(job, tmp_path):
    data, reports, comparison = suite_reports(job, tmp_path)
    rule = tmp_path / "rule.yaml"
    guard = {"score": "exact", "limit": 0.99}
    rule.write_text(json.dumps({"primary": {"score": "exact"}, "guards": [guard]}))
    held = gate(GateConfig(rule=rule, a=reports[0], b=reports[1]), job)
    config = ReportConfig(data=data, reports=tuple(reports), comparison=comparison, gate=held.folder)
    made = report(config, job)
    html, twin = ((made.folder / name).read_text() for name in ("report.html", "report.md"))
    assert "new (as_is) may not take the place of old (as_is)" in html
    assert (html.count('<li class="holds">'), html.count('<li class="fails">')) == (1, 1)
    assert "- ✓ exact is better" in twin
    assert "- ✗ exact" in twin
    facts = read_json(made.folder / "report.json")["rule"]
    assert (facts["passed"], [holds for holds, _ in facts["conditions"]]) == (False, [True, False])


def test_what_was_kept_has_a_section_of_its_own(job, tmp_path):
    from tunesmith.evaluate.retention import pack

    data, reports, comparison = suite_reports(job, tmp_path)
    gold = {item.prompt: item.gold for item in pack()}
    kept = []
    for name, forgets in (("base", ()), ("tuned", ("facts",))):
        lost = {item.prompt for item in pack(families=forgets)} if forgets else ()

        def answer(body, lost=lost):
            question = last_user(body)
            return completion("?" if question in lost else gold[question])

        with server(answer, models=(name,)) as script:
            config = EvaluateConfig(suite="retention", model=name, endpoint=script.url)
            kept.append(evaluate(config, job).folder)
    retention = compare(CompareConfig(a=kept[0], b=kept[1]), job).folder
    config = ReportConfig(data=data, reports=tuple(reports), comparison=comparison, retention=retention)
    made = report(config, job)
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", (made.folder / "report.html").read_text())).split())
    assert "The training cost the model something elsewhere: 94 % against 100 %" in text.replace(
        "\u202f", " "
    )
    assert "p is corrected for 17 looks" in text
    assert "Family: facts 20 \u2212100" in text
    assert "(forgetting)" not in text
