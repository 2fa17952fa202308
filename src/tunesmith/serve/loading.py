"""Which engine answers for which model of the configuration."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunesmith.core.errors import UserError
from tunesmith.core.fake import FakeModel
from tunesmith.core.files import hash_folder, hash_json, read_json
from tunesmith.core.job import Job
from tunesmith.core.prompt_shape import PromptShape
from tunesmith.runtime.catalogue import Located, locate
from tunesmith.runtime.threads import FewBits
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import Backend, Host
from tunesmith.serve.schema import OF_OWN_MODELS, ServeConfig
from tunesmith.serve.state import Served

if TYPE_CHECKING:
    from tunesmith.serve.backends.local import Opened, Settings

FAKE_MODEL = Path("adapter") / "fake_model.json"
OF_WEIGHTS = tuple(name for name in OF_OWN_MODELS if name != "max_context_tokens")
"""Settings that a fake has no use for."""


class Engine(NamedTuple):
    """What answers for a model, and what takes adapters on it."""

    backend: Backend
    host: Host | None = None


def load_models(config: ServeConfig, job: Job) -> list[Served]:
    """Every model of the configuration once, in its order, ready to answer.

    Raises ModelError for one that cannot be loaded, UserError for two of one name, and ServerError for an
    upstream that does not answer.
    """
    if config.upstream is not None:
        return from_upstream(config, config.upstream, job)
    refs = list(dict.fromkeys(config.models))
    located = {ref: locate(ref, job) for ref in refs}
    check_names([found.name for found in located.values()])
    if all(is_fake(found) for found in located.values()):
        tell_unused(config, job)
    engines: dict[str, Engine] = {}
    for folder, group in by_base(located).items():
        engines |= fakes(group, config) if folder is None else on_one_base(folder, group, config, job)
    aliases = aliases_of(config, located)
    bases = {found.model_folder: found.name for found in located.values() if found.adapter is None}
    return [
        Served(
            found.name,
            found.id,
            int(time.time()),
            engines[ref].backend,
            host=engines[ref].host,
            refs=(ref, *aliases.get(ref, ())),
            parent=bases.get(found.model_folder) if found.adapter is not None else None,
            shape=shape_of(found),
        )
        for ref, found in located.items()
    ]


def shape_of(located: Located) -> PromptShape | None:
    """What the prompts of a run were like: it stands beside what was published."""
    learned = learned_fake(located)
    places = (located.adapter, learned and learned.parent, located.model_folder)
    return next((shape for folder in places if folder and (shape := PromptShape.read(folder))), None)


def aliases_of(config: ServeConfig, located: Mapping[str, Located]) -> dict[str, list[str]]:
    """Served model → its other names.  Raises UserError for an alias of what is not served, or of two."""
    by_name = {found.name: ref for ref, found in located.items()} | {ref: ref for ref in located}
    aliases: dict[str, list[str]] = {}
    for alias, model in config.aliases.items():
        if model not in by_name:
            step = f"serve it too, or give one of {', '.join(found.name for found in located.values())}"
            raise UserError("this alias is of a model that is not served", value=model, next_step=step)
        if alias in by_name:
            step = "give the alias another name"
            raise UserError("a model that is served has this name already", value=alias, next_step=step)
        aliases.setdefault(by_name[model], []).append(alias)
    return aliases


def tell_unused(config: ServeConfig, job: Job) -> None:
    """Say which settings mean nothing when every model is a fake."""
    given = [name for name in OF_WEIGHTS if name in config.model_fields_set]
    if given:
        options = ", ".join("--" + name.replace("_", "-") for name in given)
        job.progress.say(f"the fake model has no weights: {options} means nothing here")


def check_names(names: Sequence[str]) -> None:
    """Refuse two models that clients could not tell apart."""
    for name in names:
        if names.count(name) > 1:
            step = "rename one of the folders, or serve them on two ports"
            raise UserError("two models have the same name", value=name, next_step=step)


def by_base(located: Mapping[str, Located]) -> dict[Path | None, dict[str, Located]]:
    """Models by the folder of their base's weights; None holds the fakes.  Raises UserError."""
    groups: dict[Path | None, dict[str, Located]] = {}
    for ref, found in located.items():
        folder = None if is_fake(found) else found.model_folder
        if folder is None and not is_fake(found):
            step = "serve another model"
            raise UserError("this run has no weights to serve", value=found.name, next_step=step)
        groups.setdefault(folder, {})[ref] = found
    return groups


def is_fake(located: Located) -> bool:
    """Whether this is the fake model, or a run of it."""
    return located.kind == "fake" or learned_fake(located) is not None


def learned_fake(located: Located) -> Path | None:
    """Where a run of the fake engine keeps what it learned."""
    path = located.path / FAKE_MODEL if located.kind == "run" and located.path is not None else None
    return path if path is not None and path.exists() else None


