"""Configuration and result of `tunesmith data pool`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from tunesmith.core.config import Schema, argument
from tunesmith.data.pool.policy import Method
from tunesmith.data.steps import DataSetResult


class PoolConfig(Schema):
    """Chooses rows of a pool without answers, for people to answer: one round of active learning.

    The validation and test rows of --labelled must have been drawn at random before: they are never chosen
    for, and tell when another round brings nothing.  Each chosen row keeps the probability with which it was
    chosen.
    """

    pool: Path = argument()
    """Rows to choose from: JSON Lines of `prompt`, `text` or `messages`, any file of rows, or a data set."""
    labelled: Path
    """Data set folder with the labelled rows: its path, name or id."""
    rows: PositiveInt = 20
    """How many rows to choose."""
    by: Method = "auto"
    """`auto` is `typical` (TypiClust) until about 20 labels a class, then `margin` with clustering; for free
    answers `cover` (clusters × uncertainty).  Others: `entropy`, `badge`, `random`."""
    task: Literal["auto", "labels", "answers"] = "auto"
    """Whether answers are labels of few kinds or free text; auto looks at the labelled rows."""
    uniform: float = Field(0.15, ge=0.1, le=0.5)
    """Share of the rows that is drawn uniformly: it keeps estimates unbiased."""
    embeddings: str = "static"
    """How prompts are compared: `static`, `minilm`, `words` (no model), or the folder of an encoder."""
    model: str | None = None
    """For free answers: the model whose uncertainty counts (a name, folder, run or hub id)."""
    samples: int = Field(3, ge=2, le=16)
    """For free answers: answers that the model gives to each row that is looked at."""
    max_tokens: PositiveInt = 48
    """For free answers: tokens of such an answer."""
    near_duplicates: float = Field(0.8, ge=0, le=1)
    """Pool rows so like a validation or test prompt are withheld (Jaccard, runs of 4 letters); 0 is off."""
    least_gain: float = Field(0.01, gt=0, lt=1)
    """Stop when two rounds surely gained less accuracy than this."""
    seed: int = Field(0, ge=0)
    """Seed of clusters and draws."""


class Score(Schema):
    """Accuracy on the validation rows."""

    round: int
    """Round before which it was measured."""
    labelled: int
    """Labelled training rows."""
    value: float
    """Share of right answers of the classifier."""
    low: float
    """95 % interval (Wilson)."""
    high: float
    """Its upper end."""


class PoolResult(DataSetResult):
    """A round: labelled rows, and chosen rows that wait for an answer."""

    round: int
    """Its number, from 1."""
    task: str
    """`labels` or `answers`."""
    strategy: str
    """What chose."""
    chosen: int
    """Rows that were chosen."""
    uniform: int
    """Those of them that were drawn uniformly."""
    labelled: int
    """Labelled training rows before this round."""
    labels: list[str]
    """Labels that the labelled rows have; empty for free answers."""
    pool_rows: int
    """Rows of the pool that could be chosen."""
    pool_out: dict[str, int]
    """Rows of the pool that could not, by reason (dropped.jsonl)."""
    scores: list[Score]
    """Accuracy before this round and before each earlier one."""
    stop: bool
    """Whether another round is not worth it."""
    why: str
    """Why, with the interval."""
