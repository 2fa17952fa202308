"""From manifests to the commands that make the same numbers again.

Folders are called by name, files by their place below the folder of the workspace; of anything else only the
last part is said, for a page that is passed on must not tell where somebody keeps things.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any

from tunesmith.core.config import Schema
from tunesmith.core.workspace import KINDS, Input, Manifest
from tunesmith.evaluate.comparison.schema import CompareConfig
from tunesmith.evaluate.gate.schema import RELEASE
from tunesmith.evaluate.imported.schema import ImportConfig
from tunesmith.evaluate.ranking.schema import RankConfig
from tunesmith.evaluate.report import folders
from tunesmith.evaluate.report.facts import Command, Origin
from tunesmith.evaluate.report.gather_results import label
from tunesmith.evaluate.report.schema import ReportConfig
from tunesmith.evaluate.schema import EvaluateConfig
from tunesmith.evaluate.validate.schema import ValidateConfig

ADDRESS = '--endpoint "$ENDPOINT"'
"""Where a server stands is not in a manifest; the reader's own stands in this variable."""
OF_A_TASK = ("split", "limit", "max_tokens", "scorers", "slices")

Words = list[str]


def command_of(manifest: Manifest, root: Path) -> str | None:
    """The command that makes a folder's numbers again; None for work that has no single one."""
    made = MAKERS.get(manifest.verb)
    return made(manifest, root) if made is not None else None


def evaluate_command(manifest: Manifest, root: Path) -> str:
    """`tunesmith evaluate …`: the same items, model, prompt and limits."""
    inputs, config = by_role(manifest), manifest.config
    model = inputs["model"]
    words = ["evaluate", suite_name(inputs["suite"], root), "--model", model_name(model, manifest, root)]
    if "prompt" in inputs:
        words += ["--prompt", place(inputs["prompt"], root)]
    if "tasks" in config:
        values: dict[str, Any] = {"limit": common_limit(config["tasks"]), "vault": config.get("vault")}
    else:
        values = {name: config.get(name) for name in OF_A_TASK}
    words += options(EvaluateConfig, {**values, "seed": config.get("seed")})
    return command(words, served=model.kind == "remote")


def common_limit(tasks: Mapping[str, Mapping[str, Any]]) -> int | None:
    """The limit that all tasks of a suite have, which `--limit` gives as well; None when they differ."""
    limits = {task.get("limit") for task in tasks.values()}
    return limits.pop() if len(limits) == 1 else None


def compare_command(manifest: Manifest, root: Path) -> str:
    """`tunesmith compare A B …`, the model to beat first."""
    reports = [place(entry, root) for entry in manifest.inputs if entry.kind == "report"]
    values = {name: manifest.config[name] for name in manifest.config if name in CompareConfig.model_fields}
    return command(["compare", *reports, *options(CompareConfig, values)])


def validate_command(manifest: Manifest, root: Path) -> str:
    """`tunesmith validate REPORT …`: the verdicts are those that the workspace holds by then."""
    names = ("judge", "threshold", "seed")
    values = {name: manifest.config[name] for name in names}
    report = by_role(manifest)["report"]
    return command(["validate", place(report, root), *options(ValidateConfig, values)])


def rank_command(manifest: Manifest, root: Path) -> str:
    """`tunesmith rank A B …`."""
    config = dict(manifest.config)
    by_judge, decided_by = config.pop("by_judge"), folders.public(config.pop("decided_by"))
    served = config.pop("endpoint") is not None
    values = {"judge" if by_judge else "metric": decided_by, **config}
    reports = [place(entry, root) for entry in manifest.inputs if entry.kind == "report"]
    return command(["rank", *reports, *options(RankConfig, values)], served=served)


def gate_command(manifest: Manifest, root: Path) -> str:
    """`tunesmith gate RULE A B`."""
    inputs = by_role(manifest)
    is_built_in = Path(inputs["rule"].path) == RELEASE
    rule = RELEASE.stem if is_built_in else place(inputs["rule"], root)
    return command(["gate", rule, *(place(inputs[role], root) for role in ("a", "b"))])


