"""What an evaluation asks and how: with the model, all that a report depends on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.conversation import check_conversations
from tunesmith.core.endpoint import ChatRequest, ScoreRequest
from tunesmith.core.errors import ConfigError, DataError, FolderError
from tunesmith.core.job import Job
from tunesmith.core.prompts import AS_IS, PromptShape, flat_object
from tunesmith.core.scorers import Case, Chosen, Faulty, Scorer, choose_all, scorers_for
from tunesmith.core.workspace import Input, Manifest
from tunesmith.evaluate.items import (
    GYM,
    PACK,
    Item,
    Items,
    fingerprint,
    items_of_gym,
    items_of_pack,
    limited,
    part_of_vault,
    read_items,
    with_slices,
)
from tunesmith.evaluate.schema import EvaluateConfig
from tunesmith.evaluate.suite import Retention, Task, is_suite_file, read_suite
from tunesmith.evaluate.swaps import with_swaps


def judged_elsewhere(case: Case) -> float:
    """Grade of the judge, from 0 to 1."""
    raise Faulty("a judge grades when all answers are there")


BYTES_PER_TOKEN = 2
"""Fewer than any tokenizer needs for texts of its language: limits err on the long side."""
SPARE_TOKENS = 32
JUDGE = Chosen("judge", Scorer("judge", judged_elsewhere, "unit"), {})
"""The score that a judge gives."""


class Ask(NamedTuple):
    """One thing to ask: which item of which task, and which of its repeats."""

    task: str
    item: Item
    repeat: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the others."""
        return self.task, self.item.id, self.repeat


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A task with its items read and everything settled that its configuration left open."""

    task: Task
    found: Items
    shape: PromptShape
    prompt: Path | None
    scorers: tuple[Chosen, ...]
    max_tokens: int
    is_flat_json: bool
    """Whether every right answer ends with its only closing brace, so that decoding can stop there."""

    @classmethod
    def of(cls, task: Task, job: Job, *, vault: bool = False) -> "TaskPlan":
        """Read items and prompt.  Raises DataError for items that the scorers cannot score."""
        if task.data is not None:
            found = part_of_vault(read_items(task.data, task.split, job), task.vault, inside=vault)
            slices, usual = task.slices, scorers_for(found.examples)
        else:
            found, usual = generated_items(task, job)
            slices = task.slices or ("family",)
        found = with_swaps(with_slices(limited(found, task.limit), slices), task.swap)
        prompt = prompt_file(task.prompt)
        shape = PromptShape.read(prompt) if prompt is not None else AS_IS
        scorers = choose_all(task.scorers or usual, where=f"task {task.name}, scorers")
        max_tokens = task.max_tokens or longest_answer(found)
        plan = cls(task, found, shape, prompt, scorers, max_tokens, ends_at_brace(found))
        plan.check()
        return plan

    def check(self) -> None:
        """Raise DataError for items without the text that is asked for or compared with."""
        if self.task.confidence and (self.scorers[0].scorer.kind == "number" or not self.generates):
            what = "confidence is held against how right answers are"
            step = "let the first scorer be one that gives 0 to 1, such as exact"
            raise ConfigError(what, value=self.scorers[0].name, where="confidence", next_step=step)
        if self.generates:
            check_conversations(self.found.examples, self.found.path)
        plain = sum(item.example.is_text for item in self.found.items)
        if plain and self.shape is not AS_IS:
            what = "plain text has no question that a prompt could stand before"
            raise DataError(
                what, where=self.found.path, value=f"{plain} rows", next_step="leave the prompt out"
            )
        self._check_calls()

    def _check_calls(self) -> None:
        """A right answer that is a tool call has no text to compare with."""
        takes_calls = {"tool_calls", "tool_names"}
        if {chosen.scorer.name for chosen in self.scorers} <= takes_calls:
            return
        calls = [item for item in self.found.items if not item.example.is_text and last_calls(item)]
        if calls:
            raise DataError(
                "answers that are tool calls have no text to compare",
                where=self.found.path,
                value=f"{len(calls)} of {len(self.found.items)} items",
                next_step="score them with tool_calls and tool_names in a suite of their own",
            )

    def source(self, role: str = "suite") -> Path | Input:
        """Where the items come from: a folder, a file, or what generated them, known by its items."""
        if self.task.data is not None:
            return self.found.path
        kind = PACK if self.task.reasoning_gym is None else GYM
        return Input(role, kind, fingerprint(self.found), self.found.name)

    def files_of_scorers(self) -> dict[str, Path]:
        """Files that scorers were given as options: the scores depend on what stands in them."""
        return {
            f"{chosen.name}:{self.task.name}": value
            for chosen in self.scorers
            for value in chosen.options.values()
            if isinstance(value, Path)
        }

    @property
    def all_scorers(self) -> tuple[Chosen, ...]:
        """The scorers, and the judge behind them."""
        return (*self.scorers, JUDGE) if self.task.judge is not None else self.scorers

    @property
    def needs(self) -> frozenset[str]:
        """What has to be asked of the model for each item."""
        return frozenset(chosen.scorer.needs for chosen in self.scorers)

    @property
    def generates(self) -> bool:
        """Whether an answer is generated."""
        return "answer" in self.needs

    def settings(self) -> dict[str, Any]:
        """The task as the manifest holds it."""
        return {
            "split": self.found.split,
            "limit": self.task.limit,
            "prompt": self.shape.name,
            "max_tokens": self.max_tokens,
            "temperature": self.task.temperature,
            "repeats": self.task.repeats,
            "stop": list(self.task.stop),
            "scorers": [described(chosen) for chosen in self.scorers],
            "slices": list(self.task.slices),
            **({"confidence": True} if self.task.confidence else {}),
            **({"swap": [list(terms) for terms in self.task.swap]} if self.task.swap else {}),
            **({"judge": self.judged_by()} if self.task.judge is not None else {}),
            **({"made_by": dict(self.found.made_by)} if self.found.made_by else {}),
        }

    def judged_by(self) -> dict[str, Any]:
        """The judge as the manifest holds it: without where its key is."""
        return self.task.judge.model_dump(exclude={"api_key_variable"}) if self.task.judge is not None else {}

    def asks(self) -> Iterator[Ask]:
        """Every item, as often as it is repeated."""
        repeats = self.task.repeats if self.generates else 1
        return (Ask(self.task.name, item, repeat) for item in self.found.items for repeat in range(repeats))

    def request(self, ask: Ask, *, stops: bool, seed: int) -> ChatRequest:
        """What is asked for an answer; `stops` says that the server can end one at its closing brace."""
        stop = self.task.stop or (("}",) if stops and self.is_flat_json else ())
        return ChatRequest(
            self.shape.apply(ask.item.example),
            self.max_tokens,
            tools=ask.item.example.tools,
            temperature=self.task.temperature,
            stop=stop,
            keep_stop=bool(stop) and not self.task.stop,
            seed=seed + ask.repeat if self.task.temperature else None,
            logprobs=self.task.confidence,
        )

    def score_request(self, ask: Ask) -> ScoreRequest:
        """What is asked for likelihoods: of the right answer, and of the choices."""
        example = ask.item.example
        answers = [example.answer] if "likelihood" in self.needs else []
        if "choices" in self.needs:
            answers += [str(choice) for choice in example.metadata.get("choices", ())]
        messages = example.prompt if example.is_text else self.shape.apply(example)
        return ScoreRequest(messages, tuple(answers))


@dataclass(frozen=True, slots=True)
class Plan:
    """All tasks of a suite."""

    name: str
    tasks: tuple[TaskPlan, ...]
    seed: int
    file: Path | None
    """The suite's file; None for a data set or a file of rows that is evaluated as it is."""
    vault: bool = False
    """Whether the items kept for release decisions are asked."""

    @classmethod
    def of(cls, config: EvaluateConfig, job: Job) -> "Plan":
        """Read the suite, or make one of a single task from the options."""
        if not is_suite_file(config.suite):
            refuse_vault(config)
            task = TaskPlan.of(single_task(config), job)
            return cls(task.found.name, (task,), config.seed, None)
        suite = read_suite(config.suite)
        refuse_options(config)
        tasks = [task.model_copy(update={"limit": config.limit or task.limit}) for task in suite.tasks]
        plans = tuple(TaskPlan.of(task, job, vault=config.vault) for task in tasks)
        return cls(suite.name, plans, config.seed, config.suite, config.vault)

    @property
    def primary(self) -> str:
        """The score that decides."""
        return self.score_names(self.tasks[0])[0]

    def score_names(self, task: TaskPlan) -> list[str]:
        """What the scores of a task are called in the report."""
        return [self.score_name(task, chosen.name) for chosen in task.all_scorers]

    def score_name(self, task: TaskPlan, name: str) -> str:
        """What one score of a task is called in the report."""
        return name if len(self.tasks) == 1 else f"{task.task.name}/{name}"

    def settings(self) -> dict[str, Any]:
        """The configuration as the manifest holds it."""
        if self.file is None:
            (task,) = self.tasks
            return {**task.settings(), "seed": self.seed}
        tasks = {task.task.name: task.settings() for task in self.tasks}
        return {"tasks": tasks, "seed": self.seed, "vault": self.vault}

    def inputs(self) -> dict[str, Path | Input]:
        """What the report depends on beside the model."""
        if self.file is None:
            (task,) = self.tasks
            prompt = {"prompt": task.prompt} if task.prompt else {}
            return {"suite": task.source(), **prompt, **task.files_of_scorers()}
        found: dict[str, Path | Input] = {"suite": self.file}
        for task in self.tasks:
            found[f"data:{task.task.name}"] = task.source(f"data:{task.task.name}")
            if task.prompt is not None:
                found[f"prompt:{task.task.name}"] = task.prompt
            found |= task.files_of_scorers()
        return found

    def asks(self) -> list[Ask]:
        """Everything that is asked, task by task."""
        return [ask for task in self.tasks for ask in task.asks()]

    def by_name(self) -> Mapping[str, TaskPlan]:
        """The tasks by their names."""
        return {task.task.name: task for task in self.tasks}


