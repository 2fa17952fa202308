"""The program inside the sandbox: limits itself, then runs code and tests.  Nothing of tunesmith is imported.

Reads one JSON object from standard input: `code`, `tests`, `token`, `limits`, `needs_cut`; writes one to the
file descriptor named on the command line.  Exit code 97: the network could not be cut.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

NO_NETWORK = 97
NOBODY = 65534
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 1, 8, 38
CAPABILITY_VERSION_3, CAP_DAC_READ_SEARCH = 0x20080522, 1 << 2
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
SHOWN_CHARACTERS = 400


def cut_off() -> bool:
    """Leave the network and the other processes behind; whether that worked."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC
        if os.geteuid() != 0:
            flags |= CLONE_NEWUSER
        return bool(libc.unshare(flags) == 0)
    except (OSError, AttributeError):  # no libc that knows it: another system than Linux
        return False


def give_up_rights(limits: dict[str, int]) -> None:
    """Become nobody when root, gain nothing by any program, die with the driver, keep to the limits."""
    libc = ctypes.CDLL(None)
    if os.geteuid() == 0:
        become_nobody(libc)
    if sys.platform == "linux":
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # last: a change of user clears it
    for name, value in limits.items():
        resource.setrlimit(vars(resource)[name], (value, value))


def become_nobody(libc: ctypes.CDLL) -> None:
    """Root gives up all rights, but for reading where only root may look and the interpreter stands there."""
    reads = sys.platform == "linux" and not all_may_read(os.__file__)
    if reads:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    if reads:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        effective_permitted_inherited = (CAP_DAC_READ_SEARCH, CAP_DAC_READ_SEARCH, 0, 0, 0, 0)
        libc.capset(header, (ctypes.c_uint32 * 6)(*effective_permitted_inherited))


def all_may_read(path: str) -> bool:
    """Whether anybody may read a file: it, and every folder above."""
    file = Path(path)
    return bool(file.stat().st_mode & 0o004) and all(folder.stat().st_mode & 0o001 for folder in file.parents)


def run(code: str, tests: str) -> tuple[str, str] | None:
    """What became of the code: a reason and a detail; None when the tests came to their end."""
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    for text, name in ((code, "answer.py"), (tests, "tests.py")):
        try:
            exec(compile(text, name, "exec"), space)  # noqa: S102 (it is what this program is for)
        except AssertionError as error:
            return "failed", f"{line_of(error, text, name)} {error}".strip()
        except MemoryError:
            return "out of memory", ""
        except SyntaxError as error:
            return ("syntax" if name == "answer.py" else "error"), f"{error.msg} (line {error.lineno})"
        except SystemExit:
            return "error", f"the program ended itself in {name}"
        except OSError as error:
            too_much = error.errno == 27  # EFBIG: a file, or its own output, is over the limit
            return ("too much output" if too_much else "error"), f"{type(error).__name__}: {error}"
        except BaseException as error:
            return "error", f"{line_of(error, text, name)} {type(error).__name__}: {error}".strip()
    return None


def line_of(error: BaseException, text: str, name: str) -> str:
    """The line of the code or of the tests that raised."""
    trace, number = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = text.splitlines()
    return f"line {number}: {lines[number - 1].strip()}" if 0 < number <= len(lines) else ""


def child(given: dict[str, Any], answer: int) -> None:
    """Run, and say how it ended; the token proves that the tests came to their end."""
    give_up_rights(given["limits"])
    found = run(given["code"], given["tests"])
    said = {"token": given["token"]} if found is None else {"reason": found[0], "detail": found[1]}
    text = json.dumps({key: value[:SHOWN_CHARACTERS] for key, value in said.items()})
    os.write(answer, text.encode("utf-8", "replace"))
    os._exit(0)


def main() -> None:
    """Cut off, fork into the new process namespace, wait."""
    answer = int(sys.argv[1])
    given = json.loads(sys.stdin.buffer.read())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if not cut_off() and given["needs_cut"]:
        os._exit(NO_NETWORK)
    if (pid := os.fork()) == 0:
        child(given, answer)
    _, status = os.waitpid(pid, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0x7F)


main()
