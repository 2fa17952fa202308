"""What every door is handed beside its configuration, and what it gives back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.core.config import Schema
from tunesmith.core.progress import Progress, Silent
from tunesmith.core.workspace import Input, WorkFolder, Workspace


class FolderResult(Schema):
    """Result of a door that makes a folder.

    Every field but `folder` also stands in the manifest's summary, so that finished work can be
    answered from its folder.
    """

    folder: Path
    """The folder that was made."""

    @classmethod
    def fields_from(cls, summary: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """The values of a result, from a manifest's summary."""
        return {"folder": folder, **summary}


class JudgedResult(Schema):
    """Result of a door that judges: it is shown like any, and the command then exits with 0 or 1."""

    passed: bool
    """Whether it is as it should be."""


@dataclass(frozen=True)
class Job:
    """Where to work and whom to tell."""

    workspace: Workspace
    progress: Progress = field(default_factory=Silent)
    out: Path | None = None
    """The folder to fill; None takes the workspace's place for it."""

    @contextmanager
    def folder(
        self,
        *,
        verb: str,
        kind: str,
        name: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Path | Input],
        seed: int | None = None,
        resume: bool = False,
    ) -> Iterator[WorkFolder]:
        """Open this job's folder (see `Workspace.open`)."""
        with self.workspace.open(
            verb=verb,
            kind=kind,
            name=name,
            config=config,
            inputs=inputs,
            out=self.out,
            seed=seed,
            resume=resume,
        ) as folder:
            yield folder
