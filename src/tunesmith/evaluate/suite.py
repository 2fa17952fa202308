"""A suite as its file says it: tasks of items, prompt, decoding, scorers and slices.  Imports no engine."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from tunesmith.core.config import Schema, load
from tunesmith.core.judge.criteria import DEFAULT, Criteria

SplitName = Literal["train", "validation", "test", "held_out"]
SUFFIXES = (".yaml", ".yml")
MAX_REPEATS = 64


class Judge(Schema):
    """A model that grades each answer; how far it agrees with people is shown beside its grades."""

    model: str
    """Its name on the server, or with no endpoint a model that is served for it."""
    endpoint: str | None = None
    """URL (with /v1) of the server that has it."""
    api_key_variable: str | None = None
    """Environment variable that holds the server's key."""
    question: str = DEFAULT
    """What it is to look at."""
    highest: int = Field(5, ge=2, le=10)
    """Grades go from 1 to this."""
    with_reference: bool = True
    """Whether it sees the item's right answer."""

    @property
    def criteria(self) -> Criteria:
        """What it is asked."""
        return Criteria(self.question, self.highest, self.with_reference)


class People(Schema):
    """What people must have said of the items before they may measure a model."""

    twice: float = Field(0.0, ge=0, le=1)
    """Share of the items that two people have to have looked at."""
    kappa: float | None = Field(None, ge=-1, le=1)
    """Least agreement (Cohen's kappa) of the two; not given, any."""


class Retention(Schema):
    """The generated pack of what fine-tuning must not take from a model: 17 families, nothing to download."""

    seed: int = Field(0, ge=0)
    """Another seed is another pack."""
    per_family: PositiveInt = 20
    """Items of each family, levels of difficulty in turn."""
    families: tuple[str, ...] = ()
    """Only these; every family when not given."""


class ReasoningGym(Schema):
    """Questions that the package reasoning-gym makes (pip install 'tunesmith[suites]')."""

    families: tuple[str, ...] = Field(min_length=1)
    """Which of its families of puzzles, such as [basic_arithmetic, syllogism]."""
    size: PositiveInt = 50
    """Questions of each family."""
    seed: int = Field(0, ge=0)
    """Another seed makes other questions."""

    @field_validator("families")
    @classmethod
    def _families_differ(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [name for name in families if families.count(name) > 1]:
            raise ValueError(f"the family {twice[0]!r} stands there twice")
        return families


class Task(Schema):
    """One kind of question: where the items are, how they are asked, how answers are scored."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Its name; scores of a suite with several tasks are called task/scorer."""
    data: Path | None = None
    """Data set folder (its path, name or id), or a file of rows in any layout."""
    retention: Retention | None = None
    """Instead of data: the built-in pack; its families are the slices."""
    reasoning_gym: ReasoningGym | None = None
    """Instead of data: generated puzzles, scored by their own family; the families are the slices."""
    split: SplitName = "test"
    """Which split of a data set folder."""
    prompt: Path | None = None
    """File of a prompt shape, or a plan folder; without it the data's own prompt."""
    limit: PositiveInt | None = None
    """Only this many items, chosen by hash and so the same ones every time."""
    scorers: tuple[str | dict[str, Any], ...] = ()
    """Scorers by name or as {type: name, option: value}, the primary one first; without it by the answers."""
    max_tokens: PositiveInt | None = None
    """Longest answer in tokens; without it enough for the longest right answer."""
    temperature: float = Field(0.0, ge=0, le=2)
    """0 takes the likeliest token every time."""
    repeats: int = Field(1, ge=1, le=MAX_REPEATS)
    """Answers to each item; more than one needs a temperature."""
    stop: tuple[str, ...] = ()
    """Texts at which an answer ends."""
    people: People | None = None
    """Demands that a person accepted every item (tunesmith data review); refused otherwise."""
    vault: float = Field(0.0, ge=0, le=0.9)
    """Share of the items, whole groups, kept for release decisions: asked only with --vault, all others only
    without it."""
    confidence: bool = False
    """Ask how likely each answer was for the model (geometric mean of its tokens' probabilities), and hold
    that against how often it is right: calibration of the first scorer, which has to give 0 to 1."""
    judge: Judge | None = None
    """A model that grades each answer; its score is called judge."""
    swap: tuple[tuple[str, ...], ...] = ()
    """Sets of terms, such as [[he, she], [Muslim, Christian, Jewish]]: items that name one are asked once for
    each term of its set, others are left out, and answers are compared within an item."""
    slices: tuple[str, ...] = ()
    """Parts to look at on their own: keys of the rows' metadata, or `length` for quarters by length."""

    @field_validator("swap")
    @classmethod
    def _terms_differ(cls, sets: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for terms in sets:
            if len({term.casefold() for term in terms}) < 2 or len(set(terms)) < len(terms) or not all(terms):
                raise ValueError(f"a set to swap needs two different terms or more: {list(terms)}")
        return sets

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.data, self.retention, self.reasoning_gym)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("a task asks either `data`, the `retention` pack or `reasoning_gym`")
        if self.data is None and (self.people is not None or self.vault):
            raise ValueError("these items are generated: leave `people` and `vault` out")
        return self

    @model_validator(mode="after")
    def _repeats_differ(self) -> Self:
        if self.repeats > 1 and self.temperature == 0:
            raise ValueError("without a temperature every repeat is the same answer: set temperature")
        return self


class Suite(Schema):
    """Tasks that are evaluated together; the first one's first scorer is the primary one."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Its name."""
    tasks: tuple[Task, ...] = Field(min_length=1)
    """What is asked."""

    @field_validator("tasks")
    @classmethod
    def _names_differ(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        names = [task.name for task in tasks]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two tasks are called {twice[0]!r}")
        return tasks


def is_suite_file(path: Path) -> bool:
    """Whether a path is that of a suite's file."""
    return path.suffix.lower() in SUFFIXES


def read_suite(path: Path) -> Suite:
    """The suite of a YAML file; paths in it start where the file stands.  ConfigError names the line."""
    suite = load(path, Suite)
    tasks = tuple(
        task.model_copy(
            update={name: beside(path, found) for name in ("data", "prompt") if (found := vars(task)[name])}
        )
        for task in suite.tasks
    )
    return suite.model_copy(update={"tasks": tasks})


def beside(file: Path, given: Path) -> Path:
    """A path as the file means it; a name of the workspace stays as it is."""
    near = file.parent / given
    return near if not given.is_absolute() and near.exists() else given
