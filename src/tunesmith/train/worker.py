"""The training process: `python -m tunesmith.train.worker RUN_FOLDER`.

Whoever starts it (a shell, a job of the server, later torchrun or Ray) gets the same: the work order is read
from the folder, what happens is written to `events.jsonl` and `metrics.jsonl`, and the exit code says how it
ended: 0 done, 1 failed, 2 the user's mistake, 130 stopped with everything saved.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from tunesmith.core.dataset import DataSet, Row
from tunesmith.core.errors import DataError, Interrupted, TunesmithError, UserError
from tunesmith.core.files import read_jsonl, write_json
from tunesmith.core.machine import machine
from tunesmith.core.workspace import versions
from tunesmith.runtime.threads import apply_threads, describe_threads, worker_environment
from tunesmith.train import loop
from tunesmith.train.checkpoints import BEST, Position
from tunesmith.train.engines import ENGINES
from tunesmith.train.engines.port import Engine, EngineSetup, Item
from tunesmith.train.order import FAILED, FINISHED, WorkOrder, say
from tunesmith.train.schedule import Schedule, plan

NUM_SHOWN_EXAMPLES = 3


class StopFlag:
    """Set by Ctrl-C and SIGTERM; the loop asks between steps, so a step is never torn."""

    def __init__(self) -> None:
        self.is_set = False
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self.set)

    def set(self, signum: int, frame: FrameType | None) -> None:
        """Remember that someone asked to stop."""
        self.is_set = True


def main(arguments: Sequence[str]) -> int:
    """Do the work of one run folder; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tunesmith.train.worker RUN_FOLDER\n")
        return UserError.exit_code
    folder = Path(arguments[0])
    stop = StopFlag()
    try:
        work(folder, WorkOrder.read(folder), stop)
    except Interrupted as stopped:
        return stopped.exit_code
    except TunesmithError as error:
        sys.stderr.write(f"{error}\n")
        with suppress(OSError):  # on a full disk there is no room to say it; the exit code still does
            if folder.is_dir():
                say(folder, FAILED, message=str(error), exit_code=error.exit_code)
        return error.exit_code
    return 0


def work(folder: Path, order: WorkOrder, stop: StopFlag) -> None:
    """Load, train, publish, and say what came out."""
    set_up_process(folder, order)
    data = DataSet.open(order.data)
    train_rows, validation_rows = disjoint_splits(data)
    say(folder, "message", text=f"loading {order.model_name} in {order.recipe.dtype}")
    engine = ENGINES[order.recipe.engine](EngineSetup(order.recipe, order.model_name, order.model_folder))
    train = encode(train_rows, engine, order.recipe.max_length)
    validation = encode(validation_rows, engine, order.recipe.max_length)
    write_json(folder / "tokens.json", token_view(train[:NUM_SHOWN_EXAMPLES], engine))
    schedule = plan(order.recipe, num_examples=len(train), fingerprint=data.fingerprint)
    announce(folder, schedule, train, engine)
    position = loop.train(
        loop.Run(
            folder=folder,
            recipe=order.recipe,
            schedule=schedule,
            train=train,
            validation=validation,
            say=lambda event: say(folder, **event),
            should_stop=lambda: stop.is_set,
        ),
        engine,
    )
    publish(folder)
    say(folder, FINISHED, summary=summary(folder, order, schedule, engine, position))


def set_up_process(folder: Path, order: WorkOrder) -> None:
    """Threads and wait policy, before torch is imported; both are written down."""
    environment = worker_environment(order.num_threads)
    os.environ.update(environment)
    if order.recipe.engine != "fake":
        apply_threads(order.num_threads)
    here = machine()
    facts = {
        "threads": order.num_threads,
        "environment": environment,
        "dtype": order.recipe.dtype,
        "system": here.system,
        "processor": here.processor,
        "cores": here.cores,
        "memory_bytes": here.memory_bytes,
        "bf16": here.bf16,
        "versions": versions(),
    }
    write_json(folder / "environment.json", facts)
    say(folder, "message", text=describe_threads(environment))


