"""Tokens a second of the methods' training steps, taking turns in one process → one JSON object.

    python benchmarks/step_speed.py RECIPE.json … [--rounds 4] [--steps 3]

Every recipe's engine is opened once; then each round lets every method take the same few steps of the same
examples, so that what disturbs the machine disturbs them alike.  Run it when nothing else runs.
"""

import argparse
import json
import os
import time
from pathlib import Path

from tunesmith.core.config import load
from tunesmith.core.dataset import DataSet
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import Workspace
from tunesmith.runtime.catalogue import locate
from tunesmith.runtime.threads import choose_dtype, resolve_threads, worker_environment

STEP_EXAMPLES = 8


def open_engines(paths: list[Path]) -> dict[str, object]:
    """The engine of each recipe, by the method's kind."""
    from tunesmith.train.engines import ENGINES
    from tunesmith.train.engines.port import EngineSetup

    job = Job(Workspace.find(None))
    engines = {}
    for path in paths:
        recipe = load(path, Recipe)
        recipe = recipe.model_copy(update={"dtype": choose_dtype(recipe.dtype)})
        located = locate(recipe.model, job)
        setup = EngineSetup(recipe, located.name, located.model_folder)
        engines[recipe.method.kind] = ENGINES["ragged"](setup)
    return engines


def steps_of(path: Path, engine, count: int) -> list[list]:
    """The first examples of the data, in steps."""
    from tunesmith.train.engines.port import Item

    rows = DataSet.open(load(path, Recipe).data[0].path).split("train")[: count * STEP_EXAMPLES]
    items = [Item(row.key, "data", engine.encode(row.example, row.key)) for row in rows]
    return [items[start : start + STEP_EXAMPLES] for start in range(0, len(items), STEP_EXAMPLES)]


def speed(engine, steps: list[list]) -> float:
    """Tokens a second over some whole optimiser steps."""
    started = time.perf_counter()
    num_tokens = 0
    for items in steps:
        num_tokens += engine.forward_backward(items).num_tokens
        engine.optim_step(learning_rate=1e-6, max_norm=1.0)
    return num_tokens / (time.perf_counter() - started)


def main() -> None:
    """Warm each engine up with one step, then take turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    num_threads = resolve_threads(0)
    os.environ.update(worker_environment(num_threads))
    from tunesmith.runtime.threads import apply_threads

    apply_threads(num_threads)
    engines = open_engines(options.recipes)
    steps = steps_of(options.recipes[0], next(iter(engines.values())), options.steps)
    for engine in engines.values():
        speed(engine, steps[:1])
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for kind, engine in engines.items():
            found.setdefault(kind, []).append(speed(engine, steps))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
