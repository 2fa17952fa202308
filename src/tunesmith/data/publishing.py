"""`tunesmith data card`: a data set with its documentation as it is known now, in a folder to publish.

README.md has the Hugging Face hub's form (YAML front matter, then text), croissant.json is Croissant 1.1.
"""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tunesmith.core.dataset import DataSet
from tunesmith.core.files import explain_disk_errors, hash_json, write_json, write_text
from tunesmith.core.job import Job
from tunesmith.core.workspace import Manifest, input_from
from tunesmith.data.croissant import Published, croissant
from tunesmith.data.knowledge import (
    Before,
    Lineage,
    Reviewed,
    data_sets_before,
    knowledge,
    measurements,
    open_findings,
    reviews,
)
from tunesmith.data.review.words import review_lines
from tunesmith.data.schema import CardConfig, CardResult

UNKNOWN, UNSTATED = "unknown", "not stated"
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
SYNTHETIC = re.compile(r"^[\d,]+ (?:synthetic rows?, all of them in train|training rows are synthetic)\b")
"""How `data prepare` and `data synthesize` say that there are some."""
ACCOUNT = re.compile(r"(?<=\()(?:dropped|rejects)\.jsonl(?=\))|(?<=is listed in )nearest\.jsonl")
"""Accounts of rows, which may hold what was left out for good reason: they are named and not published."""
QUOTED = re.compile(r"(^````.*?^````$)", re.DOTALL | re.MULTILINE)
"""A row that the card shows."""
PATH = re.compile(r"(?<![\w.:/])(?:/[\w.+-]+){2,}/?")
"""An absolute path: its last part is enough for a reader elsewhere."""


def make_card(config: CardConfig, job: Job) -> CardResult:
    """Write README.md and croissant.json beside a copy of the splits."""
    data = DataSet.find(config.data, job.workspace)
    facts = collect(config, job, data)
    text, described = readme(facts), croissant(facts.published)
    inputs = {"data": input_from("data", data.folder)}
    inputs |= {
        f"known.{number}": input_from(f"known.{number}", folder)
        for number, folder in enumerate(facts.folders)
    }
    settings = config.model_dump(mode="json", exclude={"data"})
    # verdicts live in a database and parents come and go: a card that would say something else is another
    settings["says"] = hash_json([text, described])
    name = data.manifest.name
    with (
        job.folder(verb="data card", kind="card", name=name, config=settings, inputs=inputs) as folder,
        explain_disk_errors(folder.path),
    ):
        for split in data.split_names():
            shutil.copyfile(data.folder / f"{split}.parquet", folder / f"{split}.parquet")
        write_json(folder / "croissant.json", described)
        write_text(folder / "README.md", text)
        folder.summary = {
            "data": data.folder.name,
            "licence": facts.published.licence,
            "steps": [step.manifest.verb for step in facts.lineage.steps],
            "findings": facts.findings,
            "unknown": facts.unknown,
        }
    return CardResult(**CardResult.fields_from(folder.summary, folder.path))


class Facts(NamedTuple):
    """Everything that is published."""

    published: Published
    lineage: Lineage
    splits: Mapping[str, int]
    card: str
    findings: list[str]
    review: list[str]
    measured: list[str]
    unknown: list[str]
    folders: list[Path]
    """Checks, selftests and ablations that the card tells of."""


def collect(config: CardConfig, job: Job, data: DataSet) -> Facts:
    """Put together what the folders and people say and what the user adds."""
    lineage = Lineage(job, data.folder)
    before = data_sets_before(lineage)
    known = knowledge(job, [data.manifest.id, *(one.data.manifest.id for one in before)])
    manifests = {identity: [Manifest.read(path) for path in paths] for identity, paths in known.items()}
    findings = [without_paths(line) for line in open_points(data, before, manifests)]
    published = describe(config, data, lineage, [elsewhere(line) for line in findings])
    made = [data.manifest, *(one.data.manifest for one in before)]
    own_card = data.folder / "card.md"
    given = {
        "licence": published.licence != UNKNOWN,
        "language": bool(config.language),
        "source_url": bool(config.source_url or published.collection != UNSTATED),
        "description": bool(config.description),
    }
    return Facts(
        published._replace(synthetic=any(SYNTHETIC.search(line) for one in made for line in notes_of(one))),
        lineage,
        splits={name: data.num_rows(name) for name in data.split_names()},
        card=own_card.read_text(encoding="utf-8") if own_card.exists() else "",
        findings=findings,
        review=review_points(reviews(job, data, before), is_applied="review" in data.manifest.summary),
        measured=[without_paths(line) for line in measured(data, before, manifests)],
        unknown=[name for name, is_given in given.items() if not is_given],
        folders=[path for paths in known.values() for path in paths],
    )


def describe(config: CardConfig, data: DataSet, lineage: Lineage, limits: Sequence[str]) -> Published:
    """What the Croissant file says."""
    licences = sorted({source.licence for source in lineage.sources if source.licence})
    origins = sorted({source.origin for source in lineage.sources if source.origin})
    rows = sum(data.num_rows(name) for name in data.split_names())
    about = f"{rows:,} examples for fine-tuning a language model, in splits without leaks."
    return Published(
        name=data.manifest.name,
        description=config.description or about,
        licence=config.licence or ", ".join(licences) or UNKNOWN,
        date=data.manifest.created[:10],
        url=config.source_url or f"urn:sha256:{data.fingerprint}",
        creator=UNKNOWN,
        version=f"1.0.0+{data.fingerprint[:12]}",
        languages=config.language,
        splits={name: data.manifest.files[f"{name}.parquet"] for name in data.split_names()},
        collection="; ".join(origins) or UNSTATED,
        limits=limits,
        synthetic=False,
    )


