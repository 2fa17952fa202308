"""What training asks of the reviews: that every row was accepted, and the data set signed off."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.files import read_json
from tunesmith.core.reviews.state import settle_all
from tunesmith.core.reviews.store import BATCH, Reviews
from tunesmith.core.workspace import name_for_commands

REVIEW = "review.json"
"""What a data set folder made by `data review --apply` says about its rows."""
LEARNED = ("train", "validation")
"""Splits that shape a model: by gradients, or by the choice of the best checkpoint."""
Standing = Literal["accepted", "rejected", "unreviewed"]


class Reviewed(NamedTuple):
    """What a folder itself knows."""

    rows: frozenset[str]
    is_signed: bool


def check_reviewed(data: DataSet, reviews: Reviews) -> None:
    """Refuse a data set that nobody signed off, or with training rows that no person accepted.

    A row counts as accepted by its content, in whatever data set it was reviewed; one rejection outweighs it.
    Raises DataError with the counts and the next command.
    """
    own = reviewed_in(data.folder)
    counts = Counter(
        standing
        for split in LEARNED
        if split in data.split_names()
        for standing in standings((row.row_hash for row in data.rows(split)), own, reviews)
    )
    command = f"tunesmith data review {name_for_commands(data.folder)}"
    name, total = data.manifest.name, counts.total()
    if counts["unreviewed"]:
        what = f"{counts['unreviewed']:,} of {total:,} rows to learn from were not reviewed"
        if counts["rejected"]:
            what += f", and {counts['rejected']:,} were rejected"
        raise DataError(f"{what} (require_review)", where=name, next_step=command)
    if counts["rejected"]:
        what = f"{counts['rejected']:,} of {total:,} rows to learn from were rejected (require_review)"
        raise DataError(what, where=name, next_step=f"{command} --apply, and train on the folder it makes")
    if not own.is_signed and reviews.signed_off(f"data-set:{data.fingerprint}") is None:
        what = "nobody signed this data set off (require_review)"
        raise DataError(what, where=name, next_step=f"{command} --sign-off")


def reviewed_in(folder: Path) -> Reviewed:
    """What `data review --apply` left in the folder; nothing for another folder."""
    if not (folder / REVIEW).exists():
        return Reviewed(frozenset(), is_signed=False)
    found = read_json(folder / REVIEW)
    return Reviewed(frozenset(found["rows"]), is_signed=found["sign_off"] is not None)


def standings(row_hashes: Iterable[str], own: Reviewed, reviews: Reviews) -> Iterable[Standing]:
    """How each row stands."""
    batch: list[str] = []
    for row_hash in row_hashes:
        batch.append(row_hash)
        if len(batch) == BATCH:
            yield from of_batch(batch, own, reviews)
            batch = []
    yield from of_batch(batch, own, reviews)


def of_batch(row_hashes: list[str], own: Reviewed, reviews: Reviews) -> list[Standing]:
    """How some rows stand, in one query."""
    accepted, rejected = set(own.rows), set()
    for state in settle_all(reviews.tasks_about(row_hashes)):
        if state.state == "settled" and state.action == "reject":
            rejected.add(state.row_hash)
        elif state.state == "settled" and state.after_hash is not None:
            accepted.add(state.after_hash)
    return [
        "rejected" if one in rejected else "accepted" if one in accepted else "unreviewed"
        for one in row_hashes
    ]
