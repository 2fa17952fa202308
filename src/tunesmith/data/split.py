"""Which split a group of rows goes to: drawn by a keyed hash, as independent of other rows as can be.

Each split has its own draw: a number in [0, 1) from HMAC-SHA256(salt, split and group key).

* A **share** takes the groups whose draw is below it.  Nothing else matters, so rows that are added
  later move no old row.  The size is right on average, not exactly; a split that would come out
  empty takes the group with the lowest draw.
* A **count** takes groups by rising draw until the count is reached exactly, passing over a group that no
  longer fits.  Rows added later move an old row only when a new one takes its place.
* **Stratified**, each stratum gives its part of the split, as a count (largest remainders).  Rows added
  later can then move an old row even with a share, when its stratum's part changes.
* By **time**, the groups with the newest rows go to test, the next newest to validation, as counts.  A group
  is as new as its newest row.  Rows added later move old ones towards train: nothing is stable but the rule.

The test split is drawn first and validation from what is left, each by its own draws: changing the size
of one never reshuffles the other.  A group larger than the split asked for goes to train, and so does a
group with a synthetic row.
"""

import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.dataset import SPLITS
from tunesmith.core.errors import DataError

TRAIN = SPLITS.index("train")
BLOCK_BYTES = 64
"""What SHA-256 hashes at a time."""


class GroupTable(NamedTuple):
    """Many groups, as columns."""

    keys: Sequence[str]
    rows: NDArray[np.int64]
    strata: NDArray[np.int64]
    """A number for the stratum of each."""
    times: NDArray[np.float64]
    """Seconds; minus infinity where it is not known."""
    synthetic: NDArray[np.bool_]
    """Whether a row of it is synthetic."""


class Sizes(NamedTuple):
    """Shares below 1, or counts of rows; 0 is none."""

    validation: float
    test: float


class Plan(NamedTuple):
    """How groups are drawn."""

    sizes: Sizes
    salt: str
    stratified: bool = False
    by_time: bool = False


def draws(salt: str, split: str, keys: Iterable[str]) -> NDArray[np.float64]:
    """A number in [0, 1) for each key, the same for ever for the same salt, split and key.

    The first 56 bits of HMAC-SHA256 (RFC 2104), whose two hashes begin with the same blocks for all keys.
    """
    secret = salt.encode()
    secret = (sha256(secret).digest() if len(secret) > BLOCK_BYTES else secret).ljust(BLOCK_BYTES, b"\0")
    inner = bytes(byte ^ 0x36 for byte in secret) + f"{split} ".encode()
    outer = bytes(byte ^ 0x5C for byte in secret)
    digests = [sha256(outer + sha256(inner + key.encode()).digest()).digest() for key in keys]
    first = np.frombuffer(b"".join(digests), dtype=">u8")[::4]
    return (first >> np.uint64(8)).astype(np.float64) / (1 << 56)


def assign_table(table: GroupTable, plan: Plan) -> NDArray[np.int8]:
    """The split of each group, as its place in `SPLITS`.

    Raises DataError when a split that was asked for, or train, would be empty.
    """
    check_enough(table, plan.sizes)
    splits = np.full(len(table.keys), TRAIN, dtype=np.int8)
    taken_share = 0.0
    for name, size in (("test", plan.sizes.test), ("validation", plan.sizes.validation)):
        if not size:
            continue
        free = np.flatnonzero((splits == TRAIN) & ~table.synthetic)
        splits[choose(table, free, size, name, plan=plan, taken_share=taken_share)] = SPLITS.index(name)
        taken_share += size if size < 1 else 0.0
        if SPLITS.index(name) not in splits:
            raise DataError(
                f"no group of rows fits into the {name} split (the {len(free)} groups left are too large"
                f"{' or synthetic' if table.synthetic.any() else ''})",
                value=f"{int(table.rows[free].max(initial=0))} rows in the largest",
                next_step="give a larger split, a higher --near-duplicates, or fewer rows a group",
            )
    if TRAIN not in splits:
        raise DataError("nothing is left to train on", next_step="make --validation and --test smaller")
    return splits


def choose(
    table: GroupTable, free: NDArray[np.int64], size: float, name: str, *, plan: Plan, taken_share: float
) -> NDArray[np.int64]:
    """The groups that a split takes from the free ones."""
    total = int(table.rows.sum())
    if plan.by_time:
        ranked = free[np.argsort(-table.times[free], kind="stable")]
        dated = ranked[np.isfinite(table.times[ranked])]
        if not len(dated):
            step = "give a metadata key that rows have, as ISO 8601 or in seconds"
            raise DataError("no row has a time to be split by", next_step=step)
        return fill(table.rows, dated, whole(size, total))
    drawn = draws(plan.salt, name, [table.keys[place] for place in free.tolist()])
    ranked = free[np.argsort(drawn, kind="stable")]
    if plan.stratified:
        return choose_stratified(table, ranked, whole(size, total))
    if size >= 1:
        return fill(table.rows, ranked, int(size))
    limit = max(1, math.ceil(size * total))
    # the other shares are gone already: the same share of all is a larger one of the rest
    below = free[(drawn < size / (1 - taken_share)) & (table.rows[free] <= limit)]
    fitting = ranked[table.rows[ranked] <= limit]
    return below if len(below) else fitting[:1]


def whole(size: float, total: int) -> int:
    """A share of so many rows as a count."""
    return int(size) if size >= 1 else max(1, round(size * total))


def choose_stratified(table: GroupTable, ranked: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Groups by rank, from each stratum its part of `count` rows (largest remainders)."""
    num_rows = np.bincount(table.strata, weights=table.rows)
    exact = num_rows * count / num_rows.sum()
    parts = np.floor(exact).astype(np.int64)
    most = np.argsort(parts - exact, kind="stable")[: count - int(parts.sum())]
    parts[most] += 1
    taken = [
        fill(table.rows, ranked[table.strata[ranked] == stratum], int(part))
        for stratum, part in enumerate(parts.tolist())
        if part
    ]
    return np.concatenate(taken) if taken else ranked[:0]


def fill(rows: NDArray[np.int64], ranked: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Groups by rank until `count` rows are reached."""
    taken = []
    for place, size in zip(ranked.tolist(), rows[ranked].tolist(), strict=True):
        if size <= count:
            taken.append(place)
            count -= size
        if count == 0:
            break
    return np.array(taken, dtype=np.int64)


def check_enough(groups: GroupTable, sizes: Sizes) -> None:
    """Refuse data that cannot be split as asked; say how many rows that needs."""
    total = int(groups.rows.sum())
    wanted = [size for size in sizes if size]
    needed = 1 + sum(int(size) if size >= 1 else 1 for size in wanted)
    if total < needed:
        raise DataError(
            f"too few rows to split: {total} can be used, at least {needed} are needed",
            next_step="give more rows, or make --validation and --test smaller (0 is none)",
        )
    if len(groups.keys) < 1 + len(wanted):
        what = (
            "all rows belong to one group"
            if len(groups.keys) == 1
            else f"the rows make only {len(groups.keys)} groups"
        )
        raise DataError(
            f"{what}, and groups are never divided: {1 + len(wanted)} splits cannot be filled",
            next_step="rows with one prompt, nearly one prompt, or one 'group' stay together: "
            "give more varied rows, or set --validation 0 or --test 0",
        )
