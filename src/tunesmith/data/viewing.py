"""`tunesmith data show`: rows of a file or a data set, or the tokens that a recipe makes of them."""

from itertools import islice
from pathlib import Path

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ConfigError, UserError
from tunesmith.core.formats.problems import Problem
from tunesmith.core.formats.read import Reading, ReadRow, open_rows
from tunesmith.core.formats.shapes.mapping import load_mapping
from tunesmith.core.job import Job
from tunesmith.data.corpus import holds_rows
from tunesmith.data.schema import ShowConfig, ShownRow, ShowResult

RECIPES = (".yaml", ".yml")
"""What ends like this is a recipe."""


def show(config: ShowConfig, job: Job) -> ShowResult:
    """Give some rows of a file or of a split; of a recipe's data, as tokens.

    Raises UserError when the file, folder or recipe, the split or the rows are not there.
    """
    path = Path(config.data).expanduser()
    is_recipe = path.suffix in RECIPES
    if not is_recipe and holds_rows(path, job):
        return show_file(path, config)
    for option, value in {"--shape": config.shape, "--mapping": config.mapping, "--fix": config.fix}.items():
        if value:
            what = "this option is for files: the rows of data sets and recipes were read already"
            raise ConfigError(
                what, where=option, value=str(value), next_step="leave it out, or give the file"
            )
    if is_recipe:
        from tunesmith.data.tokens import show_tokens

        return show_tokens(config, job)
    return show_split(config, job)


def show_file(path: Path, config: ShowConfig) -> ShowResult:
    """Rows of a file as they are read; those that cannot be used are shown with the reason."""
    mapping = load_mapping(config.mapping) if config.mapping is not None else None
    reader = open_rows(path, Reading(config.shape, mapping, config.fix))
    read = (row for row in reader if row.outcome != "blank")
    rows = [shown(row) for row in islice(read, config.skip, config.skip + config.rows)]
    if not rows:
        what = f"the file has {reader.layout.rows} rows"
        raise UserError(what, where=path, value=f"--skip {config.skip}", next_step="skip fewer rows")
    return ShowResult(folder=path, split=None, total=None, rows=rows, layout=reader.layout.sentence)


def shown(row: ReadRow) -> ShownRow:
    """What is shown of a row of a file."""
    problems = [in_words(problem) for problem in row.problems]
    changes = [in_words(change) for change in row.changes]
    if row.example is None:
        return ShownRow(line=row.line, problems=problems, changes=changes)
    example, row_hash = row.example.to_json(), row.example.row_hash
    return ShownRow(line=row.line, row_hash=row_hash, example=example, changes=changes)


def in_words(problem: Problem) -> str:
    """Place, reason and value."""
    value = f": {problem.value}" if problem.value else ""
    return f"{problem.pointer or 'row'}: {problem.reason}{value}"


def show_split(config: ShowConfig, job: Job) -> ShowResult:
    """Rows of one split of a data set."""
    data = DataSet.find(config.data, job.workspace)
    rows = [
        ShownRow(line=row.line, row_hash=row.row_hash, group_id=row.group_id, example=row.example.to_json())
        for row in islice(data.rows(config.split), config.skip, config.skip + config.rows)
    ]
    total = int(data.manifest.summary["splits"][config.split])
    if not rows:
        what = f"the {config.split} split has {total} rows"
        raise UserError(what, where=data.folder, value=f"--skip {config.skip}", next_step="skip fewer rows")
    return ShowResult(folder=data.folder, split=config.split, total=total, rows=rows)
