"""What is measured on held-out rows while a run goes on: loss by source, and answers to fixed prompts.

Nothing here learns, and nothing here draws from the training's random state: a run with more evaluations
makes the same steps as one with fewer.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ConfigError
from tunesmith.core.files import append_jsonl, hash_text
from tunesmith.core.recipe import Recipe
from tunesmith.core.scorers import Case, Reply, choose_all, score_case, scorers_for
from tunesmith.runtime.step import ExampleLoss
from tunesmith.train.engines.port import Engine, Item

SAMPLES = "samples.jsonl"
ITEMS_AT_ONCE = 64
"""So many validation items are in memory together."""
MEAN_CHARACTERS = "mean_characters"


class Losses(NamedTuple):
    """Mean negative log-likelihood of learned tokens, nats."""

    overall: float
    """Over all tokens of the sources that are trained on."""
    by_source: Mapping[str, float]
    accuracy: float
    """Share of the tokens of the first that are the model's first choice."""


@dataclass
class SourceLosses:
    """Sums of losses and counts of tokens by source, gathered over items."""

    nll: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    num_right: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    num_reads: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, items: Sequence[Item], losses: Sequence[ExampleLoss]) -> None:
        """Gather what was found for each item."""
        for item, found in zip(items, losses, strict=True):
            self.nll[item.source] += found.nll
            self.num_right[item.source] += found.num_right
            self.num_reads[item.source] += item.encoded.num_supervised

    def losses(self, only_measured: Collection[str] = ()) -> Losses:
        """Means over all tokens but those of sources that are only measured, and over each source's.

        Where every source is only measured, the first is over all of them.
        """
        learned = self.nll.keys() - set(only_measured) or self.nll.keys()
        num_reads = max(1, sum(self.num_reads[name] for name in learned))
        by_source = {name: self.nll[name] / max(1, self.num_reads[name]) for name in sorted(self.nll)}
        return Losses(
            overall=sum(self.nll[name] for name in sorted(learned)) / num_reads,
            by_source=by_source,
            accuracy=sum(self.num_right[name] for name in learned) / num_reads,
        )


def measure_losses(engine: Engine, items: Sequence[Item], only_measured: Collection[str] = ()) -> Losses:
    """The loss on held-out items, a few of them in memory at a time."""
    gathered = SourceLosses()
    for start in range(0, len(items), ITEMS_AT_ONCE):
        part = [items[row] for row in range(start, min(start + ITEMS_AT_ONCE, len(items)))]
        gathered.add(part, engine.losses(part))
    return gathered.losses(only_measured)


class Prompt(NamedTuple):
    """A validation example whose last answer is generated and compared with the right one."""

    source: str
    row_hash: str
    example: Example

    @property
    def gold(self) -> str:
        """The right answer."""
        return self.example.answer


def check_measurable(recipe: Recipe, data: Mapping[str, DataSet]) -> None:
    """Raise ConfigError for patience without a validation row whose loss could rise."""
    if recipe.patience and not any(data_set.num_rows("validation") for data_set in data.values()):
        raise ConfigError(
            "there is no validation row to measure by when to stop",
            where="patience",
            value=recipe.patience,
            next_step="leave patience out, or prepare the data with a validation split",
        )


def choose_prompts(recipe: Recipe, data: Mapping[str, DataSet]) -> list[Prompt]:
    """A fixed set of validation prompts, drawn by hash from all sources: the same in every run of a seed.

    Raises ConfigError when no validation row is a conversation with an answer.
    """
    if not recipe.generation.prompts:
        return []
    chosen = heapq.nsmallest(
        recipe.generation.prompts,
        conversations(data),
        key=lambda prompt: hash_text(f"{recipe.seed}:{prompt.source}:{prompt.row_hash}"),
    )
    if not chosen:
        raise ConfigError(
            "there is no validation row with an answer to compare generated ones with",
            where="generation.prompts",
            value=recipe.generation.prompts,
            next_step="leave generation out, or prepare the data with a validation split of conversations",
        )
    return chosen


def conversations(data: Mapping[str, DataSet]) -> Iterable[Prompt]:
    """Validation rows that end in an answer."""
    for name, data_set in data.items():
        if "validation" not in data_set.split_names():
            continue
        for row in data_set.rows("validation"):
            if any(turn.role == "assistant" and turn.content for turn in row.example.messages):
                yield Prompt(name, row.row_hash, row.example)


def measure_answers(
    engine: Engine, prompts: Sequence[Prompt], *, max_tokens: int, step: int, folder: Path
) -> dict[str, float]:
    """Mean score of generated answers by scorer; each answer is kept in `samples.jsonl`."""
    scorers = choose_all(scorers_for([prompt.example for prompt in prompts]))
    answers = engine.generate([prompt.example for prompt in prompts], max_tokens)
    sums = dict.fromkeys([*(chosen.name for chosen in scorers), MEAN_CHARACTERS], 0.0)
    for prompt, answer in zip(prompts, answers, strict=True):
        scores, _ = score_case(scorers, Case(prompt.example, Reply(answer)))
        append_jsonl(folder / SAMPLES, sample(prompt, answer, scores, step))
        for name, score in {**scores, MEAN_CHARACTERS: float(len(answer))}.items():
            sums[name] += score
    return {name: value / len(prompts) for name, value in sums.items()}


def sample(prompt: Prompt, answer: str, scores: Mapping[str, float], step: int) -> dict[str, Any]:
    """One generated answer as `samples.jsonl` holds it."""
    return {
        "step": step,
        "source": prompt.source,
        "row_hash": prompt.row_hash,
        "prompt": [turn.to_json() for turn in prompt.example.prompt],
        "gold": prompt.gold,
        "answer": answer,
        "scores": dict(scores),
    }