def single_task(config: EvaluateConfig) -> Task:
    """A data set, a file of rows, or the built-in pack as a task."""
    built_in = str(config.suite) == PACK and not config.suite.exists()
    return Task(
        name="items",
        data=None if built_in else config.suite,
        retention=Retention() if built_in else None,
        split=config.split,
        prompt=config.prompt,
        limit=config.limit,
        scorers=config.scorers,
        max_tokens=config.max_tokens,
        slices=config.slices,
    )


def generated_items(task: Task, job: Job) -> tuple[Items, list[str]]:
    """Items that no data hold, and the scorers that know how to score them."""
    if task.reasoning_gym is None:
        return items_of_pack(task.retention or Retention()), ["own"]
    found = items_of_gym(task.reasoning_gym, job)
    if task.max_tokens is None and not all(item.example.answer for item in found.items):
        what = "some of these families only check answers, so nothing says how long a right one is"
        where = f"task {task.name}, reasoning_gym.families"
        raise ConfigError(what, where=where, next_step="write `max_tokens` into the task")
    return found, [GYM]


def refuse_vault(config: EvaluateConfig) -> None:
    """Only a suite says which items are kept."""
    if config.vault:
        step = "write a suite whose task has a `vault`"
        raise ConfigError("--vault is for a suite", value=str(config.suite), next_step=step)


