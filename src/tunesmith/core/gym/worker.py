"""The process that holds reasoning-gym.  Nothing of tunesmith is imported; it is started by its file.

Requests and replies are lines of JSON on standard input and output.  It ends with its input, or by SIGALRM
when one request takes longer than it may: a signal that no code in between can hold up.
"""

import ast
import builtins
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from typing import Any

MEMORY_BYTES = 6 << 30
"""Of address space; sympy with numpy takes under 2 GiB of it."""
PLAIN = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.List, ast.Tuple),
    *(ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Call),
)
CALLS = frozenset(
    {
        *("Integer", "Float", "Rational", "Symbol", "Integral", "Abs", "abs", "sign", "floor", "ceiling"),
        *("exp", "log", "ln", "sqrt", "cbrt", "root", "factorial", "gamma", "erf", "erfc", "erfi", "Ei"),
        *("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "atan2", "acot", "li", "Si"),
        *("sinh", "cosh", "tanh", "coth", "asinh", "acosh", "atanh", "Ci"),
    }
)
"""What sympy writes around numbers and letters, and the functions that an answer may name."""
run_text = builtins.eval
"""As Python has it."""


def is_plain(text: str) -> bool:
    """Whether a text is an expression of numbers, texts, names, lists and known functions, and no more."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return all(isinstance(node, PLAIN) and is_plain_node(node) for node in ast.walk(tree))


def is_plain_node(node: ast.AST) -> bool:
    """No hidden names, no calls but of the functions that are known, nothing spread or named."""
    if isinstance(node, ast.Name):
        return not node.id.startswith("_")
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in CALLS and not node.keywords
    return True


def evaluate_plain(source: Any, *spaces: Any) -> Any:
    """In the place of `eval`: text has to be a plain expression, except where Python itself asks."""
    caller = sys._getframe(1)
    if isinstance(source, str) and caller.f_globals.get("__name__") != "collections":  # namedtuple
        if not is_plain(source):
            raise ValueError("the answer is no plain expression, and is not run")
        if not spaces:
            spaces = (caller.f_globals, caller.f_locals)
    return run_text(source, *spaces)


@contextmanager
def plain_expressions_only() -> Iterator[None]:
    """While the block runs, nothing evaluates a text that could do anything."""
    builtins.eval = evaluate_plain
    try:
        yield
    finally:
        builtins.eval = run_text


@cache
def family(name: str, size: int, seed: int) -> Any:
    """The questions of a family."""
    from reasoning_gym import create_dataset

    return create_dataset(name, size=size, seed=seed)


@cache
def entry(name: str, size: int, seed: int, index: int) -> Any:
    """One question; the same in every process: some families draw from the shared generator too."""
    made = family(name, size, seed)
    random.seed(f"{seed}/{name}/{index}")
    return made[index]


def about() -> dict[str, Any]:
    """Which release this is, and what families it has."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    try:
        version = metadata.version("reasoning-gym")
    except metadata.PackageNotFoundError:
        version = str(vars(reasoning_gym).get("__version__", "unknown"))
    return {"version": version, "families": sorted(DATASETS)}


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    """What a request is answered with."""
    if request["do"] == "about":
        return about()
    place = (request["family"], request["size"], request["seed"], request["index"])
    found = entry(*place)
    if request["do"] == "question":
        answer = found["answer"]
        return {"question": str(found["question"]), "answer": None if answer is None else str(answer)}
    if str(found["question"]) != request["question"]:
        return {"error": "this release of reasoning-gym makes another question here"}
    with plain_expressions_only():
        return {"score": float(family(*place[:3]).score_answer(request["answer"], found))}


def main() -> None:
    """Answer line by line; what the package prints goes nowhere."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        try:
            reply = answer_to(request)
        except ModuleNotFoundError as error:
            reply = {"missing" if error.name == "reasoning_gym" else "error": str(error)}
        except Exception as error:  # a family of the package may raise anything
            reply = {"error": f"{type(error).__name__}: {error}"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
