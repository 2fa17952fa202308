"""`tunesmith data ablate`: the same model trained on all, random and selected rows; which one is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from statistics import fmean

import yaml

from tunesmith.core.conversation import check_conversations
from tunesmith.core.dataset import LEAK_PROOF, DataSet, Row
from tunesmith.core.errors import DataError
from tunesmith.core.files import read_json, write_json, write_text
from tunesmith.core.job import Job
from tunesmith.core.recipe import AdamW, Lora, Recipe, Source
from tunesmith.core.workspace import Input, WorkFolder
from tunesmith.data.ablate.measure import answer_scores, exact_scorers, items_of, losses
from tunesmith.data.ablate.schema import AblateConfig, AblateResult, ArmFacts, Difference, Verdict
from tunesmith.data.ablate.statistics import crossed_interval
from tunesmith.launch.steps import Step, run_step
from tunesmith.runtime.catalogue import Located, locate

ARMS = ("all", "random", "selected")
CHARACTERS_PER_TOKEN = 8
"""More than any tokenizer has on average: epochs are reckoned generously, and steps end the run."""
FEWEST_GROUPS = 10
"""With fewer independent test items no verdict is given."""
UNEQUAL = 0.05
"""Arms whose tokens differ by a larger share are named."""

Measures = dict[str, dict[str, list[float]]]
"""Measure → arm → the same items' values, one seed after another."""


