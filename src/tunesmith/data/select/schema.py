"""Configurations and results of `tunesmith data select` and `tunesmith data balance`.  Imports no engine."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.data.check.port import Text
from tunesmith.data.steps import DataSetResult

By = Literal["random", "length", "facility-location", "k-center", "mmr", "deita", "ifd", "rds"]


OF_A_POOL = frozenset({"pool", "labelled", "rows", "embeddings", "model", "seed"})
"""Settings that mean the same for `data pool`."""


class SelectConfig(Schema):
    """Only training rows are chosen from; the other splits stay as they are.

    Whatever the method, a random and a length-stratified choice of equal size are made beside it, and the
    result shows coverage, diversity and length of all three: most methods do not beat random, and
    `tunesmith data ablate` measures whether this one does.

    With --pool and --labelled it is a round of active learning instead: the same as `tunesmith data pool`,
    which has the settings of that.
    """

    data: Path | None = argument(None)
    """Data set folder: its path, name or id; not with --pool."""
    rows: PositiveInt
    """How many rows to choose."""
    pool: Path | None = None
    """Choose from these rows without answers, for people to answer next: a file of rows, or a data set."""
    labelled: Path | None = None
    """With --pool: data set folder with the rows that have answers: its path, name or id."""
    by: By = "random"
    """`random`; `length` (the same share of every length); `facility-location` (every row has a near chosen
    one); `k-center` (no row is far from a chosen one); `mmr` (score against likeness); `deita` (best score
    first, unlike each other); `ifd` (the prompt helps least, but helps); `rds` (like --target, by the model's
    own hidden states)."""
    text: Text = "whole"
    """What of a row is compared by meaning."""
    embeddings: str = "static"
    """How: `static`, `minilm`, `words` (no model), or the folder of an encoder."""
    score: tuple[str, ...] = ()
    """For mmr and deita: keys of the metadata that hold numbers, higher is better, multiplied; or `length`,
    `ifd` or `perplexity` (lower is better), which the model gives."""
    model: str | None = None
    """Model for ifd, perplexity and rds: best the one that will be trained."""
    target: Path | None = None
    """For rds: what the model shall become good at: a file of rows, or a data set folder, whose validation
    split is taken."""
    tradeoff: float = Field(0.5, ge=0, le=1)
    """For mmr: weight of the score; the rest is for being unlike the rows chosen already."""
    similar: float = Field(0.9, gt=0, le=1)
    """For deita: a row at least so like a chosen one (cosine) is passed over."""
    max_length: PositiveInt = 2048
    """Tokens of a row that the model reads."""
    seed: int = Field(0, ge=0)
    """Seed of whatever is drawn."""

    @model_validator(mode="after")
    def _where_rows_come_from(self) -> Self:
        if (self.pool is None) != (self.labelled is None):
            raise ValueError("--pool and --labelled go together")
        if (self.pool is None) == (self.data is None):
            raise ValueError("give a data set to choose from, or --pool and --labelled")
        other = self.model_fields_set - OF_A_POOL - {"data"}
        if self.pool is not None and other:
            names = " ".join("--" + name.replace("_", "-") for name in sorted(other))
            raise ValueError(f"a pool is not chosen from by {names}: `tunesmith data pool` has its settings")
        return self

    @model_validator(mode="after")
    def _what_methods_need(self) -> Self:
        if self.by in ("mmr", "deita") and not self.score:
            raise ValueError(f"--by {self.by} needs a --score")
        if self.score and self.by not in ("mmr", "deita"):
            raise ValueError(f"--by {self.by} takes no --score")
        asked = {"ifd", "perplexity"} & {*self.score, self.by}
        if (asked or self.by == "rds") and self.model is None:
            raise ValueError(f"{', '.join(sorted(asked)) or 'rds'} needs a --model")
        if (self.by == "rds") != (self.target is not None):
            raise ValueError("--by rds and --target go together")
        return self


class ChoiceFacts(Schema):
    """What a choice of rows is like."""

    name: str
    """`selected`, `random`, `length` or `all`."""
    rows: int
    """Training rows in it."""
    characters: int
    """Characters of its prompts and answers."""
    shortest: float
    """Characters of a row: 10th percentile."""
    median: float
    """Characters of a row: median."""
    longest: float
    """Characters of a row: 90th percentile."""
    coverage: float | None
    """Mean cosine of every training row to the nearest row of the choice."""
    worst: float | None
    """The same, 5th percentile: how well the least covered rows are."""
    diversity: float | None
    """Vendi score (arXiv:2210.02410): how many different rows it is worth."""
    nearest: float | None
    """Mean cosine of a row of the choice to the nearest other one; lower is more varied."""


class SelectResult(DataSetResult):
    """A data set with chosen training rows."""

    by: str
    """The method."""
    choices: list[ChoiceFacts]
    """The choice, both controls, and all rows."""


class BalanceConfig(Schema):
    """Give one of --cap, --temperature, --weights.  Only training rows are balanced, and none is copied."""

    data: Path = argument()
    """Data set folder: its path, name or id."""
    by: str
    """What to balance: a key of the metadata, `answer` (the text of short answers, such as labels), `length`
    (quarters) or `turns`."""
    cap: int = Field(0, ge=0)
    """Keep at most so many rows of each value; 0 is off."""
    temperature: float = Field(0.0, ge=0)
    """Keep rows so that a value with n rows gets a share ∝ n^(1/T): larger evens out more; 0 is off."""
    weights: bool = False
    """Drop nothing, and write down how often training shall see the rows of each value, by the same rule at
    --power."""
    power: PositiveFloat = 2.0
    """T of the weights' rule; large values give every value the same share."""
    seed: int = Field(0, ge=0)
    """Seed of which rows stay."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.cap) + bool(self.temperature) + self.weights != 1:
            raise ValueError("give one of --cap, --temperature and --weights")
        if self.temperature and self.temperature < 1:
            raise ValueError("--temperature below 1 would make what is frequent more frequent")
        return self


class ValueFacts(Schema):
    """The rows of one value."""

    value: str
    """The value; '(none)' for rows that have none."""
    before: int
    """Training rows before."""
    after: int
    """Training rows after."""
    weight: float
    """How often an epoch sees each of them; 1 unless weights were asked for."""


class BalanceResult(DataSetResult):
    """A data set with balanced training rows."""

    by: str
    """What was balanced."""
    values: list[ValueFacts]
    """Every value, the most frequent first."""
