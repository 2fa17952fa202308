"""`tunesmith data prepare` and `data split`: rows to a data set folder with splits that share nothing."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from tunesmith.core.dataset import LEAK_PROOF, SPLITS, DataSet, Writer
from tunesmith.core.errors import DataError, nearest
from tunesmith.core.files import explain_disk_errors, read_json, write_json, write_jsonl, write_text
from tunesmith.core.formats.containers.place import input_of
from tunesmith.core.formats.read import ReadRow, check_readable
from tunesmith.core.job import Job
from tunesmith.core.similarity.groups import equal_runs
from tunesmith.core.workspace import Input, WorkFolder
from tunesmith.data.card import Facts, card, describe_sources, find
from tunesmith.data.intake import SOURCE, Account, Columns, Intake, Origin
from tunesmith.data.measures import Measures, count_keys
from tunesmith.data.nearest import nearest_train
from tunesmith.data.parcels import Task, Wanted, parcels_of
from tunesmith.data.placing import LEFT_OUT, Placed, group_id, place, read_examples
from tunesmith.data.schema import PrepareConfig, PrepareResult, SplitConfig, SplitResult, Splitting
from tunesmith.data.split import Plan, Sizes

Feed = Callable[[Intake], Mapping[str, Account]]
"""Takes all rows in, those that have their split already first; returns an account for each origin."""
ORIGIN_OF: Mapping[str, Origin] = {
    "held_out": "held_out",
    "validation_file": "validation",
    "source": "source",
}
HEX_AT_ONCE = 4096
"""Hashes are written as text for so many rows at a time."""
REASONS_SHOWN = 10
NO_LAYOUT = {"evidence": "a data set", "findings": []}


def prepare(config: PrepareConfig, job: Job) -> PrepareResult:
    """Validate, deduplicate, group and split the rows of a file; write the data set folder.

    Every row is accounted for.  Raises DataError when the file cannot be read or split, or when too
    many rows are refused; then no folder is left behind.
    """
    files = {
        "held_out": config.held_out,
        "validation_file": config.validation_file,
        "source": config.source,
    }
    paths = {role: path for role, path in files.items() if path is not None}
    before = {role: check_readable(path) for role, path in paths.items()}
    frozen = open_frozen(config, job)
    inputs: dict[str, Path | Input] = {role: input_of(role, path) for role, path in paths.items()}
    inputs |= {"mapping": config.mapping} if config.mapping else {}
    inputs |= {"frozen": frozen.folder} if frozen else {}
    settings = settings_of(config, *files, "name", "mapping")
    name = config.name or folder_name(config.source)

    def feed(intake: Intake) -> Mapping[str, Account]:
        accounts = take_frozen(intake, frozen, config)
        for role, path in paths.items():
            task = Task(path, config.shape, config.mapping, config.fix, wanted(config))
            accounts[role] = intake.read(task, ORIGIN_OF[role], job.progress, max_refused=config.max_refused)
        return accounts

    with job.folder(
        verb="data prepare", kind="data-set", name=name, config=settings, inputs=inputs
    ) as folder:
        with explain_disk_errors(folder.path):
            folder.summary = fill(config, folder, feed, config.source, deduplicate=config.deduplicate)
        for role, path in paths.items():
            if check_readable(path) != before[role]:
                step = "run the command again"
                raise DataError("the file changed while it was read", where=path, next_step=step)
    return PrepareResult(**PrepareResult.fields_from(folder.summary, folder.path))


def split(config: SplitConfig, job: Job) -> SplitResult:
    """Draw new splits of a data set's rows into a new folder.  Raises DataError when they cannot be drawn."""
    data = DataSet.find(config.data, job.workspace)
    frozen = open_frozen(config, job)
    inputs = {"data": data.folder} | ({"frozen": frozen.folder} if frozen else {})

    def feed(intake: Intake) -> Mapping[str, Account]:
        accounts = take_frozen(intake, frozen, config)
        kept = {"held_out"} & set(data.split_names()) if frozen is None else set()
        for name in kept:
            accounts["held_out"] = take_split(intake, data, name, "held_out", config)
        accounts["source"] = Account(data.manifest.name, layout=dict(NO_LAYOUT))
        for name in data.split_names():
            if name != "held_out":
                rows = rows_of(data, name)
                for parcel in parcels_of(rows, wanted(config)._replace(groups=True)):
                    intake.take(parcel, "source", accounts["source"])
        return accounts

    settings = settings_of(config, "data")
    name = data.manifest.name
    with (
        job.folder(verb="data split", kind="data-set", name=name, config=settings, inputs=inputs) as folder,
        explain_disk_errors(folder.path),
    ):
        folder.summary = fill(config, folder, feed, data.folder, deduplicate=True)
    return SplitResult(**SplitResult.fields_from(folder.summary, folder.path))


