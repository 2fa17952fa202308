"""Questions of reasoning-gym as a source of a suite, with a small package in its place."""

import json

import pytest
from servers import completion, last_user, server

from tunesmith.core import gym
from tunesmith.core.conversation import chat
from tunesmith.core.errors import ConfigError, MissingPackage
from tunesmith.core.files import read_jsonl
from tunesmith.core.gym import worker
from tunesmith.core.scorers import Case, Faulty, Reply, choose
from tunesmith.core.scorers.generated import final_answer
from tunesmith.evaluate import EvaluateConfig, evaluate

PACKAGE = """
import random, time
__version__ = "9.9"

class Family:
    def __init__(self, name, size, seed):
        self.name, self.size, self.seed = name, size, seed

    def __getitem__(self, index):
        if self.name == "sums":
            a, b = self.seed + index, self.size
            return {"question": f"{a} + {b}?", "answer": str(a + b)}
        if self.name == "few":
            return {"question": f"Say {index % 2}", "answer": str(index % 2)}
        if self.name == "unseeded":
            return {"question": f"{random.random()} {sorted({'a', 'b', 'c'}, key=hash)}", "answer": "1"}
        return {"question": f"Check {index}", "answer": None if self.name == "checks" else "1"}

    def score_answer(self, answer, entry):
        print("noise on standard output")
        if self.name == "slow":
            time.sleep(600)
        if self.name == "runs":
            return 1.0 if eval(answer) == 7 else 0.5
        if self.name == "too_much":
            return 7.0
        return 1.0 if answer == entry["answer"] else 0.25

def create_dataset(name, size, seed):
    from reasoning_gym.factory import DATASETS
    if name not in DATASETS:
        raise ValueError(f"Dataset '{name}' not registered")
    if name == "composite":
        raise AssertionError("Must specify at least one dataset")
    return Family(name, size, seed)
"""
FAMILIES = ["checks", "composite", "few", "runs", "slow", "sums", "too_much", "unseeded"]


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """A package of this name where only the worker finds it."""
    folder = tmp_path / "packages" / "reasoning_gym"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(PACKAGE)
    (folder / "factory.py").write_text(f"DATASETS = {dict.fromkeys(FAMILIES)!r}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    gym.close()
    yield folder
    gym.close()


def suite(tmp_path, **source):
    task = {"name": "puzzles", "reasoning_gym": source.pop("reasoning_gym"), **source}
    path = tmp_path / "suite.yaml"
    path.write_text(json.dumps({"name": "puzzles", "tasks": [task]}))
    return path


def run(job, path, answer):
    with server(answer) as script:
        return evaluate(EvaluateConfig(suite=path, model="fake", endpoint=script.url), job)


def adds(body):
    first, _, second, *_ = last_user(body).strip("?").split()
    return completion(f"I add. <answer>{int(first) + int(second)}</answer>")


def test_a_suite_asks_generated_questions_and_each_family_scores_its_own(job, tmp_path):
    def knows_sums(body):
        return adds(body) if "+" in last_user(body) else completion("no")

    path = suite(tmp_path, reasoning_gym={"families": ["sums", "few"], "size": 6, "seed": 3})
    result = run(job, path, knows_sums)
    assert (result.items, result.duplicates, result.primary) == (8, 4, "reasoning_gym")
    slices = {(one.key, one.value): one.score for one in result.scores["reasoning_gym"].slices}
    assert slices == {("family", "sums"): 1.0, ("family", "few"): 0.25}
    assert result.scores["reasoning_gym"].failed == 0
    samples = [line.value for line in read_jsonl(result.folder / "samples.jsonl")]
    assert samples[0]["prompt"] == [{"role": "user", "content": "3 + 6?"}]
    assert samples[0]["gold"] == "9"
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert manifest["config"]["tasks"]["puzzles"]["made_by"] == {
        "families": ["sums", "few"], "size": 6, "seed": 3, "reasoning-gym": "9.9",
    }  # fmt: skip


def test_a_question_is_the_same_in_every_process():
    asked = [gym.question(gym.Place("unseeded", 5, 0, index)) for index in (0, 1, 0)]
    assert asked[0] == asked[2] != asked[1]
    gym.close()
    assert gym.question(gym.Place("unseeded", 5, 0, 1)) == asked[1]


def test_without_the_package_the_message_says_how_to_install_it(job, tmp_path, package):
    (package / "__init__.py").write_text("raise ModuleNotFoundError(name='reasoning_gym')")
    path = suite(tmp_path, reasoning_gym={"families": ["sums"]})
    with pytest.raises(MissingPackage, match=r"reasoning-gym is not installed\n.*tunesmith\[suites\]"):
        run(job, path, adds)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"families": ["sum"]}, r"unknown family of reasoning-gym: 'sum'\n.*did you mean 'sums'"),
        ({"families": ["composite"]}, "makes no questions of its own .*Must specify at least one"),
        ({"families": ["checks"]}, "nothing says how long a right one is\n.*max_tokens"),
        ({"families": []}, "families"),
        ({"families": ["sums", "sums"]}, "stands there twice"),
    ],
)
def test_a_family_that_cannot_be_asked_is_refused(job, tmp_path, source, why):
    with pytest.raises(ConfigError, match=why):
        run(job, suite(tmp_path, reasoning_gym=source), adds)


