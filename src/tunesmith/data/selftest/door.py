"""The door of the selftest: draw rows, plant faults, run the checks, compare."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from tunesmith import __version__
from tunesmith.core.errors import ConfigError, DataError, nearest
from tunesmith.core.files import write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.data.check.door import opened
from tunesmith.data.check.given import Given, resolve
from tunesmith.data.check.registry import CHECKS
from tunesmith.data.check.run import Tally, lacking, run_checks
from tunesmith.data.check.sample import order_of
from tunesmith.data.check.schema import CheckConfig, as_summary
from tunesmith.data.check.selection import thresholds
from tunesmith.data.corpus import Corpus, CorpusRow, open_corpus
from tunesmith.data.selftest.measure import Seen, judge, seen_by
from tunesmith.data.selftest.plants import PLANTS, RANKED, TEST, TRAIN, CannotPlant, Planted
from tunesmith.data.selftest.schema import NotPlanted, Outcome, SelftestConfig, SelftestResult

RESULT, PLANTED = "selftest.json", "planted.jsonl"
FEWEST_ROWS = 20
EVERYTHING = -1e9
"""Threshold that lets every row through, so that all are ranked."""
SHARED = ("threshold", "embeddings", "max_length", "seed", "model", "data", "shape", "mapping", "fix")
"""Settings that mean the same for a check."""


def selftest(config: SelftestConfig, job: Job) -> SelftestResult:
    """Plant known faults into copies of the rows, and measure what the checks find of them.

    Raises ConfigError for an unknown plant or check, DataError for data that cannot be read or are too few,
    ModelError for a model that is not there.
    """
    for name in config.plant:
        if name not in PLANTS:
            step = nearest(name, PLANTS)
            raise ConfigError("no fault of this name", where="--plant", value=name, next_step=step)
    limits = thresholds(CHECKS, config.threshold)
    settings = {name: value for name, value in config if name in SHARED}
    given = resolve(CheckConfig(**settings, budget=config.budget / 2), job)
    identity = config.to_json() | {"version": __version__}
    for name in ("data", "name", "model", "mapping"):
        del identity[name]
    name = config.name or given.name
    with job.folder(
        verb="data selftest",
        kind="selftest",
        name=name,
        config=identity,
        inputs=given.inputs(),
        seed=config.seed,
    ) as folder:
        rows, unreadable = drawn_rows(given, config, job)
        bench = Bench(rows, given, limits, job)
        outcomes: list[Outcome] = []
        left_out: list[NotPlanted] = []
        planted_rows: list[dict[str, object]] = []
        for plant_name in config.plant or PLANTS:
            try:
                planted = list(
                    PLANTS[plant_name](rows, Random(f"{config.seed} {plant_name}"), count_of(rows, config))
                )
                outcomes += bench.measure(plant_name, planted)
            except CannotPlant as reason:
                left_out.append(NotPlanted(plant=plant_name, reason=str(reason)))
            else:
                planted_rows += [as_line(plant_name, one, rows) for one in planted]
        result = SelftestResult(
            folder=folder.path,
            data=given.name,
            rows=len(rows),
            unreadable=unreadable,
            outcomes=outcomes,
            not_planted=left_out,
        )
        write_json(folder / RESULT, as_summary(result))
        write_jsonl(folder / PLANTED, planted_rows)
        folder.summary = as_summary(result)
    return result


def count_of(rows: Sequence[CorpusRow], config: SelftestConfig) -> int:
    """How many faults of a kind."""
    return max(2, round(config.share * len(rows)))


def drawn_rows(given: Given, config: SelftestConfig, job: Job) -> tuple[list[CorpusRow], int]:
    """Rows to work on, and how many cannot be read; without splits a fifth stands for a test split."""
    with open_corpus(given.path, job, given.how) as corpus:
        if len(corpus) < FEWEST_ROWS:
            what = f"a selftest needs at least {FEWEST_ROWS} rows that can be read"
            step = f"mend the others ({corpus.num_unreadable:,}): tunesmith data show {given.path}"
            step = step if corpus.num_unreadable else "give more rows"
            raise DataError(what, where=given.path, value=len(corpus), next_step=step)
        positions = sorted(order_of(len(corpus), config.seed)[: config.rows].tolist())
        rows, unreadable = [corpus.row(position) for position in positions], corpus.num_unreadable
    if any(row.split for row in rows):
        return rows, unreadable
    random = Random(f"{config.seed} splits")
    return [row._replace(split=TEST if random.random() < 0.2 else TRAIN) for row in rows], unreadable


def as_line(plant: str, planted: Planted, rows: Sequence[CorpusRow]) -> dict[str, object]:
    """A planted row as a line of planted.jsonl."""
    return {
        "plant": plant,
        "checks": list(planted.checks),
        "source": rows[planted.source].place,
        "row": planted.example.to_json(),
    }


class Ran(NamedTuple):
    """What some checks said of a corpus."""

    seen: Mapping[str, Seen]
    reasons: Mapping[str, str]
    """Check → why it did not run."""


class Bench:
    """Runs checks over rows, with faults and without; what they say without is kept."""

    def __init__(
        self, rows: Sequence[CorpusRow], given: Given, limits: Mapping[str, float], job: Job
    ) -> None:
        self.rows, self.given, self.limits, self.job = rows, given, limits, job
        self._clean: dict[str, Seen] = {}

    def measure(self, plant: str, planted: Sequence[Planted]) -> Iterator[Outcome]:
        """Every check that should find this fault, and all of them together when they mean the same."""
        names = list(dict.fromkeys(name for one in planted for name in one.checks if name in CHECKS))
        ran = self.run(with_faults(self.rows, planted), names)
        if all(ran.reasons.get(name) for name in names):
            raise CannotPlant("; ".join(dict.fromkeys(ran.reasons.values())) or "no check looks for it")
        names = [name for name in names if name not in ran.reasons]
        self._look_at_clean(names)
        together = len({one.checks for one in planted}) == 1 and len(names) > 1
        for group in [[name] for name in names] + ([names] if together else []):
            places = places_of(self.rows, planted, group)
            seen = [ran.seen[name] for name in group]
            yield judge(plant, group, places, seen, [self._clean[name] for name in group])

    def _look_at_clean(self, names: Iterable[str]) -> None:
        missing = [name for name in names if name not in self._clean]
        if missing:
            self._clean |= self.run(self.rows, missing).seen

    def run(self, rows: Sequence[CorpusRow], names: Sequence[str]) -> Ran:
        """Run checks over rows in a corpus of their own; its lines are their places."""
        limits = {name: EVERYTHING if name in RANKED else self.limits[name] for name in names}
        with corpus_with(rows, self.given.name) as corpus, tempfile.TemporaryDirectory() as place:
            path = Path(place) / "findings.jsonl"
            with opened(corpus, self.given, self.job) as context:
                reasons = {name: reason for name in names if (reason := lacking(CHECKS[name], context))}
                able = [CHECKS[name] for name in names if name not in reasons]
                tallies: list[Tally] = run_checks(able, limits, context, path)
            reasons |= {tally.check.name: tally.reason for tally in tallies if tally.reason}
            seen = {
                tally.check.name: seen_by(tally, path, self.limits[tally.check.name])
                for tally in tallies
                if not tally.reason
            }
        return Ran(seen, reasons)


def with_faults(rows: Sequence[CorpusRow], planted: Sequence[Planted]) -> list[CorpusRow]:
    """The rows with faults in place of their sources, and copies behind them."""
    found = list(rows)
    for one in planted:
        source = rows[one.source]
        row = source._replace(example=one.example, split=one.split or source.split, group_id="")
        if one.is_copy:
            found.append(row)
        else:
            found[one.source] = row
    return found


def places_of(
    rows: Sequence[CorpusRow], planted: Sequence[Planted], checks: Sequence[str]
) -> dict[int, set[int]]:
    """Fault → the rows by which it may be found; only faults that one of these checks should find."""
    places, copies = {}, len(rows)
    for one in planted:
        at = copies if one.is_copy else one.source
        copies += one.is_copy
        if set(one.checks) & set(checks):
            places[at] = {at, one.source}
    return places


@contextmanager
def corpus_with(rows: Sequence[CorpusRow], name: str) -> Iterator[Corpus]:
    """A corpus of rows with their splits."""
    with tempfile.TemporaryFile("w+b") as spool:
        corpus = Corpus(spool, name)
        for row in rows:
            corpus.add(row.example, split=row.split, group_id=row.group_id)
        yield corpus
