"""The JSON logs of Inspect (inspect_ai/log/_log.py): one log is one task asked of one model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.core.errors import DataError
from tunesmith.evaluate.imported.port import (
    MALFORMED,
    NO_NUMBER,
    Found,
    Note,
    Row,
    identity,
    json_file,
    malformed,
    mapping,
    number,
)

LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Correct, partial, incorrect, no answer (inspect_ai/scorer/_metric.py)."""
WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
ATTACHED = "attachment://"
CUT = "max_tokens"
PACKED = ".eval"


def files_in(folder: Path) -> list[Path]:
    """The logs below a folder; those in Inspect's packed format are there to be refused."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix == PACKED or (path.suffix == ".json" and path.name != "logs.json"))
    )


def is_mine(path: Path) -> bool:
    """Whether a file is a log of Inspect, by its first keys or its suffix."""
    if path.suffix == PACKED:
        return True
    with path.open(encoding="utf-8", errors="replace") as file:
        start = file.read(4096)
    return '"eval"' in start and '"task' in start and '"status"' in start


def read(path: Path) -> Found:
    """One row for each sample and epoch.  Raises DataError for a packed log."""
    if path.suffix == PACKED:
        step = f"inspect log convert {path} --to json --output-dir FOLDER"
        raise DataError("this is Inspect's packed log", where=path, next_step=step)
    log = json_file(path)
    if "eval" not in log:
        raise DataError("this is no log of Inspect: it has no `eval`", where=path)
    if log.get("status") != "success":
        yield Note(f"{path.name}: Inspect's run did not end well (status {log.get('status')!r})")
    samples = log.get("samples") or []
    if not isinstance(samples, list):
        raise DataError("this is no log of Inspect: its `samples` are no list", where=path)
    if not samples:
        yield Note(f"{path.name}: the log holds no samples")
    for sample in samples:
        where = f"{path}#{sample.get('id') if isinstance(sample, dict) else '?'}"
        try:
            yield row(where, log["eval"], sample)
        except MALFORMED as error:
            yield malformed(where, error)


def row(where: str, run: Mapping[str, Any], sample: Mapping[str, Any]) -> Row:
    """A sample with its scores."""
    attached = mapping(sample.get("attachments"))
    turns = turns_of(sample["input"], attached)
    output = mapping(sample.get("output"))
    scores, unscored = scores_of(mapping(sample.get("scores")))
    usage = mapping(output.get("usage"))
    reason = stop_reason_of(output)
    target = sample["target"]
    error = sample.get("error")
    return Row(
        where=where,
        model=str(run["model"]),
        way="inspect",
        task=str(run["task"]),
        item=identity([turns, sample.get("choices") or []]),
        prompt=turns,
        gold=str(target[0]) if isinstance(target, list) and target else str(target),
        output=text_of(output.get("completion") or "", attached),
        scores=scores,
        unscored=unscored,
        repeat=int(sample["epoch"]) - 1,
        metadata=mapping(sample.get("metadata")),
        error=str(error["message"]) if error else None,
        finish_reason="length" if reason == CUT else str(reason or ""),
        latency_seconds=number(output.get("time") or sample.get("working_time")) or 0.0,
        prompt_tokens=int(number(usage.get("input_tokens")) or 0),
        completion_tokens=int(number(usage.get("output_tokens")) or 0),
    )


def stop_reason_of(output: Mapping[str, Any]) -> str | None:
    """Why the answer ended, where there is one."""
    choices = output.get("choices") or ()
    return choices[0].get("stop_reason") if choices else None


def turns_of(given: Any, attached: Mapping[str, str]) -> list[dict[str, Any]]:
    """The question as messages.  ValueError for one that holds more than text."""
    if isinstance(given, str):
        return [{"role": "user", "content": text_of(given, attached)}]
    return [{"role": str(turn["role"]), "content": content_of(turn["content"], attached)} for turn in given]


def content_of(content: Any, attached: Mapping[str, str]) -> str:
    """The text of a message, whether it is written as one or in parts."""
    if isinstance(content, str):
        return text_of(content, attached)
    if other := [part["type"] for part in content if part["type"] != "text"]:
        raise ValueError(f"the question holds {other[0]}, and only text is read")
    return "".join(text_of(part["text"], attached) for part in content)


def text_of(text: str, attached: Mapping[str, str]) -> str:
    """A text, which a log may keep apart when it is long."""
    found = attached[text.removeprefix(ATTACHED)] if text.startswith(ATTACHED) else text
    if not isinstance(found, str):
        raise TypeError(f"a text is expected, not {found!r:.60}")
    return found


def scores_of(given: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Numbers by scorer, or by scorer and key where it gives several; and why others are none."""
    scores: dict[str, float] = {}
    unscored: dict[str, str] = {}
    for scorer, score in given.items():
        value = score["value"]
        many = value if isinstance(value, Mapping) else {"": value}
        for key, one in many.items():
            name = f"{scorer}.{key}" if key else str(scorer)
            found = value_of(one)
            if found is None:
                unscored[name] = NO_NUMBER if one != one or one is None else f"{NO_NUMBER}: {json.dumps(one)}"
            else:
                scores[name] = found
    return scores, unscored


def value_of(value: Any) -> float | None:
    """A value as Inspect's own `value_to_float` takes it; None where it would warn and write 0."""
    if not isinstance(value, str):
        return number(value)
    if value in LETTERS:
        return LETTERS[value]
    if value.lower() in WORDS:
        return WORDS[value.lower()]
    try:
        return number(float(value))
    except ValueError:
        return None
