"""What a job leaves: the name of its model, and the table of its steps."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.api.call import Api
from tunesmith.api.files.service import RESULTS, keep_file
from tunesmith.api.forms import Sent, spool
from tunesmith.api.ids import BASE62
from tunesmith.api.jobs.worker import FAULT
from tunesmith.core.files import read_jsonl
from tunesmith.train.order import METRICS

COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
FILENAME = "step_metrics.csv"
NAME_LETTERS = 8
Row = Mapping[str, Any]


def model_name(job: Row) -> str:
    """'ft:base:org:suffix:8letters'; the letters follow from the job, so that no restart gives others."""
    number = int.from_bytes(hashlib.sha256(job["id"].encode()).digest()[:8], "big")
    letters = "".join(BASE62[number // 62**place % 62] for place in range(NAME_LETTERS))
    base = job["model"].split(":")[1] if job["model"].startswith("ft:") else job["model"]
    return f"ft:{base}:{job['organization'].removeprefix('org-')}:{job['suffix'] or ''}:{letters}"


def keep_results(api: Api, job: Row, run: Path) -> dict[str, Any]:
    """The table of steps as a file of the job's project."""
    content = table(run / METRICS).encode()
    with spool(api.folder / "files") as into:
        into.write(content)
        into.flush()
        sent = Sent(Path(into.name), FILENAME, len(content), hashlib.sha256(content).hexdigest())
        return keep_file(api, job["project"], sent, purpose=RESULTS)


def evaluation_of(results: Row) -> dict[str, Any] | None:
    """The new model against its base on the validation examples; None where nobody asked, or it failed."""
    if "compare" not in results:
        return None
    found = results["compare"]
    difference = found["difference"]
    return {
        **{name: found[name] for name in ("verdict", "sentence", "n", "fixes", "regressions")},
        "scorer": found["primary"],
        "base": difference["a"],
        "tuned": difference["b"],
        "difference": {name: difference[name] for name in ("value", "low", "high", "method")},
    }


def verdict_of(results: Row) -> str:
    """What people are told of it; empty where nobody asked."""
    if FAULT in results:
        return f"The new model could not be compared with its base: {results[FAULT]}"
    return str(results["compare"]["sentence"]) if "compare" in results else ""


def table(metrics: Path) -> str:
    """OpenAI's CSV: a row for each step, cells empty where nothing was measured."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows_of(metrics))
    return out.getvalue()


def rows_of(metrics: Path) -> Iterator[dict[str, Any]]:
    """A step's loss, and the validation loss that was measured after it."""
    held: dict[str, Any] = {}
    for row in (line.value for line in read_jsonl(metrics)):
        if "loss" in row:
            if held:
                yield held
            held = {"step": row["step"], "train_loss": row["loss"], "train_accuracy": row["accuracy"]}
        elif "validation_loss" in row and held:
            held["valid_loss"] = row["validation_loss"]
            held["valid_mean_token_accuracy"] = row["validation_accuracy"]
    if held:
        yield held
