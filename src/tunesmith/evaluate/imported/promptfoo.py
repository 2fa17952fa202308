"""The JSON that promptfoo writes with `-o results.json` (version 3 of its results).

A result is one test under one prompt and provider.  Its scores are `pass` (0 or 1), `score` (the weighted
mean of its assertions) and each named metric.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.core.errors import DataError
from tunesmith.evaluate.imported.port import (
    MALFORMED,
    NO_NUMBER,
    Found,
    Refused,
    Row,
    identity,
    json_file,
    malformed,
    mapping,
    messages_of,
    number,
)

FAILED_TO_ANSWER = 2
"""promptfoo's ResultFailureReason.ERROR; 1 is an assertion that did not hold."""
SAYS_THE_ANSWER = ("equals", "contains", "icontains")
THEIR_OWN = ("http", "_promptfooFileMetadata")


def files_in(folder: Path) -> list[Path]:
    """The JSON files of a folder."""
    return sorted(folder.glob("*.json"))


def is_mine(path: Path) -> bool:
    """Whether a file is promptfoo's, by its first keys."""
    with path.open(encoding="utf-8", errors="replace") as file:
        start = file.read(4096)
    return '"evalId"' in start and '"results"' in start


def read(path: Path) -> Found:
    """One row for each result; a test without assertions, which passes whatever is answered, is refused."""
    value = json_file(path)
    inner = value.get("results")
    results = inner.get("results") if isinstance(inner, dict) else None
    if not isinstance(results, list):
        raise DataError("these are no results of promptfoo: no list `results.results`", where=path)
    for place, result in enumerate(results):
        where = f"{path}#/results/results/{place}"
        try:
            if result["testCase"].get("assert"):
                yield row(where, result)
            else:
                yield Refused(where, "the test has no assertion: promptfoo passes every answer to it")
        except MALFORMED as error:
            yield malformed(where, error)


def row(where: str, result: Mapping[str, Any]) -> Row:
    """A result with its scores."""
    test, response = result["testCase"], mapping(result.get("response"))
    failed = result.get("failureReason") == FAILED_TO_ANSWER
    scores, unscored = ({}, {}) if failed else scores_of(result)
    tokens = mapping(response.get("tokenUsage"))
    metadata = {**mapping(result["vars"]), **mapping(test.get("metadata"))}
    return Row(
        where=where,
        model=str(result["provider"].get("label") or result["provider"]["id"]),
        way=str(result["prompt"]["label"]),
        task="promptfoo",
        item=identity([result["vars"], test["assert"]]),
        prompt=messages_of(str(result["prompt"]["raw"])),
        gold=gold_of(test["assert"]),
        output=output_of(response.get("output")),
        scores=scores,
        unscored=unscored,
        metadata={key: value for key, value in metadata.items() if key not in THEIR_OWN},
        error=str(result.get("error") or "promptfoo says no reason") if failed else None,
        finish_reason=str(response.get("finishReason") or ""),
        latency_seconds=(number(result.get("latencyMs")) or 0.0) / 1000,
        prompt_tokens=int(number(tokens.get("prompt")) or 0),
        completion_tokens=int(number(tokens.get("completion")) or 0),
    )


def scores_of(result: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Whether it passed, its score, and the named metrics; one of assertions without weight says nothing."""
    named = mapping(result.get("namedScores"))
    weights = mapping(mapping(result.get("gradingResult")).get("namedScoreWeights"))
    given = {"pass": bool(result["success"]), "score": result["score"]}
    given |= {name: value for name, value in named.items() if weights.get(name, 1)}
    found = {name: number(value) for name, value in given.items()}
    scores = {name: value for name, value in found.items() if value is not None}
    return scores, {name: NO_NUMBER for name, value in found.items() if value is None}


def gold_of(assertions: list[Mapping[str, Any]]) -> str:
    """The text that a plain assertion asks for; nothing where none does."""
    texts = [one.get("value") for one in assertions if one.get("type") in SAYS_THE_ANSWER]
    return next((text for text in texts if isinstance(text, str)), "")


def output_of(output: object) -> str:
    """The answer as text."""
    return output if isinstance(output, str) else "" if output is None else json.dumps(output)
