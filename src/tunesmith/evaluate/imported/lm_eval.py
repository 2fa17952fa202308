"""The samples that lm-evaluation-harness writes with --log_samples (lm_eval/loggers/evaluation_tracker.py).

A line is one document under one filter, with its metrics by name; documents with several filters are put
together again.  The aggregated results beside it, of the same time, say model, shots and which way is better.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.evaluate.imported.port import (
    MALFORMED,
    NO_NUMBER,
    Found,
    Note,
    Refused,
    Row,
    identity,
    json_file,
    malformed,
    mapping,
    messages_of,
    number,
    parsed,
)

NAME = re.compile(r"samples_(?P<task>.+?)(?P<time>_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl")
LOWER = frozenset({"brier_score", "ter", "word_perplexity", "byte_perplexity", "bits_per_byte"})
"""Metrics of which less is better, where no results say so."""
LOGPROB = {"perplexity": "gold_logprob"}
"""Of one document lm-eval writes the log-likelihood under the name of what it makes of their mean."""


class Facts(NamedTuple):
    """What the results beside the samples say of a task."""

    model: str
    way: str
    lower: frozenset[str]


class Part(NamedTuple):
    """A line, read: a document under one filter."""

    where: str
    document: str
    """Its number, as JSON."""
    value: dict[str, Any]


def files_in(folder: Path) -> list[Path]:
    """The sample files below a folder."""
    return sorted(path for path in folder.rglob("samples_*.jsonl") if path.is_file())


def is_mine(path: Path) -> bool:
    """Whether a file begins with a sample of lm-eval."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    try:
        value = json.loads(first)
    except ValueError:
        return False
    return isinstance(value, dict) and {"doc_id", "doc", "filter"} <= set(value)


def read(path: Path) -> Found:
    """One row for each document.  Lines of other filters of the same document count as a part of it."""
    named = NAME.fullmatch(path.name)
    task = named["task"] if named else path.stem
    try:
        facts = facts_of(path, task, (named["time"] or "") if named else "")
    except MALFORMED as error:
        facts = Facts(path.resolve().parent.name, "lm-eval", LOWER)
        yield Note(f"{path.name}: the results beside it cannot be read ({error})")
    documents: dict[str, list[Part]] = {}
    filters: dict[str, None] = {}
    for part in parts(path):
        if isinstance(part, Refused):
            yield part
            continue
        filters.setdefault(str(part.value["filter"]))
        documents.setdefault(part.document, []).append(part)
    for found in documents.values():
        try:
            yield row(task, facts, found, several=len(filters) > 1)
        except MALFORMED as error:
            yield malformed(found[0].where, error)


def parts(path: Path) -> Iterator[Part | Refused]:
    """Every line that is a sample; a document that comes again under the same filter is refused."""
    known: set[tuple[str, str]] = set()
    lines = path.read_bytes().split(b"\n")
    for place, line in enumerate(lines, start=1):
        where = f"{path}:{place}"
        if not line.strip():
            continue
        try:
            value = parsed(line.decode("utf-8"))
            key = (json.dumps(value["doc_id"]), str(value["filter"]))
        except MALFORMED as error:
            yield malformed(where, error)
            continue
        if key in known:
            yield Refused(where, f"document {key[0]} stands in the file twice")
        else:
            known.add(key)
            yield Part(where, key[0], value)


def facts_of(path: Path, task: str, time: str) -> Facts:
    """Model, shots and directions, from the results of the same run; without them the folder's name."""
    results = path.with_name(f"results{time}.json")
    if not results.is_file():
        return Facts(path.resolve().parent.name, "lm-eval", LOWER)
    value = json_file(results)
    directions = mapping(mapping(value.get("higher_is_better")).get(task))
    shots = mapping(value.get("n-shot")).get(task)
    lower = frozenset(name for name, higher in directions.items() if higher is False)
    return Facts(
        str(value.get("model_name") or path.resolve().parent.name),
        f"{shots}-shot" if shots is not None else "lm-eval",
        lower | (LOWER - set(directions)),
    )


def row(task: str, facts: Facts, found: list[Part], *, several: bool) -> Row:
    """A document with the metrics of all its filters, named as lm-eval's own results name them."""
    scores: dict[str, float] = {}
    unscored: dict[str, str] = {}
    lower = set()
    for part in found:
        for metric in part.value["metrics"]:
            shown = LOGPROB.get(metric, str(metric))
            name = f"{shown},{part.value['filter']}" if several else shown
            value = number(part.value[metric])
            if value is None:
                unscored[name] = NO_NUMBER
            else:
                scores[name] = value
            if metric in facts.lower and metric not in LOGPROB:
                lower.add(name)
    first = found[0].value
    doc = first["doc"]
    return Row(
        where=found[0].where,
        model=facts.model,
        way=facts.way,
        task=task,
        item=identity(doc),
        prompt=messages_of(prompt_of(first["arguments"])),
        gold=first["target"] if isinstance(first["target"], str) else json.dumps(first["target"]),
        output=output_of(first["resps"]),
        scores=scores,
        unscored=unscored,
        lower=frozenset(lower),
        repeat=0,
        metadata=doc if isinstance(doc, Mapping) else {},
    )


def prompt_of(arguments: Any) -> str:
    """The text that was sent: a mapping of names in lm-eval 0.4.9 and later, lists before."""
    calls = [*arguments.values()] if isinstance(arguments, Mapping) else arguments
    first = calls[0]["arg_0"] if isinstance(calls[0], Mapping) else calls[0][0]
    return str(first[0] if isinstance(first, list) else first)


def output_of(answers: Any) -> str:
    """What the model wrote; nothing where only likelihoods were asked."""
    first = answers[0]
    while isinstance(first, list) and len(first) == 1:
        first = first[0]
    return first if isinstance(first, str) else ""
