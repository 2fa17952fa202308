"""Which files to read, whose they are, and the answers of one model asked in one way."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tunesmith.core.errors import ConfigError, DataError, UserError, nearest
from tunesmith.evaluate.imported import inspect_log, lm_eval, promptfoo
from tunesmith.evaluate.imported.port import Found, Note, Refused, Row
from tunesmith.evaluate.imported.schema import HarnessName, ImportConfig


@dataclass(frozen=True, slots=True)
class Reader:
    """How the files of a harness are found, told from others, and read."""

    files_in: Callable[[Path], list[Path]]
    is_mine: Callable[[Path], bool]
    read: Callable[[Path], Found]


READERS: dict[HarnessName, Reader] = {
    "lm-eval": Reader(lm_eval.files_in, lm_eval.is_mine, lm_eval.read),
    "inspect": Reader(inspect_log.files_in, inspect_log.is_mine, inspect_log.read),
    "promptfoo": Reader(promptfoo.files_in, promptfoo.is_mine, promptfoo.read),
}


class Taken(NamedTuple):
    """What the files hold, each row accounted for."""

    harness: HarnessName
    files: list[Path]
    rows: list[Row]
    refused: list[Refused]
    elsewhere: int
    notes: list[str]


def take(config: ImportConfig) -> Taken:
    """The answers of one model asked in one way.

    Raises DataError for files that are none of a harness or hold nothing, ConfigError when they hold several
    models or ways and none is chosen.
    """
    harness, files = files_of(config)
    found: dict[Path, list[Row | Refused | Note]] = {
        path: list(READERS[harness].read(path)) for path in files
    }
    refuse_two_runs({path: [one for one in all_ if isinstance(one, Row)] for path, all_ in found.items()})
    everything = [one for all_ in found.values() for one in all_]
    rows = [one for one in everything if isinstance(one, Row)]
    chosen = chosen_rows(rows, config)
    kept, twice = without_repeats(chosen)
    refused = [*(one for one in everything if isinstance(one, Refused)), *twice]
    if not kept:
        why = f"{refused[0].where}: {refused[0].reason}" if refused else "they are empty"
        raise DataError("no answer could be taken from these results", where=config.results, value=why)
    notes = [one.text for one in everything if isinstance(one, Note)]
    return Taken(harness, files, kept, refused, len(rows) - len(chosen), notes)


def files_of(config: ImportConfig) -> tuple[HarnessName, list[Path]]:
    """The harness and its files at the place given."""
    given = config.results
    if not given.exists():
        raise UserError("no such file or folder", value=str(given), next_step="check the path")
    for name, reader in READERS.items():
        if config.from_ is not None and config.from_ != name:
            continue
        files = [given] if given.is_file() else reader.files_in(given)
        if given.is_file() and (config.from_ or reader.is_mine(given)):
            return name, files
        if given.is_dir() and (mine := [path for path in files if reader.is_mine(path)]):
            return name, mine
    known = " or ".join([config.from_] if config.from_ else list(READERS))
    step = f"give what {known} wrote; lm-eval needs --log_samples, promptfoo -o FILE.json"
    raise DataError("no results of a harness that is known", where=given, next_step=step)


def refuse_two_runs(found: dict[Path, list[Row]]) -> None:
    """Two files of one task, model and way are two runs of it: which one is meant is not for us to say."""
    places: dict[tuple[str, str, str], Path] = {}
    for path, rows in found.items():
        for key in {(row.model, row.way, row.task) for row in rows}:
            if key in places:
                where = f"{places[key]} and {path}"
                step = "give one of the files"
                raise DataError(
                    "the folder holds two runs of one task", where=where, value=key[2], next_step=step
                )
            places[key] = path


def chosen_rows(rows: Sequence[Row], config: ImportConfig) -> list[Row]:
    """The rows of the model and way that are asked for, or of the only ones."""
    model = the_one([row.model for row in rows], config.model, "--model")
    rows = [row for row in rows if row.model == model]
    way = the_one([row.way for row in rows], config.prompt, "--prompt")
    return [row for row in rows if row.way == way]


def the_one(found: Iterable[str], wanted: str | None, option: str) -> str | None:
    """The value that is wanted, or the only one.  Raises ConfigError."""
    known = list(dict.fromkeys(found))
    if wanted is not None:
        if known and wanted not in known:
            raise ConfigError("the results have none of this name", value=wanted, where=option,
                              next_step=nearest(wanted, known))  # fmt: skip
        return wanted
    if len(known) > 1:
        step = f"choose one with {option}: {', '.join(map(repr, known))}"
        raise ConfigError(f"the results are of {len(known)} different ones", where=option, next_step=step)
    return known[0] if known else None


def without_repeats(rows: Iterable[Row]) -> tuple[list[Row], list[Refused]]:
    """Each answer with its number among those to its item, and answers that would be two in one place."""
    counts: dict[tuple[str, str], int] = {}
    known: dict[tuple[str, str, int], str] = {}
    kept, twice = [], []
    for row in rows:
        item = (row.task, row.item)
        repeat = counts.get(item, 0) if row.repeat is None else row.repeat
        counts[item] = counts.get(item, 0) + 1
        if (key := (*item, repeat)) in known:
            twice.append(Refused(row.where, f"the same question as {known[key]}"))
        else:
            known[key] = row.where
            kept.append(replace(row, repeat=repeat))
    return kept, twice
