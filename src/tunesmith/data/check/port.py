"""What a check is: a plain function over one row, or over the whole corpus, with its name and threshold.

A check only says what it found.  Nothing is changed or dropped by it, and one soft score never is a verdict.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.conversation import Example
from tunesmith.core.errors import ModelError
from tunesmith.core.job import Job
from tunesmith.data.corpus import Corpus, CorpusRow

if TYPE_CHECKING:
    from tunesmith.data.check.models.bench import Bench

Severity = Literal["error", "warning", "note"]
"""error: training on the row does harm; warning: somebody should look; note: good to know."""

Family = Literal[
    "format", "answers", "consistency", "duplicates", "labels", "balance", "coverage",
    "privacy", "safety", "preferences", "leakage", "model",
]  # fmt: skip
"""Under which heading the report shows a check."""

FAMILIES: tuple[str, ...] = get_args(Family)
"""The headings, in their order."""

Need = Literal["embeddings", "tokenizer", "model"]
"""What a check cannot do without."""

Text = Literal["prompt", "answer", "whole"]
"""What of a row is embedded."""

Floats = NDArray[np.float32]


class Found(NamedTuple):
    """What a check says of one row."""

    severity: Severity
    value: float | int | str
    """What was measured."""
    evidence: Mapping[str, Any]
    """What shows it: `pointer` into the row, `text` (short; secrets masked), `row` (another row's place) …"""


class Finding(NamedTuple):
    """What a check says of a row (its position in the corpus) or of the whole corpus (None)."""

    position: int | None
    severity: Severity
    value: float | int | str
    evidence: Mapping[str, Any]
    line: int | None = None
    """Line of a row that could not be read, and so stands in no corpus."""


class Fact(NamedTuple):
    """Something measured on the whole corpus, for the report: a JSON value under a name."""

    name: str
    value: Any


class Looked(NamedTuple):
    """How many rows a check looked at, when that was a uniform sample: the report then gives an interval.

    0: there was nothing that it could look at.
    """

    rows: int


@dataclass(frozen=True)
class Options:
    """What a user can set beside the thresholds."""

    model: str | None = None
    """Model that will be trained: its tokenizer, and for the checks that need it, its losses."""
    max_length: int = 2048
    """Tokens that an example may have."""
    slices: tuple[str, ...] = ()
    """Keys of the metadata to balance and cover by, beside label, source, language, length and turns."""
    benchmarks: tuple[Path, ...] = ()
    """Files whose rows must not be trained on."""
    report: Path | None = None
    """Folder of an evaluation on these rows: its errors are counted by slice."""
    embeddings: str = "static"
    """Embedder: `static`, `minilm`, `words` (no model), or the folder of an encoder."""
    budget_seconds: float = 120
    """Time for the checks that need a model; 0 is no limit."""
    seed: int = 0


def no_bench() -> "Bench":
    """For corpora that are checked without a model."""
    raise ModelError("no model was named", next_step="name the model that will be trained with --model")


@dataclass(frozen=True)
class Context:
    """What a check over the whole corpus may use."""

    corpus: Corpus
    options: Options
    job: Job
    vectors: Callable[[Text], Floats]
    """Unit vectors (N, D) of one text of each row, by position; computed when first asked for, then kept."""
    bench: Callable[[], "Bench"] = no_bench
    """The model that will be trained, and what it says of a sample of rows; opened when first asked for."""


RowFunction = Callable[[CorpusRow, float], Iterator[Found]]
"""Row and threshold to what is found."""
SetFunction = Callable[[Context, float], Iterator[Finding | Fact | Looked]]
"""Corpus and threshold to what is found."""


@dataclass(frozen=True)
class Check:
    """A check; exactly one of `row` and `whole` is given."""

    name: str
    """In snake_case; findings and thresholds go by it."""
    about: str
    """One sentence: what it finds and why that matters."""
    family: Family
    row: RowFunction | None = None
    whole: SetFunction | None = None
    threshold: float = 0.0
    """Where a value becomes a finding; what it counts stands in `about`.  0 for checks without one."""
    needs: frozenset[Need] = field(default_factory=frozenset)
    applies: Callable[[Example], bool] | None = None
    """Which rows it can say anything about; None: all.  Where it applies to none, nothing was looked at."""

    def __post_init__(self) -> None:
        assert (self.row is None) != (self.whole is None), self.name
