"""Measuring prompts on the validation split: all on few items, the better half on twice as many, and so on.

Successive halving (Jamieson and Talwalkar, arXiv:1502.07943).  Items of a later round hold those of the
earlier ones, and answers are kept, so a round asks only what is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.errors import ConfigError
from tunesmith.core.files import read_jsonl
from tunesmith.core.job import Job
from tunesmith.core.progress import counted
from tunesmith.core.prompts import AS_IS
from tunesmith.core.scorers import choose
from tunesmith.core.stats import bootstrap_mean, share_interval
from tunesmith.decide.budget import PROMPTS, PROMPTS_ALONE, Budget
from tunesmith.decide.prompting import ALWAYS, Candidate, characters_of
from tunesmith.decide.schema import DecideConfig, Measurement
from tunesmith.launch.server import Served, temporary_server
from tunesmith.launch.steps import Step, run_step

ALPHA = 0.05
ROUNDS = (4, 2, 1)
"""Each round asks the limit divided by this."""
FEWEST_IN_ROUND = 10
FINALISTS = 2
"""Prompts beside the data's own that are asked everything."""
SAMPLE = 8
"""Rows over which a prompt's length is estimated."""


class Measured(NamedTuple):
    """What was measured, what was not and why, and the score that decides."""

    measurements: list[Measurement]
    bigger: list[Measurement]
    skipped: list[str]
    primary: str
    unasked: int
    """Prompts that could have been asked, and for which there was no time at all."""


