"""Steps that drop repeats: the best row of each cluster stays, and each dropped row names the one it is like.

Clusters of near-duplicates chain distinct rows together through rows between them, so a row is only dropped
when it is like a row that stays.
"""

import hashlib
import json
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.conversation import Example, Message
from tunesmith.core.similarity import Groups, NearDuplicates, jaccard, normalise, shingles
from tunesmith.data.clean.port import KEPT, Decide, Stage, Verdict, dropped
from tunesmith.data.clean.schema import DropExactDuplicates, DropNearDuplicates, Part
from tunesmith.data.corpus import CorpusRow
from tunesmith.data.differences import facts_of
from tunesmith.data.intake import prompt_text

FINISHED = re.compile(r"""[.!?…。！？)\]}>"'”’`|]\s*$""")
"""How a finished answer ends: a sentence, a bracket, a quotation or a code block."""
COMPARED_ROWS = 32
"""A row of a cluster is compared with at most so many that stay: thousands of variants of one template do not
cost their square."""


class Score(NamedTuple):
    """What makes a row the best of its cluster, most telling first; larger is better."""

    clean: int
    """Minus the findings about it alone."""
    finished: bool
    """Whether its answer ends like a finished one."""
    length: int
    """Characters of its answer, runs of white space as one."""


def score(row: CorpusRow, stage: Stage) -> Score:
    """How good a member a row is."""
    answer = row.example.answer
    findings = stage.flagged.get((row.split, row.line), 0)
    return Score(-findings, bool(FINISHED.search(answer)), len(" ".join(answer.split())))


def said(turns: Sequence[Message]) -> str:
    """Everything that turns say and call."""
    return json.dumps([[turn.role, normalise(turn.content or ""), list(turn.tool_calls)] for turn in turns])


def exact_text(example: Example, part: Part) -> str:
    """What two exact duplicates have in common."""
    if part == "prompt":
        return said(example.prompt)
    if part == "answer":
        return said(example.chosen or example.messages[-1:]) + answer_of(example)
    rest = [list(map(list, example.steps)), example.label, list(example.tools)]
    return said((*example.messages, *example.chosen, *example.rejected)) + json.dumps(rest)


def answer_of(example: Example) -> str:
    """The answer's text, with what it calls."""
    calls = [turn.tool_calls for turn in example.messages[-1:] if turn.tool_calls]
    return example.answer + (json.dumps([list(part) for part in calls]) if calls else "")


def near_text(example: Example, part: Part) -> str:
    """What near-duplicates are compared by; the standing instruction that all rows share is left out."""
    parts = {"prompt": prompt_text(example), "answer": answer_of(example)}
    if part != "whole":
        return parts[part]
    worse = "\n".join(turn.content or "" for turn in example.rejected)
    return "\n".join([parts["prompt"], parts["answer"], worse]).strip()


def drop_exact(stage: Stage, settings: DropExactDuplicates) -> Decide:
    """The best row of each text stays; 28 bytes a row in memory."""
    hashes, positions, scores = array("Q"), array("q"), [array("q"), array("b"), array("q")]
    for row in stage.rows():
        text = exact_text(row.example, settings.text).encode("utf-8", errors="surrogatepass")
        hashes.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()))
        positions.append(row.position)
        for column, value in zip(scores, score(row, stage), strict=True):
            column.append(value)
    order, is_first = best_first(np.array(hashes), [np.array(column) for column in scores])
    at = np.array(positions)[order]
    keepers = at[np.maximum.accumulate(np.where(is_first, np.arange(len(at)), 0))] if len(at) else at
    same = {int(one): int(kept) for one, kept in zip(at[~is_first], keepers[~is_first], strict=True)}
    return dropping(stage, same, "says the same as a row that stays")


def best_first(
    keys: NDArray[np.uint64], scores: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Order by key, the best of each key first (ties: the earliest row); and where a key begins."""
    places = np.arange(len(keys))
    order = np.lexsort((places, *(-column for column in reversed(scores)), keys))
    ordered = keys[order]
    return order, np.append([True], ordered[1:] != ordered[:-1])[: len(keys)]


def dropping(
    stage: Stage, like: Mapping[int, int], reason: str, similarity: Mapping[int, float] | None = None
) -> Decide:
    """Drop the rows in `like`, each naming the row that it is like."""

    def decide(row: CorpusRow) -> Verdict:
        if row.position not in like:
            return KEPT
        kept = stage.corpus.row(like[row.position])
        evidence: dict[str, Any] = {"like": kept.place}
        if similarity is not None:
            evidence["similarity"] = round(similarity[row.position], 4)
        return dropped(reason, **evidence)

    return decide


def drop_near(stage: Stage, settings: DropNearDuplicates) -> Decide:
    """Verified MinHash clusters; in each, from the best row down, what is like a kept row goes."""
    groups, positions = Groups(), array("q")
    near = NearDuplicates(settings.threshold, groups)
    for row in stage.rows():
        positions.append(row.position)
        near.add(groups.add(), near_text(row.example, settings.text))
    like: dict[int, int] = {}
    similarity: dict[int, float] = {}
    for members in clusters(groups, positions):
        for position, kept, value in thinned(stage, members, settings):
            like[position], similarity[position] = kept, value
    return dropping(stage, like, "nearly the same as a row that stays", similarity)


def clusters(groups: Groups, positions: Sequence[int]) -> Iterator[list[int]]:
    """Positions of the rows of each group of more than one."""
    roots = groups.roots()
    members = np.flatnonzero(np.bincount(roots)[roots] > 1) if len(roots) else roots
    found: defaultdict[int, list[int]] = defaultdict(list)
    for member in members.tolist():
        found[int(roots[member])].append(positions[member])
    return iter(found.values())


def thinned(
    stage: Stage, members: Sequence[int], settings: DropNearDuplicates
) -> Iterator[tuple[int, int, float]]:
    """(dropped position, kept position, their similarity) of one cluster.

    A row is compared with the last `COMPARED_ROWS` kept ones that say the same numbers and negations.
    """
    ranked = sorted(members, key=lambda position: (score(stage.corpus.row(position), stage), -position))
    kept: defaultdict[Any, list[tuple[int, NDArray[np.uint32]]]] = defaultdict(list)
    for position in reversed(ranked):
        text = near_text(stage.corpus.row(position).example, settings.text)
        values = shingles(text)
        rivals = kept[facts_of(text) if settings.different_numbers == "keep" else None]
        best = max(
            ((jaccard(values, other), place) for place, other in rivals[-COMPARED_ROWS:]), default=(0.0, -1)
        )
        if best[0] >= settings.threshold:
            yield position, best[1], best[0]
        else:
            rivals.append((position, values))