def import_command(manifest: Manifest, root: Path) -> str:
    """`tunesmith import-results FILE`, or the folder of several files."""
    files = [Path(entry.path) for entry in manifest.inputs]
    source = files[0] if len(files) == 1 else Path(commonpath(files))
    values = {name: manifest.config.get(name) for name in ("metric", "slices", "seed")}
    return command(["import-results", near(str(source), root), *options(ImportConfig, values)])


MAKERS: Mapping[str, Callable[[Manifest, Path], str]] = {
    "evaluate": evaluate_command,
    "compare": compare_command,
    "validate": validate_command,
    "rank": rank_command,
    "gate": gate_command,
    "import-results": import_command,
}
"""By verb.  A benchmark has none: another harness made it, whose own files stand in the report."""


def report_command(config: ReportConfig, origins: Sequence[Origin], reproduce: Sequence[str]) -> str:
    """`tunesmith report …`, with the folders and the commands that were given."""
    words = ["report"]
    flags = {"report": "--reports"}
    for origin in origins:
        role = origin.role.partition("-")[0]
        words += [origin.folder] if role == "data" else [flags.get(role, f"--{role}"), origin.folder]
    shown = {name: vars(config)[name] for name in ("labels", "hard_labels", "title", "name")}
    return command([*words, *options(ReportConfig, {**shown, "reproduce": tuple(reproduce)})])


def by_role(manifest: Manifest) -> dict[str, Input]:
    """What went in, by its role."""
    return {entry.role: entry for entry in manifest.inputs}


def place(entry: Input, root: Path) -> str:
    """What a command calls an input."""
    return Path(entry.path).name if entry.kind in KINDS else near(entry.path, root)


def suite_name(entry: Input, root: Path) -> str:
    """What a command calls the items; a folder with a dot in its name would be taken for a file."""
    name = place(entry, root)
    return entry.id[:12] if entry.kind in KINDS and "." in name else name


def near(path: str, root: Path) -> str:
    """A path below `root` as it is seen from there; of another its last part; other texts as they are."""
    if Path(path).is_absolute() and Path(path).is_relative_to(root):
        return str(Path(path).relative_to(root))
    return folders.public(path)


def model_name(model: Input, manifest: Manifest, root: Path) -> str:
    """What a command calls the model that was asked."""
    if model.kind == "run":
        return Path(model.path).name
    return near(str(manifest.summary["model"]), root)


def options(schema: type[Schema], values: Mapping[str, Any]) -> Words:
    """Options for the values that are not their schema's defaults."""
    words: Words = []
    for name, value in values.items():
        if value is None or value is False or value in ((), []) or value == schema.model_fields[name].default:
            continue
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        else:
            for one in value if isinstance(value, list | tuple) else (value,):
                words += [flag, str(one)]
    return words


def command(words: Words, *, served: bool = False) -> str:
    """A line for a shell."""
    line = shlex.join(["tunesmith", *words])
    return f"{line} {ADDRESS}" if served else line


def all_commands(
    config: ReportConfig,
    made: Sequence[tuple[Origin, Manifest]],
    behind: Sequence[Manifest],
    reproduce: Sequence[str],
    root: Path,
) -> tuple[Command, ...]:
    """What makes each folder's numbers again, each once, then the page itself.

    `reproduce` are the commands of the configuration, without the paths of this machine.
    """
    unnamed = [(f"Evaluate: {label(manifest)}, not on this page", manifest) for manifest in behind]
    found = {
        manifest.id: Command(stage, manifest.id, line)
        for stage, manifest in (*unnamed, *((origin.stage, manifest) for origin, manifest in made))
        if (line := command_of(manifest, root)) is not None
    }
    page = report_command(config, [origin for origin, _ in made], reproduce)
    return (*found.values(), Command("This page", None, page))