def refuse_options(config: EvaluateConfig) -> None:
    """A suite's file says what its tasks are; an option beside it would be ignored."""
    for name in ("prompt", "max_tokens", "scorers", "slices"):
        if vars(config)[name]:
            option = "--" + name.replace("_", "-")
            step = "write it into the suite's tasks"
            raise ConfigError(
                f"{option} is for a data set, and this is a suite", value=str(config.suite), next_step=step
            )


def described(chosen: Chosen) -> str | dict[str, Any]:
    """A scorer as the manifest holds it: its name, or with its options."""
    if not chosen.options and chosen.name == chosen.scorer.name:
        return chosen.name
    return {
        "type": chosen.scorer.name,
        "name": chosen.name,
        **json.loads(json.dumps(chosen.options, default=str)),
    }


def prompt_file(given: Path | None) -> Path | None:
    """The prompt's file; a plan folder stands for the best prompt that it found."""
    if given is None or not given.is_dir():
        return given
    manifest = Manifest.read(given)
    if manifest.kind != "plan":
        step = "give a prompt file, or a folder that `tunesmith decide` made"
        raise FolderError(f"this folder is a {manifest.kind}, not a plan", where=given, next_step=step)
    return given / str(manifest.summary["best_prompt"])


def last_calls(item: Item) -> Sequence[Mapping[str, Any]]:
    """The tool calls of the item's own answer."""
    return item.example.messages[len(item.example.prompt)].tool_calls


def longest_answer(found: Items) -> int:
    """Tokens that are enough for the longest right answer, without a tokenizer at hand."""
    longest = max(len(right_text(item).encode("utf-8")) for item in found.items)
    return longest // BYTES_PER_TOKEN + SPARE_TOKENS


def right_text(item: Item) -> str:
    """All that a model would have to write."""
    calls = json.dumps([dict(call) for call in last_calls(item)]) if not item.example.is_text else ""
    return item.example.answer + (calls if calls != "[]" else "")


def ends_at_brace(found: Items) -> bool:
    """Whether every right answer is flat JSON ending with its only closing brace: decoding can stop there."""
    answers = [item.example.answer.strip() for item in found.items]
    return all(
        text.endswith("}") and text.count("}") == 1 and flat_object(text) is not None for text in answers
    )
