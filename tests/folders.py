"""Folders for tests, made without the rooms that usually make them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tunesmith.core.conversation import Example, chat
from tunesmith.core.dataset import Writer
from tunesmith.core.job import Job

CITIES = ("Chicago", "Boston", "Denver", "Austin")


def address(number: int) -> Example:
    """'12 Main St Chicago 60012' with its fields."""
    city, code = CITIES[number % len(CITIES)], f"{60000 + number}"
    answer = json.dumps({"number": str(number), "city": city, "zip": code})
    return chat([("system", "Read it."), ("user", f"{number} Main St {city} {code}"), ("assistant", answer)])


def data_set(
    job: Job,
    splits: Mapping[str, Sequence[Example]],
    *,
    groups: Mapping[str, str] | None = None,
    name: str = "set",
) -> Path:
    """A finished data set folder; `groups` maps row hashes to groups, each row else stands alone."""
    with job.workspace.open(verb="data prepare", kind="data-set", name=name, config={}, inputs={}) as folder:
        with Writer(folder.path, splits) as writer:
            for split, rows in splits.items():
                for line, row in enumerate(rows, start=1):
                    writer.add(
                        split,
                        example_json=json.dumps(row.to_json()),
                        row_hash=row.row_hash,
                        group_id=(groups or {}).get(row.row_hash, row.row_hash),
                        line=line,
                    )
        folder.summary = {"fingerprint": writer.proof["fingerprint"]}
    return folder.path
