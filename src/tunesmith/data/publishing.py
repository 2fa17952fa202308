"""`tunesmith data card`: a data set with its documentation as it is known now, in a folder to publish.

README.md has the Hugging Face hub's form (YAML front matter, then text), croissant.json is Croissant 1.1.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tunesmith.core.dataset import DataSet
from tunesmith.core.files import explain_disk_errors, hash_json, write_json, write_text
from tunesmith.core.job import Job
from tunesmith.core.lineage import standing
from tunesmith.core.reviews.store import reviews_of
from tunesmith.core.workspace import Manifest, input_from
from tunesmith.data.croissant import Published, croissant
from tunesmith.data.knowledge import knowledge, measurements, open_findings
from tunesmith.data.review.schema import ReviewResult
from tunesmith.data.review.status import status
from tunesmith.data.review.words import review_lines
from tunesmith.data.schema import CardConfig, CardResult

UNKNOWN = "unknown"
SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
"""The hub's names for sizes."""
LARGEST = "100M<n<1B"
SYNTHETIC = re.compile(r"^[\d,]+ synthetic rows")
"""How `data prepare` says that there are some."""
ACCOUNT = re.compile(r"\b(?:dropped|rejects|nearest|changes)\.jsonl\b")
"""Accounts of rows, which may hold what was left out for good reason: they are named and not published."""
PATH = re.compile(r"(?<![\w.:/])(?:/[\w.+-]+){2,}/?")
"""An absolute path: its last part is enough for a reader elsewhere."""


class StepTaken(NamedTuple):
    """One step of the lineage, the newest last."""

    verb: str
    kind: str
    name: str
    id: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    counts: Mapping[str, Any]


class Source(NamedTuple):
    """A file at the start of the lineage."""

    name: str
    sha256: str
    origin: str
    licence: str


class Lineage(NamedTuple):
    """Where the data come from."""

    steps: list[StepTaken]
    sources: list[Source]
    missing: list[str]
    """Inputs that stand nowhere any more."""


def make_card(config: CardConfig, job: Job) -> CardResult:
    """Write README.md and croissant.json beside a copy of the splits."""
    data = DataSet.find(config.data, job.workspace)
    known = list(knowledge(job, data))
    reviewed = review_of(job, data)
    inputs = {"data": input_from("data", data.folder)}
    inputs |= {
        f"known.{number}": input_from(f"known.{number}", folder) for number, folder in enumerate(known)
    }
    settings = config.model_dump(mode="json", exclude={"data"})
    if reviewed is not None:  # verdicts live in a database: another state of them is another card
        settings["review"] = hash_json(reviewed.to_json())
    name = data.manifest.name
    with (
        job.folder(verb="data card", kind="card", name=name, config=settings, inputs=inputs) as folder,
        explain_disk_errors(folder.path),
    ):
        facts = collect(config, job, data, [Manifest.read(path) for path in known], reviewed)
        for split in data.split_names():
            shutil.copyfile(data.folder / f"{split}.parquet", folder / f"{split}.parquet")
        write_json(folder / "croissant.json", croissant(facts.published))
        write_text(folder / "README.md", readme(facts))
        folder.summary = {
            "data": name_of(data),
            "licence": facts.published.licence,
            "steps": [step.verb for step in facts.lineage.steps],
            "findings": facts.findings,
            "unknown": facts.unknown,
        }
    return CardResult(**CardResult.fields_from(folder.summary, folder.path))


def name_of(data: DataSet) -> str:
    """The folder's name: no place on this machine is published."""
    return data.folder.name


class Facts(NamedTuple):
    """Everything that is published."""

    published: Published
    lineage: Lineage
    manifest: Manifest
    fingerprint: str
    splits: Mapping[str, int]
    card: str
    known: Sequence[Manifest]
    review: list[str]
    findings: list[str]
    unknown: list[str]
    size: str


def review_of(job: Job, data: DataSet) -> ReviewResult | None:
    """What people said of these rows, or of the rows that these were made from by their verdicts."""
    if "review" in data.manifest.summary:
        return ReviewResult(**data.manifest.summary["review"])
    found = status(data, reviews_of(job.workspace))
    return found if found.queued else None


