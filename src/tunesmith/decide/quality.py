"""What is wrong with the data, by the checks that need no model."""

from pathlib import Path

from tunesmith.core.job import Job
from tunesmith.core.progress import counted
from tunesmith.decide.schema import Quality
from tunesmith.launch.steps import Step, run_step

NAMED = 3
"""Checks that are named."""


def quality_of(data: Path, job: Job) -> Quality:
    """Look for faults; findings stop nothing here."""
    config = {"data": str(data), "fail_on": "never", "embeddings": "words"}
    result = run_step(Step("check", "look for faults in the data", "data check", config), job)
    worst = sorted(result["checks"], key=lambda one: -one["errors"])[:NAMED]
    return Quality(
        rows=result["rows"],
        rows_with_errors=result["rows_with_errors"],
        errors=result["errors"],
        warnings=result["warnings"],
        worst=[
            f"{one['check']}: {counted(one['errors'], 'error')} ({one['example']})"
            for one in worst
            if one["errors"]
        ],
        report=Path(result["folder"]).name,
    )
