"""Code of a model against tests, where it can do little harm."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunesmith.core.sandbox import Limits, code_in, network_can_be_cut, run_python
from tunesmith.core.sandbox import run as module

pytestmark = pytest.mark.skipif(not network_can_be_cut(), reason="this machine cannot cut the network off")

ADD = "def add(a, b):\n    return a + b\n"
SHORT = Limits(seconds=1.0, cpu_seconds=1)


def test_right_code_passes_and_wrong_code_names_the_line():
    assert run_python(ADD, "assert add(1, 2) == 3").passed
    wrong = run_python(ADD.replace("+", "-"), "x = 1\nassert add(1, 2) == 3, 'sum'")
    assert (wrong.reason, wrong.detail) == ("failed", "line 2: assert add(1, 2) == 3, 'sum' sum")


@pytest.mark.parametrize(
    ("code", "reason", "detail"),
    [
        ("def f(:", "syntax", "line 1"),
        ("x = 1 / 0", "error", "line 1: x = 1 / 0 ZeroDivisionError"),
        ("", "no code", ""),
        ("  \n", "no code", ""),
        ("while True: pass", "out of time", ""),
        ("x = 'a' * (1 << 31)", "out of memory", ""),
        ("while True: print('x' * 1000)", "too much output", ""),
        ("import sys; sys.exit(0)", "error", "ended itself"),
        ("raise SystemExit", "error", "ended itself"),
        ("import os; os._exit(0)", "killed", "without a word"),
        ("import ctypes; ctypes.string_at(0)", "killed", "without a word"),
        ("x = \\x00", "syntax", ""),
        ("\x00", "syntax", ""),
        ("input()", "error", "EOFError"),
    ],
)
def test_every_end_has_its_name(code, reason, detail):
    found = run_python(code, "pass", SHORT)
    assert found.reason == reason, found
    assert detail in found.detail


def test_leaving_before_the_tests_end_is_no_pass():
    for leave in (
        "exit = quit = None\nimport os\nos._exit(0)",
        "import atexit, os\natexit.register(os._exit, 0)\n1/0",
    ):
        assert not run_python(leave, "assert False").passed
    # the token is written by the driver, and closing every descriptor cannot write it
    assert not run_python("import os\nos.closerange(3, 50)", "pass").passed
    assert not run_python(ADD, "import os\nos._exit(0)").passed


def test_an_own_stdout_and_lone_surrogates_do_no_harm():
    assert run_python("import sys\nsys.stdout = None\nx = 1", "assert x == 1").passed
    assert run_python("x = '\ud800'", "assert len(x) == 1").passed


def test_nothing_of_the_parents_environment_is_seen(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "s3cret")
    code = "import os\nseen = dict(os.environ)"
    assert run_python(code, "assert 'SECRET_KEY' not in seen and len(seen) < 6, seen").passed


def test_it_works_in_a_folder_of_its_own_that_goes_away():
    code = "import os\nopen('here', 'w').write('x')\nplace = os.getcwd()"
    found = run_python(code, "assert False, place")
    place = Path(found.detail.split("place ")[1])
    assert place.name.startswith("tunesmith-code-")
    assert not place.exists()


def test_files_have_a_largest_size():
    found = run_python("open('big', 'wb').write(b'x' * (4 << 20))", "pass", SHORT)
    assert found.reason == "too much output"


def test_the_network_is_gone():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 0.5)"
        found = run_python(code, "pass")
    assert (found.reason, found.passed) == ("error", False)
    assert "OSError" in found.detail or "ConnectionRefused" in found.detail or "unreachable" in found.detail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
def test_root_is_given_up():
    assert run_python("import os\nme = os.geteuid()", "assert me == 65534").passed
    assert run_python("open('/root/x', 'w')", "pass").reason == "error"
    assert run_python("import os\nos.setuid(0)", "pass").reason == "error"


def test_children_end_with_the_program():
    code = "import os\nif os.fork() == 0:\n    while True: pass\nx = 1"
    before = children()
    assert run_python(code, "assert x == 1", Limits(cpu_seconds=2)).passed
    assert children() == before


def children():
    """Processes of this machine that run our driver."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found += b"sandbox/driver.py" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
    return found


def test_processes_are_counted():
    code = (
        "import os\nmade = 0\ntry:\n    for _ in range(200):\n"
        "        if os.fork() == 0:\n            while True: pass\n        made += 1\n"
        "except OSError:\n    pass"
    )
    assert run_python(code, "assert made < 100, made", Limits(seconds=10.0, cpu_seconds=1)).passed


def test_several_at_once_do_not_meet():
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: run_python(f"x = {n}", f"assert x == {n}").passed, range(8)))
    assert found == [True] * 8


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("```python\nx = 1\n```", "x = 1"),
        ("Sure!\n```py\nx = 1\n```\nand ```python\ny\n```", "x = 1"),
        ("```\nx = 1", "x = 1"),
        ("x = 1", "x = 1"),
        ("", ""),
    ],
)
def test_the_code_of_an_answer_is_its_first_block_or_all_of_it(answer, code):
    assert code_in(answer) == code


def test_where_the_network_stays_it_is_refused_unless_allowed(monkeypatch, tmp_path):
    from tunesmith.core.errors import UserError

    driver = tmp_path / "driver.py"
    driver.write_text(module.DRIVER.read_text().replace("libc.unshare(flags) == 0", "False"))
    monkeypatch.setattr(module, "DRIVER", driver)
    with pytest.raises(UserError, match="would reach the network"):
        run_python(ADD, "pass")
    assert run_python(ADD, "assert add(1, 1) == 2", Limits(allow_network=True)).passed
