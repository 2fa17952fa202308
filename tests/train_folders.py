"""Data sets and recipes small enough to train on in a test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tunesmith.core.conversation import Example, chat
from tunesmith.core.dataset import DataSet, Writer
from tunesmith.core.files import append_jsonl, canonical_json, read_jsonl, write_text
from tunesmith.core.job import Job
from tunesmith.core.progress import Silent
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import Workspace
from tunesmith.train import loop
from tunesmith.train.checkpoints import Bound
from tunesmith.train.corpus import Corpus, limits, open_corpus
from tunesmith.train.engines.port import Engine
from tunesmith.train.evaluations import choose_prompts
from tunesmith.train.schedule import plan


def greeting(number: int) -> Example:
    """One conversation; no two numbers give the same one."""
    return chat([("user", f"{number} Elm St"), ("assistant", f'{{"number":"{number}","street":"Elm St"}}')])


def job(root: Path) -> Job:
    """A silent job in a workspace below `root`."""
    return Job(Workspace(root / "workspace"))


def data_set(root: Path, splits: Mapping[str, Sequence[Example]] | None = None) -> Path:
    """A finished data set folder; by default 24 training and 4 validation rows."""
    if splits is None:
        splits = {
            "train": [greeting(number) for number in range(24)],
            "validation": [greeting(number) for number in range(100, 104)],
        }
    workspace = Workspace(root / "workspace")
    name = f"data-{len(list(root.glob('workspace/*/*')))}"
    with workspace.open(
        verb="data prepare", kind="data-set", name=name, config={"name": name}, inputs={}
    ) as folder:
        with Writer(folder.path, list(splits)) as writer:
            for split, examples in splits.items():
                for line, example in enumerate(examples, start=1):
                    writer.add(
                        split,
                        example_json=canonical_json(example.to_json()),
                        row_hash=example.row_hash,
                        group_id=example.row_hash,
                        line=line,
                    )
        folder.summary = {"fingerprint": writer.proof["fingerprint"]}
    return folder.path


def recipe_file(
    root: Path, data: Path | list[dict[str, Any]], *, name: str = "recipe.yaml", **settings: object
) -> Path:
    """A recipe of the fake engine on a data set; `settings` are top-level keys."""
    values = {
        "data": data if isinstance(data, list) else str(data),
        "engine": "fake",
        "model": "fake",
        "step_examples": 4,
        **settings,
    }
    write_text(root / name, canonical_json(values))
    return root / name


def corpora(
    folder: Path, recipe: Recipe, data: Mapping[str, DataSet], engine: Engine
) -> tuple[Corpus, Corpus]:
    """The training and the validation rows, encoded below `folder`."""

    def encoded(split: str) -> Corpus:
        found = limits(recipe, engine.context_tokens)
        return open_corpus(folder / "corpus", split, data, engine.encode, limits=found, encoding_key="")

    return encoded("train"), encoded("validation")


def loop_run(
    folder: Path, recipe: Recipe, engine: Engine, *, stop_after: int | None = None, rows: int = 24
) -> loop.Run:
    """A loop on greetings in this process; it is asked to stop once so many steps are written down."""
    data = {"greetings": DataSet.open(data_set(folder, greetings(rows)))}
    train, validation = corpora(folder, recipe, data, engine)
    fingerprints = {name: entry.fingerprint for name, entry in data.items()}
    return loop.Run(
        folder=folder,
        recipe=recipe,
        schedule=plan(recipe, train.rows),
        train=train,
        validation=validation,
        bound=Bound(recipe.to_json(), fingerprints, threads=1),
        line=train.line,
        say=lambda event: append_jsonl(folder / "events.jsonl", event),
        should_stop=lambda: stop_after is not None and num_steps(folder) >= stop_after,
        prompts=choose_prompts(recipe, data),
    )


class StopAtOnce(Silent):
    """Progress that acts as the user's Ctrl-C at the first step it is told of."""

    def task(self, title: str, *, total: float, unit: str) -> NoReturn:
        raise KeyboardInterrupt


def greetings(rows: int, *, first: int = 0) -> dict[str, list[Example]]:
    """So many training rows, and four for validation."""
    return {
        "train": [greeting(first + number) for number in range(rows)],
        "validation": [greeting(first + 1000 + number) for number in range(4)],
    }


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Rows of metrics that are whole."""
    path = folder / "metrics.jsonl"
    return [line.value for line in read_jsonl(path)] if path.exists() else []


def num_steps(folder: Path) -> int:
    """Training steps that are written down."""
    return sum("loss" in row for row in metrics(folder))


def same_numbers(folder: Path) -> list[dict[str, Any]]:
    """Metrics without what depends on the clock and on the machine."""
    clock = ("seconds", "tokens_per_second", "memory_bytes")
    return [{key: value for key, value in row.items() if key not in clock} for row in metrics(folder)]