def collect(
    config: CardConfig, job: Job, data: DataSet, known: Sequence[Manifest], reviewed: ReviewResult | None
) -> Facts:
    """Put together what the folders say and what the user adds."""
    lineage = walk(job, data)
    licences = sorted({source.licence for source in lineage.sources if source.licence})
    licence = config.licence or ", ".join(licences) or UNKNOWN
    origins = sorted({source.origin for source in lineage.sources if source.origin})
    findings = [without_paths(line) for line in open_points(job, data, lineage, known)]
    splits = {name: data.num_rows(name) for name in data.split_names()}
    answers = {"licence": licence != UNKNOWN, "language": bool(config.language)}
    answers |= {"source_url": bool(config.source_url or origins), "description": bool(config.description)}
    rows = sum(splits.values())
    about = (
        config.description or f"{rows:,} examples for fine-tuning a language model, in splits without leaks."
    )
    published = Published(
        name=data.manifest.name,
        description=about,
        licence=licence,
        date=data.manifest.created[:10],
        url=config.source_url or f"urn:sha256:{data.fingerprint}",
        creator=UNKNOWN,
        version=f"1.0.0+{data.fingerprint[:12]}",
        languages=config.language,
        splits={name: data.manifest.files[f"{name}.parquet"] for name in splits},
        collection="; ".join(origins) or "not stated",
        limits=findings,
        synthetic=any(SYNTHETIC.search(line) for line in findings),
    )
    text = (data.folder / "card.md").read_text(encoding="utf-8") if (data.folder / "card.md").exists() else ""
    size = next((name for most, name in SIZES if rows < most), LARGEST)
    unknown = [name for name, given in answers.items() if not given]
    review = list(review_lines(reviewed)) if reviewed is not None else []
    if reviewed is not None and reviewed.fingerprint != data.fingerprint:
        review.insert(0, "of the rows before: what was edited or rejected there is so here")
    return Facts(
        published, lineage, data.manifest, data.fingerprint, splits, text, known, review, findings, unknown,
        size,
    )  # fmt: skip


def open_points(job: Job, data: DataSet, lineage: Lineage, known: Sequence[Manifest]) -> list[str]:
    """What was found and not mended: in these rows, then in those they were made from."""
    found = findings_of(data.manifest, known)
    if not any(manifest.kind == "check" for manifest in known):
        found.append(f"no check of these very rows is known: tunesmith data check {name_of(data)}")
    for step in lineage.steps:
        if step.kind == "data-set" and step.id != data.manifest.id:
            for folder in job.workspace.by_id(step.id)[:1]:
                before = DataSet.open(folder)
                about = [Manifest.read(path) for path in knowledge(job, before)]
                where = f"before `{after(lineage, step).verb}`"
                found += [f"{where}: {line}" for line in findings_of(before.manifest, about)]
    return list(dict.fromkeys(found))


def after(lineage: Lineage, step: StepTaken) -> StepTaken:
    """The step that was done with what another one made."""
    return next(one for one in lineage.steps if step.id in one.inputs)


def findings_of(manifest: Manifest, known: Sequence[Manifest]) -> list[str]:
    """What a data set's own summary leaves open, and what was found about it."""
    found = [str(line) for line in manifest.summary.get("findings", [])]
    return found + [f"{about.verb}: {line}" for about in known for line in open_findings(about)]


def walk(job: Job, data: DataSet) -> Lineage:
    """Every step and source that the data were made by, parents by content hash."""
    steps: dict[str, StepTaken] = {}
    sources: dict[str, Source] = {}
    missing: dict[str, None] = {}

    def visit(folder: Path) -> None:
        manifest = Manifest.read(folder)
        if manifest.id in steps:
            return
        for entry in manifest.inputs:
            place = standing(job.workspace, entry.id, Path(entry.path))
            if place is not None and entry.kind != "file":
                visit(place)
            elif entry.kind == "package":
                made = str(manifest.summary.get("origin", "")), str(manifest.summary.get("licence", ""))
                sources[entry.id] = Source(entry.path, entry.id, *made)
            elif entry.kind == "file":
                origin = Manifest.read(place).summary if place is not None else {}
                if place is not None:
                    visit(place)
                said = str(origin.get("origin", "")), str(origin.get("licence", ""))
                sources[entry.id] = Source(Path(entry.path).name, entry.id, *said)
            else:
                missing[f"{entry.role} {Path(entry.path).name} ({entry.id[:16]})"] = None
        counts = {key: value for key, value in manifest.summary.items() if isinstance(value, int)}
        inputs = tuple(entry.id for entry in manifest.inputs)
        steps[manifest.id] = StepTaken(
            manifest.verb, manifest.kind, manifest.name, manifest.id, manifest.config, inputs, counts
        )

    visit(data.folder)
    return Lineage(list(steps.values()), list(sources.values()), list(missing))


