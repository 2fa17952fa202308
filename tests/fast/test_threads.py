import subprocess
import sys

import pytest

from tunesmith.core.machine import usable_cores
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
