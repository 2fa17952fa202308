"""`tunesmith data clean`: the steps one after the other, each from one spool of rows to the next."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tunesmith.core.config import build, load
from tunesmith.core.dataset import SPLITS, DataSet
from tunesmith.core.errors import ConfigError
from tunesmith.core.files import explain_disk_errors, write_json
from tunesmith.core.job import Job
from tunesmith.core.similarity import text_hash
from tunesmith.core.workspace import Input
from tunesmith.data.check.texts.personal import hide
from tunesmith.data.clean import duplicates, filters, instructions, texts
from tunesmith.data.clean.diff import Edit, edits, word_diff
from tunesmith.data.clean.port import KEPT, Decide, Stage, Verdict, dropped
from tunesmith.data.clean.schema import AnyStep, CleanConfig, CleanPlan, CleanResult, ShownChange, StepAccount
from tunesmith.data.corpus import Corpus, CorpusRow, add_splits
from tunesmith.data.intake import prompt_text
from tunesmith.data.steps import (
    Ledger,
    add_row,
    check_rows_left,
    derived,
    summary_of,
    with_example,
    write_rows,
)  # fmt: skip

STEPS: Mapping[str, Callable[[Stage, Any], Decide]] = {
    "trim": texts.trim,
    "unicode": texts.unicode,
    "drop-exact-duplicates": duplicates.drop_exact,
    "drop-near-duplicates": duplicates.drop_near,
    "drop-flagged": filters.drop_flagged,
    "decontaminate": filters.decontaminate,
    "mask-pii": texts.mask_pii,
    "normalise-instructions": instructions.normalise_instructions,
    "drop-too-long": filters.too_long,
    "remove-refusals": filters.remove_refusals,
    "keep-language": filters.keep_language,
}
"""What each step does, by its name in a plan."""
CHANGING = frozenset({"trim", "unicode", "mask-pii", "normalise-instructions"})
"""These drop nothing, and work on every split."""
APART = "keep-splits-apart"
"""Runs by itself after steps that changed rows."""
SHOWN = 5
"""Changes of each step that a dry run shows."""


@dataclass
class Cleaning:
    """A data set on its way through the steps."""

    data: DataSet
    config: CleanConfig
    job: Job
    ledger: Ledger
    flagged: Mapping[tuple[str, int], int]
    hides: bool = False
    """Whether a step masks personal data."""
    accounts: list[StepAccount] = field(default_factory=list)
    first: list[ShownChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changed: set[tuple[str, int]] = field(default_factory=set)
    """(split, line) of rows that are not as they were."""

    @property
    def num_dropped(self) -> int:
        """Rows dropped by all steps."""
        return self.ledger.drops.total()


def clean(config: CleanConfig, job: Job) -> CleanResult:
    """Run the steps on a data set folder; a new folder, or with `dry_run` only what would become of it.

    Raises ConfigError for unknown steps and settings, FolderError for findings about other data, DataError
    when no training row would be left.
    """
    steps = read_steps(config)
    data = DataSet.find(config.data, job.workspace)
    findings = job.workspace.resolve(str(config.findings)) if config.findings is not None else None
    if findings is not None:
        filters.check_findings(findings, data.manifest.id)
    config = config.model_copy(update={"findings": findings})
    if config.dry_run:
        with Ledger() as ledger:
            return trial(data, config, steps, ledger, job)
    settings = {"steps": [step.to_json() for step in steps], "splits": list(config.splits)}
    inputs: dict[str, Path | Input] = {"findings": findings} if findings is not None else {}
    with (
        derived(job, data, verb="data clean", config=settings, inputs=inputs) as folder,
        Ledger(folder.path) as ledger,
        cleaned(data, config, steps, ledger, job) as (corpus, state),
    ):
        names = data.split_names()
        written = write_rows(folder, names, corpus)
        write_json(folder / "steps.json", [account.to_json() for account in state.accounts])
        folder.summary = summary_of(
            data, written, rows=num_rows(data), changed=num_changed(corpus, state),
            dropped=state.num_dropped, notes=state.notes,
        )  # fmt: skip
        folder.summary["steps"] = [account.to_json() for account in state.accounts]
    return CleanResult(**CleanResult.fields_from(folder.summary, folder.path))


def trial(
    data: DataSet, config: CleanConfig, steps: Sequence[AnyStep], ledger: Ledger, job: Job
) -> CleanResult:
    """What the steps would do."""
    with cleaned(data, config, steps, ledger, job) as (corpus, state):
        counts = Counter(row.split for row in corpus)
        check_rows_left(counts, data.split_names())
        return CleanResult(
            folder=None,
            rows=num_rows(data),
            changed=num_changed(corpus, state),
            dropped=state.num_dropped,
            splits={name: counts[name] for name in data.split_names()},
            fingerprint="",
            notes=state.notes,
            steps=state.accounts,
            first=state.first,
        )


def read_steps(config: CleanConfig) -> tuple[AnyStep, ...]:
    """The steps of the plan file, or of the command line."""
    if config.plan is not None:
        return load(config.plan, CleanPlan).steps
    found = [step_of(words) for words in config.step]
    # the first place that fits is taken: settings stand before their step
    places = {
        f"steps.{at}.{key}": f"--step {step['step']} {key.replace('_', '-')}"
        for at, step in enumerate(found)
        for key in step
        if key != "step"
    }
    places |= {f"steps.{at}": f"--step {step['step']}" for at, step in enumerate(found)}
    return build(CleanPlan, {"steps": found}, source="--step", places=places).steps


def step_of(words: str) -> dict[str, Any]:
    """A name and its settings as a mapping; several values of a key are joined by commas."""
    name, *settings = words.split()
    step: dict[str, Any] = {"step": name}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign or not value:
            form = "write settings as key=value behind the step's name, all in quotes"
            raise ConfigError("not a setting of a step", value=setting, where="--step", next_step=form)
        step[key.replace("-", "_")] = value.split(",") if key in LISTS else value
    return step


LISTS = frozenset({"checks", "severities", "languages"})
"""Settings that take several values."""


def num_rows(data: DataSet) -> int:
    """Rows of all splits."""
    return sum(data.num_rows(name) for name in data.split_names())


def num_changed(corpus: Corpus, state: Cleaning) -> int:
    """Changed rows that are still there."""
    return sum((row.split, row.line) in state.changed for row in corpus) if state.changed else 0


@contextmanager
def cleaned(
    data: DataSet, config: CleanConfig, steps: Sequence[AnyStep], ledger: Ledger, job: Job
) -> Iterator[tuple[Corpus, Cleaning]]:
    """The rows after all steps, and what the steps did."""
    flagged: Counter[tuple[str, int]] = Counter()
    if config.findings is not None:
        about = filters.findings_about_rows(config.findings)
        flagged.update(place for place, flag in about if flag.check not in filters.ABOUT_OTHERS)
    hides = any(step.step == "mask-pii" for step in steps)
    state = Cleaning(data, config, job, ledger, flagged, hides)
    with ExitStack() as stack:
        with explain_disk_errors(Path(tempfile.gettempdir())):
            corpus = Corpus(new_spool(stack), data.manifest.name)
            add_splits(corpus, data)
            for step in steps:
                is_changing = step.step in CHANGING
                scope = frozenset(SPLITS if is_changing else config.splits or ("train",))
                stage = Stage(corpus, scope, job, config.findings, flagged, state.notes)
                settings = {key: value for key, value in step.to_json().items() if key != "step"}
                corpus = run_step(stage, step.step, settings, STEPS[step.step](stage, step), state, stack)
            if state.changed:
                stage = Stage(corpus, frozenset(SPLITS), job, notes=state.notes)
                corpus = run_step(stage, APART, {}, kept_apart(stage), state, stack)
        yield corpus, state


def new_spool(stack: ExitStack) -> IO[bytes]:
    """A file for the rows between two steps, gone at the end."""
    return stack.enter_context(tempfile.TemporaryFile("w+b"))


def run_step(
    stage: Stage, name: str, settings: Mapping[str, Any], decide: Decide, state: Cleaning, stack: ExitStack
) -> Corpus:
    """Take each row through one step; the rows after it."""
    after = Corpus(new_spool(stack), stage.corpus.name)
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    digests = hashlib.sha256(), hashlib.sha256()
    with state.job.progress.task(name, total=len(stage.corpus), unit="rows") as task:
        for row in stage.corpus:
            task.advance()
            verdict = decide(row) if row.split in stage.scope else KEPT
            outcomes[verdict.outcome] += row.split in stage.scope
            reasons.update([verdict.reason] if verdict.reason else [])
            digests[0].update(f"{row.row_hash}\n".encode())
            found = with_example(row, verdict.example) if verdict.example is not None else row
            note_down(state, name, row, found, verdict)
            if verdict.outcome != "dropped":
                digests[1].update(f"{found.row_hash}\n".encode())
                add_row(after, found)
    account = StepAccount(
        step=name,
        settings=dict(settings),
        splits=[split for split in state.data.split_names() if split in stage.scope],
        rows=outcomes.total(),
        changed=outcomes["changed"],
        dropped=outcomes["dropped"],
        left=outcomes["left"],
        reasons=dict(reasons.most_common()),
        before=digests[0].hexdigest(),
        after=digests[1].hexdigest(),
    )
    state.accounts.append(account)
    return after


def note_down(state: Cleaning, name: str, row: CorpusRow, found: CorpusRow, verdict: Verdict) -> None:
    """Write what became of a row, and keep the first of each step for a dry run."""
    if verdict.outcome == "kept":
        return
    if verdict.outcome == "dropped":
        state.ledger.drop(name, row.place, verdict.reason, **verdict.evidence)
    else:
        changes = [edit._asdict() for edit in noted_edits(state, row, found)]
        new = {"new_row_hash": found.row_hash, "changes": changes} if verdict.example is not None else {}
        state.ledger.change(name, row.place, verdict.reason, **verdict.evidence, **new)
    if verdict.example is not None:
        state.changed.add((row.split, row.line))
    if state.config.dry_run and sum(shown.step == name for shown in state.first) < SHOWN:
        state.first.append(shown_change(name, row, noted_edits(state, row, found), verdict))


def noted_edits(state: Cleaning, row: CorpusRow, found: CorpusRow) -> Iterator[Edit]:
    """What changed; where personal data are masked, no step's account repeats them."""
    for edit in edits(row.example, found.example):
        yield Edit(edit.pointer, hide(edit.before), hide(edit.after)) if state.hides else edit


