"""The training process: `python -m tunesmith.train.worker RUN_FOLDER`.

Whoever starts it (a shell, a job of the server, later torchrun or Ray) gets the same: the work order is read
from the folder, what happens is written to `events.jsonl` and `metrics.jsonl`, and the exit code says how it
ended: 0 done, 1 failed, 2 the user's mistake, 130 stopped with everything saved.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import Interrupted, TunesmithError, UserError
from tunesmith.core.files import write_json
from tunesmith.core.machine import machine
from tunesmith.core.prompt_shape import PROMPT_SHAPE, PromptShape
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import versions
from tunesmith.runtime.threads import apply_threads, describe_threads, worker_environment
from tunesmith.train import checkpoints, loop
from tunesmith.train.checkpoints import Bound, Position
from tunesmith.train.choices import (
    choose_rate,
    take_up,
    with_checkpointing,
    with_microbatch,
    with_rate,
    write_recipe,
)
from tunesmith.train.corpus import Corpus, limits, open_corpus, open_sources, rows_of
from tunesmith.train.engines import ENGINES
from tunesmith.train.engines.port import Engine, Item
from tunesmith.train.evaluations import Prompt, check_measurable, choose_prompts
from tunesmith.train.order import FAILED, FINISHED, WorkOrder, say
from tunesmith.train.result import publish, summary
from tunesmith.train.schedule import Schedule, plan, planned_tokens
from tunesmith.train.sources import check_unchanged
from tunesmith.train.trouble import naming_memory

NUM_SHOWN_EXAMPLES = 3
LIBRARIES_DO_NOT_FIT = "raise the memory limit of this process: torch's own libraries do not fit in it"


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


@dataclass(frozen=True)
class Prepared:
    """A run whose engine is open and whose rows are encoded."""

    order: WorkOrder
    """With every choice made that could be made so far."""
    data: dict[str, DataSet]
    engine: Engine
    train: Corpus
    validation: Corpus
    schedule: Schedule
    prompts: Sequence[Prompt]
    """Validation prompts that are answered at each evaluation."""
    bound: Bound | None
    """What the checkpoint that the run goes on from is bound to; None at its beginning."""

    @property
    def recipe(self) -> Recipe:
        """The recipe as it stands."""
        return self.order.recipe


def work(folder: Path, order: WorkOrder, stop: StopFlag) -> None:
    """Load, prove, train, publish, and say what came out."""
    bound = checkpoints.bound_of(folder / "checkpoints")
    with naming_memory("starting", order.recipe, advice=LIBRARIES_DO_NOT_FIT):
        order = set_up_process(folder, order, bound)
    run = prepare(folder, order, bound)
    announce(folder, run)
    stop_here(folder, stop)
    if bound is None:
        run = prove(folder, run, stop)
        stop_here(folder, stop)
    if order.check:
        say(folder, FINISHED, summary={"name": run.recipe.name, "model": order.model_name})
        return
    write_recipe(folder, run.recipe)
    position = train(folder, run, stop)
    publish(folder, loop.published_step(run.recipe, position))
    facts = summary(
        folder, run.order, run.schedule, run.data, position=position, num_trainable=run.engine.num_trainable
    )
    say(folder, FINISHED, summary=facts)


def stop_here(folder: Path, stop: StopFlag) -> None:
    """Between the parts before the first step: raise Interrupted when asked to stop."""
    if stop.is_set:
        say(folder, "interrupted", step=0)
        raise Interrupted("stopped before the next step; the same command goes on from there")


def set_up_process(folder: Path, order: WorkOrder, bound: Bound | None) -> WorkOrder:
    """Threads and wait policy, before torch is imported; both are written down and said.

    A run that goes on takes the threads of its checkpoint: another count would give other bits.
    """
    asked = order.recipe.threads
    if bound is not None and bound.threads != asked:
        text = f"going on with {bound.threads} threads instead of {asked}: another count gives other bits"
        say(folder, "message", text=text)
        order = replace(order, recipe=order.recipe.model_copy(update={"threads": bound.threads}))
    environment = worker_environment(order.recipe.threads)
    os.environ.update(environment)
    if order.recipe.engine != "fake":
        apply_threads(order.recipe.threads)
    here = machine()
    facts = {
        "threads": order.recipe.threads,
        "wait_policy": describe_threads(environment),
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
    if bound is not None and (other := newer(bound)):
        say(folder, "message", text=f"the checkpoint was made with {other}: the bits may differ from here on")
    return order


def newer(bound: Bound) -> str:
    """Packages that are not those of the checkpoint: 'torch 2.12 (now 2.13)'."""
    now = versions()
    return ", ".join(
        f"{name} {version} (now {now.get(name, 'none')})"
        for name, version in bound.versions.items()
        if now.get(name) != version
    )


def prepare(folder: Path, order: WorkOrder, bound: Bound | None) -> Prepared:
    """Open data and engine, encode the rows, plan the steps; every choice that needs no trial is made."""
    data = open_sources(order.recipe)
    check_unchanged(data)
    check_measurable(order.recipe, data)
    prompts = choose_prompts(order.recipe, data)
    if bound is not None:
        prints = {name: entry.fingerprint for name, entry in data.items()}
        order = replace(order, recipe=take_up(order.recipe, prints, bound, folder / "checkpoints"))
    elif (rate := choose_rate(order)) is not None:
        say(folder, "message", text=rate.explanation, learning_rate=rate.value)
        order = replace(order, recipe=with_rate(order.recipe, rate.value))
    say(folder, "message", text=f"loading {order.model_name} in {order.recipe.dtype}", part="loading")
    with naming_memory("loading the model", order.recipe):
        engine = open_engine(order)
    train, validation = (
        encode(folder, split, order.recipe, data, engine) for split in ("train", "validation")
    )
    accounting = {"train": train.accounting, "validation": validation.accounting}
    write_json(folder / "accounting.json", accounting)
    write_json(folder / "tokens.json", token_view(train[:NUM_SHOWN_EXAMPLES], engine))
    if bound is None or not (folder / PROMPT_SHAPE).exists():
        prompt_shape(order.recipe, data).write(folder)
    longest = int(max(corpus.lengths.max(initial=0) for corpus in (train, validation)))
    order = replace(order, recipe=with_microbatch(order.recipe, longest))
    assert order.recipe.microbatch_tokens != "auto"
    engine.set_microbatch_tokens(order.recipe.microbatch_tokens)
    schedule = plan(order.recipe, train.rows)
    return Prepared(order, data, engine, train, validation, schedule, prompts, bound)


def prompt_shape(recipe: Recipe, data: dict[str, DataSet]) -> PromptShape:
    """What stands around the questions of everything that is learned."""
    learned = [source for source, entry in zip(data.values(), recipe.data, strict=True) if entry.weight]
    return PromptShape.of(row.example for source in learned for row in rows_of(source, "train"))


def open_engine(order: WorkOrder) -> Engine:
    """The engine of the recipe."""
    return ENGINES[order.recipe.engine](order.setup)


def encode(folder: Path, split: str, recipe: Recipe, data: dict[str, DataSet], engine: Engine) -> Corpus:
    """A split of every source, encoded on disk."""

    def tell(rows: int) -> None:
        say(folder, "message", text=f"{rows:,} rows of the {split} split encoded", part="encoding")

    return open_corpus(
        folder / "checkpoints" / "corpus",
        split,
        data,
        engine.encode,
        limits=limits(recipe, engine.context_tokens),
        encoding_key=engine.encoding_key,
        skip=[
            name
            for name, source in zip(data, recipe.data, strict=True)
            if not source.weight and split == "train"
        ],
        tell=tell,
    )


def announce(folder: Path, run: Prepared) -> None:
    """Say what is about to happen, in numbers, and what became of every row."""
    counts = run.train.accounting["total"]
    learned = counts["learned_tokens"] / max(1, counts["tokens"])
    text = (
        f"{len(run.train):,} examples, {run.schedule.epoch_tokens:,} tokens an epoch, {learned:.0%} learned, "
        f"{run.schedule.num_steps:,} steps, {run.engine.num_trainable:,} trainable parameters"
    )
    say(folder, "message", text=text)
    for corpus in (run.train, run.validation):
        if line := losses_of_rows(corpus):
            say(folder, "message", text=line)


def losses_of_rows(corpus: Corpus) -> str:
    """One line on rows that are not learned whole; empty when all are."""
    counts = corpus.accounting["total"]
    parts = [
        f"{counts[name]:,} {words}"
        for name, words in (
            ("dropped", "dropped as too long"),
            ("truncated", "truncated"),
            ("split", "split"),
            ("unsupervised", "left out, nothing in them is learned"),
        )
        if counts[name]
    ]
    if not parts:
        return ""
    cut = f"; {counts['learned_tokens_cut']:,} tokens of answers cut" if counts["learned_tokens_cut"] else ""
    return f"{corpus.accounting['split']} rows: {', '.join(parts)}{cut} (accounting.json has the lines)"


def token_view(items: Sequence[Item], engine: Engine) -> list[dict[str, Any]]:
    """A few examples as the model sees them: each token's text, id, and whether it is learned."""
    view = []
    for item in items:
        ids = [int(token) for token in item.encoded.token_ids]
        tokens = [
            {"text": text, "id": token, "supervised": bool(weight), "weight": float(weight)}
            for text, token, weight in zip(engine.token_texts(ids), ids, item.encoded.weights, strict=True)
        ]
        view.append({"row_hash": item.row_hash, "source": item.source, "tokens": tokens})
    return view


