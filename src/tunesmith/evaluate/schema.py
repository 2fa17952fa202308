"""Configuration and result of `tunesmith evaluate`.  Imports no engine."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult

OWN_AT_ONCE, OTHERS_AT_ONCE = 64, 32
"""Requests under way to a server that lives for one evaluation, and to anybody else's."""


class EvaluateConfig(Schema):
    """Answers to every item, greedy unless a suite says otherwise, scored against the item's own answer.

    A killed evaluation goes on where it stopped.
    """

    suite: Path = argument()
    """Suite (a YAML file of tasks), data set folder, a file of rows in any layout, or `retention`: the
    built-in pack of what fine-tuning must not take from a model."""
    model: str = "smollm2-135m-instruct"
    """Model to ask: a name of `tunesmith models`, a folder, a GGUF file, a hub id or a run."""
    split: Literal["train", "validation", "test", "held_out"] = "test"
    """Which split of a data set folder."""
    prompt: Path | None = None
    """File of a prompt shape, or a plan folder (`tunesmith decide` makes it) for its best prompt; without it
    the data's own prompt."""
    limit: PositiveInt | None = None
    """Only this many items, chosen by hash and so the same ones every time; without it all."""
    max_tokens: PositiveInt | None = None
    """Longest answer in tokens; without it enough for the longest right answer."""
    scorers: tuple[str, ...] = ()
    """Scorers, the primary one first; without them JSON answers get exact_json, field_f1 and json_valid, tool
    calls tool_calls and tool_names, others exact and token_f1."""
    slices: tuple[str, ...] = ()
    """Parts to look at on their own: keys of the rows' metadata, or `length` for quarters by length."""
    fresh: bool = False
    """Ask everything again, also what this model was asked before."""
    vault: bool = False
    """Ask the items that a suite keeps for release decisions, and only those."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap."""
    endpoint: str | None = None
    """URL (with /v1) of a server that has the model; without it one is started for the time needed."""
    served_as: str | None = None
    """The model's name on that server, when it is another one."""
    api_key_variable: str | None = None
    """Environment variable that holds the server's key."""
    concurrency: PositiveInt | None = None
    """Requests under way at once; without it 64 to a server that is started for the evaluation, which answers
    them in one batch, and 32 to another."""

    @property
    def at_once(self) -> int:
        """Requests under way at once."""
        return self.concurrency or (OWN_AT_ONCE if self.endpoint is None else OTHERS_AT_ONCE)

    @model_validator(mode="after")
    def _of_a_server(self) -> Self:
        for name in ("served_as", "api_key_variable"):
            if self.endpoint is None and vars(self)[name] is not None:
                option = "--" + name.replace("_", "-")
                raise ValueError(f"{option} is for a server that runs already: give its --endpoint")
        return self


class Pass(Schema):
    """What k answers to an item are worth."""

    k: int
    """So many answers."""
    any_right: float
    """Probability that at least one is right (pass@k)."""
    all_right: float
    """Probability that all are right (pass^k)."""


class Repeats(Schema):
    """What several answers to each item say."""

    number: int
    """Answers to each item."""
    any_right: float
    """Mean of each item's best answer (pass@k for scores of 0 and 1)."""
    all_right: float
    """Mean of each item's worst answer (pass^k)."""
    between: float
    """Variance of the score from item to item."""
    within: float
    """Variance of the score from answer to answer at one item."""
    flaky: int
    """Items whose answers do not all have one score."""
    passes: list[Pass]
    """For scores of 0 and 1: what 1, 2, … answers are worth."""


class SliceScore(Schema):
    """A score on a part of the items."""

    key: str
    """What the part is made by."""
    value: str
    """Which part."""
    score: float
    """The mean."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    n: int
    """Items."""


class TrustResult(Schema):
    """How far a scorer that learned can be believed: what it said of held-out texts."""

    source: str
    """What it learned from."""
    texts: int
    """Texts with people's labels, each judged by a model that saw none of its group."""
    positive: int
    """Those that it has to find."""
    auc: float
    """How often one of these scores higher than another text."""
    auc_low: float
    """Lower end of its 95 % interval."""
    auc_high: float
    """Upper end of its 95 % interval."""
    found: float
    """Share of them that it finds."""
    false_alarms: float
    """Share of the other texts that it takes for one."""


