"""The error tree.

* TunesmithError
  * UserError(ValueError)              the user can mend it: printed without traceback, exit 2
    * ConfigError                      a configuration value or key is wrong
    * DataError                        a row or a file of data is wrong
    * FolderError                      an output folder is taken, foreign or incomplete
    * ModelError                       a model cannot be found, read or used
    * ServerError(ConnectionError)     a server cannot be started or reached
    * MissingPackage(ImportError)      an optional package is not installed
    * OutOfSpace(OSError)              the disk is full
  * CheckFailed(RuntimeError)          the work ran and its check said no: exit 1
  * StepFailed(RuntimeError)           a step's process failed: exit with its code
  * Interrupted                        stopped on purpose with everything saved: exit 130

A message says what is wrong with the value, where it is, and the next step:
``UserError("no such file", value=path, where="--data", next_step="give a JSONL file")``.
"""

from collections.abc import Iterable
from difflib import get_close_matches

EXIT_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


class TunesmithError(Exception):
    """Root of every error that tunesmith raises on purpose."""

    exit_code = EXIT_FAILED


class UserError(TunesmithError, ValueError):
    """The user's mistake: what is wrong, the value, where, and what to do next."""

    exit_code = EXIT_USER_ERROR

    def __init__(
        self, what: str, *, value: object = None, where: object = None, next_step: str | None = None
    ) -> None:
        self.what, self.value, self.where, self.next_step = what, value, where, next_step
        super().__init__(self.message())

    def message(self) -> str:
        """One message: place, fault, value; then the next step on a line of its own."""
        place = f"{self.where}: " if self.where is not None else ""
        value = f": {self.value!r}" if isinstance(self.value, str) else ""
        if self.value is not None and not isinstance(self.value, str):
            value = f": {self.value}"
        advice = f"\n  → {self.next_step}" if self.next_step else ""
        return f"{place}{self.what}{value}{advice}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.value, self.where, self.next_step)


def _rebuild(
    kind: type["UserError"], what: str, value: object, where: object, next_step: str | None
) -> "UserError":
    """Keyword-only constructors do not pickle by themselves."""
    return kind(what, value=value, where=where, next_step=next_step)


class ConfigError(UserError):
    """A configuration key or value is wrong."""


class DataError(UserError):
    """A row or a file of data is wrong."""


class FolderError(UserError):
    """An output folder is taken, foreign or incomplete."""


class ModelError(UserError):
    """A model cannot be found, read or used."""


class ServerError(UserError, ConnectionError):
    """A server cannot be started or reached."""


class MissingPackage(UserError, ImportError):
    """An optional package is not installed."""


class OutOfSpace(UserError, OSError):
    """The disk is full."""


class CheckFailed(TunesmithError, RuntimeError):
    """The work ran and its check said no."""


class StepFailed(TunesmithError, RuntimeError):
    """A step's process failed; `exit_code` is the process's own.

    `said`: the process has told the user what is wrong and what to do, so that nothing is left to say.
    """

    def __init__(self, message: str, *, exit_code: int = EXIT_FAILED, said: bool = False) -> None:
        super().__init__(message)
        self.exit_code, self.said = exit_code, said


class Interrupted(TunesmithError):
    """Stopped on purpose; what was done is saved."""

    exit_code = EXIT_INTERRUPTED


def nearest(name: str, known: Iterable[str]) -> str:
    """A next step for an unknown name: the closest known one, or the list of all."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    close = close or [known for known in names if len(name) >= 3 and known.startswith(name)]
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none is known"
