"""The data sets of a run: as they were made, and apart from each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.files import hash_file
from tunesmith.core.recipe import Recipe
from tunesmith.train.corpus import open_sources

PREPARE = "run `tunesmith data prepare` again: it splits by groups of near-duplicates"


def named_sources(recipe: Recipe) -> Recipe:
    """The recipe with the whole path and the name of each data set in it; ConfigError for a name twice."""
    names = open_sources(recipe)
    sources = tuple(
        source.model_copy(update={"path": source.path.resolve(), "name": name})
        for source, name in zip(recipe.data, names, strict=True)
    )
    return recipe.model_copy(update={"data": sources})


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


def check_disjoint(data: Mapping[str, DataSet]) -> None:
    """Prove that nothing held out in one source is trained on in any.

    Raises DataError naming both sources, the split, and the line of a row that shares its hash or its group
    with a training row.
    """
    trained = {name: (set[str](), set[str]()) for name in data}
    for name, data_set in data.items():
        for row_hash, group, _ in keys(data_set, "train"):
            trained[name][0].add(row_hash)
            trained[name][1].add(group)
    for name, data_set in data.items():
        for split in data_set.split_names():
            if split == "train":
                continue
            for row_hash, group, line in keys(data_set, split):
                for other, (hashes, groups) in trained.items():
                    if row_hash in hashes or group in groups:
                        shared = "row" if row_hash in hashes else "group"
                        raise shared_row(shared, name, split, other, data_set, line)


def shared_row(shared: str, name: str, split: str, other: str, data_set: DataSet, line: int) -> DataError:
    """The refusal of a mixture that spoils what it is measured on."""
    whose = "the training split" if other == name else f"the training split of {other}"
    return DataError(
        f"the {split} split of {name} shares a {shared} with {whose}, which spoils it",
        where=data_set.folder / f"{split}.parquet",
        value=f"line {line}",
        next_step=PREPARE if other == name else "take one of the two out, or prepare both as one data set",
    )


def keys(data_set: DataSet, split: str) -> Iterator[tuple[str, str, int]]:
    """Row hash, group and line of each row of a split, without its text; none where no such split is."""
    if split not in data_set.split_names():
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(data_set.folder / f"{split}.parquet") as file:
        for batch in file.iter_batches(columns=["row_hash", "group_id", "line"]):
            columns = (batch.column(name).to_pylist() for name in ("row_hash", "group_id", "line"))
            yield from zip(*columns, strict=True)