@dataclass
class Race:
    """The prompts in the race, and what is known of each."""

    config: DecideConfig
    data: Path
    plan: Path
    examples: Sequence[Example]
    """Some validation rows: what prompts are as long as."""
    items: int
    """Validation items that the last round asks."""
    context: int | None
    """Tokens that the model can read; None when not known."""
    budget: Budget
    job: Job
    results: dict[str, tuple[Candidate, dict[str, Any]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    seconds_per_item: float = 0.0
    """What the slowest evaluation took for one."""
    finalists: frozenset[str] = frozenset()
    longest: float = 0.0
    """Tokens of the longest prompt that was asked."""

    @property
    def until(self) -> float:
        """Where the time for prompts ends.

        The first round may take all of it: a prompt that was asked little is worth more than one that was
        not asked, and later rounds begin with the best.
        """
        return PROMPTS if self.config.probe else PROMPTS_ALONE

    def length(self, candidate: Candidate) -> float:
        """Tokens of a prompt, by those of the data's own."""
        _, result = self.results[AS_IS.name]
        tokens: float = result["prompt_tokens"] / max(1, result["items"])
        characters = max(1.0, characters_of(AS_IS, self.examples))
        return tokens * characters_of(candidate.shape, self.examples) / characters

    def reason_against(self, candidate: Candidate, items: int) -> str:
        """Why a prompt is not asked so many items; empty when nothing speaks against it."""
        if AS_IS.name not in self.results:
            return ""
        if why := self.too_long(candidate):
            return why
        length = self.length(candidate)
        new = items - self.known(candidate)
        slower = max(1.0, length / self.longest) if self.longest else 1.0
        if new * self.seconds_per_item * slower > self.budget.left(self.until):
            return f"the time for measuring prompts ({self.budget.seconds / 60:g} minutes in all) was spent"
        return ""

    def too_long(self, candidate: Candidate) -> str:
        """Why a prompt does not fit the model; empty where it does.  After the data's own was asked."""
        length = self.length(candidate)
        room = (self.context or 0) - self.results[AS_IS.name][1]["max_tokens"]
        if self.context is not None and length > room:
            return f"about {length:,.0f} tokens do not fit into the model's {self.context:,} with an answer"
        return ""

    def known(self, candidate: Candidate) -> int:
        """Items that an earlier round asked."""
        found = self.results.get(candidate.shape.name)
        return int(found[1]["items"]) if found else 0

    def ask(self, candidate: Candidate, items: int, served: Served) -> None:
        """One evaluation, and what it says about the time that others take."""
        before = self.budget.spent
        step = Step(
            candidate.shape.name,
            f"the base with the prompt {candidate.shape.name}",
            "evaluate",
            settings_of(candidate, self.config, self.data, self.plan, items)
            | {"model": self.config.model, "endpoint": served.url, "served_as": served.model},
        )
        result = run_step(step, self.job)
        self.results[candidate.shape.name] = (candidate, result)
        if asked := result["items"] - result["cached"]:
            self.seconds_per_item = max(self.seconds_per_item, (self.budget.spent - before) / asked)
            self.longest = max(self.longest, result["prompt_tokens"] / max(1, result["items"]))


def measure(candidates: Sequence[Candidate], race: Race) -> Measured:
    """Race the prompts against one server, within the time for it, then ask the bigger model the best ones.

    A report that is already there is taken as it is.  Raises ConfigError when values of the score that
    decides do not lie between 0 and 1.
    """
    with temporary_server(race.config.model, race.job) as served:
        sizes = rounds(race.items)
        for number, items in enumerate(sizes, start=1):
            running = in_the_race(candidates, race)
            race.finalists = frozenset(one.shape.name for one in running)
            race.job.progress.say(f"{counted(len(running), 'prompt')} on {items} validation items each")
            for candidate in running:
                # The prompts that need no data are always tried, and the best one is always measured whole.
                always = candidate in (candidates[:ALWAYS] if number == 1 else running[:1])
                if not always and (why := race.reason_against(candidate, items)):
                    race.skipped.append(f"{candidate.shape.name} on {items} items: {why}")
                else:
                    race.ask(candidate, items, served)
                    check_score(race.results[AS_IS.name][1]["primary"])
    tried = list(race.results.values())
    found = [
        measurement(one, result, len(tried), race.config, finalist=one.shape.name in race.finalists)
        for one, result in tried
    ]
    primary = str(tried[0][1]["primary"])
    unasked = [one for one in candidates if one.shape.name not in race.results and not race.too_long(one)]
    bigger = bigger_model(found, candidates, race, len(tried))
    return Measured(found, bigger, race.skipped, primary, len(unasked))


def rounds(limit: int) -> list[int]:
    """Items of each round; short ones are left out."""
    return sorted({limit // part for part in ROUNDS if limit // part >= FEWEST_IN_ROUND} | {limit})


def in_the_race(candidates: Sequence[Candidate], race: Race) -> list[Candidate]:
    """All at first; then the better half, two of them at least, and the data's own prompt; the best first.

    Where the time ends in the middle of a round, it was spent on those that the verdict may be about.
    """
    if not race.results:
        return list(candidates)
    running = [found for name, found in race.results.items() if name in race.finalists]
    measured = [measurement(*found, len(race.results), race.config) for found in running]
    others = [one.prompt for one in ordered(measured) if one.prompt != AS_IS.name]
    kept = {AS_IS.name, *others[: max(FINALISTS, (len(others) + 1) // 2)]}
    by_name = {one.shape.name: one for one in candidates}
    return [by_name[one.prompt] for one in ordered(measured) if one.prompt in kept]


def settings_of(
    candidate: Candidate, config: DecideConfig, data: Path, plan: Path, items: int
) -> dict[str, Any]:
    """What every evaluation of a prompt has in common."""
    return {
        "suite": str(data),
        "split": "validation",
        "prompt": None if candidate.shape == AS_IS else str(plan / candidate.file),
        "limit": items,
        "scorers": [config.metric] if config.metric else [],
        "seed": config.seed,
    }


def check_score(primary: str) -> None:
    """Refuse a score that a target cannot be set for."""
    scorer = choose(primary).scorer
    if scorer.kind == "number" or scorer.better != "higher" or scorer.needs != "answer":
        step = "choose one with --metric whose values lie between 0 and 1, such as exact or token_f1"
        raise ConfigError("no target can be set for this score", value=primary, next_step=step)


def bigger_model(
    found: Sequence[Measurement], candidates: Sequence[Candidate], race: Race, tried: int
) -> list[Measurement]:
    """The bigger model with the data's own prompt and with the best one."""
    config = race.config
    if config.bigger is None:
        return []
    by_file = {one.file: one for one in candidates}
    chosen = {one.file: by_file[one.file] for one in (found[0], best_of(found))}
    measured = []
    for candidate in chosen.values():
        if (left := race.budget.left(race.until)) <= 0:
            race.skipped.append(f"{config.bigger} with {candidate.shape.name}: {-left:.0f} s over the time")
            continue
        settings = settings_of(candidate, config, race.data, race.plan, config.limit) | {
            "model": config.bigger,
            "endpoint": config.bigger_endpoint,
            "api_key_variable": config.bigger_key_variable,
        }
        title = f"{config.bigger} with the prompt {candidate.shape.name}"
        result = run_step(Step(candidate.shape.name, title, "evaluate", settings), race.job)
        measured.append(measurement(candidate, result, tried + len(chosen), config))
    return measured


def measurement(
    candidate: Candidate, result: dict[str, Any], tried: int, config: DecideConfig, *, finalist: bool = True
) -> Measurement:
    """What one evaluation says, with a lower bound that holds although the best of several is looked at.

    Bonferroni: each prompt's one-sided bound at 1 − 0.05 / number of prompts tried.
    """
    primary = result["primary"]
    score = result["scores"][primary]
    samples = read_samples(result)
    values = [sample["scores"][primary] for sample in samples]
    groups = [sample["group_id"] for sample in samples]
    confidence = max(1 - ALPHA, 1 - 2 * ALPHA / tried)  # only the lower end is looked at: one-sided
    if choose(primary).scorer.kind == "share":
        safe = share_interval(values, groups, confidence=confidence)
    else:
        safe = bootstrap_mean(values, groups, confidence=confidence, seed=config.seed)
    return Measurement(
        prompt=candidate.shape.name,
        model=result["model"],
        file=candidate.file,
        shots=candidate.shape.num_shots,
        value=score["value"],
        low=score["low"],
        high=score["high"],
        safe_low=safe.low,
        n=score["n"],
        errors=result["errors"],
        scores={name: entry["value"] for name, entry in result["scores"].items()},
        prompt_tokens=round(result["prompt_tokens"] / max(1, result["items"]), 1),
        seconds=result["seconds"],
        report=Path(result["folder"]).name,
        finalist=finalist,
    )


def read_samples(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Every answer of an evaluation."""
    return [line.value for line in read_jsonl(Path(result["folder"]) / "samples.jsonl")]


def ordered(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The best first: those not clearly worse on the primary score, by the sum of their scores.

    A small model has one or two answers fully right whatever the prompt; its other scores then say more.
    Of equals the shorter prompt.
    """
    best = max(one.value for one in measurements)
    return sorted(
        measurements, key=lambda one: (one.high < best, -sum(one.scores.values()), one.prompt_tokens)
    )


def best_of(measurements: Sequence[Measurement]) -> Measurement:
    """The best prompt of those that were in the race to the end."""
    return ordered([one for one in measurements if one.finalist])[0]
