"""Jobs under random orders of what clients, workers and the server itself may do: hypothesis drives them.

The worker is a stand-in that writes what a real one writes.  Between two looks at it one thing happens: a
step, a checkpoint, a client that pauses or cancels, a death of the worker, a death of the server.
"""

import hashlib
from contextlib import closing, suppress
from itertools import count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tunesmith.api.call import Api, Caller
from tunesmith.api.files import service as files
from tunesmith.api.files.schema import CreateFile
from tunesmith.api.forms import Sent
from tunesmith.api.jobs import running, service
from tunesmith.api.jobs.running import Runner
from tunesmith.api.jobs.schema import CreateJob, ListCheckpoints, ListEvents
from tunesmith.api.jobs.tables import (
    CANCELLED,
    ENDED,
    FAILED,
    JOB,
    PAUSED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    VALIDATING,
)
from tunesmith.api.models import service as models
from tunesmith.core.fake import FakeModel
from tunesmith.core.files import append_jsonl, write_json
from tunesmith.core.prompt_shape import PromptShape
from tunesmith.core.store import open_store
from tunesmith.serve.problems import ApiProblem

STEPS = 6
ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
MOVES = {"pause": service.pause, "cancel": service.cancel, "resume": service.resume}
ALLOWED = {
    "pause": {VALIDATING, QUEUED, RUNNING},
    "cancel": {VALIDATING, QUEUED, RUNNING, PAUSED},
    "resume": {PAUSED},
}


class ServerKilled(BaseException):
    """SIGKILL: nothing behind it is done."""


class Worker:
    """What a worker process leaves behind, one thing at each look at it."""

    def __init__(self, machine, folder, script):
        self.machine, self.folder, self.script = machine, folder, script
        self.run, self.job = folder / "run", folder.name
        self.step, self.alive = machine.saved.get(self.job, 0), True
        machine.alive.add(self.job)
        self.run.mkdir(exist_ok=True)
        self.say("started", num_steps=STEPS)
        # What no checkpoint holds is written again.
        (self.run / "metrics.jsonl").unlink(missing_ok=True)
        for step in range(1, self.step + 1):
            self.metrics(step)

    def say(self, event, **facts):
        append_jsonl(self.run / "events.jsonl", {"event": event, **facts})

    def metrics(self, step):
        row = {"step": step, "loss": 1 / step, "accuracy": 0.5, "seconds": 1.0}
        append_jsonl(self.run / "metrics.jsonl", row)

    def publish(self, place):
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / "fake_model.json", {**FakeModel().to_json()})

    def poll(self):
        action = self.script.pop(0) if self.script else "step"
        if action in ("step", "step, server killed") and self.step < STEPS:
            self.step += 1
            self.metrics(self.step)
            if self.step % 2 == 0:
                PromptShape().write(self.run)
                self.publish(self.run / "checkpoints" / f"step-{self.step:06d}" / "published")
                self.machine.saved[self.job] = self.step
                self.say("checkpoint", step=self.step)
            if action != "step":
                self.end(-9)
                raise ServerKilled  # before anybody has read of the step
        elif action == "step":
            self.publish(self.run / "adapter")
            train = {"folder": str(self.run), "tokens": 60, "steps": STEPS}
            write_json(self.folder / "results.json", {"train": train})
            return self.end(0)
        elif action in MOVES:
            self.machine.ask(action, self.job)
        elif action == "worker killed":
            return self.end(-9)
        elif action == "worker failed":
            return self.end(1)
        elif action.endswith("server killed"):
            self.end(-9)  # its pipe ends, and so does it
            raise ServerKilled
        elif action == "server stopped":
            self.machine.runner.closing.set()
        return None

    def end(self, code):
        self.alive = False
        self.machine.alive.discard(self.job)
        return code

    def stop(self):
        # Asked to stop it saves first.
        self.machine.saved[self.job] = self.step
        self.end(130)


DEATHS = ["worker killed", "worker failed", "server killed", "step, server killed", "server stopped"]
ACTIONS = [*["step"] * 6, "pause", "cancel", *DEATHS]