def shown_change(name: str, row: CorpusRow, changes: Iterator[Edit], verdict: Verdict) -> ShownChange:
    """A change with its first differing text, word by word; of another row its question and answer."""
    diff: list[tuple[Any, str]] = []
    if verdict.example is not None:
        first = next(changes, None)
        diff = list(word_diff(first.before, first.after)) if first is not None else []
    else:
        text = f"{prompt_text(row.example)} → {row.example.answer}"
        diff = [("-" if verdict.outcome == "dropped" else "=", text[:200] + "…" * (len(text) > 200))]
    reason = verdict.reason
    if like := verdict.evidence.get("like"):
        reason += f" ({like['split']}, line {like['line']})"
    return ShownChange(step=name, place=f"{row.split}, line {row.line}", reason=reason, diff=diff)


def kept_apart(stage: Stage) -> Decide:
    """Drop rows whose changed prompt now equals one of a split that is tested on, so that nothing leaks.

    `held_out` comes before `test`, that before `validation`, and `train` last.
    """
    order = list(reversed(SPLITS))
    owner: dict[str, str] = {}
    for row in stage.corpus:
        if row.split != "train":
            key = text_hash(prompt_text(row.example))
            owner[key] = min(owner.get(key, row.split), row.split, key=order.index)

    def decide(row: CorpusRow) -> Verdict:
        split = owner.get(text_hash(prompt_text(row.example)), row.split)
        return KEPT if split == row.split else dropped(f"its prompt now equals one of the {split} split")

    return decide
