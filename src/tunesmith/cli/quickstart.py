"""`tunesmith quickstart`: the whole journey as a list of steps.

`examples/journey.sh` is the same journey, command by command.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console

from tunesmith.core.config import Schema
from tunesmith.core.job import Job
from tunesmith.core.progress import counted, duration
from tunesmith.launch.steps import From, Step, run_steps
from tunesmith.runtime.catalogue import EMBEDDED

TEST_ITEMS = 100
RETENTION = "retention"
"""The built-in suite (`tunesmith.evaluate.items.PACK`)."""
VALIDATION_ITEMS, SHORT_ITEMS = 100, 50
MEASURE_MINUTES, TRAIN_MINUTES = 4, 11
"""Limits inside the quickstart's twenty minutes; decide and train keep them on any machine."""


class QuickstartConfig(Schema):
    """US addresses into JSON fields with the embedded model, or your own file with --data.

    Takes at most 20 minutes on two processor cores after the downloads; stopped, the same command goes on.
    """

    data: Path | None = None
    """File of rows in any layout that `data prepare` reads; without it, human-labelled US addresses."""
    model: str = EMBEDDED.name
    """Base model: a name of `tunesmith models`, a folder, a GGUF file or a hub id."""
    full: bool = False
    """Check and document the data, measure every prompt on every held-out item, the hard set with every
    candidate, and what the training cost elsewhere; takes longer."""


class Score(Schema):
    """A model's scores on the held-out test split."""

    report: Path
    """Folder with every answer."""
    scores: Mapping[str, Any]
    """Scorer → value, low and high of the 95 % interval."""


class Difference(Schema):
    """Tuned minus the base with its best prompt, on the primary scorer."""

    value: float
    """The difference."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""


class QuickstartResult(Schema):
    """What came out."""

    verdict: str
    """better, tied, worse or not enough data: the tuned model against the base's best prompt."""
    sentence: str
    """The verdict in one sentence."""
    base: Score
    """The base model with the prompt as the data has it."""
    prompted: Score
    """The base model with the prompt that did best on the validation split."""
    tuned: Score
    """The tuned model."""
    difference: Difference
    """Tuned minus prompted."""
    report: Path
    """The HTML report."""
    run: Path
    """The run folder: give it to `tunesmith chat` and `tunesmith serve`."""


def journey(config: QuickstartConfig) -> list[Step]:
    """The steps, each a command of its own."""
    hard = [] if config.data else hard_steps(config)
    return [
        *data_steps(config),
        *(checking_steps(config) if config.full else ()),
        Step("decide", "Measure what prompting can do", "decide", decide_config(config)),
        Step("train", "Train", "train", {"recipe": From("decide", below="recipe.yaml")}),
        *(
            Step(name, title, "evaluate", {"suite": From("prepare"), "limit": TEST_ITEMS, **candidate})
            for name, title, candidate in candidates(config)
        ),
        *hard,
        Step("compare", "Compare", "compare", {"a": From("prompted"), "b": From("tuned")}),
        *([gate_step(), *retention_steps(config)] if config.full else ()),
        Step("report", "Write the report", "report", report_config(config, hard)),
    ]


def data_steps(config: QuickstartConfig) -> list[Step]:
    """The user's own file, or the addresses with the messiest held out."""
    title = "Check, group and split the data"
    if config.data is not None:
        return [Step("prepare", title, "data prepare", {"source": str(config.data)})]
    files = {"source": From("fetch", below="rows.jsonl"), "held_out": From("fetch", below="messy.jsonl")}
    sizes = {"test": TEST_ITEMS, "validation": VALIDATION_ITEMS}
    return [
        Step("fetch", "Fetch real, human-labelled data", "data fetch", {"name": "addresses"}),
        Step("prepare", title, "data prepare", {"name": "addresses", **files, **sizes}),
    ]


def checking_steps(config: QuickstartConfig) -> list[Step]:
    """What is wrong with the data, how well that is found, and their card; findings stop nothing here."""
    look = {"model": config.model, "embeddings": "words" if config.model == "fake" else "static"}
    return [
        Step(
            "check",
            "Look for faults in the data",
            "data check",
            {"data": From("prepare"), "fail_on": "never", **look},
        ),
        Step(
            "selftest",
            "Plant faults and see which are found",
            "data selftest",
            {"data": From("prepare"), **look},
        ),
        Step("card", "Document the data", "data card", {"data": From("prepare")}),
    ]


def decide_config(config: QuickstartConfig) -> dict[str, Any]:
    """With --full also what tuning is expected to bring; else only prompts, in the time there is."""
    asked = {"data": From("prepare"), "model": config.model}
    if config.full:
        return {**asked, "limit": VALIDATION_ITEMS}
    return {
        **asked,
        "limit": SHORT_ITEMS,
        "shots": [4, 8],
        "probe": False,
        "budget_minutes": MEASURE_MINUTES,
        "train_minutes": TRAIN_MINUTES,
    }


def candidates(config: QuickstartConfig) -> list[tuple[str, str, dict[str, Any]]]:
    """Step name, title, and the model and prompt of the three that are tested on the same items."""
    base = {"model": config.model}
    return [
        ("base", "Test the base model as it is", base),
        ("prompted", "Test the base model with its best prompt", {**base, "prompt": From("decide")}),
        ("tuned", "Test the tuned model", {"model": From("train")}),
    ]


def hard_steps(config: QuickstartConfig) -> list[Step]:
    """The messy addresses: for the finalists only, for every candidate with --full."""
    finalists = candidates(config) if config.full else candidates(config)[1:]
    suite = {"suite": From("prepare"), "split": "held_out"}
    return [
        Step(f"{name}-hard", f"{title}, on the messiest addresses", "evaluate", {**suite, **candidate})
        for name, title, candidate in finalists
    ]


