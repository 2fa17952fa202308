"""Short trainings on growing parts of the data, and what each made of the validation split.

Two for each size, so that luck can be told from data (one where the time is too short for two).  Losses of
the right answers are measured for each; answers are generated only by the largest, for they cost the most and
vary the most.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.files import write_json
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe, Source
from tunesmith.core.recipe.recipe import ENGINE_PROOFS
from tunesmith.decide.budget import PROBES, Budget
from tunesmith.decide.measure import read_samples
from tunesmith.decide.methods import steps_wanted
from tunesmith.decide.proposal import write_recipe
from tunesmith.decide.schema import DecideConfig, Probe
from tunesmith.launch.steps import Step, run_step

SIZES = (4, 2, 1)
"""The largest size divided by these: three points are the fewest that a curve goes through."""
SEEDS = 2
FEWEST_ROWS = 8
"""Of the smallest probe: fewer teach nothing but their own words."""
START_SECONDS = 50.0
"""What a probe takes beside its steps, until the first one shows it."""
LEAST_SECONDS = 20.0
CAREFUL = 0.8
"""Of the rows that the time seems to allow: other work on the machine slows steps down."""
LOSS = "gold_logprob"
HARDEST = 5
SHOWN_CHARACTERS = 200


class Item(NamedTuple):
    """What one probe made of one validation item."""

    id: str
    group_id: str
    question: str
    score: float | None
    loss: float | None
    """Negative log-likelihood of the right answer, nats."""
    tokens: int


@dataclass
class Probing:
    """What is under way."""

    config: DecideConfig
    data: Path
    rows: int
    recipe: Recipe
    primary: str
    seconds_per_step: float
    plan: Path
    budget: Budget
    job: Job
    has_losses: bool
    """Whether the model says how likely a given text is; the fake one does not."""
    probes: list[Probe] = field(default_factory=list)
    items: dict[tuple[int, int], list[Item]] = field(default_factory=dict)
    """By rows and seed."""
    skipped: list[str] = field(default_factory=list)
    overhead: float = START_SECONDS
    newest_run: Path | None = None
    """Its proofs of the engine stand for the next: only the first one tries them all."""

    def seconds_for(self, rows: int) -> float:
        """What a probe on so many rows is expected to take."""
        return self.overhead + steps_wanted(self.recipe, rows) * self.seconds_per_step

    @property
    def largest(self) -> int:
        """Rows of the largest size that was tried."""
        return max((one.rows for one in self.probes), default=0)


def probe_all(state: Probing) -> None:
    """Every size once, the smallest first; then again, the largest first; as far as the time goes."""
    most = largest_size(state)
    sizes = sorted({max(1, most // part) for part in SIZES})
    if sizes[0] < FEWEST_ROWS or len(sizes) < len(SIZES):
        state.skipped.append(
            f"probes: {state.rows} training rows and {max(0.0, state.budget.left(PROBES)) / 60:.1f} minutes"
            f" leave no three sizes of at least {FEWEST_ROWS} rows to draw a curve through"
        )
        return
    for seed, order in enumerate((sizes, sizes[::-1])):
        for rows in order:
            if (left := state.budget.left(PROBES)) < state.seconds_for(rows):
                wanted = state.seconds_for(rows)
                state.skipped.append(
                    f"a probe on {rows} rows, seed {seed}: it takes {wanted:.0f} s of {max(0, left):.0f}"
                )
                continue
            state.job.progress.heading(f"probe: {rows:,} of {state.rows:,} rows, seed {seed}")
            probe_one(state, rows, seed, generates=rows == most or not state.has_losses)


def largest_size(state: Probing) -> int:
    """Rows of the largest probe: all, or as many as leave time for every size with every seed.

    Where these are too few for a curve, as many as leave time for every size once: on a slow machine half of
    the time would go into starts.
    """
    most = affordable(state, SEEDS)
    return most if most // SIZES[0] >= FEWEST_ROWS else affordable(state, 1)


def affordable(state: Probing, seeds: int) -> int:
    """Rows of the largest probe that leave time for every size with so many seeds."""
    time = state.budget.left(PROBES) - seeds * len(SIZES) * state.overhead
    per_row = state.recipe.epochs / state.recipe.step_examples * state.seconds_per_step
    share = sum(1 / part for part in SIZES)
    return max(0, min(state.rows, int(CAREFUL * time / (seeds * share * per_row))))


def probe_one(state: Probing, rows: int, seed: int, *, generates: bool) -> None:
    """Draw, train, measure; everything lies below the plan."""
    before = state.budget.spent
    here = state.plan / "probes" / f"{rows}-{seed}"
    data = state.data if rows == state.rows else drawn(state, rows, seed, here / "data")
    path = state.plan / "recipes" / f"probe-{rows}-{seed}.yaml"
    write_recipe(path, probe_recipe(state, data, rows, seed))
    settings = {"recipe": str(path)}
    if state.newest_run is not None:
        settings["proved_by"] = str(state.newest_run)
    train = Step(f"train-{rows}-{seed}", f"Train on {rows} rows", "train", settings, here / "run")
    trained = run_step(train, state.job)
    state.newest_run = here / "run"
    scorers = [state.primary] if generates else []
    scorers += [LOSS] if state.has_losses else []
    items = measured(state, here, scorers, f"{rows} rows, seed {seed}")
    seconds = state.budget.spent - before
    state.items[rows, seed] = items
    state.probes.append(
        Probe(
            rows=rows,
            seed=seed,
            loss=mean_loss(items),
            score=mean_score(items),
            run=str((here / "run").relative_to(state.plan)),
            seconds=round(seconds, 1),
        )
    )
    write_json(here / "items.json", [one._asdict() for one in items])
    proved = sum(proof["seconds"] for proof in trained["proofs"] if proof["name"] in ENGINE_PROOFS)
    state.overhead = max(LEAST_SECONDS, seconds - proved - trained["steps"] * state.seconds_per_step)


def drawn(state: Probing, rows: int, seed: int, out: Path) -> Path:
    """So many random training rows, others for each seed."""
    config = {"data": str(state.data), "rows": rows, "by": "random", "seed": seed, "embeddings": "words"}
    step = Step(f"draw-{rows}-{seed}", f"Draw {rows} rows", "data select", config, out)
    return Path(run_step(step, state.job)["folder"])


def probe_recipe(state: Probing, data: Path, rows: int, seed: int) -> Recipe:
    """The proposed recipe on other rows, without what a probe has no use for."""
    return state.recipe.model_copy(
        update={
            "name": f"probe-{rows}-{seed}",
            "data": (Source(path=data),),
            "evaluations": 0,
            "publish": "last",
            "max_steps": 0,
            "seed": seed,
        }
    )


def measured(state: Probing, probe: Path, scorers: Sequence[str], name: str) -> list[Item]:
    """A probe's run on the validation items."""
    settings: dict[str, Any] = {
        "suite": str(state.data),
        "split": "validation",
        "model": str(probe / "run"),
        "limit": state.config.limit,
        "scorers": list(scorers),
        "seed": state.config.seed,
    }
    step = Step(f"measure-{name}", f"Measure ({name})", "evaluate", settings, probe / "report")
    result = run_step(step, state.job)
    return [item_of(sample, state.primary) for sample in read_samples(result)]


