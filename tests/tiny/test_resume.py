"""The real worker process, stopped in every way it can be, and gone on with: the same bits at the end."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_model_folder
from train_folders import data_set, greetings, num_steps, same_numbers

from tunesmith.core.files import read_json, read_jsonl
from tunesmith.core.recipe import Recipe, Source
from tunesmith.train.order import WorkOrder

SHAPE = {"hidden_size": 64, "intermediate_size": 96}
"""Wide enough for blocks of 4-bit weights."""
NUM_STEPS = 24
NUM_KILLS = 2
"""Each start of a worker takes seconds."""
SETTINGS: dict[str, Any] = {
    "optimiser": {"learning_rate": 0.003, "schedule": "cosine"},
    "step_examples": 3,
    "microbatch_tokens": 100,
    "epochs": 4,
    "eval_every": 5,
    "generation": {"prompts": 1, "max_tokens": 2},
    "save_every": 3,
    "save_every_seconds": 1e9,
    "seed": 5,
}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": {"kind": "full"}, "dtype": "bfloat16", "objective": {"neftune_alpha": 5}},
    "lora": {"method": {"kind": "lora", "rank": 4, "dropout": 0.2}, "dtype": "float32"},
    "qlora": {"method": {"kind": "qlora", "rank": 4, "dropout": 0.2}, "dtype": "bfloat16"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model") / "tiny", **SHAPE)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return data_set(tmp_path_factory.mktemp("data"), greetings(18))


def order(model: Path, data: Path, **changes: object) -> WorkOrder:
    sources = (Source(path=data, name="greetings"),)
    recipe = Recipe.model_validate({"data": sources, "model": str(model), **SETTINGS, **changes})
    return WorkOrder(recipe, "tiny", model)


def start_worker(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "tunesmith.train.worker", str(folder)]
    return subprocess.Popen(command, env={**os.environ}, stderr=subprocess.PIPE)


def finish(folder: Path) -> None:
    child = start_worker(folder)
    _, complaint = child.communicate(timeout=300)
    assert child.returncode == 0, complaint.decode()
    assert num_steps(folder) == NUM_STEPS


def stop_at(folder: Path, step: int, signum: int) -> int:
    """Start the worker, send it a signal as soon as a step is written down; returns its exit code."""
    with start_worker(folder) as child:
        while num_steps(folder) < step:
            assert child.poll() is None, child.stderr.read().decode()
            time.sleep(0.002)
        child.send_signal(signum)
        child.communicate(timeout=300)
    return child.returncode


def result(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of what a run published."""
    files = [*folder.glob("adapter/*.safetensors"), *folder.glob("weights/*.safetensors")]
    assert len(files) == 1
    return load_file(files[0])


def assert_same_run(folder: Path, other: Path) -> None:
    assert same_numbers(folder) == same_numbers(other)
    samples = [(path / "samples.jsonl").read_text() for path in (folder, other)]
    assert samples[0] == samples[1] != ""
    found, wanted = result(folder), result(other)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_at_random_steps_ends_with_the_bits_of_the_unbroken_one(
    tmp_path: Path, model: Path, data: Path, method: str, threads: int
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    asked = order(model, data, threads=threads, **METHODS[method])
    for folder in (whole, broken):
        asked.write(folder)
    finish(whole)
    for step in sorted(random.Random(f"{method} {threads}").sample(range(1, NUM_STEPS - 4), NUM_KILLS)):
        assert stop_at(broken, step, signal.SIGKILL) == -signal.SIGKILL
        assert step <= num_steps(broken) < NUM_STEPS
    finish(broken)
    assert_same_run(broken, whole)
    assert read_json(broken / "environment.json")["threads"] == threads


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_asked_to_stop_saves_first_and_exits_130(
    tmp_path: Path, model: Path, data: Path, signum: int
):
    asked = order(model, data, threads=1, **{**METHODS["lora"], "save_every": 0})
    asked.write(tmp_path / "whole")
    asked.write(tmp_path / "stopped")
    finish(tmp_path / "whole")
    assert stop_at(tmp_path / "stopped", 2, signum) == 130
    stopped_at = num_steps(tmp_path / "stopped")
    told = [line.value for line in read_jsonl(tmp_path / "stopped" / "events.jsonl")]
    assert told[-1]["event"] == "interrupted"
    assert told[-1]["step"] == stopped_at  # every step that was made is in the checkpoint
    # Asked for two threads now: the checkpoint's one stays, or the bits would be others.
    order(model, data, threads=2, **{**METHODS["lora"], "save_every": 0}).write(tmp_path / "stopped")
    finish(tmp_path / "stopped")
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