def gate_step() -> Step:
    """Whether the tuned model may take the place of the best prompt, by the built-in rule."""
    rule = {"rule": "release", "a": From("prompted"), "b": From("tuned")}
    return Step("gate", "Hold the tuned model against a rule", "gate", rule, may_say_no=True)


def retention_steps(config: QuickstartConfig) -> list[Step]:
    """What the training cost elsewhere: base and tuned model on tasks that were not trained."""
    suite = {"suite": RETENTION}
    return [
        Step(
            "kept-base",
            "Test the base model on untrained tasks",
            "evaluate",
            {**suite, "model": config.model},
        ),
        Step("kept-tuned", "Test the tuned model on them", "evaluate", {**suite, "model": From("train")}),
        Step("kept", "Compare what was kept", "compare", {"a": From("kept-base"), "b": From("kept-tuned")}),
    ]


def report_config(config: QuickstartConfig, hard: Sequence[Step]) -> dict[str, Any]:
    """Everything that was made goes into the report."""
    source = f" --data {quote(str(config.data))}" if config.data is not None else ""
    model = "" if config.model == EMBEDDED.name else f" --model {quote(config.model)}"
    return {
        "title": f"Quickstart: {config.data.name}" if config.data else "US addresses into JSON fields",
        "data": From("prepare"),
        "plan": From("decide"),
        "run": From("train"),
        "reports": [From("base"), From("prompted"), From("tuned")],
        "comparison": From("compare"),
        "hard": [From(step.name) for step in hard],
        **({"retention": From("kept"), "gate": From("gate")} if config.full else {}),
        "reproduce": [f"tunesmith quickstart{source}{model}{' --full' if config.full else ''}"],
    }


def quickstart(config: QuickstartConfig, job: Job) -> QuickstartResult:
    """Run the journey."""
    job.progress.say(estimate(config))
    results = run_steps(journey(config), job, in_short=in_short)
    compared = results["compare"]
    return QuickstartResult(
        verdict=compared["verdict"],
        sentence=compared["sentence"],
        base=score(results["base"]),
        prompted=score(results["prompted"]),
        tuned=score(results["tuned"]),
        difference=Difference(**{key: compared["difference"][key] for key in ("value", "low", "high")}),
        report=Path(results["report"]["folder"]) / "report.html",
        run=Path(results["train"]["folder"]),
    )


def estimate(config: QuickstartConfig) -> str:
    """What to expect, said first."""
    if config.full:
        return "--full: about 50 minutes on two cores with fast bfloat16; more with your own data"
    if config.data is None and config.model == EMBEDDED.name:
        return "about 18 minutes on two cores with fast bfloat16, at most 20 after the downloads"
    limits = f"at most about {MEASURE_MINUTES} minutes for measuring prompts and {TRAIN_MINUTES} for training"
    return f"{limits}; answering {TEST_ITEMS} test items three times comes on top"


def in_short(step: Step, result: Mapping[str, Any]) -> str:
    """What came out of a step, in one line."""
    return IN_SHORT[step.verb](result)


def prepared(result: Mapping[str, Any]) -> str:
    """Rows of each split."""
    splits = ", ".join(f"{rows:,} {name.replace('_', ' ')}" for name, rows in result["splits"].items())
    return f"{splits}; no row or near-duplicate stands in two splits"


def checked(result: Mapping[str, Any]) -> str:
    """How much was found, and where it stands."""
    found = ", ".join(counted(result[f"{kind}s"], kind) for kind in ("error", "warning", "note"))
    return f"{found}: {Path(result['folder']) / result['page']}"


def trained(result: Mapping[str, Any]) -> str:
    """Loss, time and memory."""
    losses = f"loss {result['first_loss']:.2f} → {result['last_loss']:.3f}"
    if result["validation_loss"] is not None:
        losses += f", validation {result['validation_loss']:.3f}"
    cost = f"{duration(result['seconds'])}, {result['peak_memory_bytes'] / 1e9:.1f} GB"
    return f"{losses}; {result['tokens']:,} tokens at {result['tokens_per_second']:,.0f} a second; {cost}"


def evaluated(result: Mapping[str, Any]) -> str:
    """Every score with its interval."""
    return " · ".join(
        f"{name} {score['value']:.1%} ({score['low']:.1%}–{score['high']:.1%})"
        for name, score in result["scores"].items()
    )


IN_SHORT: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "data fetch": lambda result: f"{counted(result['rows'], 'row')} in {result['folder']}",
    "data prepare": prepared,
    "data check": checked,
    "data selftest": lambda result: str(Path(result["folder"]) / "selftest.json"),
    "data card": lambda result: str(Path(result["folder"]) / "README.md"),
    "decide": lambda result: str(result["sentence"]),
    "train": trained,
    "evaluate": evaluated,
    "compare": lambda result: (
        f"{result['verdict']}; {result['fixes']} fixed, {result['regressions']} spoiled"
    ),
    "gate": lambda result: str(result["sentence"]),
    "report": lambda result: str(Path(result["folder"]) / "report.html"),
}


def score(report: Mapping[str, Any]) -> Score:
    """A report's scores."""
    return Score(report=Path(report["folder"]), scores=report["scores"])


def show_quickstart(result: QuickstartResult, console: Console) -> None:
    """The verdict, and what to do with the model now."""
    console.print(f"\n[bold]{result.sentence}[/bold]\n")
    console.print(f"  report   {result.report}", markup=False, soft_wrap=True)
    run = quote(str(result.run))
    console.print(f"  talk     tunesmith chat {run}", markup=False, soft_wrap=True)
    console.print(f"  serve    tunesmith serve {run}", markup=False, soft_wrap=True)