def item_of(sample: Mapping[str, Any], primary: str) -> Item:
    """A line of `samples.jsonl` as far as it matters here."""
    likelihood = sample["likelihood"]
    question = next((turn["content"] for turn in reversed(sample["prompt"]) if turn["role"] == "user"), "")
    return Item(
        id=sample["id"],
        group_id=sample["group_id"],
        question=str(question),
        score=sample["scores"].get(primary),
        loss=None if likelihood is None else -likelihood["logprob"],
        tokens=0 if likelihood is None else likelihood["tokens"],
    )


def mean_loss(items: Sequence[Item]) -> float | None:
    """Nats a token over all items; None for a model that says nothing of likelihoods."""
    known = [(one.loss, one.tokens) for one in items if one.loss is not None]
    tokens = sum(count for _, count in known)
    return sum(loss for loss, _ in known) / tokens if tokens else None


def mean_score(items: Sequence[Item]) -> float | None:
    """The primary score; None when no answers were generated."""
    scores = [one.score for one in items if one.score is not None]
    return sum(scores) / len(scores) if scores else None


def hardest(state: Probing) -> list[str]:
    """Questions whose right answers the largest probe found least likely, the worst first."""
    if not state.probes:
        return []
    items = state.items[max(state.items)]
    known = [one for one in items if one.loss is not None]
    worst = sorted(known, key=lambda one: -(one.loss or 0.0) / max(1, one.tokens))[:HARDEST]
    return [shortened(one.question) for one in worst]


def shortened(text: str) -> str:
    """The beginning of a long text, on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN_CHARACTERS else flat[: SHOWN_CHARACTERS - 1] + "…"
