"""Configuration and result of the doors `serve` and `chat`."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from tunesmith.core.config import Schema, argument

OF_OWN_MODELS = (
    "max_batch",
    "max_waiting",
    "memory_gb",
    "max_wait_ms",
    "max_context_tokens",
    "dtype",
    "quantise",
    "threads",
)
"""Settings of models in this process: with an upstream the other server decides."""


class ServeConfig(Schema):
    """Answers at /v1 as OpenAI does: chat completions, completions, models; Ctrl-C stops it."""

    models: tuple[str, ...] = argument(("smollm2-135m-instruct",), min_length=1)
    """What to serve: names of `tunesmith models`, model folders, GGUF files, hub ids, runs.  A request that
    names no model gets the first.  LoRA runs of one base share its weights and their batch."""
    upstream: str | None = None
    """Base URL (with /v1) of another OpenAI-compatible server to pass requests on to; MODELS are then names
    that it knows, by default all."""
    upstream_key: str | None = None
    """Name of the environment variable that holds the other server's key."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback lets other machines in, and needs a key to be made first
    (`tunesmith keys create`)."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes any free one."""
    record: Literal["content", "metadata", "off"] = "content"
    """What is kept of each request in the workspace's record: with its messages and answer, without them, or
    nothing."""
    training: bool = True
    """Also take files and fine-tuning jobs, as OpenAI does (/v1/files, /v1/uploads, /v1/fine_tuning)."""
    database: str | None = None
    """URL of the database with files and jobs; default is an SQLite file in the workspace."""
    jobs: PositiveInt = 1
    """Fine-tuning jobs that run at the same time; more wait their turn."""
    loaded_versions: PositiveInt = 4
    """Versions that jobs made with weights of their own (full, bottleneck, learned prompts), in memory at a
    time; the one that was not asked for longest makes room."""
    loaded_adapters: PositiveInt = 32
    """Versions that are LoRA adapters on a served model, in memory beside these; they share its batch."""
    alias: tuple[str, ...] = ()
    """Another name for a model, NAME=MODEL (gpt-4o-mini=smollm2-135m-instruct): code that asks for NAME runs
    as it is.  May be repeated."""
    max_file_mb: float = Field(512.0, gt=0)
    """Largest file that is taken."""
    announce: Path | None = None
    """File to write when the server is ready: JSON with url, pid and models."""
    stop_at_eof: bool = False
    """Stop when standard input ends, as it does when the process that started the server is gone."""
    max_batch: PositiveInt = 32
    """Requests that one model answers at the same time; more wait."""
    max_waiting: PositiveInt = 512
    """Requests that wait for a model; more are refused with status 429."""
    memory_gb: float = Field(2.0, gt=0)
    """Memory of each loaded model for keys and values; its weights come on top."""
    max_wait_ms: float = Field(5.0, ge=0)
    """How long an idle model waits for more requests to compute together with the first."""
    max_context_tokens: PositiveInt | None = None
    """Longest prompt plus answer; default is what the model was made for."""
    max_request_mb: float = Field(8.0, gt=0)
    """Largest request body that is read."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Type of the weights; auto is bfloat16 where the processor computes in it."""
    quantise: Literal["none", "nf4", "int8"] = "none"
    """Hold the weights in four or eight bits: less memory for large models, slower on a CPU."""
    threads: int = Field(0, ge=0)
    """Threads that compute; 0 takes every core this process may use."""

    @field_validator("alias")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pair in value:
            name, sign, model = pair.partition("=")
            if not (name and sign and model):
                raise ValueError(f"an alias is NAME=MODEL, not {pair!r}")
        return value

    @property
    def aliases(self) -> dict[str, str]:
        """Other names → models."""
        return {name: model for name, _, model in (pair.partition("=") for pair in self.alias)}

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.upstream is None and self.upstream_key is not None:
            raise ValueError("--upstream-key is for another server: give its URL with --upstream")
        given = [name for name in OF_OWN_MODELS if name in self.model_fields_set]
        if self.upstream is not None and given:
            option = "--" + given[0].replace("_", "-")
            raise ValueError(f"{option} is for models of this process: with --upstream the other decides")
        return self


class ServeResult(Schema):
    """What a server did until it was stopped."""

    url: str
    """Base URL, with /v1."""
    models: tuple[str, ...]
    """Names that were served."""
    requests: int
    """Requests answered, refused or cancelled."""
    errors: int
    """Requests that ended in an error."""
    dropped_contents: int
    """Requests recorded without their content because the record could not keep up."""
    dropped_requests: int
    """Requests that are missing from the record for the same reason."""
    record: Path | None
    """The record; None when nothing was recorded."""
    record_problem: str | None = None
    """Why the last requests could not be recorded; None when they could."""


class ChatConfig(Schema):
    """Type a message and watch the answer; /clear forgets the conversation, /exit leaves."""

    model: str = argument("smollm2-135m-instruct")
    """Whom to talk to: a name of `tunesmith models`, a model folder, a run."""
    endpoint: str | None = None
    """Base URL of a server that runs already (with /v1); MODEL is then a name it knows."""
    api_key_variable: str | None = None
    """Name of the environment variable that holds that server's key."""
    message: str | None = None
    """Say this one thing, print the answer and end."""
    system: str | None = None
    """System turn before the conversation."""
    temperature: float = Field(0.0, ge=0, le=2)
    """0 always takes the likeliest token."""
    top_p: float = Field(1.0, ge=0, le=1)
    """Draw from the likeliest tokens that hold this share of the probability."""
    max_tokens: PositiveInt | None = None
    """Longest answer in tokens; default is what fits."""
    seed: int | None = None
    """Makes answers above temperature 0 repeatable."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.endpoint is None and self.api_key_variable is not None:
            raise ValueError("--api-key-variable is for a server that runs already: give its --endpoint")
        return self


class ChatTurn(Schema):
    """One message and its answer."""

    message: str
    """What was said."""
    answer: str
    """What the model answered."""
    finish_reason: str | None
    """stop, length, or None when the answer was interrupted."""


class ChatResult(Schema):
    """A conversation."""

    model: str
    """The name the server knows the model by."""
    turns: tuple[ChatTurn, ...]
    """Messages and answers in order."""
    shown: bool = False
    """Whether the answers were shown while they were made."""
