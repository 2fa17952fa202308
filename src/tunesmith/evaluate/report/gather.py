"""From folders to facts: the data set, the plan, and everything together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.dataset import DataSet
from tunesmith.core.job import Job
from tunesmith.core.lineage import standing
from tunesmith.core.workspace import Manifest, Workspace
from tunesmith.evaluate.report import folders
from tunesmith.evaluate.report.commands import all_commands
from tunesmith.evaluate.report.facts import (
    DataFacts,
    Facts,
    Origin,
    Overlap,
    PlanFacts,
    Refusal,
    RuleFacts,
    SplitFacts,
)
from tunesmith.evaluate.report.facts_models import ModelFacts
from tunesmith.evaluate.report.gather_judge import ranking_facts, shown_reports, validation_facts
from tunesmith.evaluate.report.gather_results import compared_facts, model_facts, prompt_words, score
from tunesmith.evaluate.report.gather_run import run_facts
from tunesmith.evaluate.report.schema import ReportConfig

ACCOUNTS = ("kept", "changed", "refused", "duplicates", "withheld")
"""What became of every input row: these counts add up to all rows."""
SHOWN_REFUSALS = 12


class Given(NamedTuple):
    """The folders of a configuration, found: names and ids are resolved to paths."""

    data: Path
    plan: Path | None
    run: Path | None
    reports: tuple[Path, ...]
    comparison: Path | None
    hard: tuple[Path, ...]
    retention: Path | None
    gate: Path | None
    validation: tuple[Path, ...]
    ranking: Path | None
    behind: tuple[Path, ...] = ()
    """Reports that a comparison, ranking or validation rests on and that were not given themselves."""

    def inputs(self) -> dict[str, Path]:
        """Every folder by its role, for the manifest."""
        single = {"data": self.data, "plan": self.plan, "run": self.run}
        many = {"report": self.reports, "hard": self.hard}
        roles = {role: folder for role, folder in single.items() if folder is not None}
        for role, group in many.items():
            roles |= {f"{role}-{number}": folder for number, folder in enumerate(group, start=1)}
        last = {
            "comparison": self.comparison,
            "gate": self.gate,
            "retention": self.retention,
            "ranking": self.ranking,
        }
        roles |= {role: folder for role, folder in last.items() if folder is not None}
        return roles | {f"validation-{at}": folder for at, folder in enumerate(self.validation, start=1)}


def find(config: ReportConfig, job: Job) -> Given:
    """Resolve every folder that the configuration names."""

    def place(folder: Path) -> Path:
        return job.workspace.resolve(str(folder))

    given = Given(
        data=place(config.data),
        plan=place(config.plan) if config.plan else None,
        run=place(config.run) if config.run else None,
        reports=tuple(place(folder) for folder in config.reports),
        comparison=place(config.comparison) if config.comparison else None,
        hard=tuple(place(folder) for folder in config.hard),
        retention=place(config.retention) if config.retention else None,
        gate=place(config.gate) if config.gate else None,
        validation=tuple(place(folder) for folder in config.validation),
        ranking=place(config.ranking) if config.ranking else None,
    )
    return given._replace(behind=reports_behind(given, job.workspace))


def reports_behind(given: Given, workspace: Workspace) -> tuple[Path, ...]:
    """Reports that the given folders were made from and that still stand somewhere."""
    manifests = [Manifest.read(folder) for folder in given.inputs().values()]
    known = {manifest.id for manifest in manifests}
    wanted = {
        entry.id: Path(entry.path)
        for manifest in manifests
        for entry in manifest.inputs
        if entry.kind == "report" and entry.id not in known
    }
    found = (standing(workspace, content, path) for content, path in wanted.items())
    return tuple(folder for folder in found if folder is not None)


def gather(config: ReportConfig, given: Given, *, root: Path) -> Facts:
    """Read everything; `root` is the folder whose path is left out of the commands."""
    models = model_facts(given.reports, config.labels)
    hard = model_facts(given.hard, config.hard_labels)
    shown = shown_reports((*given.reports, *given.hard), (*models, *hard))
    made = origins(given, models, hard)
    behind = [Manifest.read(folder) for folder in given.behind]
    reproduce = tuple(tidy(command, root) for command in config.reproduce)
    return Facts(
        title=config.title,
        data=data_facts(given.data),
        plan=plan_facts(given.plan) if given.plan else None,
        run=run_facts(given.run) if given.run else None,
        models=models,
        comparison=compared_facts(given.comparison, given.reports, models) if given.comparison else None,
        retention=compared_facts(given.retention, (), ()) if given.retention else None,
        rule=rule_facts(given.gate) if given.gate else None,
        hard=hard,
        validations=tuple(validation_facts(folder, shown) for folder in given.validation),
        ranking=ranking_facts(given.ranking, shown) if given.ranking else None,
        origins=tuple(origin for origin, _ in made),
        commands=all_commands(config, made, behind, reproduce, root),
        reproduce=reproduce,
    )


def rule_facts(folder: Path) -> RuleFacts:
    """The conditions of a gate."""
    found = folders.opened(folder, "gate", "--gate").summary
    conditions = tuple((bool(one["holds"]), str(one["sentence"])) for one in found["conditions"])
    return RuleFacts(bool(found["passed"]), str(found["a"]), str(found["b"]), conditions)


def origins(
    given: Given, models: Sequence[ModelFacts], hard: Sequence[ModelFacts]
) -> list[tuple[Origin, Manifest]]:
    """Every folder that went in, in the order of the journey, with its manifest."""
    stages = {"data": "Prepare the data", "plan": "Decide", "run": "Train", "comparison": "Compare"}
    stages |= {"gate": "Hold against a rule", "retention": "Compare what was kept", "ranking": "Rank"}
    stages |= {f"report-{at}": f"Evaluate: {model.label}" for at, model in enumerate(models, start=1)}
    stages |= {f"hard-{at}": f"Hard set: {model.label}" for at, model in enumerate(hard, start=1)}
    stages |= {
        f"validation-{at}": "Hold the judge against people" for at in range(1, 1 + len(given.validation))
    }
    kinds = {"data": "data-set", "report": "report", "hard": "report", "retention": "comparison"}
    found = []
    for role, folder in given.inputs().items():
        word = role.partition("-")[0]
        manifest = folders.opened(folder, kinds.get(word, word), f"--{word}")
        found.append((folders.origin(role, stages[role], folder, manifest), manifest))
    return found


def tidy(command: str, root: Path) -> str:
    """A command without the paths of the machine it ran on."""
    home = str(Path.home())
    text = command.replace(f"{root}/", "").replace(str(root), ".")
    return text.replace(home, "~") if home != "/" else text


def data_facts(folder: Path) -> DataFacts:
    """What a data set folder shows; the splits are counted row by row, not copied from a summary."""
    data = DataSet.open(folder)
    summary = data.manifest.summary
    columns = {name: columns_of(data, name) for name in data.split_names()}
    rejects = folders.maybe_rows(folder / "rejects.jsonl")
    reasons = Counter(str(row.get("reason", "no reason given")) for row in rejects)
    return DataFacts(
        name=data.manifest.name,
        fingerprint=data.fingerprint,
        splits=tuple(SplitFacts(name, len(part.rows), len({*part.groups})) for name, part in columns.items()),
        overlaps=overlaps(columns),
        num_rows=summary["rows"],
        accounting=tuple((name, summary[name]) for name in ACCOUNTS),
        num_contradictions=summary["contradictions"],
        num_near_duplicates=summary["near_duplicates"],
        findings=tuple(summary["findings"]),
        reasons=tuple(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        refusals=tuple(refusal(row) for row in rejects[:SHOWN_REFUSALS]),
        num_refused=len(rejects),
        sample=first_row(data),
    )


class Columns(NamedTuple):
    """Identities of a split's rows."""

    rows: Sequence[str]
    groups: Sequence[str]


