"""Configuration and result of `tunesmith data synthesize`.  Imports no engine."""

from pathlib import Path

from pydantic import Field, PositiveInt

from tunesmith.core.config import Schema, argument
from tunesmith.data.steps import DataSetResult


class SynthesizeConfig(Schema):
    """A few training rows are shown, and the teacher writes one more; what it writes is checked, compared
    with all rows there are, and marked.

    Only training rows are shown, and new rows only go into the training split.  Stopped, the same command
    goes on; no reply is asked for twice.  Whether a teacher's terms allow training on its answers is for you
    to check.
    """

    seeds: Path = argument()
    """Data set folder with the rows to write more of: its path, name or id."""
    teacher: str
    """URL (with /v1) of the server that has the teacher."""
    model: str
    """The teacher's name on that server."""
    rows: PositiveInt
    """New rows wanted."""
    by: str | None = None
    """Key of the metadata whose values each get the same number of new rows: their own rows are shown."""
    shots: PositiveInt = 4
    """Rows shown in each request."""
    temperature: float = Field(0.9, ge=0, le=2)
    """Higher is more varied, and more often wrong."""
    max_tokens: PositiveInt = 1024
    """Longest reply."""
    similar: float = Field(0.7, gt=0, le=1)
    """A prompt at least so like another one (Jaccard, runs of 4 characters) is not new."""
    tries: PositiveInt = 5
    """Requests for each row wanted, at most; then what there is must do."""
    api_key_variable: str | None = None
    """Environment variable that holds the server's key."""
    concurrency: PositiveInt = 8
    """Requests under way at once."""
    seed: int = Field(0, ge=0)
    """Seed of which rows are shown."""


class SynthesizeResult(DataSetResult):
    """A data set with synthetic training rows."""

    added: int
    """New rows."""
    wanted: int
    """New rows asked for."""
    requests: int
    """Replies asked for."""
    discarded: dict[str, int]
    """Replies that were not used, by reason (discarded.jsonl)."""
    slices: dict[str, int]
    """New rows of each slice."""
    prompt_tokens: int
    """Tokens of all requests."""
    completion_tokens: int
    """Tokens of all replies."""
    seconds: float
    """Time that the teacher took for all replies together."""
