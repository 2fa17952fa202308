"""Proofs that an earlier run tried on the same model, method and settings, and that stand for this one too.

They are those of the engine: nothing in them depends on which rows are learned.  That the longest batch fits
stands only while it is no longer than the one that was tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tunesmith.core.errors import FolderError
from tunesmith.core.recipe.recipe import ENGINE_PROOFS
from tunesmith.core.workspace import Manifest, versions
from tunesmith.train.choices import FREE, flat
from tunesmith.train.preflight import memory
from tunesmith.train.preflight.context import PreflightContext
from tunesmith.train.preflight.schema import ProofResult, read_results

COURSE: Final = (
    *(name for name in FREE if name != "activation_checkpointing"),
    "name",
    "data",
    "seed",
    "epochs",
    "max_steps",
    "evaluations",
    "eval_every",
    "generation",
    "patience",
    "publish",
    "waive",
)
"""Settings of a recipe that no proof of the engine depends on."""
MODEL_ROLES: Final = ("model", "init_from")
TRIED_IN: Final = "tried_in"


def check_standing(run: Path, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
    """Refuse an earlier run whose proofs say nothing of one with these settings and inputs (role → id).

    Raises FolderError saying what differs, or for a run that has not finished.
    """
    manifest = Manifest.read(run)
    had, now = engine_settings(manifest.config), engine_settings(settings)
    changed = [
        f"{key}: {had.get(key)} → {now.get(key)}"
        for key in sorted(had.keys() | now.keys())
        if had.get(key) != now.get(key)
    ]
    ids = {entry.role: entry.id for entry in manifest.inputs}
    changed += [f"another {role}" for role in MODEL_ROLES if ids.get(role) != inputs.get(role)]
    installed = versions()
    changed += [
        f"{name} {manifest.versions.get(name)} → {version}"
        for name, version in installed.items()
        if manifest.versions.get(name) != version
    ]
    if changed:
        raise FolderError(
            f"what this run proved does not hold for the recipe: {'; '.join(changed)}",
            where=run,
            next_step="leave --proved-by out, and every proof is tried",
        )


def engine_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's settings the engine's proofs depend on, flat."""
    return flat({name: value for name, value in settings.items() if name not in COURSE})


def standing_proofs(context: PreflightContext, run: Path | None) -> dict[str, ProofResult]:
    """The proofs of an earlier run that need not be tried again; none without one."""
    if run is None or context.recipe.engine == "fake":
        return {}
    held = {result.name: result for result in read_results(run)}
    return {
        name: taken(held[name], run)
        for name in ENGINE_PROOFS
        if name in held and held[name].passed and (name != "memory" or memory.covers(context, held[name]))
    }


def taken(result: ProofResult, run: Path) -> ProofResult:
    """A result as this run shows it: with the run that tried it, and at no cost."""
    if TRIED_IN in result.details:
        return replace(result, seconds=0.0)
    evidence = f"tried in {run.name}: {result.evidence}"
    return replace(result, evidence=evidence, details={**result.details, TRIED_IN: str(run)}, seconds=0.0)