def columns_of(data: DataSet, name: str) -> Columns:
    """Row hashes and group ids of one split."""
    pairs = [(row.row_hash, row.group_id) for row in data.rows(name)]
    return Columns([row for row, _ in pairs], [group for _, group in pairs])


def overlaps(splits: Mapping[str, Columns]) -> tuple[Overlap, ...]:
    """Shared rows and groups of every two splits: counted here again, not copied from the proof."""
    rows = {name: set(part.rows) for name, part in splits.items()}
    groups = {name: set(part.groups) for name, part in splits.items()}
    return tuple(
        Overlap(a, b, len(rows[a] & rows[b]), len(groups[a] & groups[b])) for a, b in combinations(splits, 2)
    )


def first_row(data: DataSet) -> tuple[tuple[str, str], ...]:
    """The turns of the training split's first row."""
    row = next(data.rows("train"), None) if "train" in data.split_names() else None
    return tuple((turn.role, turn.content or "") for turn in row.example.messages) if row else ()


def refusal(row: Mapping[str, Any]) -> Refusal:
    """One line of `rejects.jsonl`."""
    value = row.get("value")
    return Refusal(
        line=row.get("line"),
        pointer=str(row.get("pointer", "")),
        reason=str(row.get("reason", "")),
        value="" if value is None else str(value),
    )


def plan_facts(folder: Path) -> PlanFacts:
    """The plan's verdict, and what prompting alone reached on the validation split."""
    summary = folders.opened(folder, "plan", "--plan").summary
    return PlanFacts(
        verdict=summary["verdict"],
        sentence=summary["sentence"],
        reasons=tuple(summary["reasons"]),
        warnings=tuple(summary["warnings"]),
        primary=summary["primary"],
        measured=tuple(
            (prompt_words(one["prompt"]), score(summary["primary"], one)) for one in summary["measurements"]
        ),
    )
