"""Code of a model against tests, where it can do little harm."""

import os
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunesmith.core.errors import UserError
from tunesmith.core.sandbox import Limits, code_in, network_can_be_cut, run_python
from tunesmith.core.sandbox import run as module

pytestmark = pytest.mark.skipif(not network_can_be_cut(), reason="this machine cannot cut the network off")

ADD = "def add(a, b):\n    return a + b\n"
SHORT = Limits(seconds=1.0, cpu_seconds=1)
ROOMY = Limits(seconds=30.0, cpu_seconds=1)
"""Ends a busy loop by its own time, and leaves a slow machine the clock's."""


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
        ("while True: pass", "out of time", "of the processor"),
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
    found = run_python(code, "pass", ROOMY)
    assert found.reason == reason, found
    assert detail in found.detail


@pytest.mark.parametrize(
    "cheat",
    [
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "import os; os._exit(0)",
        "import atexit, os\natexit.register(os._exit, 0)\n1/0",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os._exit(97)",
        "import builtins\nbuiltins.exec = lambda *a, **k: None",
        "import builtins\nbuiltins.compile = lambda *a, **k: (lambda: None).__code__",
        "import builtins\nbuiltins.AssertionError = builtins.BaseException = ValueError",
        "import builtins, os\nexit = quit = builtins.exit = os._exit = lambda *a: None",
        "import sys\nsys.excepthook = lambda *a: None\nsys.stdout = sys.stderr = None",
        "import sys\nsys.settrace(lambda frame, *a: sys.exit(0))",
        "import __main__\n__main__.run = __main__.detail_of = lambda *a: None",
        'import os\nfor n in range(3, 60):\n    try: os.write(n, b\'{"reason": "passed"}\')\n'
        "    except OSError: pass\n"
        "os._exit(0)",
        "import sys\nframe = sys._getframe()\nwhile frame:\n"
        "    assert 'token' not in str(frame.f_locals.get('task'))\n"
        "    frame = frame.f_back",
    ],
)
def test_no_ordinary_cheat_passes_tests_that_fail(cheat):
    assert not run_python(cheat, "assert False").passed


def test_a_function_that_ends_the_program_inside_the_tests_is_no_pass():
    assert not run_python("import os\ndef f(): os._exit(0)", "f()").passed
    assert not run_python("import sys\ndef f(): sys.exit(0)", "f()").passed
    # nor is closing every descriptor, the token's among them
    assert not run_python("import os\nos.closerange(3, 65536)", "pass").passed


CASES = (
    "import unittest\nclass T(unittest.TestCase):\n    def test_add(self): self.assertEqual(add(1, 2), 3)\n"
)
MAIN = "if __name__ == '__main__':\n    unittest.main()\n"


@pytest.mark.parametrize("end", ["", MAIN, "unittest.main()"])
def test_a_unittest_is_run_whether_it_says_so_or_not(end):
    assert run_python(ADD, CASES + end).passed
    wrong = run_python(ADD.replace("+", "-"), CASES + end)
    assert (wrong.reason, wrong.detail) == ("failed", "test_add (tests.T.test_add): AssertionError: -1 != 3")


def test_a_unittest_cannot_be_emptied_by_the_code():
    wrong = ADD.replace("+", "-")
    for cheat in (
        "import unittest\nunittest.TestCase.run = lambda *a: None",
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None",
        "import unittest\ndef add(a, b): raise unittest.SkipTest",
    ):
        assert not run_python(f"{wrong}\n{cheat}", CASES).passed
    assert run_python(wrong, "import unittest\nclass T(unittest.TestCase): pass").reason == "error"


def test_an_own_stdout_and_lone_surrogates_do_no_harm():
    assert run_python("import sys\nsys.stdout = None\nx = 1", "assert x == 1").passed
    assert run_python("x = '\ud800'", "assert len(x) == 1").passed


def test_nothing_of_the_parents_environment_is_seen(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "s3cret")
    code = "import os\nseen = dict(os.environ)"
    assert run_python(code, "assert 'SECRET_KEY' not in seen and len(seen) < 6, seen").passed
    code = "from pathlib import Path\nseen = [f.parent.name for f in Path('/proc').glob('[0-9]*/environ')]"
    assert run_python(code, "assert len(seen) <= 2, seen").passed  # the first process and itself


