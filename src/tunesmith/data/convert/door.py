"""`tunesmith data convert`: read, write, read again."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import CheckFailed, ConfigError, DataError, UserError, nearest
from tunesmith.core.files import explain_disk_errors
from tunesmith.core.formats.read import Reader, Reading, ReadRow, check_readable, open_rows
from tunesmith.core.formats.shapes.mapping import load_mapping
from tunesmith.core.formats.writers.port import Unfit, Writer
from tunesmith.core.formats.writers.registry import WRITERS, write_row
from tunesmith.core.job import Job
from tunesmith.core.progress import counted
from tunesmith.data.convert.schema import ConvertConfig, ConvertResult
from tunesmith.data.convert.tables import TABLES, write_table

SHOWN_REASONS = 5


@dataclass
class Tally:
    """What became of the rows."""

    rows: int = 0
    written: int = 0
    changed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    """The first line with each reason."""
    changes: Counter[str] = field(default_factory=Counter)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    """Of the hashes of the rows that were written, in order."""

    def note(self, reasons: Set[str], line: int) -> None:
        """A row is not written."""
        self.reasons.update(reasons)
        for reason in reasons:
            self.first.setdefault(reason, line)


def convert(config: ConvertConfig, job: Job) -> ConvertResult:
    """Write the rows of a file in another layout.

    Raises ConfigError for an unknown layout, DataError when a row cannot be read or written (nothing is
    written then, unless `leave_out`), CheckFailed when what was written is not what was meant.
    """
    writer = writer_of(config.to)
    out = target(config.out or job.out)
    check_readable(config.source)
    mapping = None if config.mapping is None else load_mapping(config.mapping)
    reader = open_rows(config.source, Reading(config.shape, mapping, config.fix))
    tally = Tally()
    rejects = out.with_name(f"{out.name}.rejects.jsonl")
    with explain_disk_errors(out), tempfile.TemporaryDirectory(dir=out.parent, prefix=".convert-") as name:
        lines, aside = Path(name) / f"rows{out.suffix}", Path(name) / "rejects.jsonl"
        with tempfile.TemporaryFile("w+", dir=name, encoding="utf-8") as rows:
            with aside.open("w", encoding="utf-8") as listed:
                for row in converted(reader, config, writer, tally, listed):
                    rows.write(row + "\n")
            refuse_losses(config, tally)
            rows.seek(0)
            write_table(rows, lines)
        if tally.written:
            check_written(lines, writer, tally)
        lines.replace(out)
        if tally.reasons:
            aside.replace(rejects)
    return ConvertResult(
        file=out,
        rows=tally.rows,
        written=tally.written,
        changed=tally.changed,
        left_out=tally.rows - tally.written,
        reasons=dict(tally.reasons),
        changes=dict(tally.changes),
        layout=reader.layout.sentence,
        to=writer.name,
    )


def writer_of(name: str) -> Writer:
    """The writer of a name.  Raises ConfigError with all names."""
    if name not in WRITERS:
        step = f"{nearest(name, WRITERS)}; all of them: {', '.join(WRITERS)}"
        raise ConfigError("unknown layout to write", value=name, where="--to", next_step=step)
    return WRITERS[name]


def target(out: Path | None) -> Path:
    """The file to write, checked before anything is read."""
    if out is None:
        raise UserError("no file to write is named", where="--out", next_step="give --out FILE.jsonl")
    if out.suffix not in TABLES:
        step = f"end it with {', '.join(TABLES)}"
        raise ConfigError("an unknown kind of file", value=str(out), where="--out", next_step=step)
    if out.exists():
        step = "remove it, or give another file"
        raise UserError("the file is there already", value=str(out), where="--out", next_step=step)
    if not out.parent.is_dir():
        raise UserError("no such folder", value=str(out.parent), where="--out", next_step="make it first")
    return out


def converted(
    reader: Reader, config: ConvertConfig, writer: Writer, tally: Tally, listed: IO[str]
) -> Iterator[str]:
    """Lines of JSON; rows that cannot be read or written are counted and listed."""
    for row in reader:
        if row.outcome == "blank":
            continue
        tally.rows += 1
        if row.example is None:
            tally.note({problem.reason for problem in row.problems}, row.line)
            listed.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in row.rejects())
            continue
        try:
            example = wanted(row.example, config)
            text = json.dumps(write_row(example, writer), ensure_ascii=False)
        except Unfit as error:
            reason = f"{writer.name}: {error}"
            tally.note({reason}, row.line)
            listed.write(json.dumps(unfit(row, reason), ensure_ascii=False) + "\n")
            continue
        tally.written += 1
        count_changes(row, example, writer, tally)
        yield text


def count_changes(row: ReadRow, example: Example, writer: Writer, tally: Tally) -> None:
    """Count what was changed by reading, and by ids that a layout does not keep."""
    levelled = writer.level(example)
    reasons = {change.reason for change in row.changes}
    reasons |= {"ids of tool calls numbered anew"} if levelled != example else set()
    tally.changed += bool(reasons)
    tally.changes.update(reasons)
    tally.digest.update(levelled.row_hash.encode())


def unfit(row: ReadRow, reason: str) -> dict[str, object]:
    """A row that was read and cannot be written, for the list."""
    held = row.example.to_json() if row.example is not None else None
    return {"line": row.line, "pointer": "", "reason": reason, "value": "", "row": held}


def wanted(example: Example, config: ConvertConfig) -> Example:
    """What of an example is to be written.  Raises Unfit for a rated answer that nobody wants."""
    if config.take == "chosen":
        if example.label is False:
            raise Unfit("the answer is not wanted (label false)")
        if example.steps:
            raise Unfit("graded steps have no chosen answer")
        turns = (*example.messages, *example.chosen)
        example = replace(example, messages=turns, chosen=(), rejected=(), label=None)
    if config.reasoning == "content":
        kept = {key: tuple(map(inlined, turns)) for key, turns in sides(example).items()}
        example = replace(example, **kept)  # type: ignore[arg-type]
    return example


def sides(example: Example) -> dict[str, tuple[Message, ...]]:
    """Every sequence of turns."""
    return {"messages": example.messages, "chosen": example.chosen, "rejected": example.rejected}


def inlined(turn: Message) -> Message:
    """A turn with its reasoning before its answer, as DeepSeek R1 and Qwen 3 write it."""
    if turn.reasoning is None:
        return turn
    said = f"<think>\n{turn.reasoning}\n</think>\n\n{turn.content or ''}"
    if turn.parts:
        raise Unfit("reasoning beside an answer in parts cannot be written into it")
    return replace(turn, content=said, reasoning=None)


def refuse_losses(config: ConvertConfig, tally: Tally) -> None:
    """Stop when rows would be missing and nobody allowed it."""
    left_out = tally.rows - tally.written
    if not left_out or (config.leave_out and tally.written):
        return
    shown = "\n".join(
        f"  {counted(count, 'row')}, the first in line {tally.first[why]:,}: {why}"
        for why, count in tally.reasons.most_common(SHOWN_REASONS)
    )
    step = "give another layout with --to, mend the rows (--fix mends what is mechanical)"
    if tally.written:
        step += ", or go on without these rows: --leave-out"
    what = f"{left_out:,} of {tally.rows:,} rows cannot be written as {config.to}, so nothing was:\n{shown}"
    raise DataError(what, where=config.source, next_step=step)


def check_written(path: Path, writer: Writer, tally: Tally) -> None:
    """Read the file again.  Raises CheckFailed when it does not hold the rows that were meant."""
    digest, rows = hashlib.sha256(), 0
    for row in open_rows(path, Reading(shape=writer.shape)):
        if row.example is not None:
            digest.update(row.example.row_hash.encode())
            rows += 1
    if rows != tally.written or digest.digest() != tally.digest.digest():
        raise CheckFailed(
            f"the written file does not read as the rows that were meant ({rows:,} of {tally.written:,} rows "
            f"came back): a {path.suffix} file cannot hold them; write .jsonl instead"
        )