class Jobs(RuleBasedStateMachine):
    """The rules."""

    store, root, numbers = None, None, count()
    jobs = Bundle("jobs")

    def __init__(self):
        super().__init__()
        self.caller = Caller(project=f"proj_{next(self.numbers)}")
        self.api = Api(self.store, self.root, base_of={"fake": "fake"}.get, rate_of=lambda base: 1e-3)
        self.saved, self.alive, self.created, self.ended = {}, set(), [], {}
        self.new_runner()
        self.files = [self.upload(ROW * 12), self.upload(b'{"messages": "none"}\n')]

    def upload(self, content):
        place = self.root / "sent"
        place.write_bytes(content)
        sent = Sent(place, "a.jsonl", len(content), hashlib.sha256(content).hexdigest())
        return files.create(self.api, self.caller, sent, CreateFile(purpose="fine-tune"))["id"]

    def new_runner(self):
        self.script = []
        launch = lambda folder: Worker(self, folder, self.script)  # noqa: E731  it is one
        self.runner = Runner(self.api, self.root, launch=launch)
        self.runner.take_up()

    def row(self, job):
        return service.find(self.api, self.caller, job)

    def ask(self, move, job):
        """What a client asks; it is done just where the state allows it."""
        before = self.row(job)["state"]
        try:
            MOVES[move](self.api, self.caller, job)
        except ApiProblem:
            assert before not in ALLOWED[move], (move, before)
        else:
            assert before in ALLOWED[move], (move, before)

    @rule(target=jobs, good=st.sampled_from([True, True, True, False]))
    def create(self, good):
        asked = {
            "model": "fake",
            "training_file": self.files[0 if good else 1],
            "hyperparameters": {"n_epochs": 3, "batch_size": 6},
        }
        made = service.create(self.api, self.caller, CreateJob.model_validate(asked))
        self.created.append(made["id"])
        return multiple(made["id"])

    @rule(job=jobs)
    def the_runner_reads_the_file(self, job):
        self.the_file_is_read(job)

    @rule(job=jobs, move=st.sampled_from(sorted(MOVES)))
    def a_client_asks(self, job, move):
        self.ask(move, job)

    def the_file_is_read(self, job):
        row = self.row(job)
        if row["state"] == VALIDATING:
            self.runner.validate(row)
            assert self.row(job)["state"] in (QUEUED, "failed")

    @rule(job=jobs, script=st.lists(st.sampled_from(["step", *DEATHS[2:]]), max_size=5))
    def the_job_is_worked_on_while_the_server_dies(self, job, script):
        self.the_job_is_worked_on(job, script)
        if self.row(job)["state"] == QUEUED:
            self.the_job_is_worked_on(job, [])

    @rule(job=jobs, script=st.lists(st.sampled_from(ACTIONS), min_size=2, max_size=12))
    def the_job_is_worked_on_in_whatever_way(self, job, script):
        self.the_job_is_worked_on(job, script)

    def the_job_is_worked_on(self, job, script):
        self.the_file_is_read(job)
        self.script[:] = script
        with suppress(ServerKilled):
            self.runner.work(job)
            if not self.runner.closing.is_set():
                assert self.row(job)["state"] != RUNNING, "whoever stops working on a job says so"
                return
        self.new_runner()

    @rule()
    def the_server_starts_again(self):
        self.new_runner()
        assert not any(self.row(job)["state"] == RUNNING for job in self.created)

    @invariant()
    def nothing_that_was_acknowledged_is_lost(self):
        listed = service.list_jobs(self.api, self.caller, service.ListJobs(limit=1000), {})["data"]
        assert [one["id"] for one in listed] == self.created[::-1]

    @invariant()
    def what_has_ended_stays_as_it_is(self):
        for job in self.created:
            row = self.row(job)
            if row["state"] in ENDED:
                assert row["finished_at"] is not None
                assert self.ended.setdefault(job, row) == row

    @invariant()
    def nobody_works_on_a_job_that_does_not_run(self):
        assert not self.alive

    @invariant()
    def steps_are_told_once_and_in_order(self):
        for job in self.created:
            everything = service.events(self.api, self.caller, job, ListEvents(limit=1000))["data"][::-1]
            steps = [event["data"]["step"] for event in everything if event["type"] == "metrics"]
            assert steps == list(range(1, len(steps) + 1))
            said = [event["message"] for event in everything]
            assert said[0] == f"Created fine-tuning job: {job}"
            assert said.count("Fine-tuning job started") <= 1
            for number in (2, 4, 6):
                saved = [text for text in said if text.startswith(f"Checkpoint created at step {number} ")]
                assert len(saved) <= 1
                step = next((text for text in said if text.startswith(f"Step {number}/")), None)
                assert not saved or said.index(saved[0]) > said.index(step), (
                    "a step comes before its checkpoint"
                )
            if self.row(job)["state"] == SUCCEEDED:
                assert len(steps) == STEPS
                assert said[-1] == "The job has successfully completed"

    @invariant()
    def a_job_that_succeeded_has_a_model_a_table_and_its_checkpoints(self):
        for job in self.created:
            row = self.row(job)
            if row["state"] != SUCCEEDED:
                assert row["fine_tuned_model"] is None
                continue
            version = models.find(self.api, self.caller, row["fine_tuned_model"])
            assert version is not None
            assert files.find(self.api, self.caller, row["result_file"]) is not None
            found = service.checkpoints(self.api, self.caller, job, ListCheckpoints())["data"]
            numbers = [one["step_number"] for one in found]
            assert numbers == [6, 4, 2], numbers


def few(max_examples):
    return settings(
        max_examples=max_examples,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def test_jobs_keep_their_promises_in_whatever_order_things_happen(database, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "LOOK_EVERY_SECONDS", 0)
    with closing(open_store(database)) as store:
        Jobs.store, Jobs.root = store, tmp_path
        run_state_machine_as_test(Jobs, settings=few(40))
        with store.reading() as connection:
            reached = set(connection.scalars(sa.select(JOB.c.state).distinct()))
    assert reached >= {SUCCEEDED, FAILED, CANCELLED, PAUSED}, "the machine went everywhere"


def test_the_machine_finds_a_promise_that_is_broken(tmp_path, monkeypatch):
    """A server that forgets to queue again what it was working on is caught."""
    monkeypatch.setattr(running, "LOOK_EVERY_SECONDS", 0)
    monkeypatch.setattr(Runner, "take_up", lambda self: None)
    with closing(open_store(tmp_path / "store.sqlite")) as store:
        Jobs.store, Jobs.root = store, tmp_path
        with pytest.raises(AssertionError):
            run_state_machine_as_test(Jobs, settings=few(50))
