"""`tunesmith data show`: rows of a data set, or the tokens that a recipe makes of them."""

from itertools import islice
from pathlib import Path

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import UserError
from tunesmith.core.job import Job
from tunesmith.data.schema import ShowConfig, ShownRow, ShowResult

RECIPES = (".yaml", ".yml")
"""What ends like this is a recipe."""


def show(config: ShowConfig, job: Job) -> ShowResult:
    """Give some rows of a split; of a recipe's data, as tokens.

    Raises UserError when the folder or recipe, the split or the rows are not there.
    """
    if Path(config.data).suffix in RECIPES:
        from tunesmith.data.tokens import show_tokens

        return show_tokens(config, job)
    data = DataSet.open(job.workspace.resolve(config.data))
    rows = [
        ShownRow(line=row.line, row_hash=row.row_hash, group_id=row.group_id, example=row.example.to_json())
        for row in islice(data.rows(config.split), config.skip, config.skip + config.rows)
    ]
    total = int(data.manifest.summary["splits"][config.split])
    if not rows:
        what = f"the {config.split} split has {total} rows"
        raise UserError(what, where=data.folder, value=f"--skip {config.skip}", next_step="skip fewer rows")
    return ShowResult(folder=data.folder, split=config.split, total=total, rows=rows)
