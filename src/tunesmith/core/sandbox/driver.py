"""The program inside the sandbox: builds a cell around itself, then runs code and tests.

Nothing of tunesmith is imported.  Standard input holds one JSON object: `code`, `tests`, `folder`, `limits`
(names of `resource`), `memory_bytes`, `folder_bytes`, `needs_cell`.  Three descriptors are named on the
command line: *status* (only the outermost process has it: the code cannot speak there), *answer* and *token*.

Three processes: the watcher (outside the process namespace: watches memory, reports), the first process of
the namespace (when it ends, the kernel kills all the others), and the inmate, which runs the code.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

NOBODY = 65534
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 1, 8, 38
CAPABILITY_VERSION_3, CAP_DAC_READ_SEARCH = 0x20080522, 1 << 2
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 4096, 16384, 1 << 18, 2
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, READ_ONLY_NO_SUID = 442, -100, 0x8000, 3
VISIBLE = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"),
    *("/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
)
MAX_FILES = 4096
WATCH_SECONDS = 0.02
SHOWN_CHARACTERS = 400
TOKEN_BYTES = 32
EFBIG, ENOSPC, EDQUOT = 27, 28, 122


# The cell


def system(name: str, *arguments: Any) -> None:
    """Call the C library; raises OSError."""
    if ctypes.CDLL(None, use_errno=True)[name](*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name} is not permitted")


def leave_the_machine() -> None:
    """New namespaces: network, processes (for children), mounts, shared memory; raises OSError."""
    if sys.platform != "linux":
        raise OSError("only Linux has namespaces")
    flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS
    user, group = os.geteuid(), os.getegid()
    system("unshare", flags | (CLONE_NEWUSER if user != 0 else 0))
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def mount(source: str, target: Path, kind: str = "none", flags: int = 0, options: str = "") -> None:
    """Mount; raises OSError."""
    texts = [source.encode(), str(target).encode(), kind.encode()]
    system("mount", *texts, ctypes.c_ulong(flags), options.encode())


def change_root(root: Path, folder_bytes: int) -> bool:
    """A root of bounded size that shows the system and the interpreter, read-only; whether /proc is there.

    Raises OSError (a Linux before 5.12 among the reasons).
    """
    mount("none", Path("/"), flags=MS_REC | MS_PRIVATE)
    options = f"size={folder_bytes},nr_inodes={MAX_FILES},mode=755"
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for name in ("tmp", "dev/shm", "proc"):
        (root / name).mkdir(parents=True)
    for name in ("tmp", "dev/shm"):
        (root / name).chmod(0o1777)
    for place in (*VISIBLE, sys.base_prefix, sys.base_exec_prefix):
        show(Path(place), root)
    has_proc = False
    with suppress(OSError):  # permitted only beside another whole /proc, which a container may not have
        mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV)
        has_proc = True
    os.chdir(root)
    system("pivot_root", b".", b".")
    system("umount2", b".", MNT_DETACH)
    os.chdir("/tmp")  # noqa: S108 (its own)
    return has_proc


def show(place: Path, root: Path) -> None:
    """Make a file or folder of the machine visible under the new root."""
    inside = root / place.relative_to("/")
    if not place.exists() or os.path.lexists(inside):
        return
    inside.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() and place.parent == Path("/"):
        inside.symlink_to(place.readlink())
        return
    if place.is_dir():
        inside.mkdir()
    else:
        inside.touch()
    mount(str(place), inside, flags=MS_BIND | MS_REC)
    read_only = (ctypes.c_uint64 * 4)(READ_ONLY_NO_SUID, 0, 0, 0)
    path = str(inside).encode()
    size = ctypes.c_size_t(ctypes.sizeof(read_only))
    system("syscall", ctypes.c_long(SYS_MOUNT_SETATTR), AT_FDCWD, path, AT_RECURSIVE, read_only, size)


def give_up_rights(limits: dict[str, int], *, cell: bool) -> None:
    """Become nobody when root, gain nothing by any program, die with the parent, keep to the limits."""
    root, linux = os.geteuid() == 0, sys.platform == "linux"
    keep = become_nobody() if root else 0
    if cell:
        with suppress(OSError):  # in a user namespace of its own only its own processes are counted
            system("unshare", CLONE_NEWUSER if root else 0)
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
    if linux:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        system("capset", header, (ctypes.c_uint32 * 6)(keep, keep, 0, 0, 0, 0))
        system("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        system("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # late: a change of user clears it
    for name, value in limits.items():
        set_limit(name, value, strict=linux)


def set_limit(name: str, value: int, *, strict: bool) -> None:
    """At most what the machine allows; macOS refuses some limits of memory."""
    number = vars(resource)[name]
    _, most = resource.getrlimit(number)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    hard = value + 1 if name == "RLIMIT_CPU" and most == resource.RLIM_INFINITY else value
    try:
        resource.setrlimit(number, (value, hard))
    except (ValueError, OSError):
        if strict:
            raise


def become_nobody() -> int:
    """Root gives up all rights; returns the one it needs to read an interpreter in a folder of root's."""
    keep = 0
    if sys.platform == "linux" and not all_may_read(os.__file__):
        system("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
        keep = CAP_DAC_READ_SEARCH
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    return keep


def all_may_read(path: str) -> bool:
    """Whether anybody may read a file: it, and every folder above."""
    file = Path(path)
    return bool(file.stat().st_mode & 0o004) and all(folder.stat().st_mode & 0o001 for folder in file.parents)


# The code


def run(code: str, tests: str, finish: Callable[[], None]) -> tuple[str, str]:
    """Run code, then tests, then `finish`, which does not return; returns why it did not come to that.

    What is used after the code has run is held in local names before: the code may replace any other.
    """
    execute, translate, no_trace, no_profile = exec, compile, sys.settrace, sys.setprofile
    kind_of, function = type, types.FunctionType
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module  # the code's own: it does not find this file's names there
    space, name, text = vars(module), "answer.py", code
    try:
        # dont_inherit: nothing of this file's own compilation
        first = translate(code, "answer.py", "exec", dont_inherit=True)
        name, text = "tests.py", tests
        second = translate(tests, "tests.py", "exec", dont_inherit=True)
        name, text = "answer.py", code
        execute(first, space)
        name, text = "tests.py", tests
        no_trace(None)
        no_profile(None)
        cases = fresh_unittest() if "unittest" in tests else None
        space["__name__"] = "tests"  # the usual last lines do not run: the cases are run here
        execute(second, space)
        for value in [*space.values()]:  # as pytest would: nobody else calls them
            if kind_of(value) is function and is_test(value.__code__):
                value()
        if cases is not None and (wrong := cases(space)):
            return wrong
        finish()
    except MemoryError as error:
        error.__traceback__ = None
        space.clear()  # whatever filled the memory goes, or nothing more could be said
        return "out of memory", ""
    except BaseException as error:
        return reason_of(error, name), detail_of(error, text, name)
    return "error", ""


def is_test(code: types.CodeType) -> bool:
    """Whether a function of the tests is a test of its own: named so, and without arguments."""
    takes = code.co_argcount + code.co_kwonlyargcount
    return code.co_filename == "tests.py" and code.co_name[:4] == "test" and not takes


def fresh_unittest() -> Callable[[dict[str, Any]], tuple[str, str] | None]:
    """A unittest that the code has not touched, whose `main` does nothing; what runs the cases."""
    for name in [name for name in sys.modules if name.split(".")[0] == "unittest"]:
        del sys.modules[name]
    import unittest

    unittest.main = lambda *_, **__: None  # type: ignore[assignment]
    case, loader, result = unittest.TestCase, unittest.TestLoader(), unittest.TestResult()

    def run_cases(space: dict[str, Any]) -> tuple[str, str] | None:
        found = [value for value in space.values() if isinstance(value, type) and issubclass(value, case)]
        for one in found:
            loader.loadTestsFromTestCase(one).run(result)
        bad = result.failures + result.errors
        if bad:
            return "failed", f"{bad[0][0]}: {bad[0][1].strip().splitlines()[-1]}"
        if result.skipped or result.unexpectedSuccesses:  # the code itself can raise SkipTest
            return "failed", "a test was skipped, or passed though it should fail"
        return ("error", "no test of the unittest ran") if found and not result.testsRun else None

    return run_cases


def reason_of(error: BaseException, name: str) -> str:
    """The name of what went wrong."""
    if isinstance(error, AssertionError):
        return "failed"
    if isinstance(error, OSError) and error.errno in (EFBIG, ENOSPC, EDQUOT):
        return "too much output"
    unreadable = isinstance(error, SyntaxError | ValueError) and error.__traceback__.tb_next is None  # type: ignore[union-attr]
    return "syntax" if unreadable and name == "answer.py" else "error"


def detail_of(error: BaseException, text: str, name: str) -> str:
    """The line that raised, and the error's own words."""
    try:
        words = f"{error.msg} (line {error.lineno})" if isinstance(error, SyntaxError) else str(error)
    except BaseException:  # the error is the code's own and may do anything
        words = ""
    if isinstance(error, SystemExit):
        words = f"the program ended itself in {name}"
    kind = "" if isinstance(error, AssertionError | SyntaxError | SystemExit) else f"{type(error).__name__}: "
    return f"{line_of(error, text, name)} {kind}{words}".strip()


def line_of(error: BaseException, text: str, name: str) -> str:
    """The line of the code or of the tests that raised."""
    trace, number = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = text.splitlines()
    return f"line {number}: {lines[number - 1].strip()}" if 0 < number <= len(lines) else ""


# The three processes


def inmate(task: dict[str, Any], answer: int, token: int, *, cell: bool) -> None:
    """Run the code, say how it ended; the token, unread until then, proves that the tests ended."""
    give_up_rights(task["limits"], cell=cell)
    read, write, leave, text = os.read, os.write, os._exit, json.dumps

    def finish() -> None:
        write(answer, read(token, TOKEN_BYTES))
        leave(0)

    code, tests = task.pop("code"), task.pop("tests")
    reason, detail = run(code, tests, finish)
    write(answer, text({"reason": reason, "detail": detail[:SHOWN_CHARACTERS]}).encode())
    leave(0)


def first_process(task: dict[str, Any], ready: int, answer: int, token: int, *, cell: bool) -> None:
    """Build the cell, start the inmate, end with it: `r` ready and watched, `u` ready, `x` no cell."""
    if sys.platform == "linux":
        system("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    said = b"x"
    if cell:
        try:
            with suppress(OSError):  # shared memory of System V is counted nowhere else
                Path("/proc/sys/kernel/shmall").write_text("4096")
            said = b"r" if change_root(Path(task["folder"]), task["folder_bytes"]) else b"u"
        except OSError:
            if task["needs_cell"]:
                os._exit(0)
    os.write(ready, said)
    if (pid := os.fork()) == 0:
        os.close(ready)
        inmate(task, answer, token, cell=said != b"x")
    while True:
        ended, status = os.wait()  # orphans come to the first process of a namespace too
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def watch(pid: int, ready: int, memory_bytes: int, *, watched: bool) -> str:
    """Wait for the first process; `memory` when all together held too much, else `exit` and a code."""
    while not select.select([ready], [], [], WATCH_SECONDS)[0]:
        if watched and used_bytes() > memory_bytes:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "memory"
    _, status = os.waitpid(pid, 0)
    return f"exit {os.waitstatus_to_exitcode(status)}"


def used_bytes() -> int:
    """Memory that the processes of the cell hold, without what they share with files."""
    pages = 0
    for file in Path("/proc").glob("[0-9]*/statm"):
        with suppress(OSError):  # it has ended
            _, resident, shared, *_ = file.read_text().split()
            pages += int(resident) - int(shared)
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Leave the machine, start the first process, watch it, report."""
    status, answer, token = (int(number) for number in sys.argv[1:4])
    task = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.executable = os.path.realpath(sys.executable)  # the environment's own link is not in the cell
    cell = True
    try:
        with suppress(OSError):  # when memory runs out, this goes first
            Path("/proc/self/oom_score_adj").write_text("1000")
        leave_the_machine()
    except OSError:
        cell = False
    if not cell and task["needs_cell"]:
        os.write(status, b"refused\n")
        return
    reading, ready = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(status)
        os.close(reading)
        first_process(task, ready, answer, token, cell=cell)
    os.close(ready)
    built = os.read(reading, 1)
    os.write(status, b"started\n" if built else b"refused\n")
    end = watch(pid, reading, task["memory_bytes"], watched=built == b"r")
    os.write(status, end.encode())


main()