def test_what_it_writes_is_nowhere_on_the_machine(tmp_path):
    name = f"tunesmith-test-{tmp_path.name}-{os.getpid()}"
    code = "\n".join(f"open('{place}/{name}', 'w').write('x')" for place in (".", "/tmp", "/dev/shm"))
    assert run_python(code, "import os\nassert os.getcwd() == os.environ['HOME'] == '/tmp'").passed
    assert not any(Path(place, name).exists() for place in (Path.cwd(), "/tmp", "/dev/shm"))
    assert run_python(f"open('/usr/{name}', 'w')", "pass").reason == "error"


def test_it_sees_no_file_of_the_user(tmp_path):
    (tmp_path / "mine").write_text("s3cret")
    for place in (tmp_path / "mine", Path(__file__), "/etc/passwd", "/proc/1/root/etc/passwd"):
        found = run_python(f"open({str(place)!r}).read()", "pass")
        assert found.detail.startswith("line 1: open(")
        assert found.reason == "error", place


def test_its_folder_goes_away(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for code in (ADD, "open('here', 'w').write('x')", "while True: pass"):
        run_python(code, "pass", SHORT)
    assert list(tmp_path.iterdir()) == []


def test_a_detail_names_no_folder_of_this_machine():
    found = run_python("import json\nassert False, json.__file__", "pass")
    assert found.reason == "failed"
    assert sys.base_prefix not in found.detail
    assert found.detail.endswith("json/__init__.py")


def test_files_have_a_largest_size():
    found = run_python("open('big', 'wb').write(b'x' * (4 << 20))", "pass", ROOMY)
    assert found.reason == "too much output"
    many = "for n in range(32):\n    open(str(n), 'wb').write(b'x' * (1 << 19))"
    assert run_python(many, "pass", Limits(folder_bytes=4 << 20)).reason == "too much output"


def test_output_has_a_largest_size_and_none_of_it_is_needed():
    assert run_python("print('x' * 1000)", "pass", Limits(output_bytes=2000)).passed
    found = run_python("print('x' * 3000, flush=True)", "pass", Limits(output_bytes=2000))
    assert (found.reason, found.detail) == ("too much output", "over 2000 bytes")
    quiet = "while True:\n    try: print('x' * 1000)\n    except OSError: pass"
    assert run_python(quiet, "pass", ROOMY).reason == "too much output"


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


def test_children_end_with_the_program(own_driver):
    code = "import os\nif os.fork() == 0:\n    while True: pass\nx = 1"
    assert run_python(code, "assert x == 1", Limits(cpu_seconds=2)).passed
    assert children() == 0


def test_children_with_a_session_of_their_own_end_too(own_driver):
    code = "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass"
    assert run_python(code, "import time; time.sleep(0.1)", Limits(cpu_seconds=2)).passed
    assert children() == 0
    assert run_python(f"{code}\nimport time; time.sleep(60)", "pass", SHORT).reason == "out of time"
    assert gone()


def gone():
    """After a kill the kernel ends the namespace when it comes to it."""
    return any(children() == 0 or time.sleep(0.05) for _ in range(200))


@pytest.fixture
def own_driver(monkeypatch, tmp_path):
    """A driver whose processes are known from those of other tests."""
    driver = tmp_path / "driver.py"
    driver.write_text(module.DRIVER.read_text())
    monkeypatch.setattr(module, "DRIVER", driver)


def children():
    """Processes of this machine that run the test's own driver."""
    found, driver = 0, os.fsencode(module.DRIVER)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found += driver in (folder / "cmdline").read_bytes()
        except OSError:
            continue
    return found


FORKS = """import os
made = 0
try:
    for _ in range(60):
        if os.fork() == 0:
            import time; time.sleep(5)
        made += 1
except OSError:
    pass
"""


def test_processes_are_counted_for_each_run():
    found = run_python(FORKS, "assert 1 < made < 12, made", Limits(seconds=10.0, processes=12))
    assert found.passed, found
    with ThreadPoolExecutor(2) as pool:
        tests = "assert made >= 8, made\nimport time; time.sleep(0.3)"
        runs = pool.map(lambda _: run_python(FORKS, tests, Limits(seconds=10.0, processes=12)), range(2))
        assert [found.passed for found in runs] == [True, True]


def test_the_memory_of_all_processes_together_is_limited():
    code = "import os, time\nfor _ in range(3): os.fork()\nx = bytearray(40 << 20)\ntime.sleep(5)"
    found = run_python(code, "pass", Limits(seconds=10.0, memory_bytes=128 << 20))
    assert found.reason == "out of memory"


def test_no_further_namespace_can_be_made():
    code = (
        "import ctypes\nlibc = ctypes.CDLL(None)\ndone = [libc.unshare(flag) for flag in (1 << 28, 1 << 17)]"
    )
    assert run_python(code, "assert done == [-1, -1], done").passed


def test_its_interpreter_can_be_started_again():
    code = "import subprocess, sys\nfound = subprocess.check_output([sys.executable, '-c', 'print(5)'])"
    assert run_python(code, "assert found == b'5\\n', found").passed


@pytest.mark.parametrize(
    "bomb",
    [
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "def f(x): return f(x + [bytearray(1 << 22)])\nimport sys\nsys.setrecursionlimit(10000)\nf([])",
    ],
)
def test_a_memory_bomb_ends_in_its_own_memory(bomb):
    assert run_python(bomb, "pass", Limits(seconds=30.0, memory_bytes=128 << 20)).reason == "out of memory"


def test_a_fork_bomb_ends_with_its_time(own_driver):
    code = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    assert run_python(code, "pass", Limits(seconds=0.7, processes=8)).reason == "out of time"
    assert gone()


def test_the_clock_ends_a_program_that_only_waits():
    assert run_python("import time; time.sleep(60)", "pass", Limits(seconds=0.5)).reason == "out of time"


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
        ("I cannot do that.", "I cannot do that."),
        ("```bash\npip install x\n```\nthen\n```python\nx = 1\n```", "x = 1"),
        ("```bash\npip install x\n```", "```bash\npip install x\n```"),
        ('```python\nx = """\nsays ``` here\n"""\n```\nDone.', 'x = """\nsays ``` here\n"""'),
        ("```Python title=a\r\nx = 1\r\n```\r\n", "x = 1"),
        ("~~~~py\n~~~\nx\n~~~~", "~~~\nx"),
        ("```python\n```", ""),
    ],
)
def test_the_code_of_an_answer_is_its_first_block_or_all_of_it(answer, code):
    assert code_in(answer) == code


