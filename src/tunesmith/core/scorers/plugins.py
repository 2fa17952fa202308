"""The user's own scorers, named `module:function`."""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from tunesmith.core.errors import ConfigError, nearest
from tunesmith.core.scorers.port import Case, Scorer, of_texts

PLUGIN_STEP = "write module:function, the module in this folder or installed"


def load_plugin(name: str) -> Scorer:
    """A scorer of the user's own: a function of (right answer, answer), or of one Case, to 0 … 1.

    The module is looked for in the current folder first, then among installed ones.  Raises ConfigError.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise ConfigError("not the name of a function", value=name, next_step=PLUGIN_STEP)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        what = f"the module of this scorer cannot be imported ({type(error).__name__}: {error})"
        raise ConfigError(what, value=name, next_step=PLUGIN_STEP) from None
    function = vars(module).get(function_name)
    if not callable(function):
        raise ConfigError(
            "no such function in the module", value=name, next_step=nearest(function_name, vars(module))
        )
    return Scorer(name, taken(function, name), "unit")


def taken(function: Callable[..., float], name: str) -> Callable[..., float]:
    """The function as one of a Case, whether it takes that or two texts."""
    parameters = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(parameters) not in (1, 2):
        what = (
            f"a scorer takes (right answer, answer) or one case, and this takes {len(parameters)} arguments"
        )
        raise ConfigError(what, value=name, next_step="options are keyword-only: after a *")
    return checked(of_texts(function) if len(parameters) == 2 else function, name)


def checked(function: Callable[..., float], name: str) -> Callable[..., float]:
    """The function with its values checked: a number from 0 to 1."""

    def score(case: Case, **options: object) -> float:
        value = function(case, **options)
        if isinstance(value, bool):
            return float(value)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{name} gave {value!r}, not a number from 0 to 1")
        return float(value)

    score.__doc__ = function.__doc__
    score.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return score
