"""Recall, precision and area under the curve of checks against what was planted."""

import json
from collections.abc import Mapping, Sequence, Set
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tunesmith.core.stats import wilson, z_of
from tunesmith.data.check.run import Tally
from tunesmith.data.selftest.plants import RANKED
from tunesmith.data.selftest.schema import Outcome, Rate


class Seen(NamedTuple):
    """What a check says of a corpus: values of the rows with a finding, and which rows it looked at."""

    found: Mapping[int, float]
    """Row → value, of rows with a finding at the check's own threshold."""
    ranked: Mapping[int, float]
    """Row → value of every row that was judged; empty for a check that does not rank."""


def seen_by(tally: Tally, findings: Path, limit: float) -> Seen:
    """Read what a check found; of one that ranks, everything was let through, and `limit` is applied here."""
    name = tally.check.name
    if name not in RANKED:
        return Seen({int(at): 1.0 for at in np.flatnonzero(tally.ranks)}, {})
    unnamed = RANKED[name]
    ranked = {} if unnamed is None else dict.fromkeys(range(len(tally.ranks)), unnamed)
    with findings.open(encoding="utf-8") as lines:
        for text in lines:
            line = json.loads(text)
            if line["check"] == name and line["row"] is not None:
                ranked[line["row"]["line"] - 1] = float(line["value"])
    return Seen({at: value for at, value in ranked.items() if value > limit}, ranked)


def judge(
    plant: str,
    checks: Sequence[str],
    places: Mapping[int, Set[int]],
    seen: Sequence[Seen],
    before: Sequence[Seen],
) -> Outcome:
    """How well some checks, taken together, found the faults.

    `places` are the rows by which each fault may be found: itself, and the row that it is a copy of.  Rows
    that were found before anything was planted count neither way.
    """
    found = set().union(*(one.found for one in seen))
    known = set().union(*(one.found for one in before))
    judged = set().union(*(one.ranked for one in seen))
    # A finding on a row that had it before proves nothing; and of a sample only faults in it could be found.
    places = {
        at: rows - known for at, rows in places.items() if at not in known and (not judged or at in judged)
    }
    faulty = set().union(*places.values()) if places else set()
    hits = sum(bool(rows & found) for rows in places.values())
    false = len(found - faulty - known)
    rows_right = sum(len(rows & found) > 0 for rows in places.values())
    return Outcome(
        plant=plant,
        check=" + ".join(checks),
        planted=len(places),
        found=hits,
        recall=share(hits, len(places)),
        false=false,
        precision=share(rows_right, rows_right + false) if rows_right + false else None,
        before=len(known),
        auc=area(seen[0].ranked, set(places), known) if judged else None,
    )


def share(part: int, whole: int) -> Rate:
    """A share with Wilson's interval."""
    low, high = wilson(part, whole)
    return Rate(value=part / whole if whole else 0.0, low=low, high=high)


def area(values: Mapping[int, float], faults: Set[int], known: Set[int]) -> Rate | None:
    """Area under the ROC curve (Mann-Whitney), with the interval of Hanley & McNeil (1982)."""
    wrong = np.array([value for at, value in values.items() if at in faults])
    right = np.array([value for at, value in values.items() if at not in faults and at not in known])
    if not len(wrong) or not len(right):
        return None
    ordered = np.sort(right)
    below = np.searchsorted(ordered, wrong, "left") + np.searchsorted(ordered, wrong, "right")
    auc = float(below.sum() / 2 / (len(wrong) * len(right)))
    first, second = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    spread = auc * (1 - auc) + (len(wrong) - 1) * (first - auc**2) + (len(right) - 1) * (second - auc**2)
    error = sqrt(max(0.0, spread) / (len(wrong) * len(right)))
    if error == 0:  # nothing is out of order: as sure as so many faults, or so many other rows, can be
        fewest = min(len(wrong), len(right))
        return Rate(value=auc, low=wilson(auc * fewest, fewest)[0], high=wilson(auc * fewest, fewest)[1])
    half = z_of(0.95) * error
    return Rate(value=auc, low=max(0.0, auc - half), high=min(1.0, auc + half))