def prove(folder: Path, run: Prepared, stop: StopFlag) -> Prepared:
    """The pre-flight; what its memory trial decides is frozen into the recipe.

    Raises CheckFailed with every failure that the recipe does not waive.
    """
    from tunesmith.train import preflight

    context = preflight.PreflightContext(
        recipe=run.recipe,
        setup=run.order.setup,
        engine=run.engine,
        train=run.train,
        validation=run.validation if len(run.validation) else None,
        data=run.data,
        folder=folder,
        planned_tokens=planned_tokens(run.schedule),
        say=lambda event: say(folder, **event),
        should_stop=lambda: stop.is_set,
    )
    with naming_memory(preflight.PART, run.recipe, longest=int(run.train.lengths.max())):
        standing = preflight.standing_proofs(context, run.order.proved_by)
        results = preflight.run(context, run.order.proofs, standing)
    decided = preflight.activation_checkpointing(results)
    recipe = with_checkpointing(run.recipe, decided)
    if recipe.activation_checkpointing == "on" != run.recipe.activation_checkpointing:
        text = "activation checkpointing is on: without it the longest batch does not fit"
        say(folder, "message", text=text)
        run.engine.recompute_activations()
    return replace(run, order=replace(run.order, recipe=recipe))


def train(folder: Path, run: Prepared, stop: StopFlag) -> Position:
    """The loop on everything that was prepared."""
    bound = Bound(
        recipe=run.recipe.to_json(),
        fingerprints={name: entry.fingerprint for name, entry in run.data.items()},
        threads=run.recipe.threads,
        versions=versions(),
    )
    return loop.train(
        loop.Run(
            folder=folder,
            recipe=run.recipe,
            schedule=run.schedule,
            train=run.train,
            validation=run.validation,
            bound=bound,
            line=run.train.line,
            say=lambda event: say(folder, **event),
            should_stop=lambda: stop.is_set,
            prompts=run.prompts,
        ),
        run.engine,
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