def disjoint_splits(data: DataSet) -> tuple[list[Row], list[Row]]:
    """Train and validation rows, after proving that nothing held out is trained on.

    Raises DataError naming the split and a row that shares its hash or its group with a training row.
    """
    train = data.split("train")
    if not train:
        raise DataError("the training split is empty", where=data.folder)
    hashes, groups = {row.row_hash for row in train}, {row.group_id for row in train}
    for name in data.split_names():
        if name == "train":
            continue
        for row in data.rows(name):
            if row.row_hash in hashes or row.group_id in groups:
                shared = "row" if row.row_hash in hashes else "group"
                raise DataError(
                    f"the {name} split shares a {shared} with the training split, which spoils it",
                    where=data.folder / f"{name}.parquet",
                    value=f"line {row.line}",
                    next_step="run `tunesmith data prepare` again: it splits by groups of near-duplicates",
                )
    return train, data.split("validation") if "validation" in data.split_names() else []


def encode(rows: Sequence[Row], engine: Engine, max_length: int) -> list[Item]:
    """Every row encoded; one that is too long or has nothing to learn is refused, never cut or dropped."""
    limit = min(max_length, engine.context_tokens or max_length)
    items = []
    for row in rows:
        try:
            encoded = engine.encode(row.example)
        except DataError as error:
            place = f"line {row.line} of the source, {error.where or 'messages'}"
            raise DataError(error.what, value=error.value, where=place, next_step=error.next_step) from error
        if len(encoded.token_ids) > limit:
            raise DataError(
                f"this example has {len(encoded.token_ids)} tokens, more than the limit of {limit}",
                where=f"line {row.line} of the source",
                next_step="raise max_length in the recipe, or shorten or remove the example",
            )
        if encoded.num_supervised == 0:
            raise DataError(
                "nothing in this example is learned: no assistant turn with a weight other than 0",
                where=f"line {row.line} of the source",
                next_step="remove the example, or give an assistant turn weight 1",
            )
        items.append(Item(row.row_hash, row.example, encoded))
    return items


def token_view(items: Sequence[Item], engine: Engine) -> list[dict[str, Any]]:
    """A few examples as the model sees them: each token's text, id, and whether it is learned."""
    view = []
    for item in items:
        texts = engine.token_texts(item.encoded.token_ids)
        tokens = [
            {"text": text, "id": token, "supervised": on}
            for text, token, on in zip(texts, *item.encoded, strict=True)
        ]
        view.append({"row_hash": item.row_hash, "tokens": tokens})
    return view


def announce(folder: Path, schedule: Schedule, train: Sequence[Item], engine: Engine) -> None:
    """Say what is about to happen, in numbers."""
    num_tokens = sum(len(item.encoded.token_ids) for item in train)
    learned = sum(item.encoded.num_supervised for item in train) / num_tokens
    text = (
        f"{len(train):,} examples, {num_tokens:,} tokens an epoch, {learned:.0%} learned, "
        f"{schedule.num_steps} steps, {engine.num_trainable:,} trainable parameters"
    )
    say(folder, "message", text=text)
    say(folder, "started", num_steps=schedule.num_steps)


def publish(folder: Path) -> None:
    """Put the best adapter where a server looks for it."""
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    shutil.copytree(folder / "checkpoints" / BEST, folder / "adapter")


def summary(
    folder: Path, order: WorkOrder, schedule: Schedule, engine: Engine, position: Position
) -> dict[str, Any]:
    """The fields of the result, without the folder."""
    rows = [line.value for line in read_jsonl(folder / loop.METRICS)]
    losses = [row["loss"] for row in rows if "loss" in row]
    last = losses[-max(1, len(losses) // 10) :]
    return {
        "name": order.recipe.name,
        "model": order.recipe.model,
        "steps": position.step,
        "epochs": round(schedule.epoch_after(position.step), 4),
        "examples": schedule.num_examples,
        "tokens": position.num_tokens,
        "supervised_tokens": position.num_supervised,
        "trainable_parameters": engine.num_trainable,
        "first_loss": position.first_loss,
        "last_loss": sum(last) / len(last),
        "validation_loss": position.best_loss,
        "best_step": position.best_step,
        "seconds": position.seconds,
        "tokens_per_second": position.num_tokens / max(position.step_seconds, 1e-9),
        "peak_memory_bytes": loop.memory_bytes(),
        "dtype": order.recipe.dtype,
        "threads": order.num_threads,
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
