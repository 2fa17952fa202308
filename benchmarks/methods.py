"""Full, LoRA, QLoRA, adapter and freeze on the same data and steps with the embedded model → docs/methods.md.

    python benchmarks/methods.py            (about half an hour on two cores; run it when nothing else runs)
    python benchmarks/methods.py --steps 4 --items 4 --page /dev/stdout     (a try)

Quality is exact match and field F1 on held-out addresses, forgetting the loss on general prose that was never
trained on, before and after; memory and time are those of the training process.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tunesmith.core.files import read_jsonl, write_text
from tunesmith.core.machine import machine
from tunesmith.core.progress import duration
from tunesmith.core.workspace import now_iso, versions

ROOT = Path(__file__).parents[1]


class Contestant(NamedTuple):
    """A method with its learning rate: the better of two or three tried for 60 steps on the validation split.

    Validation loss: full .149 at 1e-4, .129 at 3e-4; adapter .166 at 1.5e-3, .153 at 5e-3; freeze .267 at
    3e-4, .209 at 1e-3; LoRA .153 at 1.5e-3, which the quickstart's recipe was chosen with, and QLoRA's too.
    """

    name: str
    method: dict[str, Any]
    learning_rate: float
    what: str


CONTESTANTS = (
    Contestant("full", {"kind": "full"}, 3e-4, "every parameter, float32 masters"),
    Contestant("lora", {"kind": "lora", "rank": 16, "alpha": 32}, 1.5e-3, "rank 16 on every linear layer"),
    Contestant("qlora", {"kind": "qlora", "rank": 16, "alpha": 32}, 1.5e-3, "the same on an NF4 base"),
    Contestant("adapter", {"kind": "adapter", "reduction_factor": 8}, 5e-3, "bottleneck of width 72"),
    Contestant("freeze", {"kind": "freeze", "layers": 8}, 1e-3, "the top 8 of 30 layers, whole"),
)


class Row(NamedTuple):
    """What one method came to."""

    contestant: Contestant
    run: dict[str, Any]
    report: dict[str, Any]
    before: float
    after: float


def tunesmith(workspace: Path, *arguments: str) -> dict[str, Any]:
    """Run a command and return its JSON result; its progress goes to the terminal."""
    command = [sys.executable, "-m", "tunesmith", *arguments, "--json", "--workspace", str(workspace)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def prepare(workspace: Path) -> tuple[Path, Path]:
    """The addresses to learn, and the prose that must not be forgotten."""
    folders = []
    for name in ("addresses", "books"):
        rows = Path(tunesmith(workspace, "data", "fetch", name)["folder"]) / "rows.jsonl"
        split = tunesmith(workspace, "data", "prepare", str(rows), "--name", name)
        folders.append(Path(split["folder"]))
    return folders[0], folders[1]


def measure(contestant: Contestant, data: Path, prose: Path, workspace: Path, options: Any) -> Row:
    """Train, evaluate on the test split, and read off the loss on prose."""
    recipe = {
        "name": f"methods-{contestant.name}",
        "data": [
            {"path": str(data), "name": "addresses"},
            {"path": str(prose), "name": "prose", "weight": 0},
        ],
        "method": contestant.method,
        "optimiser": {"learning_rate": contestant.learning_rate, "schedule": "cosine"},
        "step_examples": 8,
        "max_steps": options.steps,
        "epochs": 10,
        "evaluations": 2,
        "microbatch_tokens": 1024,
        "publish": "last",
        "seed": options.seed,
    }
    path = recipe_path(contestant, workspace)
    write_text(path, json.dumps(recipe, indent=1))
    run = tunesmith(workspace, "train", str(path))
    limit = ["--limit", str(options.items)] if options.items else []
    report = tunesmith(workspace, "evaluate", str(data), "--model", run["folder"], *limit)
    metrics = [line.value for line in read_jsonl(Path(run["folder"]) / "metrics.jsonl")]
    prose_loss = [row["validation_by_source"]["prose"] for row in metrics if "validation_by_source" in row]
    return Row(contestant, run, report, prose_loss[0], prose_loss[-1])


def measure_speeds(chosen: list[Contestant], workspace: Path) -> dict[str, list[float]]:
    """Tokens a second of each method, in turns (`step_speed.py`)."""
    recipes = [str(recipe_path(contestant, workspace)) for contestant in chosen]
    command = [sys.executable, str(ROOT / "benchmarks" / "step_speed.py"), *recipes]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def recipe_path(contestant: Contestant, workspace: Path) -> Path:
    """Where a contestant's recipe stands."""
    return workspace / f"methods-{contestant.name}.json"


