"""Every demo file of LLaMA-Factory is read, row by row, and the faults that reading can see are named."""

import json
from collections import Counter

import pytest

from tunesmith.core.formats.read import Reading, open_rows
from tunesmith.core.formats.writers.port import Unfit
from tunesmith.core.formats.writers.registry import WRITERS, write_row
from tunesmith.core.packages import Package, fetch_package, read_member
from tunesmith.core.progress import Silent

pytestmark = pytest.mark.fetches

PACKAGE = Package(
    name="llamafactory",
    version="0.9.5",
    kind="sdist",
    file_name="llamafactory-0.9.5.tar.gz",
    sha256="1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f",
    licence="Apache-2.0",
)
NO_TOOLS = "the row has a list of tools, and it is empty"
NO_CALL = "an observation without a call before it"
UNANSWERED = "a tool call has no result before the next turn"
NULLS = "null keys taken out (Arrow fills in the keys of other rows)"
NO_INPUT = "the input is a word for nothing (--fix: input emptied)"
IMAGES = "images are not read: tunesmith is for text"
AUDIO = "audio is not read: tunesmith is for text"
VIDEO = "video is not read: tunesmith is for text"
LEAKED = "the <think> tags do not pair"

FILES = {
    "alpaca_en_demo.json": ("alpaca", "conversation", {"kept": 997, "refused": 2}, {NO_INPUT: 2}),
    "alpaca_zh_demo.json": ("alpaca", "conversation", {"kept": 1000}, {}),
    "identity.json": ("alpaca", "conversation", {"kept": 91}, {}),
    "c4_demo.jsonl": ("text", "text", {"kept": 300}, {}),
    "dpo_en_demo.json": ("llamafactory-ranking", "pair", {"kept": 300}, {}),
    "dpo_zh_demo.json": ("llamafactory-ranking", "pair", {"kept": 300}, {}),
    "kto_en_demo.json": ("rated-chat", "rated", {"kept": 300}, {}),
    "glaive_toolcall_en_demo.json": ("sharegpt", "conversation", {"kept": 300}, {NO_TOOLS: 109}),
    "glaive_toolcall_zh_demo.json": (
        "sharegpt",
        "conversation",
        {"kept": 298, "refused": 2},
        {NO_TOOLS: 100, NO_CALL: 2},
    ),
    "reason_tool_use_demo_50.jsonl": (
        "llamafactory-v1",
        "conversation",
        {"kept": 39, "changed": 9, "refused": 2},
        {NULLS: 9, LEAKED: 2, NO_TOOLS: 2, UNANSWERED: 2},
    ),
    "v1_sft_demo.jsonl": ("llamafactory-v1", "conversation", {"kept": 500}, {}),
    "v1_dpo_demo.jsonl": ("llamafactory-v1-pair", "pair", {"kept": 10}, {}),
    "mllm_demo.json": ("openai-chat", "", {"refused": 6}, {IMAGES: 6}),
    "mllm_audio_demo.json": (
        "openai-chat",
        "",
        {"refused": 3},
        {AUDIO: 3},
    ),
    "mllm_video_demo.json": (
        "openai-chat",
        "",
        {"refused": 3},
        {VIDEO: 3},
    ),
    "mllm_video_audio_demo.json": (
        "openai-chat",
        "",
        {"refused": 3},
        {AUDIO: 3, VIDEO: 3},
    ),
}


@pytest.fixture(scope="module")
def archive():
    return fetch_package(PACKAGE, Silent())


def member(archive, name, folder):
    path = folder / name
    path.write_bytes(read_member(archive, f"llamafactory-0.9.5/data/{name}"))
    return path


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_row_of_the_demo_files_is_read_or_named(archive, tmp_path, name):
    shape, kind, outcomes, said = FILES[name]
    reader = open_rows(member(archive, name, tmp_path))
    rows = list(reader)
    assert Counter(row.outcome for row in rows) == outcomes
    assert reader.layout.name == shape
    assert not reader.layout.findings
    reasons = Counter(
        reason
        for row in rows
        for reason in {entry.reason for entry in (*row.problems, *row.changes, *row.notes)}
    )
    assert {row.example.kind for row in rows if row.example} == ({kind} if kind else set())
    assert reasons == said


def test_mechanical_repairs_leave_only_what_no_machine_can_mend(archive, tmp_path):
    refused = Counter()
    for name in FILES:
        for row in open_rows(member(archive, name, tmp_path), Reading(fix=True)):
            refused.update({problem.reason for problem in row.problems})
    assert {reason for reason in refused if "not read" not in reason} == {NO_CALL, LEAKED}


@pytest.mark.parametrize(
    ("name", "to", "written"),
    [
        ("alpaca_en_demo.json", "openai-chat", 997),
        ("glaive_toolcall_en_demo.json", "openai-chat", 300),
        ("glaive_toolcall_en_demo.json", "sharegpt", 300),
        ("glaive_toolcall_en_demo.json", "alpaca", 109),
        ("dpo_en_demo.json", "openai-preference", 300),
        ("dpo_en_demo.json", "preference-implicit", 300),
        ("dpo_en_demo.json", "hh", 220),
        ("kto_en_demo.json", "kto", 300),
        ("reason_tool_use_demo_50.jsonl", "openai-chat", 48),
        ("reason_tool_use_demo_50.jsonl", "llamafactory-v1", 48),
        ("v1_sft_demo.jsonl", "openai-chat", 500),
    ],
)
def test_real_rows_go_into_other_layouts_whole_or_not_at_all(archive, tmp_path, name, to, written):
    count = 0
    for row in open_rows(member(archive, name, tmp_path)):
        if row.example is None:
            continue
        try:
            json.dumps(write_row(row.example, WRITERS[to]))
        except Unfit:
            continue
        count += 1
    assert count == written
