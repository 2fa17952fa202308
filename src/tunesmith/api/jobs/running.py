"""Runs jobs: takes them from the queue, watches their workers, writes down what they do.

One runner works on a store.  Whatever it is stopped in, a new one goes on: a job that was running is queued
again, and its worker goes on from the last checkpoint.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tunesmith.api.call import TRIALS, Api
from tunesmith.api.files import service as files
from tunesmith.api.ids import new_id
from tunesmith.api.jobs.ending import evaluation_of, keep_results, model_name, verdict_of
from tunesmith.api.jobs.following import Follower, News, Saved, StepMade, Told
from tunesmith.api.jobs.process import Launch, OwnProcess
from tunesmith.api.jobs.service import change, ending, tell
from tunesmith.api.jobs.starting import steps_of, take_files, write_recipe
from tunesmith.api.jobs.tables import (
    CHECKPOINT,
    FAILED,
    JOB,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    VALIDATING,
)
from tunesmith.api.jobs.validation import FEW, Unusable
from tunesmith.api.jobs.worker import FAULT, LOG, RESULTS, TRAINED, write_order
from tunesmith.api.keys.service import KEY
from tunesmith.api.models.service import add_version
from tunesmith.api.uploads import service as uploads
from tunesmith.core.errors import EXIT_INTERRUPTED, TunesmithError, UserError
from tunesmith.core.files import explain_disk_errors, read_json
from tunesmith.core.prompt_shape import PROMPT_SHAPE
from tunesmith.core.store import now_row

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.2
MOST_DEATHS = 3
"""Workers of one job that may die without having made a step; then the job has failed."""
LAST_LINES = 15
SWEEP_EVERY_SECONDS = 60.0
Row = Mapping[str, Any]


@dataclass
class Runner:
    """The thread that takes jobs, and one thread for each that is at work."""

    api: Api
    workspace: Path
    launch: Launch = OwnProcess
    active: dict[str, threading.Thread] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)
    sweep_at: float = 0.0
    trouble: str | None = None
    """What went wrong at the last look; None when nothing did."""

    def start(self) -> None:
        """Take up what an earlier runner left, and begin."""
        self.take_up()
        self.thread = threading.Thread(target=self.run, name="jobs", daemon=True)
        self.thread.start()

    def take_up(self) -> None:
        """Queue again what an earlier runner left in the middle."""
        shutil.rmtree(self.api.folder / TRIALS, ignore_errors=True)  # of a server that was killed
        with self.api.store.writing() as connection:
            left = list(connection.scalars(sa.select(JOB.c.id).where(JOB.c.state == RUNNING)))
            for job_id in left:
                change(connection, job_id, (RUNNING,), QUEUED)
                text = "The server was started again: the job goes on from its last checkpoint"
                tell(connection, self.api, job_id, text, level="warn")

    def close(self) -> None:
        """Let workers save and end; their jobs go on when a runner starts again."""
        self.closing.set()
        self.api.woken.set()
        self.thread.join()
        for thread in list(self.active.values()):
            thread.join()

    def fault(self) -> str | None:
        """Why no job would be run now; None when all is well."""
        if not self.thread.is_alive():
            return "the queue of jobs stands still: start the server again"
        return None if self.trouble is None else f"the queue of jobs cannot be looked at: {self.trouble}"

    def run(self) -> None:
        """Until closed: validate what is new, start what is next, remove what has expired."""
        while not self.closing.is_set():
            try:
                self.look()
                self.trouble = None
                if self.api.clock() >= self.sweep_at:
                    files.sweep(self.api)
                    uploads.sweep(self.api)
                    self.sweep_at = self.api.clock() + SWEEP_EVERY_SECONDS
            except Exception as error:
                # A store that fails for a moment must not end the one thread that runs jobs.
                if self.trouble is None:
                    log.exception("the queue of jobs could not be looked at; trying again")
                self.trouble = str(error)
            self.api.woken.wait(LOOK_EVERY_SECONDS if self.active else 5 * LOOK_EVERY_SECONDS)
            self.api.woken.clear()

    def look(self) -> None:
        """One look at the queue."""
        self.active = {job_id: thread for job_id, thread in self.active.items() if thread.is_alive()}
        for row in self.jobs(VALIDATING):
            self.validate(row)
        for row in self.jobs(QUEUED):
            if (
                len(self.active) < self.api.jobs_at_once
                and row["id"] not in self.active
                and self.may_begin(row)
            ):
                thread = threading.Thread(target=self.work, args=(row["id"],), name=row["id"], daemon=True)
                self.active[row["id"]] = thread
                thread.start()

    def may_begin(self, row: Row) -> bool:
        """Whether the key that asked for a job allows one more at the same time."""
        if row["api_key"] is None:
            return True
        with self.api.store.reading() as connection:
            most = connection.scalar(sa.select(KEY.c.jobs).where(KEY.c.id == row["api_key"]))
        # One that was begun a moment ago may still stand in the queue.
        begun = [one for state in (QUEUED, RUNNING) for one in self.jobs(state) if one["id"] in self.active]
        return most is None or sum(one["api_key"] == row["api_key"] for one in begun) < most

    def jobs(self, state: str) -> list[dict[str, Any]]:
        """Jobs in a state, the oldest first."""
        with self.api.store.reading() as connection:
            query = sa.select(JOB).where(JOB.c.state == state).order_by(JOB.c.seq)
            return [dict(row) for row in connection.execute(query).mappings()]

    def folder(self, job_id: str) -> Path:
        """Where a job's files stand."""
        return self.api.folder / "jobs" / job_id

    # --- validating ------------------------------------------------------------------------------------

    def validate(self, row: Row) -> None:
        """Read the files; the job is queued, or has failed with every line that is wrong."""
        named = {"training_file": row["training_file"], "validation_file": row["validation_file"]}
        both = {param: file_id for param, file_id in named.items() if file_id is not None}
        text = " and ".join(f"{param.replace('_', ' ')}: {file_id}" for param, file_id in both.items())
        with self.api.store.writing() as connection:
            tell(connection, self.api, row["id"], f"Validating {text}")
        try:
            examples, layout = take_files(self.api, self.folder(row["id"]), both)
        except Unusable as error:
            self.fail(row["id"], error.error, before=(VALIDATING,))
            return
        except Exception as error:
            # One file that cannot be read for a reason of ours must not hold up the jobs behind it.
            log.exception("the files of %s could not be validated", row["id"])
            self.fail(row["id"], server_error(error), before=(VALIDATING,))
            return
        resolved = {"examples": examples, "layout": layout}
        with self.api.store.writing() as connection:
            if not change(connection, row["id"], (VALIDATING,), QUEUED, resolved=resolved):
                return
            if examples < FEW:
                text = f"Training file has {examples} example(s); fewer than {FEW} teach little"
                tell(connection, self.api, row["id"], text, level="warn")
            tell(connection, self.api, row["id"], "Files validated, moving job to queued state")

    # --- working ---------------------------------------------------------------------------------------

    def work(self, job_id: str) -> None:
        """Take a queued job to its end, or to wherever it is stopped."""
        try:
            row = self.take(job_id)
            if row is not None:
                self.carry_out(row)
        except Unusable as error:
            self.fail(job_id, error.error)
        except Exception as error:
            # A fault of ours fails this job, with its words, and no other.
            log.exception("the job %s failed", job_id)
            self.fail(job_id, server_error(error))
        finally:
            self.api.woken.set()

    def take(self, job_id: str) -> Row | None:
        """Begin a queued job; None when it is no longer queued."""
        with self.api.store.writing() as connection:
            if not change(connection, job_id, (QUEUED,), RUNNING):
                return None
            row = now_row(connection, sa.select(JOB).where(JOB.c.id == job_id))
            assert row is not None
            if row["started_at"] is None:
                tell(connection, self.api, job_id, "Fine-tuning job started")
                connection.execute(sa.update(JOB).where(JOB.c.id == job_id).values(started_at=self.api.now()))
        return row

    def carry_out(self, row: Row) -> None:
        """Run the worker and follow it."""
        job_id, folder = row["id"], self.folder(row["id"])
        resolved = self.order(row)
        follower = Follower(folder / "run", known=row["steps_seen"])
        process = self.launch(folder)
        while (code := process.poll()) is None:
            self.note(row, resolved, follower)
            if self.closing.is_set() or self.state(job_id) != RUNNING:
                process.stop()
                break
            self.closing.wait(LOOK_EVERY_SECONDS)
        self.note(row, resolved, follower, ended=True)
        if code is None:
            return
        if code == 0:
            self.succeed(row, resolved)
        else:
            self.died(row, code, steps=follower.known)

    def order(self, row: Row) -> dict[str, Any]:
        """Write down what the worker is to do; what the hyperparameters became."""
        folder = self.folder(row["id"])
        resolved = write_recipe(self.api, row, folder)
        write_order(folder, self.workspace, steps_of(folder, {**row, "resolved": resolved}))
        with self.api.store.writing() as connection:
            connection.execute(sa.update(JOB).where(JOB.c.id == row["id"]).values(resolved=resolved))
        return resolved

    def state(self, job_id: str) -> str:
        """The state of a job now."""
        with self.api.store.reading() as connection:
            return str(connection.execute(sa.select(JOB.c.state).where(JOB.c.id == job_id)).scalar_one())

    def note(self, row: Row, resolved: Row, follower: Follower, *, ended: bool = False) -> None:
        """Write down what the worker did since the last look."""
        for saves, news in groupby(follower.news(ended=ended), lambda one: isinstance(one, Saved)):
            if not saves:
                self.tell_all(row["id"], news)
                continue
            for one in news:
                if isinstance(one, Saved) and one.step % resolved["steps_per_epoch"] == 0:
                    losses = follower.measured.get(one.step, {})
                    self.keep_checkpoint(row, resolved, one.step, losses, last=one.step == follower.total)

    def tell_all(self, job_id: str, news: Iterable[News]) -> None:
        """Write down steps and words."""
        with self.api.store.writing() as connection:
            for one in news:
                if isinstance(one, Told):
                    tell(connection, self.api, job_id, one.text)
                elif isinstance(one, StepMade):
                    data = {"step": one.step, "total_steps": one.total, **one.data}
                    tell(connection, self.api, job_id, one.message, kind="metrics", data=data)
                    left = round((one.total - one.step) * one.seconds)
                    connection.execute(
                        sa.update(JOB)
                        .where(JOB.c.id == job_id)
                        .values(steps_seen=one.step, estimated_finish=self.api.now() + left)
                    )

    def keep_checkpoint(
        self, row: Row, resolved: Row, step: int, data: Mapping[str, float], *, last: bool
    ) -> None:
        """A model of its own for the state after a pass: its files stay whatever the run removes."""
        source = self.folder(row["id"]) / "run" / "checkpoints" / f"step-{step:06d}" / "published"
        place = checkpoint_folder(self.folder(row["id"]), step)
        with self.api.store.reading() as connection:
            known = sa.select(CHECKPOINT.c.id).where(CHECKPOINT.c.job == row["id"], CHECKPOINT.c.step == step)
            is_known = connection.execute(known).first() is not None
        if not source.is_dir() or (is_known and place.is_dir()):
            return
        growing = place.with_suffix(".part")
        shutil.rmtree(growing, ignore_errors=True)
        try:
            with explain_disk_errors(place):
                shutil.copytree(source, growing)
                shutil.copyfile(self.folder(row["id"]) / "run" / PROMPT_SHAPE, growing / PROMPT_SHAPE)
        except (UserError, shutil.Error):
            if source.is_dir():
                raise
            return  # the run wrote this checkpoint anew, and says so in a moment
        shutil.rmtree(place, ignore_errors=True)
        growing.rename(place)
        # The last state is the job's model, and called as that: its version comes with the job's success.
        name = model_name(row) if last else f"{model_name(row)}:ckpt-step-{step}"
        with self.api.store.writing() as connection:
            if not is_known:
                connection.execute(
                    sa.insert(CHECKPOINT).values(
                        id=new_id("ftckpt_"),
                        job=row["id"],
                        created_at=self.api.now(),
                        model=name,
                        step=step,
                        metrics={"step": step, **data},
                    )
                )
                if not last:
                    facts = {"step": step, "base": resolved["base"], "folder": str(place)}
                    add_version(connection, self.api, row, name, **facts)
                tell(
                    connection,
                    self.api,
                    row["id"],
                    f"Checkpoint created at step {step} with Snapshot ID: {name}",
                )

    def succeed(self, row: Row, resolved: Row) -> None:
        """Keep the results and name the model; all of it is there once the job has succeeded."""
        folder = self.folder(row["id"])
        results = read_json(folder / RESULTS)
        summary = results[TRAINED]
        file = keep_results(self.api, row, folder / "run")
        name = model_name(row)
        with self.api.store.writing() as connection:
            ended = change(
                connection,
                row["id"],
                (RUNNING,),
                SUCCEEDED,
                fine_tuned_model=name,
                result_file=file["id"],
                trained_tokens=summary["tokens"],
                resolved={**resolved, "run": summary["folder"]},
                evaluation=evaluation_of(results),
                **ending(self.api, SUCCEEDED),
            )
            if ended:
                facts = {
                    "step": summary["steps"],
                    "base": resolved["base"],
                    "folder": str(published(folder / "run")),
                }
                add_version(connection, self.api, row, name, **facts)
                tell(connection, self.api, row["id"], f"New fine-tuned model created: {name}")
                if said := verdict_of(results):
                    tell(connection, self.api, row["id"], said, level="warn" if FAULT in results else "info")
                tell(connection, self.api, row["id"], "The job has successfully completed")

    def died(self, row: Row, code: int, *, steps: int) -> None:
        """A worker ended by itself: it said why, or it was killed and another goes on where it stood."""
        job_id = row["id"]
        by_hand = code == EXIT_INTERRUPTED or code < 0
        deaths = 0 if steps > row["steps_seen"] else row["deaths"] + 1
        if by_hand and deaths < MOST_DEATHS:
            with self.api.store.writing() as connection:
                if change(connection, job_id, (RUNNING,), QUEUED, deaths=deaths):
                    text = (
                        f"The worker was stopped (exit code {code}); the job goes on from its last checkpoint"
                    )
                    tell(connection, self.api, job_id, text, level="warn")
            return
        said = last_lines(self.folder(job_id) / LOG)
        message = f"The job failed while training (exit code {code}). {said}"
        self.fail(job_id, {"code": "training_failed", "message": message, "param": None})

    def fail(self, job_id: str, error: Mapping[str, Any], *, before: Sequence[str] = (RUNNING,)) -> None:
        """End a job with an error that its owner can read."""
        with self.api.store.writing() as connection:
            if change(connection, job_id, before, FAILED, error=dict(error), **ending(self.api, FAILED)):
                tell(connection, self.api, job_id, str(error["message"]), level="error")


def server_error(error: Exception) -> dict[str, Any]:
    """What a job says that failed through no fault of its owner's."""
    message = str(error) if isinstance(error, TunesmithError) else repr(error)
    return {"code": "server_error", "message": message, "param": None}


def published(run: Path) -> Path:
    """What a finished run is asked by: its adapter, or its weights."""
    return run / "weights" if (run / "weights").is_dir() else run / "adapter"


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the model of a checkpoint stands."""
    return folder / "checkpoints" / f"step-{step:06d}"


def last_lines(path: Path) -> str:
    """The end of a log, as far as it is worth showing."""
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(lines[-LAST_LINES:])