def test_a_family_that_only_checks_answers_needs_a_length(job, tmp_path):
    path = suite(tmp_path, reasoning_gym={"families": ["checks"], "size": 3}, max_tokens=9)
    assert run(job, path, lambda body: completion("1")).scores["reasoning_gym"].value == 0.25


def scored(family, answer, *, question=None, size=3):
    text = question or gym.question(gym.Place(family, size, 0, 0)).text
    place = {"family": family, "size": size, "seed": 0, "index": 0}
    example = chat([("user", text), ("assistant", "")])
    case = Case(type(example)(example.messages, metadata={"reasoning_gym": place}), Reply(answer))
    return choose("reasoning_gym").score(case)


@pytest.mark.parametrize("answer", ["3 + 4", "[7][0]", "Integer(7)", "7"])
def test_an_answer_may_be_a_plain_expression(answer):
    if answer == "[7][0]":
        with pytest.raises(Faulty, match="no plain expression"):
            scored("runs", answer)
    elif answer == "Integer(7)":
        with pytest.raises(Faulty, match="NameError"):
            scored("runs", answer)
    else:
        assert scored("runs", answer) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "open('{place}', 'w')",
        "__import__('os').system('touch {place}')",
        "[open for open in [1]]",
        "(lambda: 7)()",
        "exec('7')",
        "().__class__",
        "min(7, 8)",
        "7 if 1 else 8",
        "f'{{7}}'",
    ],
)
def test_an_answer_that_could_do_anything_is_never_run(answer, tmp_path):
    with pytest.raises(Faulty, match="is not run"):
        scored("runs", answer.format(place=tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_scoring_that_takes_too_long_ends_and_the_next_answer_is_scored(monkeypatch):
    monkeypatch.setattr("tunesmith.core.gym.client.SCORE_SECONDS", 0.3)
    with pytest.raises(Faulty, match=r"took longer than 0\.3 s"):
        scored("slow", "1")
    assert scored("sums", "3") == 1.0


def test_what_cannot_be_scored_says_why():
    with pytest.raises(Faulty, match=r"gave 7\.0, which is not from 0 to 1"):
        scored("too_much", "1")
    with pytest.raises(Faulty, match="makes another question here"):
        scored("sums", "1", question="1 + 1?")
    with pytest.raises(Faulty, match="name no question"):
        choose("reasoning_gym").score(Case(chat([("user", "a"), ("assistant", "b")]), Reply("b")))


def test_the_last_part_in_answer_tags_counts():
    assert final_answer("<answer>1</answer> or rather <answer> 2 </answer>.") == "2"
    assert final_answer(" 3\n") == "3"


def test_plain_expressions_are_told_from_programs():
    assert worker.is_plain("Integer (2 )*Symbol ('x' )**3 + pi")
    assert worker.is_plain("[['_', 'Q'], ['Q', '_']]")
    for text in ("x.y", "x[0]", "_", "exp(*x)", "sympify('1')", "log(x, base=2)", "x := 1", "", "1;2"):
        assert not worker.is_plain(text), text
