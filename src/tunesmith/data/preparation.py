"""`tunesmith data prepare`: a file of conversations to a data set folder."""

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import LEAK_PROOF, SPLITS, Writer
from tunesmith.core.errors import DataError
from tunesmith.core.files import explain_disk_errors, read_json, write_json, write_jsonl, write_text
from tunesmith.core.formats.read import check_readable
from tunesmith.core.job import Job
from tunesmith.core.workspace import WorkFolder
from tunesmith.data.card import Facts, card, describe_sources, find
from tunesmith.data.intake import Account, Dropped, Entry, Intake
from tunesmith.data.measures import Measures
from tunesmith.data.schema import PrepareConfig, PrepareResult
from tunesmith.data.split import Group, Sizes, assign


class Placed(NamedTuple):
    """Where each usable row goes (None: withheld), its group, and what the groups are like."""

    splits: list[str | None]
    group_ids: list[str]
    num_groups: int
    largest_group: int
    num_near: int


def prepare(config: PrepareConfig, job: Job) -> PrepareResult:
    """Validate, deduplicate, group and split the rows of a file; write the data set folder.

    Every row is accounted for.  Raises DataError when the file cannot be read or split, or when too
    many rows are refused; then no folder is left behind.
    """
    paths = {"source": config.source} | ({"held_out": config.held_out} if config.held_out else {})
    before = {role: check_readable(path) for role, path in paths.items()}
    settings = config.model_dump(mode="json", exclude={"source", "held_out", "name"})
    name = config.name or folder_name(config.source)
    with job.folder(verb="data prepare", kind="data-set", name=name, config=settings, inputs=paths) as folder:
        with explain_disk_errors(folder.path):
            folder.summary = fill(config, folder, job)
        for role, path in paths.items():
            if check_readable(path) != before[role]:
                step = "run the command again"
                raise DataError("the file changed while it was read", where=path, next_step=step)
    return PrepareResult(**PrepareResult.fields_from(folder.summary, folder.path))


def folder_name(source: Path) -> str:
    """The file's name, as far as a folder can have it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", source.stem).strip("-._") or "data"


def fill(config: PrepareConfig, folder: WorkFolder, job: Job) -> dict[str, Any]:
    """Make every file of the folder; returns the summary."""
    accounts: dict[str, Account] = {}
    with ExitStack() as stack:
        spool = stack.enter_context(tempfile.TemporaryFile("w+", dir=folder.path, encoding="utf-8"))
        rejects = stack.enter_context((folder / "rejects.jsonl").open("w", encoding="utf-8"))
        intake = Intake(spool, rejects, config.near_duplicates, config.deduplicate)
        # the held-out rows come first: a group that holds one of them is led by it
        if config.held_out is not None:
            accounts["held_out"] = intake.read(
                config.held_out, "held_out", job.progress, max_refused=config.max_refused
            )
        accounts["source"] = intake.read(
            config.source, "source", job.progress, max_refused=config.max_refused
        )
        placed = place(intake, accounts["source"], config)
        measures = write_splits(folder, spool, intake.entries, placed)
    for account in accounts.values():
        account.check()
    counts = {name: measure.rows for name, measure in measures.items()}
    used = sum(rows for name, rows in counts.items() if name != "held_out")
    assert used == accounts["source"].kept + accounts["source"].changed, (counts, accounts)
    write_jsonl(folder / "dropped.jsonl", [row._asdict() for row in intake.dropped])
    files = {role: account.to_json() for role, account in accounts.items()}
    write_json(folder / "accounting.json", {"files": files, "splits": counts})
    facts = Facts(
        name=folder.name,
        settings=folder.config,
        sources=describe_sources(folder.inputs),
        accounts=dict(reversed(accounts.items())),
        measures=measures,
        num_groups=placed.num_groups,
        largest_group=placed.largest_group,
        num_near=placed.num_near,
        contradictions=list(intake.contradictions.values()),
        fingerprint=read_fingerprint(folder),
    )
    write_text(folder / "card.md", card(facts))
    return summary(facts)


def summary(facts: Facts) -> dict[str, Any]:
    """What the result and the manifest say."""
    account = facts.accounts["source"]
    return {
        "rows": account.rows,
        "kept": account.kept,
        "changed": account.changed,
        "refused": account.refused,
        "duplicates": account.duplicate,
        "withheld": account.withheld,
        "splits": {name: measure.rows for name, measure in facts.measures.items()},
        "groups": facts.num_groups,
        "near_duplicates": facts.num_near,
        "contradictions": len(facts.contradictions),
        "fingerprint": facts.fingerprint,
        "findings": find(facts),
    }


def place(intake: Intake, account: Account, config: PrepareConfig) -> Placed:
    """Draw a split for every group; rows of the source that are grouped with a held-out row are withheld."""
    entries = intake.entries
    roots = [intake.groups.root(member) for member in range(len(entries))]
    sizes = Counter(root for root in roots if entries[root].origin == "source")
    groups = [Group(entries[root].key, rows) for root, rows in sizes.items()]
    if not groups:
        what = "every row is like a held-out row: nothing is left to train on"
        step = "give other rows, or other ones with --held-out: what is held out is never trained on"
        raise DataError(what, where=config.source, next_step=step)
    try:
        drawn = assign(groups, Sizes(config.validation, config.test), salt=config.salt)
    except DataError as error:
        where, advice = config.source, error.next_step
        raise DataError(error.what, value=error.value, where=where, next_step=advice) from None
    split_of = dict(zip(sizes, drawn, strict=True))
    splits: list[str | None] = []
    for entry, root in zip(entries, roots, strict=True):
        split = "held_out" if entry.origin == "held_out" else split_of.get(root)
        if split is None:
            withhold(entry, entries[root], intake, account)
        splits.append(split)
    prompts: dict[int, set[str]] = {root: set() for root in sizes}
    for entry, root in zip(entries, roots, strict=True):
        if root in prompts:
            prompts[root].add(entry.prompt)
    near = sum(rows for root, rows in sizes.items() if len(prompts[root]) > 1)
    group_ids = [group_id(entries[root].key) for root in roots]
    return Placed(splits, group_ids, len(groups), max(sizes.values()), near)


def withhold(entry: Entry, like: Entry, intake: Intake, account: Account) -> None:
    """Leave out a row of the source because its group holds a held-out row."""
    account.withheld += 1
    account.changed -= entry.changed
    account.kept -= not entry.changed
    intake.dropped.append(Dropped("source", entry.line, "too like a held-out row", like.line))


def group_id(key: str) -> str:
    """64-bit hexadecimal name of a group."""
    return hashlib.blake2b(key.encode("utf-8", errors="surrogatepass"), digest_size=8).hexdigest()


def write_splits(
    folder: WorkFolder, spool: IO[str], entries: Sequence[Entry], placed: Placed
) -> dict[str, Measures]:
    """Stream the spooled examples into the split files, measuring them on the way."""
    spool.seek(0)
    used = {"train", "validation", "test", *placed.splits}
    measures = {name: Measures() for name in SPLITS if name in used}
    with Writer(folder.path, measures) as writer:
        for entry, split, group, text in zip(entries, placed.splits, placed.group_ids, spool, strict=True):
            if split is None:
                continue
            text = text.rstrip("\n")
            measures[split].add(Example.from_json(json.loads(text)))
            writer.add(split, example_json=text, row_hash=entry.row_hash, group_id=group, line=entry.line)
    return measures


def read_fingerprint(folder: WorkFolder) -> str:
    """The identity that the leak proof is bound to."""
    return str(read_json(folder / LEAK_PROOF)["fingerprint"])