def readme(facts: Facts) -> str:
    """The card in the hub's form."""
    head = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True)
    text = facts.card.split("\n", 1)[1].strip() if facts.card else ""
    parts = [
        f"---\n{head}---",
        f"# {facts.published.name}",
        facts.published.description,
        "## Where it comes from\n\n" + sources(facts.lineage),
        "## Steps\n\n" + steps(facts.lineage),
        "## What is open\n\n" + (bullets(facts.findings) or "Nothing was found."),
        "## Review\n\n" + (bullets(facts.review) or "Nobody reviewed these rows."),
        "## What was measured\n\n" + (measured(facts.known) or "No check, selftest or ablation is known of."),
        "## Known limits\n\n" + limits(facts),
        demoted(without_paths(text)),
    ]
    return ACCOUNT.sub(r"\g<0> of the data set folder", "\n\n".join(part for part in parts if part)) + "\n"


def front_matter(facts: Facts) -> dict[str, Any]:
    """The hub's metadata (https://huggingface.co/docs/hub/datasets-cards)."""
    files = [{"split": name, "path": f"{name}.parquet"} for name, rows in facts.splits.items() if rows]
    licence = facts.published.licence
    return {
        "pretty_name": facts.published.name,
        "license": licence.lower() if licence != UNKNOWN and "," not in licence else "other",
        **({"license_name": licence} if licence == UNKNOWN or "," in licence else {}),
        **({"language": list(facts.published.languages)} if facts.published.languages else {}),
        "task_categories": ["text-generation"],
        "size_categories": [facts.size],
        "source_datasets": ["original"],
        "tags": ["tunesmith", "croissant", *(["synthetic"] if facts.published.synthetic else [])],
        "configs": [{"config_name": "default", "data_files": files}],
    }


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def sources(lineage: Lineage) -> str:
    """Files with hash, origin and licence."""
    lines = [
        f"`{source.name}`, sha256 `{source.sha256[:16]}…`, from {source.origin or 'an unnamed place'}, "
        f"licence {source.licence or 'not stated'}"
        for source in lineage.sources
    ]
    lines += [f"no longer there: {what}" for what in lineage.missing]
    return bullets(lines) or "No file is known of."


def steps(lineage: Lineage) -> str:
    """The commands in order, with what they were told and how many rows they counted."""
    lines = []
    for number, step in enumerate(lineage.steps, start=1):
        told = ", ".join(
            f"{key} {value}" for key, value in step.config.items() if value not in (None, [], "")
        )
        counts = ", ".join(f"{key} {value:,}" for key, value in step.counts.items())
        said = without_paths(told).rstrip(".")
        lines.append(f"{number}. `{step.verb}` (`{step.id[:16]}`){': ' if said else ''}{said}. {counts}")
    return "\n".join(lines)


def measured(known: Sequence[Manifest]) -> str:
    """Checks, selftests and ablations of this very data set."""
    return bullets(
        [
            f"`{manifest.verb}` (`{manifest.id[:16]}`): {without_paths(line)}"
            for manifest in known
            for line in measurements(manifest)
        ]
    )


def limits(facts: Facts) -> str:
    """What the data cannot say."""
    lines = [f"{name.replace('_', ' ')} is not stated" for name in facts.unknown]
    lines += ["Near-duplicates are found by their characters: a paraphrase in other words is not one."]
    if facts.splits.get("test", 0) == 0 and facts.splits.get("held_out", 0) == 0:
        lines += ["Nothing is set aside to test on."]
    return bullets(lines)


def demoted(text: str) -> str:
    """The data set's own card, under a heading of its own."""
    return "## The rows\n\n" + re.sub(r"^## ", "### ", text, flags=re.MULTILINE) if text else ""


def without_paths(text: str) -> str:
    """Absolute paths cut to their last part."""
    return PATH.sub(lambda found: found[0].rstrip("/").rsplit("/", 1)[-1], text)
