"""Configuration and result of `tunesmith benchmark`.  Imports no engine."""

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from tunesmith.core.config import Schema, argument
from tunesmith.evaluate.imported.schema import ImportResult

RunnerName = Literal["lm-eval", "inspect"]


class BenchmarkConfig(Schema):
    """The harness is a program of its own, in a virtual environment of its own (`.venvs/lm-eval` or
    `.venvs/inspect` in this folder): it asks over /v1 as any client does, and may not reach the hub.
    """

    tasks: list[str] = argument(min_length=1)
    """lm-eval: names of tasks; Inspect: files of tasks, or `file.py@task`."""
    harness: RunnerName = "lm-eval"
    """Which harness runs them."""
    model: str = "smollm2-135m-instruct"
    """Model to ask: a name of `tunesmith models`, a folder, a GGUF file, a hub id or a run."""
    task_folder: Path | None = None
    """Folder of your own task files (lm-eval)."""
    environment: Path | None = None
    """Virtual environment that has the harness."""
    chat: bool = False
    """lm-eval: ask in chats, as a conversation; tasks that need likelihoods cannot be asked so."""
    shots: NonNegativeInt | None = None
    """lm-eval: worked examples before each question; without it what the task says."""
    limit: PositiveInt | None = None
    """Only the first so many items of each task."""
    metric: str | None = None
    """The score that decides; without it the first one."""
    slices: tuple[str, ...] = ()
    """Parts to look at on their own: keys of the items' metadata (lm-eval: of the document)."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap."""
    online: bool = False
    """Let the harness fetch from the hub what is not on this machine."""
    endpoint: str | None = None
    """URL (with /v1) of a server that has the model; without it one is started for the time needed."""
    served_as: str | None = None
    """The model's name on that server, when it is another one."""
    api_key_variable: str | None = None
    """Environment variable that holds the server's key."""
    concurrency: PositiveInt = 8
    """Requests under way at once."""


class BenchmarkResult(ImportResult):
    """A report of what the harness measured; its own files stand in `harness/`, with `harness.log`."""

    command: list[str]
    """How the harness was started."""
