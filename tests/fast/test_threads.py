import subprocess
import sys
from dataclasses import replace

import pytest

from tunesmith.core.machine import machine, usable_cores
from tunesmith.runtime.threads import choose_dtype, describe_threads, resolve_threads, worker_environment


def test_zero_threads_takes_every_core_this_process_may_use():
    assert resolve_threads(0) == usable_cores()
    assert resolve_threads(3) == 3


def test_waiting_threads_sleep_and_the_worker_says_so():
    environment = worker_environment(2)
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["OMP_NUM_THREADS"] == "2"
    assert describe_threads(environment).startswith("2 threads that sleep")


@pytest.mark.parametrize("asked", ["bfloat16", "float32"])
def test_a_type_that_was_asked_for_is_taken(asked):
    assert choose_dtype(asked) == asked


def test_the_worker_of_a_fake_run_needs_no_torch():
    code = (
        "import sys, tunesmith.train.worker, tunesmith.train.engines as e; "
        "import tunesmith.train.engines.fake; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_number_of_threads_never_changes_by_itself():
    assert worker_environment(2)["OMP_DYNAMIC"] == "FALSE"  # other counts would give other bits


@pytest.mark.parametrize(("bf16", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_only_where_the_processor_computes_in_it(monkeypatch, bf16: bool, chosen: str):
    here = replace(machine(), bf16=bf16)
    monkeypatch.setattr("tunesmith.runtime.threads.machine", lambda: here)
    assert choose_dtype("auto") == chosen