class Score(Schema):
    """A scorer's mean over all items; an item without an answer counts as 0 where 0 is the worst."""

    value: float
    """The mean."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    n: int
    """Items."""
    groups: int
    """Independent groups among them."""
    method: str
    """How the interval was made."""
    without_errors: float | None = None
    """The mean over answered items only, when some were not."""
    failed: int = 0
    """Items whose answer the scorer could not score (0 where 0 is the worst, else left out)."""
    better: Literal["higher", "lower"] | None = "higher"
    """Which values are better; None for what only describes."""
    kind: Literal["share", "unit", "number"] = "unit"
    """Values of single items: 0 or 1, from 0 to 1, any number."""
    transformed: bool = False
    """Whether it is a function of the mean (a perplexity), so that a difference of means is none of it."""
    trust: TrustResult | None = None
    """For a scorer that learned: how good it is on held-out texts."""
    repeats: Repeats | None = None
    """With several answers to each item, what they say."""
    slices: list[SliceScore] = Field(default_factory=list)
    """The score on parts of the items."""


class PeopleFacts(Schema):
    """What people said of a task's items."""

    accepted: int
    """Items that a person accepted, or made what they are."""
    refused: int
    """Items that a person rejected or edited since."""
    items: int
    """All items."""
    twice: int
    """Items that two people looked at."""
    kappa: float | None
    """Their agreement (Cohen); None when undefined or nobody looked twice."""
    kappa_low: float | None
    """Lower end of its 95 % interval."""
    kappa_high: float | None
    """Upper end of its 95 % interval."""


class ClassResult(Schema):
    """One label of a classification."""

    label: str
    """The label."""
    precision: float
    """Share of the answers with this label that are right."""
    recall: float
    """Share of the items of this label that are found."""
    f1: float
    """Harmonic mean of the two."""
    items: int
    """Items of this label."""


class ClassesResult(Schema):
    """What answers that are labels say of a whole task (scorer `label`)."""

    macro_f1: Score
    """Mean F1 of the labels, each counting the same."""
    classes: list[ClassResult]
    """Each label of the right answers."""
    confusion: list[list[int]]
    """Rows: right labels in the order of `classes`; columns: the labels given, the last one no label."""


class ReliabilityBin(Schema):
    """Answers of about one confidence."""

    confidence: float
    """Their mean confidence."""
    right: float
    """The share of them that is right."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    items: int
    """Answers in it."""


class CalibrationResult(Schema):
    """Whether the model's confidence means what it says."""

    score: str
    """The score that says what is right."""
    error: float
    """Expected calibration error: mean distance of confidence and share of right answers."""
    brier: float
    """Mean squared distance of confidence and outcome."""
    n: int
    """Answers whose confidence is known."""
    bins: list[ReliabilityBin]
    """Bins of equally many answers, the least sure first."""


class SwapResult(Schema):
    """What another group's name in the same question changes."""

    score: str
    """Name of the score."""
    first: str
    """The first term."""
    second: str
    """The second term."""
    n: int
    """Items that were asked with both."""
    differing: int
    """Those whose scores differ."""
    value: float
    """Second minus first."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    p_value: float
    """Two-sided p-value of this pair alone."""
    adjusted_p: float
    """After Benjamini and Hochberg's correction over all pairs and scores."""


class TaskResult(Schema):
    """One task of a suite."""

    name: str
    """Its name."""
    data: str
    """Name of the data set or file."""
    split: str | None
    """The split; None for a file."""
    prompt: str
    """Name of the prompt shape."""
    items: int
    """Items asked."""
    repeats: int
    """Answers to each."""
    errors: int
    """Answers that did not come."""
    truncated: int
    """Answers cut at the longest length."""
    scores: list[str]
    """Names of its scores."""
    fingerprint: str
    """Identity of its items: their hashes."""
    uses: int
    """Reports of this workspace that asked these very items, this one included: looks wear a test out."""
    vault: bool
    """Whether the items are those kept for release decisions."""
    people: PeopleFacts | None
    """What people said of the items; None when nobody looked at any."""
    classes: ClassesResult | None
    """With the scorer `label`: macro-F1, each label, and what was taken for what."""
    calibration: CalibrationResult | None
    """With `confidence`: how sure the model was against how often it was right."""
    swaps: list[SwapResult]
    """With terms to swap: what each pair of them changes."""


class EvaluateResult(FolderResult):
    """Scores of one model, asked in one way, on one set of items."""

    model: str
    """The model as it was asked for."""
    suite: str
    """Name of the data set or file."""
    split: str | None
    """The split; None for a file."""
    prompt: str
    """Name of the prompt shape."""
    items: int
    """Items asked."""
    duplicates: int
    """Repeated rows of a file, asked once."""
    refused: int
    """Rows of a file that could not be read and were left out."""
    errors: int
    """Items without an answer (scored 0)."""
    cached: int
    """Answers that the model had given before: their times are those of then."""
    truncated: int
    """Answers cut at the longest length."""
    primary: str
    """The scorer that decides."""
    scores: dict[str, Score]
    """Each scorer's mean with its interval."""
    tasks: list[TaskResult]
    """The tasks, the one that decides first."""
    max_tokens: int
    """The longest answer that was allowed."""
    prompt_tokens: int
    """Tokens of all prompts."""
    completion_tokens: int
    """Tokens of all answers."""
    seconds: float
    """Time of asking, without the server's start; after a kill, of the part asked since."""
    latency_median: float
    """Median seconds for one answer."""
    latency_p95: float
    """95th percentile of the seconds for one answer."""
