"""What the user pointed at: data, the model that will be trained on them, and how they are encoded."""

from pathlib import Path
from typing import NamedTuple

from tunesmith.core.config import load
from tunesmith.core.errors import ConfigError, DataError, UserError, nearest
from tunesmith.core.formats.containers.place import input_of
from tunesmith.core.formats.read import Reading, check_readable
from tunesmith.core.formats.shapes.detect import named
from tunesmith.core.formats.shapes.mapping import load_mapping
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe, Source
from tunesmith.core.workspace import MANIFEST, Input, Manifest
from tunesmith.data.check.port import Options
from tunesmith.data.check.schema import CheckConfig
from tunesmith.data.corpus import holds_rows
from tunesmith.runtime.catalogue import Located, locate

YAML = {".yaml", ".yml"}
EMBEDDINGS = ("static", "minilm", "words")


class Given(NamedTuple):
    """Resolved input of a check."""

    path: Path
    """File of rows, or data set folder."""
    name: str
    recipe: Recipe | None
    """How rows are encoded; None without a model."""
    located: Located | None
    options: Options
    how: Reading
    """How the rows of a file are read."""
    mapping: Path | None

    def inputs(self) -> dict[str, Path | Input]:
        """The inputs of the folder that is made."""
        found: dict[str, Path | Input] = {"data": input_of("data", self.path)}
        if self.located is not None:
            found["model"] = self.located.as_input()
        for number, path in enumerate(self.options.benchmarks):
            found[f"benchmark-{number}"] = path
        if self.options.report is not None:
            found["report"] = self.options.report
        if self.mapping is not None:
            found["mapping"] = self.mapping
        return found


def resolve(config: CheckConfig, job: Job) -> Given:
    """Find data and model before anything is computed.

    Raises DataError or FolderError for data that are not there, ModelError for a model that cannot be found,
    ConfigError for a layout or a mapping that cannot be used, and UserError for a benchmark or an encoder
    that is not there.
    """
    recipe = read_recipe(Path(config.data)) if Path(config.data).suffix.lower() in YAML else None
    path = find_data(str(recipe.data[0].path) if recipe else config.data, job)
    how = reading_of(config, path)
    model = config.model or (recipe.model if recipe else None)
    located = locate(model, job, needs_template=False) if model is not None else None
    max_length = config.max_length
    if recipe and "max_length" not in config.model_fields_set:
        max_length = recipe.max_length
    for file in config.benchmark:
        check_readable(file)
    check_embeddings(config.embeddings)
    options = Options(
        model=model,
        max_length=max_length,
        slices=config.slice,
        benchmarks=config.benchmark,
        report=None if config.report is None else job.workspace.resolve(str(config.report)),
        embeddings=config.embeddings,
        budget_seconds=0 if config.all else config.budget,
        seed=config.seed,
    )
    if recipe is None and model is not None:
        recipe = Recipe(model=model, data=(Source(path=path),), max_length=max_length)
    return Given(path, name_of(path), recipe, located, options, how, config.mapping)


def read_recipe(path: Path) -> Recipe:
    """A recipe with one source.  Raises ConfigError."""
    recipe = load(path, Recipe)
    if len(recipe.data) != 1:
        step = "check each of its data sets: " + ", ".join(source.path.name for source in recipe.data)
        raise ConfigError(f"the recipe mixes {len(recipe.data)} data sets", where=path, next_step=step)
    return recipe


def find_data(data: str, job: Job) -> Path:
    """A file or folder of rows that can be opened, or a data set folder."""
    path = Path(data).expanduser()
    if data and holds_rows(path, job):
        check_readable(path)
        return path
    if not data:
        step = "give a file of rows, or a data set folder"
        raise DataError("no data are named", where="DATA", next_step=step)
    folder = job.workspace.resolve(data, "data-set")
    kind = Manifest.read(folder).kind
    if kind != "data-set":
        rows = folder / "rows.jsonl"
        step = f"give the file: {rows}" if rows.is_file() else "give a file of rows, or a data set folder"
        raise DataError(
            f"expected a data set, this is a folder of kind {kind!r}", where=folder, next_step=step
        )
    return folder


def reading_of(config: CheckConfig, path: Path) -> Reading:
    """How the user wants a file's rows to be read.  Raises ConfigError, also for a data set: it was read."""
    given = {"--shape": config.shape, "--mapping": config.mapping, "--fix": config.fix or None}
    said = {option: value for option, value in given.items() if value is not None}
    if said and (path / MANIFEST).is_file():
        what = "a data set holds rows that were read already: this option is for files"
        option, value = next(iter(said.items()))
        raise ConfigError(what, where=option, value=str(value), next_step="leave it out, or give the file")
    if config.shape is not None:
        named(config.shape)
    mapping = load_mapping(config.mapping) if config.mapping is not None else None
    return Reading(config.shape, mapping, config.fix)


def check_embeddings(kind: str) -> None:
    """Refuse an encoder that is not there, before anything is computed."""
    if kind not in EMBEDDINGS and not Path(kind).expanduser().is_dir():
        step = f"give the folder of an encoder, or {nearest(kind, EMBEDDINGS)}"
        raise UserError("no embedder of this name", where="--embeddings", value=kind, next_step=step)


def name_of(path: Path) -> str:
    """What to call the data."""
    if (path / MANIFEST).is_file():
        return Manifest.read(path).name
    stem = path.name.split(".")[0]
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in stem) or "rows"