def open_points(
    data: DataSet, before: Sequence[Before], known: Mapping[str, Sequence[Manifest]]
) -> list[str]:
    """What was found and not mended: in these rows, then in those that they come from."""
    about = known[data.manifest.id]
    found = findings_of(data.manifest, about)
    if not any(manifest.kind == "check" for manifest in about):
        found.append(f"no check of these very rows is known: tunesmith data check {data.folder.name}")
    for one in before:
        lines = findings_of(one.data.manifest, known[one.data.manifest.id])
        found += [f"{one.words}: {line}" for line in lines]
    return list(dict.fromkeys(found))


def findings_of(manifest: Manifest, known: Sequence[Manifest]) -> list[str]:
    """What a data set's own summary leaves open, and what was found about it."""
    return notes_of(manifest) + [f"{about.verb}: {line}" for about in known for line in open_findings(about)]


def notes_of(manifest: Manifest) -> list[str]:
    """What a data set's own summary leaves open."""
    return [str(line) for line in manifest.summary.get("findings", [])]


def review_points(found: Sequence[Reviewed], *, is_applied: bool) -> list[str]:
    """What people said, one review of earlier rows a line; `is_applied` where verdicts made these rows."""
    points = []
    if found and found[0].before is not None:
        points.append(
            "of the rows before: what was edited or rejected there is so here"
            if is_applied
            else "nobody reviewed the rows as they are now"
        )
    for one in found:
        if one.before is None:
            points += review_lines(one.result)
        else:
            where = one.before or f"in {one.result.data}, whose folder is gone"
            points.append(f"{where}: {'; '.join(review_lines(one.result))}")
    return points


def measured(data: DataSet, before: Sequence[Before], known: Mapping[str, Sequence[Manifest]]) -> list[str]:
    """Checks, selftests and ablations: of these very rows, then of those that they come from."""
    told = [("", data), *((f"{one.words}: ", one.data) for one in before)]
    lines = [
        f"{where}`{manifest.verb}` (`{manifest.id[:16]}`): {line}"
        for where, one in told
        for manifest in known[one.manifest.id]
        for line in measurements(manifest)
    ]
    if not known[data.manifest.id]:
        lines.insert(0, "no check, selftest or ablation of these very rows is known")
    return lines


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
        "## What is open\n\n" + (bullets(map(elsewhere, facts.findings)) or "Nothing was found."),
        "## Review\n\n" + (bullets(facts.review) or "Nobody reviewed these rows."),
        "## What was measured\n\n" + bullets(facts.measured),
        "## Known limits\n\n" + limits(facts),
        demoted(for_others(text)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter(facts: Facts) -> dict[str, Any]:
    """The hub's metadata (https://huggingface.co/docs/hub/datasets-cards)."""
    files = [{"split": name, "path": f"{name}.parquet"} for name, rows in facts.splits.items() if rows]
    licence = facts.published.licence
    num_rows = sum(facts.splits.values())
    return {
        "pretty_name": facts.published.name,
        "license": licence.lower() if licence != UNKNOWN and "," not in licence else "other",
        **({"license_name": licence} if licence == UNKNOWN or "," in licence else {}),
        **({"language": list(facts.published.languages)} if facts.published.languages else {}),
        "task_categories": ["text-generation"],
        "size_categories": [next((name for most, name in SIZES if num_rows < most), LARGEST)],
        "source_datasets": ["original"],
        "tags": ["tunesmith", "croissant", *(["synthetic"] if facts.published.synthetic else [])],
        "configs": [{"config_name": "default", "data_files": files}],
    }


def bullets(lines: Iterable[str]) -> str:
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
    for number, step in enumerate((one.manifest for one in lineage.steps), start=1):
        told = ", ".join(
            f"{key} {value}" for key, value in step.config.items() if value not in (None, [], "")
        )
        counts = ", ".join(
            f"{key} {value:,}" for key, value in step.summary.items() if isinstance(value, int)
        )
        said = without_paths(told).rstrip(".")
        lines.append(f"{number}. `{step.verb}` (`{step.id[:16]}`){': ' if said else ''}{said}. {counts}")
    return "\n".join(lines)


def limits(facts: Facts) -> str:
    """What the data cannot say."""
    lines = [f"{name.replace('_', ' ')} is not stated" for name in facts.unknown]
    lines += ["Near-duplicates are found by their characters: a paraphrase in other words is not one."]
    if facts.splits.get("test", 0) == 0 and facts.splits.get("held_out", 0) == 0:
        lines += ["Nothing is set aside to test on."]
    if any(line.startswith("before `") for line in facts.findings):
        lines += ["What was found before a step need not be there any more: check these very rows."]
    return bullets(lines)


def demoted(text: str) -> str:
    """The data set's own card, under a heading of its own."""
    return "## The rows\n\n" + re.sub(r"^## ", "### ", text, flags=re.MULTILINE) if text else ""


def without_paths(text: str) -> str:
    """Absolute paths cut to their last part."""
    return PATH.sub(lambda found: found[0].rstrip("/").rsplit("/", 1)[-1], text)


def elsewhere(text: str) -> str:
    """Accounts that are not published, with the place where they are."""
    return ACCOUNT.sub(r"\g<0> of the data set folder, not published", text)


def for_others(card: str) -> str:
    """The data set's own card as those read it who have no other folder of this machine; rows as they are."""
    parts = QUOTED.split(card)
    return "".join(part if QUOTED.fullmatch(part) else elsewhere(without_paths(part)) for part in parts)
