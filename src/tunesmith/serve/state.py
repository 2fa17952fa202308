"""What a server has: its models, its record, its counts."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tunesmith.core.prompt_shape import PromptShape
from tunesmith.core.record import RecordWriter
from tunesmith.serve.backends.port import Backend, Host
from tunesmith.serve.metrics import Metrics
from tunesmith.serve.problems import ApiProblem, model_not_found


@dataclass(frozen=True)
class Served:
    """A model that this server answers for; `version` is its content id, `refs` other names for it."""

    name: str
    version: str
    created: int
    backend: Backend
    refs: tuple[str, ...] = ()
    parent: str | None = None
    """The served model whose adapter this is; None for a base model."""
    host: Host | None = None
    """Takes adapters on this model; None for one that cannot."""
    shape: PromptShape | None = None
    """What the prompts were like that it learned from; None where that is not known."""

    def to_json(self) -> dict[str, Any]:
        """The model as OpenAI lists it, with what it is; `root` and `parent` as vLLM has them."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "tunesmith",
            "x_tunesmith": {
                "version": self.version,
                "context_tokens": self.backend.context_tokens,
                "root": self.parent or self.name,
                "parent": self.parent,
                "prompt_shape": None if self.shape is None else asdict(self.shape),
            },
        }


class Counts:
    """What the server did so far."""

    def __init__(self) -> None:
        self.requests = self.errors = 0


@dataclass
class State:
    """What every request of one server needs."""

    models: tuple[Served, ...]
    writer: RecordWriter | None
    content: bool
    max_request_bytes: int
    counts: Counts = field(default_factory=Counts)
    metrics: Metrics = field(default_factory=Metrics)
    checks: list[Callable[[], str | None]] = field(default_factory=list)
    """What must hold for requests to be taken; each says what is wrong, or None."""
    project: Callable[[], str] = lambda: ""
    """Whose request is being answered; whoever adds keys says it."""
    more: Callable[[str], Served | None] = lambda name: None
    """Finds models that are loaded when somebody asks for them; may take its time."""

    async def reach(self, name: str | None) -> Served:
        """The model of a request, loaded if it has to be.  Raises ApiProblem."""
        try:
            return self.find(name)
        except ApiProblem:
            found = None if name is None else await asyncio.to_thread(self.more, name)
            if found is None:
                raise
            return found

    def find(self, name: str | None) -> Served:
        """The model of a request; none named is the first.  Raises ApiProblem."""
        if name is None:
            return self.models[0]
        for model in self.models:
            if name in (model.name, model.version, *model.refs):
                return model
        raise model_not_found(name, [model.name for model in self.models])


def names(models: Sequence[Served]) -> list[str]:
    """Names of the models, the default first."""
    return [model.name for model in models]


def faults(state: State) -> list[str]:
    """What /readyz complains about: everything that stands in the way of new work."""
    record = state.writer.problem if state.writer is not None else None
    found = [None if record is None else f"requests cannot be recorded: {record}"]
    return [fault for fault in (*found, *(check() for check in state.checks)) if fault is not None]


def health(state: State) -> dict[str, Any]:
    """What /healthz says."""
    writer = state.writer
    status: Literal["ok", "degraded"] = "degraded" if writer is not None and writer.problem else "ok"
    return {
        "status": status,
        "models": names(state.models),
        "requests": state.counts.requests,
        "errors": state.counts.errors,
        "record": None if writer is None else {"problem": writer.problem, "dropped": writer.loss._asdict()},
    }
