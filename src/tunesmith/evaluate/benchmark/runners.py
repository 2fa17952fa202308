"""How each harness is found and started."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tunesmith.core.errors import ConfigError, MissingPackage
from tunesmith.evaluate.benchmark.schema import BenchmarkConfig, RunnerName

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
NO_KEY = "none"
"""In place of a key, where the server wants none and the harness wants one."""


class Target(NamedTuple):
    """The model as a harness reaches it."""

    url: str
    name: str
    key: str | None
    tokenizer: Path | None
    """Folder of its tokenizer; None for a model that is not on this machine."""


@dataclass(frozen=True, slots=True)
class Runner:
    """A harness: its program in an environment, how that is installed, how it is started."""

    program: str
    package: str
    """What pip installs."""
    arguments: Callable[[BenchmarkConfig, Target, Path], list[str]]
    environment: Callable[[Target], dict[str, str]]


def lm_eval_arguments(config: BenchmarkConfig, target: Target, out: Path) -> list[str]:
    """`lm-eval run` on /v1/completions, or on /v1/chat/completions."""
    kind, path = (
        ("local-chat-completions", "chat/completions")
        if config.chat
        else ("local-completions", "completions")
    )
    settings = {
        "model": target.name,
        "base_url": f"{target.url}/{path}",
        "num_concurrent": config.concurrency,
        "max_retries": 3,
    }
    if not config.chat:  # likelihoods need the tokens' number; texts alone do not
        settings |= {"tokenizer": target.tokenizer} if target.tokenizer else {"tokenizer_backend": None}
    words = [
        "run",
        "--model",
        kind,
        "--model_args",
        ",".join(f"{key}={value}" for key, value in settings.items()),
    ]
    words += ["--tasks", ",".join(config.tasks), "--output_path", str(out), "--log_samples"]
    words += ["--include_path", str(config.task_folder)] if config.task_folder else []
    words += ["--num_fewshot", str(config.shots)] if config.shots is not None else []
    words += ["--limit", str(config.limit)] if config.limit else []
    return words + (["--apply_chat_template"] if config.chat else [])


def lm_eval_environment(target: Target) -> dict[str, str]:
    """Where lm-eval looks for a key."""
    return {"OPENAI_API_KEY": target.key or NO_KEY}


def inspect_arguments(config: BenchmarkConfig, target: Target, out: Path) -> list[str]:
    """`inspect eval`; a sample that fails is one, and does not end the run.  Raises ConfigError."""
    for name in ("task_folder", "shots"):
        if vars(config)[name] is not None:
            step = "write it into the task"
            raise ConfigError("this is for lm-eval", where="--" + name.replace("_", "-"), next_step=step)
    if config.chat:
        raise ConfigError("Inspect always asks in chats", where="--chat", next_step="leave it out")
    words = ["eval", *config.tasks, "--model", f"openai-api/local/{target.name}", "--display", "plain"]
    words += ["--log-dir", str(out), "--log-format", "json", "--no-fail-on-error", "--max-retries", "3"]
    words += ["--max-connections", str(config.concurrency)]
    return words + (["--limit", str(config.limit)] if config.limit else [])


def inspect_environment(target: Target) -> dict[str, str]:
    """Where Inspect's provider `local` looks for a server and its key."""
    return {"LOCAL_BASE_URL": target.url, "LOCAL_API_KEY": target.key or NO_KEY}


RUNNERS: Mapping[RunnerName, Runner] = {
    "lm-eval": Runner(
        "lm-eval", "'lm_eval[api]==0.4.13' transformers", lm_eval_arguments, lm_eval_environment
    ),
    "inspect": Runner("inspect", "inspect-ai==0.3.285 openai", inspect_arguments, inspect_environment),
}


def program_of(config: BenchmarkConfig) -> Path:
    """The harness's program.  Raises MissingPackage with the line that installs it."""
    runner = RUNNERS[config.harness]
    folder = config.environment or Path(".venvs") / config.harness
    program = folder / "bin" / runner.program
    if not program.is_file():
        step = f"python -m venv {folder} && {folder}/bin/pip install {runner.package}"
        raise MissingPackage(f"{config.harness} is not installed there", value=str(folder), next_step=step)
    return program
