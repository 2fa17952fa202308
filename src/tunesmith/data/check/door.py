"""The door of the checks: resolve, run, sum up, write."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from tunesmith import __version__
from tunesmith.core.errors import DataError
from tunesmith.core.files import write_json, write_text
from tunesmith.core.job import Job
from tunesmith.data.check.given import Given, resolve
from tunesmith.data.check.models.bench import Bench
from tunesmith.data.check.page import gather, render
from tunesmith.data.check.port import Context, no_bench
from tunesmith.data.check.registry import CHECKS
from tunesmith.data.check.run import run_checks
from tunesmith.data.check.schema import CheckConfig, CheckResult, as_summary
from tunesmith.data.check.selection import chosen, thresholds
from tunesmith.data.check.summary import summarise
from tunesmith.data.corpus import Corpus, open_corpus
from tunesmith.data.vectors import open_vectors

FINDINGS, FACTS, PAGE = "findings.jsonl", "facts.json", "report.html"


def check(config: CheckConfig, job: Job) -> CheckResult:
    """Check data; findings, facts and a page go into a folder of kind "check".

    Raises ConfigError for an unknown check or threshold, DataError or FolderError for data that cannot be
    read, ModelError for a model that is not there.
    """
    checks = chosen(CHECKS, config.only, config.skip)
    limits = thresholds(CHECKS, config.threshold)
    given = resolve(config, job)
    settings = config.to_json() | {"version": __version__}  # checks belong to their version
    settings["checks"] = {one.name: limits[one.name] for one in checks}
    for name in (
        "data",
        "name",
        "model",
        "mapping",
        "benchmark",
        "report",
        "only",
        "skip",
        "threshold",
    ):  # said by others
        del settings[name]
    name = config.name or given.name
    with job.folder(
        verb="data check", kind="check", name=name, config=settings, inputs=given.inputs(), seed=config.seed
    ) as folder:
        with open_corpus(given.path, job, given.how) as corpus, opened(corpus, given, job) as context:
            if not len(corpus) and not corpus.num_unreadable:
                raise DataError("there is no row to check", where=given.path, next_step="give other data")
            tallies = run_checks(checks, limits, context, folder / FINDINGS)
            result = summarise(tallies, corpus, given, config, folder.path, PAGE)
            write_json(folder / FACTS, {tally.check.name: tally.facts for tally in tallies if tally.facts})
            write_text(folder / PAGE, render(gather(result, tallies, context)))
        folder.summary = as_summary(result)
    return result


@contextmanager
def opened(corpus: Corpus, given: Given, job: Job) -> Iterator[Context]:
    """What checks over the whole corpus may use; models are opened when they are first asked for."""

    @cache
    def bench() -> Bench:
        if given.located is None or given.recipe is None:
            return no_bench()
        return Bench(corpus, given.options, given.recipe, given.located, job)

    with open_vectors(corpus, given.options.embeddings, job, seed=given.options.seed) as vectors:
        yield Context(corpus, given.options, job, vectors, bench)