def settings_of(config: Splitting, *inputs: str) -> dict[str, Any]:
    """The settings of a configuration; its inputs are named by content instead."""
    return config.model_dump(mode="json", exclude={*inputs, "frozen"})


def wanted(config: Splitting) -> Wanted:
    """What the split asks of the metadata."""
    return Wanted(config.group_by, config.stratify, config.time)


def open_frozen(config: Splitting, job: Job) -> DataSet | None:
    """The earlier data set, by path, name or id."""
    if config.frozen is None:
        return None
    path = config.frozen
    return DataSet.find(path, job.workspace)


def take_frozen(intake: Intake, frozen: DataSet | None, config: Splitting) -> dict[str, Account]:
    """The rows that an earlier data set tests on, first of all."""
    accounts: dict[str, Account] = {}
    names = frozen.split_names() if frozen else []
    origins: tuple[Origin, ...] = ("held_out", "test", "validation")
    for origin in origins:
        if frozen is not None and origin in names:
            accounts[origin] = take_split(intake, frozen, origin, origin, config)
    return accounts


def take_split(intake: Intake, data: DataSet, name: str, origin: Origin, config: Splitting) -> Account:
    """The rows of one split of a data set."""
    account = Account(f"{data.manifest.name}, {name}", layout=dict(NO_LAYOUT))
    asked = wanted(config)._replace(groups=isinstance(config, SplitConfig))
    for parcel in parcels_of(rows_of(data, name), asked):
        intake.take(parcel, origin, account)
    return account


def rows_of(data: DataSet, name: str) -> Iterator[ReadRow]:
    """The rows of a split as if they were read from a file."""
    for row in data.rows(name):
        yield ReadRow(row.line, row.example, group=row.group_id)


