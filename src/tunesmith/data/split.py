"""Which split a group of rows goes to: drawn by a keyed hash, as independent of other rows as can be.

Each split has its own draw: a number in [0, 1) from HMAC-SHA256(salt, split and group key).

* A **share** takes the groups whose draw is below it.  Nothing else matters, so rows that are added
  later move no old row.  The size is right on average, not exactly; a split that would come out
  empty takes the group with the lowest draw.
* A **count** takes groups by rising draw until the count is reached exactly, passing over a group that no
  longer fits.  Rows added later move an old row only when a new one takes its place.

The test split is drawn first and validation from what is left, each by its own draws: changing the size
of one never reshuffles the other.  A group larger than the split asked for goes to train.
"""

import hashlib
import hmac
import math
from collections.abc import Sequence
from typing import NamedTuple

from tunesmith.core.errors import DataError


class Group(NamedTuple):
    """Rows that must stay together: a key that stays the same when the data grow, and how many rows."""

    key: str
    rows: int


class Sizes(NamedTuple):
    """Shares below 1, or counts of rows; 0 is none."""

    validation: float
    test: float


def draw(salt: str, split: str, key: str) -> float:
    """A number in [0, 1), the same for ever for the same salt, split and key."""
    digest = hmac.new(salt.encode(), f"{split} {key}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:7]) / (1 << 56)


def assign(groups: Sequence[Group], sizes: Sizes, *, salt: str) -> list[str]:
    """The split of each group, in order.

    Raises DataError when a split that was asked for, or train, would be empty.
    """
    check_enough(groups, sizes)
    total = sum(group.rows for group in groups)
    splits = ["train"] * len(groups)
    taken_share = 0.0
    for name, size in (("test", sizes.test), ("validation", sizes.validation)):
        free = [position for position, split in enumerate(splits) if split == "train"]
        for position in choose(groups, free, size, name, total=total, salt=salt, taken_share=taken_share):
            splits[position] = name
        taken_share += size if size < 1 else 0.0
        if size and name not in splits:
            largest = max(groups[position].rows for position in free)
            raise DataError(
                f"no group of rows fits into the {name} split (the {len(free)} groups left are too large)",
                value=f"{largest} rows in the largest",
                next_step="give a larger split, a higher --near-duplicates, or fewer rows a group",
            )
    if "train" not in splits:
        raise DataError("nothing is left to train on", next_step="make --validation and --test smaller")
    return splits


def choose(
    groups: Sequence[Group],
    free: Sequence[int],
    size: float,
    name: str,
    *,
    total: int,
    salt: str,
    taken_share: float,
) -> list[int]:
    """Positions of the groups that a split takes from the free ones."""
    ranked = sorted((draw(salt, name, groups[position].key), position) for position in free)
    if size >= 1:
        return fill(groups, [position for _, position in ranked], int(size))
    limit = max(1, math.ceil(size * total))
    fitting = [(number, position) for number, position in ranked if groups[position].rows <= limit]
    # the other shares are gone already: the same share of all is a larger one of the rest
    taken = [position for number, position in fitting if number < size / (1 - taken_share)]
    if size and not taken:
        taken = [position for _, position in fitting[:1]]
    return taken


def fill(groups: Sequence[Group], ranked: Sequence[int], count: int) -> list[int]:
    """Groups by rank until `count` rows are reached."""
    taken = []
    for position in ranked:
        if groups[position].rows <= count:
            taken.append(position)
            count -= groups[position].rows
        if count == 0:
            break
    return taken


def check_enough(groups: Sequence[Group], sizes: Sizes) -> None:
    """Refuse data that cannot be split as asked; say how many rows that needs."""
    total = sum(group.rows for group in groups)
    wanted = [size for size in sizes if size]
    needed = 1 + sum(int(size) if size >= 1 else 1 for size in wanted)
    if total < needed:
        raise DataError(
            f"too few rows to split: {total} can be used, at least {needed} are needed",
            next_step="give more rows, or make --validation and --test smaller (0 is none)",
        )
    if len(groups) < 1 + len(wanted):
        what = (
            "all rows belong to one group" if len(groups) == 1 else f"the rows make only {len(groups)} groups"
        )
        raise DataError(
            f"{what}, and groups are never divided: {1 + len(wanted)} splits cannot be filled",
            next_step="rows with one prompt, nearly one prompt, or one 'group' stay together: "
            "give more varied rows, or set --validation 0 or --test 0",
        )