@dataclass
class Ablation:
    """What is under way."""

    config: AblateConfig
    data: DataSet
    selected: DataSet
    located: Located
    rows: list[Row]
    scorers: list[str]
    folder: WorkFolder
    job: Job
    tokens: dict[str, list[int]] = field(default_factory=dict)
    runs: dict[str, list[str]] = field(default_factory=dict)
    losses: dict[str, list[Mapping[str, float]]] = field(default_factory=dict)
    scores: dict[str, list[Mapping[str, Mapping[str, float]]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    newest_run: Path | None = None
    """Its proofs of the engine stand for the next: the arms differ in their rows."""

    @property
    def is_fake(self) -> bool:
        """Whether the model has no losses."""
        return self.located.kind == "fake"


def ablate(config: AblateConfig, job: Job) -> AblateResult:
    """Train every arm with every seed, measure all on the same test items, and compare; resumable.

    Raises DataError when the two data sets do not share their test split, when there is none, or when as many
    random rows cannot be drawn.
    """
    data, selected = DataSet.find(config.data, job.workspace), DataSet.find(config.selected, job.workspace)
    check_sets(data, selected)
    located = locate(config.model, job)
    rows = items_of(data, config.items)
    check_conversations((row.example for row in rows), data.folder)
    scorers = exact_scorers(rows) if config.answers or located.kind == "fake" else []
    settings = config.to_json()
    for name in ("data", "selected", "model"):
        del settings[name]
    inputs: dict[str, Path | Input] = {"data": data.folder, "selected": selected.folder}
    inputs["model"] = located.as_input()
    with job.folder(
        verb="data ablate",
        kind="ablation",
        name=data.manifest.name,
        config=settings,
        inputs=inputs,
        resume=True,
    ) as folder:
        state = Ablation(config, data, selected, located, rows, scorers, folder, job)
        train_all(state)
        result = conclude(state)
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        write_json(folder / "ablation.json", folder.summary)
    return result


def check_sets(data: DataSet, selected: DataSet) -> None:
    """Refuse what cannot be compared."""
    proofs = [read_json(one.folder / LEAK_PROOF)["splits"].get("test") for one in (data, selected)]
    if not proofs[0] or not proofs[0]["rows"]:
        step = "prepare it with a test split"
        raise DataError("there is no test row to measure on", where=data.folder, next_step=step)
    if proofs[0] != proofs[1]:
        step = "make the selection from this data set, so that its test split is the same"
        raise DataError("the test splits differ", where=selected.folder, next_step=step)
    chosen, total = selected.num_rows("train"), data.num_rows("train")
    if chosen >= total:
        what = "the selection has no fewer training rows than all"
        step = "random rows of equal size must leave some out: select fewer"
        raise DataError(what, value=f"{chosen} of {total}", where=selected.folder, next_step=step)


def train_all(state: Ablation) -> None:
    """Every arm with every seed: draw, train, measure.  Seeds outermost, so that a cut one is balanced."""
    total = len(ARMS) * state.config.seeds
    for number in range(total):
        seed, arm = divmod(number, len(ARMS))
        name = ARMS[arm]
        state.job.progress.heading(f"[{number + 1}/{total}] {name}, seed {seed}")
        state.folder.write_state(status="running", done=number, total=total)
        train_one(state, name, seed)


def train_one(state: Ablation, arm: str, seed: int) -> None:
    """One run and its measures."""
    source = {"all": state.data.folder, "selected": state.selected.folder}.get(arm)
    if source is None:
        source = random_rows(state, seed)
    path = state.folder / "recipes" / f"{arm}-{seed}.yaml"
    write_text(path, yaml.safe_dump(recipe_of(state, arm, source, seed).to_json(), sort_keys=False))
    settings = {"recipe": str(path)}
    if state.newest_run is not None:
        settings["proved_by"] = str(state.newest_run)
    result = run_step(Step(f"{arm}-{seed}", f"Train on {arm}", "train", settings), state.job)
    state.newest_run = run = Path(result["folder"])
    state.runs.setdefault(arm, []).append(str(run))
    state.tokens.setdefault(arm, []).append(int(result["tokens"]))
    if not state.is_fake:
        file = state.folder / "losses" / f"{arm}-{seed}.json"
        found = losses(run, state.rows, state.config.max_length, file, state.job)
        state.losses.setdefault(arm, []).append(found)
    if state.scorers:
        limit = len(state.rows) if state.is_fake else min(state.config.answers, len(state.rows))
        name = f"{arm}, seed {seed}"
        answers = answer_scores(run, state.data.folder, limit, state.scorers, name, state.job)
        state.scores.setdefault(arm, []).append(answers)


def random_rows(state: Ablation, seed: int) -> Path:
    """As many random training rows as were selected, others for each seed."""
    config = {
        "data": str(state.data.folder),
        "rows": state.selected.num_rows("train"),
        "by": "random",
        "seed": seed,
        "embeddings": "words",
    }
    return Path(run_step(Step("random", "Draw random rows", "data select", config), state.job)["folder"])


def recipe_of(state: Ablation, arm: str, source: Path, seed: int) -> Recipe:
    """The same recipe for every arm but for its rows; steps of tokens make the runs equally long."""
    config = state.config
    data = DataSet.open(source)
    characters = sum(
        len(turn.content or "")
        for row in data.rows("train")
        for turn in (*row.example.messages, *row.example.chosen)
    )
    here = Path(config.model)
    return Recipe(
        name=f"ablate-{arm}-{seed}",
        model=str(here.resolve()) if here.exists() else config.model,
        data=(Source(path=source),),
        engine="fake" if state.is_fake else "ragged",
        method=Lora(rank=config.rank, alpha=2 * config.rank),
        optimiser=AdamW(learning_rate=config.learning_rate),
        step_tokens=config.step_tokens,
        max_steps=max(1, round(config.tokens / config.step_tokens)),
        epochs=ceil(config.tokens * CHARACTERS_PER_TOKEN / max(1, characters)) + 1,
        max_length=config.max_length,
        too_long="drop",
        evaluations=0,
        publish="last",
        seed=seed,
    )


def conclude(state: Ablation) -> AblateResult:
    """All differences, the deciding one first."""
    measures, groups = measured(state)
    write_json(state.folder / "items.json", {"groups": groups, "measures": measures})
    differences = [
        difference(measure, against, measures[measure], groups[measure], state.config.seeds)
        for measure in measures
        for against in ("random", "all")
    ]
    first = differences[0]
    mean_tokens = {arm: round(fmean(state.tokens[arm])) for arm in ARMS}
    if max(mean_tokens.values()) > (1 + UNEQUAL) * min(mean_tokens.values()):
        listed = ", ".join(f"{arm} {tokens:,}" for arm, tokens in mean_tokens.items())
        state.notes.append(f"the arms differ in tokens: {listed}")
    return AblateResult(
        folder=state.folder.path,
        verdict=first.verdict,
        sentence=sentence(first, differences[1], state),
        model=state.config.model,
        seeds=state.config.seeds,
        tokens=state.config.tokens,
        arms=[arm_facts(arm, state, measures, mean_tokens[arm]) for arm in ARMS],
        differences=differences,
        notes=state.notes,
    )


def measured(state: Ablation) -> tuple[Measures, dict[str, list[str]]]:
    """Every measure on the items that all models have a value for, and the items' groups."""
    found: Measures = {}
    groups: dict[str, list[str]] = {}
    if state.losses:
        shared = [
            row for row in state.rows if all(row.row_hash in run for arm in ARMS for run in state.losses[arm])
        ]
        if dropped := len(state.rows) - len(shared):
            state.notes.append(f"{dropped} test items could not be read by the model and were left out")
        groups["loss"] = [row.group_id for row in shared]
        found["loss"] = {
            arm: [run[row.row_hash] for run in state.losses[arm] for row in shared] for arm in ARMS
        }
    for name in state.scorers:
        asked = [row for row in state.rows if row.row_hash in state.scores["all"][0]]
        groups[name] = [row.group_id for row in asked]
        found[name] = {
            arm: [run[row.row_hash][name] for run in state.scores[arm] for row in asked] for arm in ARMS
        }
    if not any(groups.values()):
        step = "give a model with losses, or data whose answers are JSON or short"
        raise DataError("there is nothing to measure on", where=state.data.folder, next_step=step)
    return found, groups


def difference(
    measure: str, against: str, values: Mapping[str, Sequence[float]], groups: Sequence[str], seeds: int
) -> Difference:
    """How much better the selection is than another arm, and what can be said."""
    sign = -1.0 if measure == "loss" else 1.0
    gains = [
        [sign * (mine - other) for mine, other in zip(*parts, strict=True)]
        for parts in zip(
            *(by_seed(values[arm], len(groups), seeds) for arm in ("selected", against)), strict=True
        )
    ]
    found = crossed_interval(gains, groups)
    verdict: Verdict = "no measurable gain"
    if found.groups >= FEWEST_GROUPS and found.low > 0:
        verdict = "helped"
    elif found.groups >= FEWEST_GROUPS and found.high < 0:
        verdict = "hurt"
    return Difference(
        measure=measure,
        against=against,
        value=found.value,
        low=found.low,
        high=found.high,
        items=found.items,
        groups=found.groups,
        method=found.method,
        verdict=verdict,
    )


def by_seed(values: Sequence[float], items: int, seeds: int) -> list[Sequence[float]]:
    """One list of items for each seed."""
    return [values[seed * items : (seed + 1) * items] for seed in range(seeds)]


def arm_facts(arm: str, state: Ablation, measures: Measures, tokens: int) -> ArmFacts:
    """Means of one arm."""
    rows = (state.data if arm == "all" else state.selected).num_rows("train")
    return ArmFacts(
        name=arm,
        rows=rows,
        tokens=tokens,
        loss=fmean(measures["loss"][arm]) if "loss" in measures else None,
        scores={name: fmean(values[arm]) for name, values in measures.items() if name != "loss"},
        runs=state.runs[arm],
    )


SAID: Mapping[Verdict, str] = {
    "helped": "The selection helped",
    "hurt": "The selection hurt",
    "no measurable gain": "No measurable gain",
}


def sentence(random: Difference, everything: Difference, state: Ablation) -> str:
    """The verdict with both intervals."""
    runs = f"{state.config.seeds} seeds, {state.config.tokens:,} tokens a run, {random.items} test items"
    return (
        f"{SAID[random.verdict]}: against as many random rows {in_words(random)}; against all rows"
        f" {in_words(everything)} ({everything.verdict}); {runs}."
    )


def in_words(one: Difference) -> str:
    """'loss lower by 0.120 (95 % interval 0.080 to 0.160)'."""
    what = "loss lower by" if one.measure == "loss" else f"{one.measure} higher by"
    return f"{what} {one.value:.3f} (95 % interval {one.low:.3f} to {one.high:.3f})"
