"""`tunesmith completion bash|zsh|fish`: how to turn on shell completion."""

from typing import Literal

from rich.console import Console

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import Job

LINES = {
    "bash": 'eval "$(_TUNESMITH_COMPLETE=bash_source tunesmith)"',
    "zsh": 'eval "$(_TUNESMITH_COMPLETE=zsh_source tunesmith)"',
    "fish": "_TUNESMITH_COMPLETE=fish_source tunesmith | source",
}


class CompletionConfig(Schema):
    """Add the printed line to your shell's start-up file."""

    shell: Literal["bash", "zsh", "fish"] = argument("bash")
    """Which shell."""


class CompletionResult(Schema):
    """The line to add."""

    shell: str
    """Which shell."""
    line: str
    """What to put into its start-up file."""


def completion(config: CompletionConfig, job: Job) -> CompletionResult:
    """The line that turns on completion."""
    return CompletionResult(shell=config.shell, line=LINES[config.shell])


def show_completion(result: CompletionResult, console: Console) -> None:
    """Just the line, so that it can be appended to a file."""
    console.print(result.line, markup=False, soft_wrap=True)
