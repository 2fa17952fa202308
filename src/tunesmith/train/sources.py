"""The data sets of a run: named, and as they were made."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.files import hash_file
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import Workspace
from tunesmith.train.corpus import open_sources


def named_sources(recipe: Recipe) -> Recipe:
    """The recipe with the whole path and the name of each data set in it; ConfigError for a name twice."""
    names = open_sources(recipe)
    sources = tuple(
        source.model_copy(update={"path": source.path.resolve(), "name": name})
        for source, name in zip(recipe.data, names, strict=True)
    )
    return recipe.model_copy(update={"data": sources})


def check_reviews(recipe: Recipe, workspace: Workspace) -> None:
    """Where the recipe requires a review: refuse sources that nobody signed off, and rows nobody accepted."""
    if not recipe.require_review:
        return
    from tunesmith.core.reviews.guard import check_reviewed  # here: most runs need no database
    from tunesmith.core.reviews.store import reviews_of

    for source in recipe.data:
        check_reviewed(DataSet.open(source.path), reviews_of(workspace))


def check_unchanged(data: Mapping[str, DataSet]) -> None:
    """Refuse split files that are not those that the data set was sealed, and its leak proof made, with."""
    for name, data_set in data.items():
        for split in data_set.split_names():
            path = data_set.folder / f"{split}.parquet"
            if hash_file(path) != data_set.manifest.files.get(path.name):
                raise DataError(
                    f"the {split} split of {name} was changed after its leak proof was made",
                    where=path,
                    next_step="run `tunesmith data prepare` again into a new folder",
                )
