"""The items of a task: rows of a data set's split or of a file, with their groups and slices."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunesmith.core import gym
from tunesmith.core.conversation import Example, chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ConfigError, DataError, nearest
from tunesmith.core.files import hash_json, hash_text
from tunesmith.core.formats.read import read_rows
from tunesmith.core.job import Job
from tunesmith.evaluate.retention import pack
from tunesmith.evaluate.suite import ReasoningGym, Retention

QUARTERS = ("shortest quarter", "second quarter", "third quarter", "longest quarter")
MISSING = "(none)"
PACK = "retention"
"""Name of the built-in suite."""
GYM = "reasoning_gym"
"""Name of the scorer of what reasoning-gym makes, and of its place in an item's metadata."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its right answer; items of one group are not independent."""

    id: str
    group_id: str
    example: Example
    slices: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    """Of an item with a swapped term: the id of the item as it was."""


class Items(NamedTuple):
    """The items of a task, where they come from, and what was not taken."""

    name: str
    path: Path
    split: str | None
    items: tuple[Item, ...]
    duplicates: int = 0
    refused: int = 0
    made_by: Mapping[str, Any] = {}
    """What generated them, where their hashes do not say it all: how they are scored depends on it."""

    @property
    def examples(self) -> list[Example]:
        """The items' conversations."""
        return [item.example for item in self.items]


def read_items(given: Path, split: str, job: Job) -> Items:
    """The items that a path or name stands for.  Raises DataError when there are none."""
    if given.is_dir() or not (given.is_file() or given.suffix):
        found = items_of_data_set(DataSet.find(given, job.workspace), split)
    else:
        found = items_of_file(given, job)
    if not found.items:
        where = f"{found.path} ({found.split})" if found.split else found.path
        step = "give another split or suite"
        raise DataError("there are no items to evaluate", where=where, next_step=step)
    return found


def items_of_pack(config: Retention) -> Items:
    """The generated pack: every item with the scorer that its own metadata name."""
    made = pack(config.seed, config.per_family, config.families or None)
    items = [
        Example(
            chat([("user", one.prompt), ("assistant", one.gold)]).messages,
            metadata={"family": one.family, "level": one.level, "scorer": dict(one.scorer)},
        )
        for one in made
    ]
    groups = [one.group_id for one in made]
    found = tuple(Item(one.row_hash, group, one) for one, group in zip(items, groups, strict=True))
    return Items(PACK, Path(PACK), None, found)


def items_of_gym(config: ReasoningGym, job: Job) -> Items:
    """Questions of reasoning-gym, each a group of its own: a family draws them independently.

    A question that comes twice is asked once.  Raises MissingPackage, or ConfigError for an unknown family.
    """
    version = gym.about().version
    items: dict[str, Item] = {}
    places = [
        gym.Place(family, config.size, config.seed, index)
        for family in config.families
        for index in range(config.size)
    ]
    with job.progress.task("making questions", total=len(places), unit="questions") as bar:
        for place in places:
            one = item_of_gym(place)
            items.setdefault(one.id, one)
            bar.advance(1)
    made_by = {**config.to_json(), "reasoning-gym": version}
    duplicates = len(places) - len(items)
    return Items("reasoning-gym", Path(GYM), None, tuple(items.values()), duplicates, made_by=made_by)


def item_of_gym(place: gym.Place) -> Item:
    """One question; the right answer is empty in families that only check answers."""
    question = gym.question(place)
    turns = chat([("user", question.text), ("assistant", question.answer or "")])
    example = Example(turns.messages, metadata={"family": place.family, GYM: asdict(place)})
    return Item(example.row_hash, example.row_hash, example)


def items_of_data_set(data: DataSet, split: str) -> Items:
    """The rows of a split."""
    items = tuple(Item(row.row_hash, row.group_id, row.example) for row in data.split(split))
    return Items(data.manifest.name, data.folder, split, items)


def items_of_file(path: Path, job: Job) -> Items:
    """The rows of a file: unreadable ones are counted and named, repeated ones asked once.

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
    return Items(path.stem, path, None, tuple(items.values()), duplicates, refused)


def limited(found: Items, limit: int | None) -> Items:
    """At most `limit` items (None: all), those with the smallest hashes, in their own order."""
    if limit is None or limit >= len(found.items):
        return found
    chosen = set(sorted(item.id for item in found.items)[:limit])
    return found._replace(items=tuple(item for item in found.items if item.id in chosen))


def part_of_vault(found: Items, share: float, *, inside: bool) -> Items:
    """The items in the vault, or those outside it; a group stays where it is when the data grow.

    Raises DataError when nothing is left.
    """
    if not share:
        if inside:
            step = "write `vault: 0.2` into the suite's task"
            raise DataError("this task keeps nothing for release decisions", where=found.name, next_step=step)
        return found
    kept = tuple(item for item in found.items if (place_in_vault(item.group_id) < share) is inside)
    if not kept:
        where = "in the vault" if inside else "outside the vault"
        raise DataError(
            f"no item is left {where}", where=found.name, next_step="change the share of the vault"
        )
    return found._replace(items=kept)


def place_in_vault(group_id: str) -> float:
    """A number from 0 to 1 that depends on the group alone."""
    return int(hash_text(f"vault/{group_id}")[:13], 16) / 16**13


def fingerprint(found: Items) -> str:
    """Identity of the items, whatever their order."""
    return hash_json(sorted(item.id for item in found.items))


def with_slices(found: Items, keys: Sequence[str]) -> Items:
    """The items with the slice that each is in.  Raises ConfigError for a key that no row has."""
    known = {key for item in found.items for key in item.example.metadata}
    if unknown := [key for key in keys if key != "length" and key not in known]:
        step = nearest(unknown[0], [*known, "length"])
        raise ConfigError("no row has this in its metadata", value=unknown[0], where="slices", next_step=step)
    columns = {key: lengths(found) if key == "length" else values(found, key) for key in keys}
    return found._replace(
        items=tuple(
            Item(
                item.id, item.group_id, item.example, {key: column[place] for key, column in columns.items()}
            )
            for place, item in enumerate(found.items)
        )
    )


def values(found: Items, key: str) -> list[str]:
    """What each row's metadata say."""
    return [str(item.example.metadata.get(key, MISSING)) for item in found.items]


def lengths(found: Items) -> list[str]:
    """The quarter of the prompts, by characters, that each item's is in."""
    sizes = [sum(len(turn.content or "") for turn in item.example.prompt) for item in found.items]
    bounds = np.quantile(sizes, [0.25, 0.5, 0.75])
    return [QUARTERS[int(np.searchsorted(bounds, size, side="left"))] for size in sizes]