def folder_name(source: Path) -> str:
    """The file's name, as far as a folder can have it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", source.stem).strip("-._") or "data"


def check_keys(config: Splitting, intake: Intake, num_rows: int, where: Path) -> None:
    """Refuse a metadata key that no row has: it is a slip, and the split would not be what was asked for."""
    asked = {f"--group-by {key}": key for key in config.group_by}
    if config.stratify not in (None, "answer"):
        asked[f"--stratify {config.stratify}"] = str(config.stratify)
    for option, key in asked.items():
        if intake.missing[key] == num_rows:
            keys = sorted(intake.known)
            step = nearest(key, keys) if keys else "the rows have no metadata: leave the option out"
            raise DataError("no row has this metadata key", where=where, value=option, next_step=step)


def sizes_of(config: Splitting) -> Sizes:
    """What is drawn from the source; nothing of what other files or an earlier data set bring along."""
    if config.frozen is not None:
        return Sizes(0, 0)
    has_file = isinstance(config, PrepareConfig) and config.validation_file is not None
    return Sizes(0 if has_file else config.validation, config.test)


def fill(
    config: Splitting, folder: WorkFolder, feed: Feed, where: Path, *, deduplicate: bool
) -> dict[str, Any]:
    """Make every file of the folder; returns the summary."""
    sizes = sizes_of(config)
    plan = Plan(sizes, config.salt, stratified=config.stratify is not None, by_time=config.time is not None)
    with ExitStack() as stack:
        spool = stack.enter_context(tempfile.TemporaryFile("w+b", dir=folder.path))
        rejects = stack.enter_context((folder / "rejects.jsonl").open("w", encoding="utf-8"))
        changes = stack.enter_context((folder / "changes.jsonl").open("w", encoding="utf-8"))
        intake = Intake(spool, rejects, changes, config.near_duplicates, folder.path)
        accounts = feed(intake)
        columns = intake.columns()
        check_keys(config, intake, columns.num_rows, where)
        placed = place(
            intake,
            columns,
            accounts,
            plan,
            where=where,
            deduplicate=deduplicate,
            drop_near=config.drop_near_duplicates,
        )
        with ThreadPoolExecutor(1) as beside:
            comparing = beside.submit(nearest_train, intake, placed.splits, columns)
            write_splits(folder, spool, columns, placed)
            measures = measure(intake, columns, placed)
            nearest = comparing.result()
    for account in accounts.values():
        account.check()
    counts = {name: measure.rows for name, measure in measures.items()}
    used = sum(account.kept + account.changed for account in accounts.values())
    assert used == sum(counts.values()), (counts, accounts)
    write_jsonl(folder / "dropped.jsonl", [row._asdict() for row in placed.dropped])
    write_jsonl(folder / "nearest.jsonl", [row._asdict() for row in nearest])
    files = {role: account.to_json() for role, account in accounts.items()}
    write_json(folder / "accounting.json", {"files": files, "splits": counts})
    facts = Facts(
        name=folder.name,
        settings=folder.config,
        sources=describe_sources(folder.inputs),
        accounts=dict(reversed(list(accounts.items()))),
        measures=measures,
        num_groups=placed.num_groups,
        largest_group=placed.largest_group,
        num_near=placed.num_near,
        contradictions=placed.contradictions,
        fingerprint=read_fingerprint(folder),
        verb=folder.verb,
        is_frozen=config.frozen is not None,
        notes=placed.notes,
        nearest=nearest,
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
        "near_dropped": account.near_duplicate,
        "refusals": dict(account.refusals.most_common(REASONS_SHOWN)),
        "changes": dict(account.changes.most_common(REASONS_SHOWN)),
        "splits": {name: measure.rows for name, measure in facts.measures.items()},
        "groups": facts.num_groups,
        "near_duplicates": facts.num_near,
        "contradictions": facts.contradictions.number,
        "layout": account.layout["evidence"],
        "fingerprint": facts.fingerprint,
        "findings": find(facts),
    }


def write_splits(folder: WorkFolder, spool: IO[bytes], columns: Columns, placed: Placed) -> None:
    """Stream the spooled examples into the split files, each split in the order its rows came."""
    spool.seek(0)
    with Writer(folder.path, names_of(placed)) as writer:
        for start in range(0, columns.num_rows, HEX_AT_ONCE):
            part = slice(start, start + HEX_AT_ONCE)
            hashes = columns.hashes[part].tobytes().hex()
            roots = placed.roots[part]
            keys = columns.group_keys(roots)
            led = (columns.origins[roots] != SOURCE) & (columns.origins[roots] != columns.origins[part])
            rows = zip(
                placed.splits[part].tolist(),
                columns.lines[part].tolist(),
                led.tolist(),
                spool,
                strict=False,
            )  # the spool goes on
            for place, (code, line, is_led, text) in enumerate(rows):
                if code == LEFT_OUT:
                    continue
                # two splits that came in already share what is alike now
                key = f"{SPLITS[code]} {keys[place]}" if is_led else keys[place]
                writer.add(
                    SPLITS[code],
                    example_json=text[:-1].decode("utf-8", errors="surrogatepass"),
                    row_hash=hashes[64 * place : 64 * place + 64],
                    group_id=group_id(key),
                    line=line,
                )


def names_of(placed: Placed) -> list[str]:
    """The splits that the folder has."""
    codes = {SPLITS.index("train"), SPLITS.index("validation"), SPLITS.index("test")}
    codes |= set(np.unique(placed.splits).tolist()) - {LEFT_OUT}
    return [name for code, name in enumerate(SPLITS) if code in codes]


def measure(intake: Intake, columns: Columns, placed: Placed) -> dict[str, Measures]:
    """What the rows of each split are like."""
    found = {}
    for name in names_of(placed):
        rows = np.flatnonzero(placed.splits == SPLITS.index(name))
        prompted = rows[columns.contexts[rows].any(axis=1)]
        keys = intake.keys.count(columns.key_numbers[prompted])
        found[name] = Measures(
            rows=len(rows),
            documents=len(rows) - len(prompted),
            prompt_lengths=columns.prompt_lengths[rows].tolist(),
            answer_lengths=columns.answer_lengths[rows].tolist(),
            answers=intake.answers.count(columns.answer_numbers[prompted]),
            num_answers=int(equal_runs(columns.answers[prompted])[1].sum()),
            json_answers=len(prompted) - keys.pop("", 0),
            keys=count_keys(keys),
            first=next(read_examples(intake.spool, columns, rows[:1]), None),
        )
    return found


def read_fingerprint(folder: WorkFolder) -> str:
    """The identity that the leak proof is bound to."""
    return str(read_json(folder / LEAK_PROOF)["fingerprint"])
