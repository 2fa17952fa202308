"""Data sets and recipes small enough to train on in a test."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tunesmith.core.conversation import Example, chat
from tunesmith.core.dataset import Writer
from tunesmith.core.files import canonical_json, write_text
from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace


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


def recipe_file(root: Path, data: Path, *, name: str = "recipe.yaml", **settings: object) -> Path:
    """A recipe of the fake engine on a data set; `settings` are top-level keys."""
    values = {"data": str(data), "engine": "fake", "model": "fake", "step_examples": 4, **settings}
    write_text(root / name, canonical_json(values))
    return root / name
