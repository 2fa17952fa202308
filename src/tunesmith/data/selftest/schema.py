"""Configuration and result of `tunesmith data selftest`."""

from pathlib import Path

from pydantic import Field, PositiveInt

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult


class SelftestConfig(Schema):
    """Known faults go into copies of the rows; the data themselves stay as they are.

    What a check finds on the untouched rows is found there too before anything is planted: it is counted
    apart, and is neither right nor wrong here.
    """

    data: str = argument()
    """File of rows, data set folder (its path, name or id), or a YAML recipe with one data set."""
    model: str | None = None
    """Model that will be trained; without one, faults that only a model sees are not planted."""
    shape: str | None = None
    """Layout of a file's rows, or `mixed`; found out by its content when not given."""
    mapping: Path | None = None
    """YAML file that says which columns of a file mean what."""
    fix: bool = False
    """Work on a file's rows as they are after the mechanical repairs of `data prepare --fix`."""
    plant: tuple[str, ...] = ()
    """Plant only these faults (repeat the option for each)."""
    rows: PositiveInt = 1000
    """Rows to work on, drawn at random."""
    share: float = Field(0.1, gt=0, le=0.5)
    """Share of these rows that get a fault."""
    threshold: tuple[str, ...] = ()
    """NAME=VALUE: where a check's value becomes a finding."""
    budget: float = Field(240, gt=0)
    """Seconds for the checks that need a model; half of them go to the rows without faults."""
    embeddings: str = "static"
    """How texts are compared by meaning: `static`, `minilm`, `words` (no model), or an encoder's folder."""
    max_length: PositiveInt = 2048
    """Tokens that an example may have in training."""
    seed: int = Field(0, ge=0)
    """Seed of the drawing and of the faults."""
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Start of the folder's name; the data's name when not given."""


class Rate(Schema):
    """A share or an area with its 95 % interval."""

    value: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


class Outcome(Schema):
    """How well a check found one kind of fault."""

    plant: str
    """The kind of fault."""
    check: str
    """The check; several joined by + are taken together."""
    planted: int
    """Faults that the check looked at."""
    found: int
    """Those that it found."""
    recall: Rate
    """Share of the planted faults that were found."""
    false: int
    """Rows without a planted fault that were found, and were not found before."""
    precision: Rate | None
    """Share of the rows found that have a planted fault; None when nothing was found."""
    before: int
    """Rows that the check found before anything was planted: they are counted nowhere else."""
    auc: Rate | None = None
    """For a check that ranks: how often a row with a fault has the higher value than one without."""


class NotPlanted(Schema):
    """A kind of fault that could not be planted, or not be looked for."""

    plant: str
    """The kind of fault."""
    reason: str
    """Why."""


class SelftestResult(FolderResult):
    """How well the checks work on these data."""

    data: str
    """What was tested on."""
    rows: int
    """Rows worked on."""
    unreadable: int = 0
    """Rows of the file that cannot be read; they are not among them."""
    outcomes: list[Outcome]
    """By kind of fault and check."""
    not_planted: list[NotPlanted]
    """What was left out, and why."""
