"""`tunesmith data balance`: even out the training rows by a key, without copying any."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import SAMPLING_WEIGHT, DataSet
from tunesmith.core.errors import DataError, nearest
from tunesmith.core.files import write_json
from tunesmith.core.job import Job
from tunesmith.data.corpus import Corpus, CorpusRow
from tunesmith.data.select.door import other_rows, train_rows
from tunesmith.data.select.schema import BalanceConfig, BalanceResult, ValueFacts
from tunesmith.data.steps import Ledger, derived, summary_of, write_rows

NONE = "(none)"
MAX_VALUES = 10_000
"""More different values are no classes that anything could be balanced by."""
SHORT_ANSWER = 60
"""Longer answers are free text, not labels."""
HEAVY = 5.0
"""Rows that are seen more often than this are likely learned by heart."""
QUARTERS = ("shortest quarter", "second quarter", "third quarter", "longest quarter")


def balance(config: BalanceConfig, job: Job) -> BalanceResult:
    """Drop rows of frequent values, or write weights; a data set folder with the other splits as they are.

    Raises DataError for a key that no row has, and for one that tells nothing apart.
    """
    data = DataSet.find(config.data, job.workspace)
    settings = {key: value for key, value in config.to_json().items() if key != "data"}
    with (
        derived(job, data, verb="data balance", config=settings, seed=config.seed) as folder,
        train_rows(data) as corpus,
        Ledger(folder.path) as ledger,
    ):
        values = values_of(corpus, config.by)
        counts = Counter(values)
        check_values(counts, config.by, corpus)
        sizes = dict(counts) if config.weights else kept_counts(counts, config)
        weights = weights_of(counts, config.power) if config.weights else dict.fromkeys(counts, 1.0)
        kept = chosen_rows(values, sizes, config.seed)
        rows = balanced(data, corpus, values, kept, weights if config.weights else None, ledger)
        written = write_rows(folder, data.split_names(), rows)
        facts = [
            ValueFacts(value=value, before=count, after=sizes[value], weight=weights[value])
            for value, count in counts.most_common()
        ]
        write_json(folder / "balance.json", {"by": config.by, "values": [fact.to_json() for fact in facts]})
        folder.summary = summary_of(
            data, written, rows=sum(data.num_rows(name) for name in data.split_names()),
            changed=0, dropped=len(corpus) - len(kept), notes=notes_on(facts, config),
        )  # fmt: skip
        folder.summary |= {"by": config.by, "values": [fact.to_json() for fact in facts]}
    return BalanceResult(**BalanceResult.fields_from(folder.summary, folder.path))


def values_of(corpus: Corpus, by: str) -> list[str]:
    """The value of each row."""
    if by == "length":
        lengths = np.array([len(row.example.answer) for row in corpus])
        edges = np.quantile(lengths, [0.25, 0.5, 0.75])
        return [QUARTERS[int(place)] for place in np.searchsorted(edges, lengths, side="left")]
    return [VALUES.get(by, from_metadata(by))(row.example) for row in corpus]


def from_metadata(key: str) -> Callable[[Example], str]:
    """What a key of the metadata says."""

    def value(example: Example) -> str:
        found: Any = example.metadata.get(key)
        return NONE if found is None else str(found)

    return value


VALUES: Mapping[str, Callable[[Example], str]] = {
    "answer": lambda example: example.answer.strip()[: SHORT_ANSWER + 1],
    "turns": lambda example: str(len(example.messages)),
}
"""Keys that are read from the conversation itself."""


def check_values(counts: Counter[str], by: str, corpus: Corpus) -> None:
    """Refuse what cannot be balanced by."""
    if set(counts) == {NONE}:
        known = {key for row in corpus for key in row.example.metadata} | {*VALUES, "length"}
        raise DataError("no row has this key", value=by, where="--by", next_step=nearest(by, known))
    if len(counts) == 1:
        value = next(iter(counts))
        step = "there is nothing to balance; choose another key"
        raise DataError("every row has the same value", value=value, where="--by", next_step=step)
    if by == "answer" and max(map(len, counts)) > SHORT_ANSWER:
        step = "balance by a key of the metadata, by length or by turns"
        raise DataError("the answers are free text, not labels", where="--by answer", next_step=step)
    if len(counts) > MAX_VALUES:
        step = "choose a key with fewer values"
        raise DataError(f"{len(counts):,} different values are too many", where="--by", next_step=step)


def kept_counts(counts: Mapping[str, int], config: BalanceConfig) -> dict[str, int]:
    """Rows that stay of each value: at most the cap, or p ∝ n^(1/T) with the rarest value kept whole."""
    if config.cap:
        return {value: min(count, config.cap) for value, count in counts.items()}
    power = 1 / config.temperature
    scale = min(count ** (1 - power) for count in counts.values())
    return {value: min(count, max(1, round(scale * count**power))) for value, count in counts.items()}


def weights_of(counts: Mapping[str, int], temperature: float) -> dict[str, float]:
    """Weights that give each value a share ∝ n^(1/T), and leave the length of an epoch as it is."""
    total = sum(counts.values())
    shares = {value: count ** (1 / temperature) for value, count in counts.items()}
    whole = sum(shares.values())
    return {value: shares[value] / whole * total / count for value, count in counts.items()}


def chosen_rows(values: list[str], sizes: Mapping[str, int], seed: int) -> set[int]:
    """Rows that stay, drawn uniformly inside each value."""
    left, kept = dict(sizes), set()
    for place in np.random.default_rng(seed).permutation(len(values)).tolist():
        if left[values[place]]:
            left[values[place]] -= 1
            kept.add(place)
    return kept


def balanced(
    data: DataSet,
    corpus: Corpus,
    values: list[str],
    kept: set[int],
    weights: Mapping[str, float] | None,
    ledger: Ledger,
) -> Iterator[CorpusRow]:
    """Training rows that stay, with their weight when there are any, and every row of the other splits."""
    for row in corpus:
        value = values[row.position]
        if row.position not in kept:
            ledger.drop("balance", row.place, f"too many rows of this value: {value}")
        elif weights is None:
            yield row
        else:
            metadata = {**row.example.metadata, SAMPLING_WEIGHT: round(weights[value], 6)}
            yield row._replace(example=replace(row.example, metadata=metadata))
    yield from other_rows(data)


def notes_on(facts: list[ValueFacts], config: BalanceConfig) -> list[str]:
    """What a reader should know."""
    heavy = [fact.value for fact in facts if fact.weight > HEAVY]
    notes = []
    if heavy:
        shown = ", ".join(heavy[:5])
        notes.append(f"rows of {shown} are seen more than {HEAVY:g} times in an epoch: raise fewer, add data")
    if config.weights:
        notes.append(f"each training row has its weight in metadata.{SAMPLING_WEIGHT}; training follows it")
    return notes