def fakes(group: Mapping[str, Located], config: ServeConfig) -> dict[str, Engine]:
    """A back-end for each fake."""
    engines: dict[str, Engine] = {}
    for ref, found in group.items():
        learned = learned_fake(found)
        model = FakeModel() if learned is None else FakeModel.from_json(read_json(learned))
        engines[ref] = Engine(EchoBackend(model, context_tokens=config.max_context_tokens))
    return engines


def settings_of(config: ServeConfig) -> "Settings":
    """How models of this process are loaded and stepped."""
    from tunesmith.serve.backends.local import Settings

    return Settings(
        max_batch=config.max_batch,
        max_waiting=config.max_waiting,
        max_wait_seconds=config.max_wait_ms / 1000,
        max_context_tokens=config.max_context_tokens,
        memory_bytes=int(config.memory_gb * 1e9),
        threads=config.threads,
        dtype=config.dtype,
        quantise=None if config.quantise == "none" else config.quantise,
    )


def load_published(
    name: str, folder: Path, base: Located, created: int, config: ServeConfig, host: Host | None = None
) -> Served:
    """What a run published (an adapter, a whole model, a fake), ready to answer.

    An adapter joins the `host` that serves its base; without one it gets weights of its own.
    """
    version, shape = hash_json(hash_folder(folder)), PromptShape.read(folder)
    if (folder / FAKE_MODEL.name).exists():
        learned = FakeModel.from_json(read_json(folder / FAKE_MODEL.name))
        backend: Backend = EchoBackend(learned, context_tokens=config.max_context_tokens)
        return Served(name, version, created, backend, parent=base.name, shape=shape)
    from tunesmith.serve.backends.local import open_model

    is_adapter = (folder / "adapter_config.json").exists()
    if host is not None:
        return Served(name, version, created, host.join(name, folder), parent=base.name, shape=shape)
    weights = base.model_folder if is_adapter else folder
    assert weights is not None, "a fake base has fake versions"
    opened = open_model(weights, settings_of(config), adapter=folder if is_adapter else None)
    return Served(name, version, created, opened.backends[None], parent=base.name, shape=shape)


def on_one_base(
    folder: Path, group: Mapping[str, Located], config: ServeConfig, job: Job
) -> dict[str, Engine]:
    """Back-ends of the models on one base: its weights are loaded once for all that can share them."""
    from tunesmith.serve.backends.local import open_model

    settings = settings_of(config)
    engines: dict[str, Engine] = {}
    together = dict(that_share(folder, group, settings.quantise, job)) if len(group) > 1 else {}
    if together:
        tell_loading(together.values(), job)
        shared = {ref: found.adapter for ref, found in together.items() if found.adapter is not None}
        opened = open_model(folder, settings, shared=shared)
        tell(opened, config, job)
        for ref in together:
            is_base = ref not in shared
            backend = opened.backends[None if is_base else ref]
            engines[ref] = Engine(backend, opened.host if is_base else None)
    for ref, found in group.items():
        if ref not in together:
            tell_loading([found], job)
            opened = open_model(folder, settings, adapter=found.adapter)
            tell(opened, config, job)
            engines[ref] = Engine(opened.backends[None], opened.host)
    return engines


def that_share(
    folder: Path, group: Mapping[str, Located], quantise: FewBits | None, job: Job
) -> Iterator[tuple[str, Located]]:
    """The base and the adapters that can share its weights; says why others cannot."""
    from tunesmith.serve.backends.local import reason_alone

    for ref, found in group.items():
        reason = None if found.adapter is None else reason_alone(folder, found.adapter, quantise)
        if reason is None:
            yield ref, found
        else:
            job.progress.say(f"{found.name} gets a copy of the weights of its own: {reason}")


def tell_loading(models: Iterable[Located], job: Job) -> None:
    """Say what is loaded."""
    job.progress.say("loading " + ", ".join(f"{found.name} ({found.id[:8]})" for found in models))


def tell(opened: "Opened", config: ServeConfig, job: Job) -> None:
    """Say what the model takes, and what a user should know of how it is sampled from."""
    room = f"up to {config.memory_gb:g} GB for keys and values (--memory-gb)"
    weights = f"weights {opened.weight_bytes / 1e9:.2f} GB"
    job.progress.say(f"{weights} + {room}; {config.max_batch} answers at a time")
    if opened.note is not None:
        job.progress.say(opened.note)


def from_upstream(config: ServeConfig, url: str, job: Job) -> list[Served]:
    """Models of another server, under its own names: those that were named, or all."""
    from tunesmith.core.endpoint import key_in
    from tunesmith.serve.backends.upstream import open_upstream

    key = key_in(config.upstream_key, where="--upstream-key")
    named = "models" in config.model_fields_set
    backends = open_upstream(url, key, list(dict.fromkeys(config.models)) if named else None)
    job.progress.say(f"passing requests on to {url}")
    return [
        Served(name, f"{name}@{url}", int(time.time()), backend, refs=(name,))
        for name, backend in backends.items()
    ]