@pytest.fixture
def no_cell(monkeypatch, tmp_path):
    """A machine that refuses namespaces."""
    driver, text = tmp_path / "driver.py", module.DRIVER.read_text()
    assert text.count('"unshare", flags') == 1
    driver.write_text(text.replace('"unshare", flags', '"unshare", -1'))
    monkeypatch.setattr(module, "DRIVER", driver)


def test_where_the_network_stays_it_is_refused_unless_allowed(no_cell):
    with pytest.raises(UserError, match="would reach the network"):
        run_python(ADD, "pass")
    assert run_python(ADD, "assert add(1, 1) == 2", Limits(allow_network=True)).passed
    network_can_be_cut.cache_clear()
    assert not network_can_be_cut()
    network_can_be_cut.cache_clear()


def test_code_cannot_pretend_that_it_was_refused():
    forged = (
        "import os\nfor n in range(3, 60):\n    try: os.write(n, b'refused\\n')\n    except OSError: pass\n"
    )
    assert run_python(forged, "pass").reason == "killed"


def test_without_a_cell_a_child_that_got_away_is_not_waited_for(no_cell):
    code = "import os, signal\nif os.fork() == 0:\n    os.setsid(), signal.alarm(3)\n    signal.pause()"
    found = run_python(code, "pass", Limits(allow_network=True))
    assert found.passed, found
    assert gone()  # its own alarm ends it


def test_test_functions_that_nobody_calls_are_called():
    tests = "def test_sum():\n    assert add(1, 2) == {}\n\ndef helper(x):\n    raise ValueError\n"
    assert run_python(ADD, tests.format(3)).passed
    assert run_python(ADD, tests.format(4)).reason == "failed"
    sneaky = ADD + "def test_mine():\n    raise ValueError\n"  # the code's own tests are no tests of it
    assert run_python(sneaky, tests.format(3)).passed
