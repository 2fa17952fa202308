"""What a proof of the pre-flight finds, and how it is shown.  Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from tunesmith.core.files import read_json, write_json

Outcome = Literal["passed", "failed", "waived", "not applicable"]
MARKS: Final[Mapping[Outcome, str]] = {"passed": "✓", "failed": "✗", "waived": "!", "not applicable": "–"}
PREFLIGHT_NAME: Final = "preflight.json"


class Finding(NamedTuple):
    """What a proof itself returns; the runner adds its name, its time and the waiver."""

    outcome: Outcome
    evidence: str
    """One sentence in numbers."""
    details: Mapping[str, Any] = {}
    """The same for programs, as JSON can hold it."""
    mend: str = ""
    """Better advice than the proof's general one, when the finding allows it."""


@dataclass(frozen=True)
class ProofResult:
    """One proof of the pre-flight."""

    name: str
    outcome: Outcome
    evidence: str
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether it was tried and held; one that was waived or does not apply has not passed."""
        return self.outcome == "passed"

    def line(self) -> str:
        """The line that people see."""
        waived = "WAIVED by the recipe: " if self.outcome == "waived" else ""
        idle = "not applicable: " if self.outcome == "not applicable" else ""
        return f"{MARKS[self.outcome]} {self.name}  {waived}{idle}{self.evidence}  {self.seconds:.1f} s"


def as_json(value: Any) -> Any:
    """A value as JSON can hold it: lists for tuples, words for numbers that are none."""
    if isinstance(value, Mapping):
        return {name: as_json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def write_results(folder: Path, results: Sequence[ProofResult]) -> None:
    """Leave the results in the run folder."""
    write_json(folder / PREFLIGHT_NAME, {"proofs": [asdict(result) for result in results]})


def read_results(folder: Path) -> list[ProofResult]:
    """The results that a run folder holds; empty when no pre-flight has run there."""
    if not (folder / PREFLIGHT_NAME).exists():
        return []
    return [ProofResult(**row) for row in read_json(folder / PREFLIGHT_NAME)["proofs"]]


def activation_checkpointing(results: Sequence[ProofResult]) -> bool | None:
    """What the proof `memory` decided for `activation_checkpointing: auto`; None when it decided nothing."""
    decided = [
        result.details.get("activation_checkpointing") for result in results if result.name == "memory"
    ]
    return None if not decided or decided[0] is None else bool(decided[0])
