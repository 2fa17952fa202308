"""What is asked: the items of a data set's split or of a file, and how long their answers may be."""

from dataclasses import dataclass
from pathlib import Path

from tunesmith.core.conversation import Example, check_conversations
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.formats.read import read_rows
from tunesmith.core.job import Job
from tunesmith.core.prompts import flat_object
from tunesmith.evaluate.schema import EvaluateConfig

BYTES_PER_TOKEN = 2
"""Fewer than any tokenizer needs for texts of its language: limits err on the long side."""
SPARE_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its right answer; items of one group are not independent."""

    id: str
    group_id: str
    example: Example


@dataclass(frozen=True, slots=True)
class Suite:
    """The items to ask, and what was not asked."""

    name: str
    path: Path
    split: str | None
    items: tuple[Item, ...]
    duplicates: int = 0
    refused: int = 0

    @property
    def examples(self) -> list[Example]:
        """The items' conversations."""
        return [item.example for item in self.items]


def read_suite(config: EvaluateConfig, job: Job) -> Suite:
    """The suite that a configuration names.  Raises DataError when nothing is left to ask."""
    if config.suite.is_dir():
        suite = suite_of_data_set(config.suite, config.split)
    elif config.suite.is_file() or config.suite.suffix:
        suite = suite_of_file(config.suite, job)
    else:
        suite = suite_of_data_set(job.workspace.resolve(str(config.suite)), config.split)
    if not suite.items:
        where = f"{suite.path} ({suite.split})" if suite.split else suite.path
        raise DataError(
            "there are no items to evaluate", where=where, next_step="give another split or suite"
        )
    check_conversations(suite.examples, suite.path)
    refuse_tool_calls(suite)
    return limited(suite, config.limit)


def suite_of_data_set(folder: Path, split: str) -> Suite:
    """The rows of a split."""
    data = DataSet.open(folder.resolve())
    rows = data.split(split)
    items = tuple(Item(row.row_hash, row.group_id, row.example) for row in rows)
    return Suite(data.manifest.name, folder, split, items)


def suite_of_file(path: Path, job: Job) -> Suite:
    """The rows of a JSONL file: unreadable ones are counted and named, repeated ones asked once.

    A row's group is its metadata's `group_id`, or else it stands alone.
    """
    items: dict[str, Item] = {}
    duplicates = refused = 0
    for row in read_rows(path):
        for problem in row.problems:
            job.progress.say(
                f"{path}:{problem.line}: {problem.pointer}: {problem.reason}; this row is left out"
            )
        refused += bool(row.problems)
        if row.example is None:
            continue
        identity = row.example.row_hash
        duplicates += identity in items
        group = str(row.example.metadata.get("group_id", identity))
        items.setdefault(identity, Item(identity, group, row.example))
    return Suite(path.stem, path, None, tuple(items.values()), duplicates, refused)


def refuse_tool_calls(suite: Suite) -> None:
    """A right answer that is a tool call has no text to compare with."""
    calls = [item for item in suite.items if item.example.messages[len(item.example.prompt)].tool_calls]
    if calls:
        raise DataError(
            "answers that are tool calls are not scored yet",
            where=suite.path,
            value=f"{len(calls)} of {len(suite.items)} items",
            next_step="evaluate a suite whose answers are texts",
        )


def limited(suite: Suite, limit: int | None) -> Suite:
    """At most `limit` items (None: all), those with the smallest hashes, in the suite's own order."""
    if limit is None or limit >= len(suite.items):
        return suite
    chosen = set(sorted(item.id for item in suite.items)[:limit])
    kept = tuple(item for item in suite.items if item.id in chosen)
    return Suite(suite.name, suite.path, suite.split, kept, suite.duplicates, suite.refused)


def longest_answer(suite: Suite) -> int:
    """Tokens that are enough for the longest right answer, without a tokenizer at hand."""
    longest = max(len(item.example.answer.encode("utf-8")) for item in suite.items)
    return longest // BYTES_PER_TOKEN + SPARE_TOKENS


def ends_at_brace(suite: Suite) -> bool:
    """Whether every right answer is flat JSON ending with its only closing brace: decoding can stop there."""
    answers = [item.example.answer.strip() for item in suite.items]
    return all(
        text.endswith("}") and text.count("}") == 1 and flat_object(text) is not None for text in answers
    )