def with_interval(score: dict[str, Any], *, percent: bool) -> str:
    """A mean with its 95 % interval."""
    if percent:
        return f"{score['value']:.0%} ({score['low']:.0%}–{score['high']:.0%})"
    return f"{score['value']:.3f} ({score['low']:.3f}–{score['high']:.3f})"


def table(rows: list[Row], speeds: dict[str, list[float]]) -> str:
    """The comparison in Markdown."""
    lines = [
        "| method | parameters that learn | exact match (95 %) | field F1 (95 %) | validation loss "
        "| peak memory | tokens/s (lowest–highest) | its steps take | loss on prose, before → after |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        run, scores = row.run, row.report["scores"]
        rate = speeds[row.contestant.name]
        own = next(source for source in run["sources"] if source["name"] == "addresses")
        lines.append(
            f"| **{row.contestant.name}**: {row.contestant.what} "
            f"| {run['trainable_parameters']:,} "
            f"| {with_interval(scores['exact_json'], percent=True)} "
            f"| {with_interval(scores['field_f1'], percent=False)} "
            f"| {own['validation_loss']:.4f} "
            f"| {run['peak_memory_bytes'] / 1e9:.2f} GB "
            f"| {median(rate):,.0f} ({min(rate):,.0f}–{max(rate):,.0f}) "
            f"| {duration(run['tokens'] / median(rate))} "
            f"| {row.before:.3f} → {row.after:.3f} ({row.after - row.before:+.3f}) |"
        )
    return "\n".join(lines)


def page(rows: list[Row], speeds: dict[str, list[float]], options: Any) -> str:
    """docs/methods.md."""
    here = machine()
    facts = ", ".join(f"{name} {number}" for name, number in versions().items())
    first = rows[0]
    rates = ", ".join(f"{row.contestant.name} {row.contestant.learning_rate:g}" for row in rows)
    by_name = {row.contestant.name: row for row in rows}
    return f"""# The methods side by side

Made by `python benchmarks/methods.py` on {now_iso()[:10]}: {here.processor}, {here.cores} cores,
{here.memory_bytes / 1e9:.0f} GB; {facts}.

Every method: the embedded model ({first.run["model"]}, {first.run["dtype"]}), the same
{first.run["examples"]:,} addresses, {first.run["steps"]} steps of 8 examples, cosine schedule, AdamW, seed
{options.seed}, micro-batches of 1,024 tokens; learning rates: {rates}. Scores are those of greedy answers to
{first.report["items"]} held-out addresses. The loss on prose is that of passages of two public-domain books
that no method trained on (nats per token): what rises was forgotten. Memory is the most that the training
process held, its ten proofs included. Speed is that of whole optimiser steps, the methods taking turns in one
process (`benchmarks/step_speed.py`).

{table(rows, speeds)}

{claim(by_name, speeds)}
"""


def claim(rows: dict[str, Row], speeds: dict[str, list[float]]) -> str:
    """What is usually said about parameter-efficient methods, measured."""
    if not {"full", "lora"} <= rows.keys():
        return ""
    memory = rows["lora"].run["peak_memory_bytes"] / rows["full"].run["peak_memory_bytes"]
    time = median(speeds["full"]) / median(speeds["lora"])
    return (
        "Parameter-efficient fine-tuning is said to cut memory and time. Here LoRA took "
        f"{memory:.0%} of full fine-tuning's memory and {time:.0%} of its time for the same tokens."
    )


def main() -> None:
    """Run every contestant and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--items", type=int, default=0, help="test items; 0 takes all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[row.name for row in CONTESTANTS])
    parser.add_argument("--workspace", type=Path, default=ROOT / ".tunesmith" / "methods")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "methods.md")
    options = parser.parse_args()
    options.workspace.mkdir(parents=True, exist_ok=True)
    data, prose = prepare(options.workspace)
    chosen = [row for row in CONTESTANTS if row.name in options.only]
    rows = [measure(contestant, data, prose, options.workspace, options) for contestant in chosen]
    speeds = measure_speeds(chosen, options.workspace)
    options.page.write_text(page(rows, speeds, options), encoding="utf-8")
    print(table(rows, speeds))


if __name__ == "__main__":
    main()
