"""Start a server, let the harness ask it, read what it wrote."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tunesmith.core.endpoint import key_in
from tunesmith.core.errors import EXIT_INTERRUPTED, Interrupted, StepFailed, UserError
from tunesmith.core.job import Job
from tunesmith.evaluate.benchmark.runners import OFFLINE, RUNNERS, Target, program_of
from tunesmith.evaluate.benchmark.schema import BenchmarkConfig, BenchmarkResult
from tunesmith.evaluate.imported.door import HARNESS, Origin, report_of
from tunesmith.evaluate.imported.reading import take
from tunesmith.evaluate.imported.schema import ImportConfig
from tunesmith.evaluate.run import slug
from tunesmith.evaluate.schema import EvaluateConfig
from tunesmith.evaluate.server import asked_server, describe_model, is_here
from tunesmith.launch.process import run_logged
from tunesmith.runtime.catalogue import locate

LOG = "harness.log"
RESULTS = "results"
SHOWN_LINES = 8


def benchmark(config: BenchmarkConfig, job: Job) -> BenchmarkResult:
    """Run the tasks and import their results; a report folder, with the harness's own files in it.

    Raises MissingPackage without the harness, StepFailed with its last words when it fails.
    """
    program = program_of(config)
    asked = EvaluateConfig(
        suite=Path(config.tasks[0]),
        model=config.model,
        endpoint=config.endpoint,
        served_as=config.served_as,
        api_key_variable=config.api_key_variable,
    )
    model, names = describe_model(asked, job)
    with raw_folder(config, job) as raw:
        with asked_server(asked, names, job) as server:
            endpoint = server.endpoint
            key, tokenizer = key_in(config.api_key_variable), tokenizer_of(config, job)
            command = run_harness(
                config, program, Target(endpoint.url, endpoint.model, key, tokenizer), raw, job
            )
        read = ImportConfig(
            results=raw / RESULTS,
            from_=config.harness,
            metric=config.metric,
            slices=config.slices,
            seed=config.seed,
        )
        taken = take(read)
        origin = Origin("benchmark", {"model": model}, config.model, raw)
        shown = [word.replace(str(raw), HARNESS) for word in command]
        return BenchmarkResult(**report_of(taken, read, origin, job, command=shown))


@contextmanager
def raw_folder(config: BenchmarkConfig, job: Job) -> Iterator[Path]:
    """A folder for the harness's own files; where no report comes of them, they are kept in the workspace."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as name:
        raw = Path(name) / HARNESS
        raw.mkdir()
        try:
            yield raw
        except (UserError, StepFailed, Interrupted, KeyboardInterrupt):
            if any(raw.iterdir()):
                place = job.workspace.root / HARNESS / slug(f"{config.harness}-{config.tasks[0]}")
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(raw, place)
                job.progress.say(f"what {config.harness} wrote stands in {place}")
            raise


def tokenizer_of(config: BenchmarkConfig, job: Job) -> Path | None:
    """The folder of the model's tokenizer, where the model is on this machine."""
    if not is_here(config.model, job):
        return None
    located = locate(config.model, job)
    with_tokenizer = (located.adapter, located.model_folder)
    return next((path for path in with_tokenizer if path and (path / "tokenizer.json").is_file()), None)


def run_harness(config: BenchmarkConfig, program: Path, target: Target, raw: Path, job: Job) -> list[str]:
    """Run it to its end; returns the command.  Raises StepFailed with its last lines."""
    runner, log = RUNNERS[config.harness], raw / LOG
    command = [str(program), *runner.arguments(config, target, raw / RESULTS)]
    environment: Mapping[str, str] = {**runner.environment(target), **({} if config.online else OFFLINE)}
    job.progress.say(f"running {config.harness}: {', '.join(config.tasks)}")
    code = run_logged(command, log, environment=environment)
    if code == EXIT_INTERRUPTED:
        raise Interrupted(f"{config.harness} was stopped before its end")
    if code != 0 or not (raw / RESULTS).exists():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        frames_apart = [line for line in lines if line.strip() and not line.startswith(" ")]
        last = "\n".join(f"  {line}" for line in frames_apart[-SHOWN_LINES:])
        raise StepFailed(f"{config.harness} ended with code {code}:\n{last}")
    return command
