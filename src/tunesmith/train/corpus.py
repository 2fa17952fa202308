"""The corpus of a run: every row of a split encoded once, on disk, with an account of every token.

Rows stream from Parquet through the engine's `encode` into memory-mapped arrays in the run folder; neither
the data set nor its tokens have to fit in memory.  A resumed run takes the arrays up again when data,
encoding and limits are the same.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.arrays import GrowingArray, open_array
from tunesmith.core.conversation import Example
from tunesmith.core.dataset import KEY_BYTES, SAMPLING_WEIGHT, DataSet, Row
from tunesmith.core.errors import ConfigError, DataError, FolderError, ModelError
from tunesmith.core.files import explain_disk_errors, hash_json, read_json, write_json
from tunesmith.core.recipe import Recipe
from tunesmith.core.recipe.recipe import TooLong
from tunesmith.runtime.accounts import NUM_FIRST_LINES, Account
from tunesmith.runtime.fitting import fit
from tunesmith.runtime.step import Encoded
from tunesmith.train.engines.port import Item
from tunesmith.train.schedule import Indices, Rows, by_source

Encode = Callable[[Example, str], Encoded]
"""`Engine.encode`."""

FORMAT = 2
INDEX = "index.json"
ACCOUNTING = "accounting.json"
ROWS_BETWEEN_WORDS = 4096
ARRAYS = ("tokens", "weights", "starts", "learned", "hashes", "sources", "lines", "sampling")


class Limits(NamedTuple):
    """How long an item may be, and what becomes of longer ones."""

    max_length: int
    too_long: TooLong
    block_length: int = 0
    """Documents are packed into blocks of so many tokens; 0 leaves each example by itself."""


def limits(recipe: Recipe, context_tokens: int | None) -> Limits:
    """The limits of a recipe on a model that reads at most `context_tokens`."""
    if recipe.objective.kind == "text":
        block_length = recipe.objective.block_length
        if context_tokens is not None and block_length > context_tokens:
            raise ConfigError(
                "a packed block is longer than what the model can read",
                where="objective.block_length",
                value=block_length,
                next_step=f"set it to at most {context_tokens}",
            )
        return Limits(block_length, "split", block_length)
    return Limits(min(recipe.max_length, context_tokens or recipe.max_length), recipe.too_long)


def open_sources(recipe: Recipe) -> dict[str, DataSet]:
    """The data sets of a recipe by the name of their source, in the recipe's order."""
    found: dict[str, DataSet] = {}
    for source in recipe.data:
        name = source.name or source.path.resolve().name
        if name in found:
            raise ConfigError(
                "two sources have one name", where="data", value=name, next_step="give each its own data.name"
            )
        found[name] = DataSet.open(source.path)
    return found


def fingerprint(data: Mapping[str, DataSet]) -> str:
    """Identity of the data of all sources together."""
    return hash_json([entry.fingerprint for entry in data.values()])


def total(accounts: Mapping[str, Account]) -> dict[str, int]:
    """Sums over the sources; of `longest` the largest."""
    numbers = [entry.name for entry in fields(Account) if entry.name != "first_lines"]
    found = {name: sum(vars(account)[name] for account in accounts.values()) for name in numbers}
    return found | {"longest": max((account.longest for account in accounts.values()), default=0)}


@dataclass(frozen=True)
class Corpus(Sequence[Item]):
    """Encoded examples (or packed blocks) of one split, by index; read from disk where they are used."""

    folder: Path
    sources: tuple[str, ...]
    fingerprint: str
    """Identity of the data sets."""
    accounting: Mapping[str, Any]
    """`split`, `limits`, `total` and `sources`: counts as `Account` has them."""
    arrays: Mapping[str, NDArray[Any]]
    """By the names in `ARRAYS`: tokens and weights end to end, where items start (one more than items),
    learned tokens of each item, row hashes (16 bytes), source numbers, lines in the source file, how often an
    epoch sees each item."""

    def __len__(self) -> int:
        return len(self.arrays["starts"]) - 1

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """One item; numpy's integers will do."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[int(index)]
        start, stop = self.arrays["starts"][place : place + 2]
        tokens, weights = (self.arrays[name][start:stop].tolist() for name in ("tokens", "weights"))
        return Item(
            bytes(self.arrays["hashes"][place]).hex(),
            self.sources[self.arrays["sources"][place]],
            Encoded(tuple(tokens), tuple(weights)),
        )

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each item."""
        return np.diff(self.arrays["starts"]).astype(np.int32)

    @property
    def longest(self) -> int:
        """Index of the longest item."""
        return int(self.lengths.argmax())

    @property
    def learned(self) -> NDArray[np.int32]:
        """Learned tokens of each item."""
        return self.arrays["learned"]

    @property
    def rows(self) -> Rows:
        """What a schedule needs."""
        sampling = self.arrays["sampling"]
        weights = None if (sampling == 1).all() else np.asarray(sampling)
        return Rows(self.lengths, self.arrays["sources"], self.fingerprint, weights)

    def by_source(self) -> dict[str, Indices]:
        """Items of each source that has any."""
        return by_source(self.arrays["sources"], self.sources)

    def line(self, index: int) -> int:
        """An item's line in its source; 0 for a block of several documents."""
        return int(self.arrays["lines"][index])


def open_corpus(
    folder: Path,
    split: str,
    data: Mapping[str, DataSet],
    encode: Encode,
    *,
    limits: Limits,
    encoding_key: str,
    skip: Collection[str] = (),
    tell: Callable[[int], None] = lambda rows: None,
) -> Corpus:
    """The corpus of a split in `folder`: taken up again where it is the same, else made.

    `encode` gets each example with the key of its row, which its items carry as `row_hash`.  Of sources to
    `skip` no row is taken.  `tell` hears now and then how many rows are done.  An empty `encoding_key` is
    never equal to another.  Raises DataError with every row that is too long when `limits.too_long` is
    refuse, when a row cannot be encoded, and when the training split has nothing left; OutOfSpace on a full
    disk.
    """
    settings = [list(limits), list(data), sorted(skip)]
    key = hash_json([FORMAT, split, fingerprint(data), encoding_key, settings])
    place = folder / split
    if encoding_key and (place / INDEX).exists() and read_json(place / INDEX)["key"] == key:
        return read_corpus(place)
    growing = folder / f"{split}.part"
    with explain_disk_errors(folder):
        for leftover in (growing, place):
            shutil.rmtree(leftover, ignore_errors=True)
        growing.mkdir(parents=True)
    rows = {name: iter(()) if name in skip else rows_of(source, split) for name, source in data.items()}
    accounts = write_corpus(growing, rows, encode, limits, tell)
    counts = {name: asdict(account) for name, account in accounts.items()}
    accounting = {"split": split, "limits": limits._asdict(), "total": total(accounts), "sources": counts}
    write_json(growing / ACCOUNTING, accounting)
    check_accounts(accounts, split, limits)
    write_json(growing / INDEX, {"key": key, "sources": list(data), "fingerprint": fingerprint(data)})
    with explain_disk_errors(folder):
        growing.rename(place)
    return read_corpus(place)


def read_corpus(folder: Path) -> Corpus:
    """A finished corpus."""
    if not (folder / INDEX).exists():
        raise FolderError("no finished corpus here", where=folder, next_step="train again from the recipe")
    index = read_json(folder / INDEX)
    return Corpus(
        folder=folder,
        sources=tuple(index["sources"]),
        fingerprint=index["fingerprint"],
        accounting=read_json(folder / ACCOUNTING),
        arrays={name: open_array(folder / f"{name}.npy") for name in ARRAYS},
    )


def check_accounts(accounts: Mapping[str, Account], split: str, limits: Limits) -> None:
    """Raise DataError for rows that the recipe refuses, and for a training split of nothing."""
    for name, account in accounts.items():
        counted = account.kept + account.truncated + account.split + account.dropped
        assert counted + account.refused + account.unsupervised == account.rows, account
        if account.refused:
            lines = ", ".join(str(line) for line in account.first_lines["refused"])
            more = ", …" if account.refused > NUM_FIRST_LINES else ""
            rows = "1 example has" if account.refused == 1 else f"{account.refused:,} examples have"
            word = "line" if account.refused == 1 else "lines"
            raise DataError(
                f"{rows} more tokens than the limit of {limits.max_length} (the longest {account.longest})",
                where=f"{name}, {split} split, {word} {lines}{more}",
                next_step="raise max_length, set too_long to drop, truncate_left, truncate_right or split, "
                "or shorten the examples",
            )
    if split == "train" and not any(account.items for account in accounts.values()):
        unsupervised = sum(account.unsupervised for account in accounts.values())
        what = "nothing is left to learn from: the training split is empty"
        if unsupervised:
            what = (
                f"nothing in the training split is learned: {unsupervised} examples without a learned token"
            )
        raise DataError(what, where=", ".join(accounts), next_step="look at `tunesmith data show RECIPE`")


class Writing(NamedTuple):
    """The arrays of a corpus while they grow."""

    tokens: GrowingArray
    weights: GrowingArray
    starts: GrowingArray
    learned: GrowingArray
    hashes: GrowingArray
    sources: GrowingArray
    lines: GrowingArray
    sampling: GrowingArray

    def add_tokens(self, encoded: Encoded) -> None:
        """Append token ids and weights; the first weight that is neither 0 nor 1 makes room for fractions."""
        weights = np.asarray(encoded.weights, dtype=np.float32)
        if self.weights.dtype == np.uint8 and not np.isin(weights, (0, 1)).all():
            self.weights.widen("float32")
        self.tokens.extend(encoded.token_ids)
        self.weights.extend(weights)

    def add_item(
        self, start: int, num_learned: int, row_hash: str, source: int, line: int, sampling: float = 1.0
    ) -> None:
        """Append an item's facts."""
        self.sampling.append(sampling)
        self.starts.append(start)
        self.learned.append(num_learned)
        self.hashes.append(tuple(bytes.fromhex(row_hash)))
        self.sources.append(source)
        self.lines.append(line)


def write_corpus(
    folder: Path,
    rows: Mapping[str, Iterator[Row]],
    encode: Encode,
    limits: Limits,
    tell: Callable[[int], None],
) -> dict[str, Account]:
    """Encode the rows of every source; returns what became of them."""
    accounts = {name: Account() for name in rows}
    done = 0
    with ExitStack() as stack:

        def grow(name: str, dtype: str, width: int = 0) -> GrowingArray:
            return stack.enter_context(GrowingArray(folder / f"{name}.npy", dtype, width=width))

        writing = Writing(
            tokens=grow("tokens", "int32"),
            weights=grow("weights", "uint8"),
            starts=grow("starts", "int64"),
            learned=grow("learned", "int32"),
            hashes=grow("hashes", "uint8", KEY_BYTES),
            sources=grow("sources", "int16"),
            lines=grow("lines", "int32"),
            sampling=grow("sampling", "float32"),
        )
        for number, (name, source) in enumerate(rows.items()):
            begin = writing.tokens.length
            for row in source:
                add_row(writing, accounts[name], row, encode_row(encode, row, name), number, limits)
                done += 1
                if done % ROWS_BETWEEN_WORDS == 0:
                    tell(done)
            if limits.block_length:
                short = add_blocks(writing, begin, number, limits.block_length)
                accounts[name].partial_block_tokens = short
        writing.starts.append(writing.tokens.length)
    if limits.block_length:
        count_blocks(folder, list(accounts.values()))
    return accounts


def rows_of(source: DataSet, split: str) -> Iterator[Row]:
    """Rows of a split, streaming; none where the data set has no such split."""
    return source.rows(split) if split in source.split_names() else iter(())


def encode_row(encode: Encode, row: Row, source: str) -> Encoded:
    """One row encoded; an error names its line."""
    try:
        return encode(row.example, row.key)
    except (DataError, ModelError) as error:
        place = f"{source}, line {row.line}, {error.where or 'messages'}"
        raise type(error)(error.what, value=error.value, where=place, next_step=error.next_step) from error


def add_row(
    writing: Writing, account: Account, row: Row, encoded: Encoded, source: int, limits: Limits
) -> None:
    """Append what is used of a row."""
    sampling = sampling_weight(row)
    if limits.block_length:
        if sampling != 1:
            step = "balance by caps or temperature, or give each source its own `weight`"
            raise DataError("packed documents have no weights of their own", value=row.line, next_step=step)
        account.add_document(encoded)
        writing.add_tokens(encoded)
        return
    fitted = fit(encoded, limits.max_length, limits.too_long)
    account.add(fitted, row.line)
    for piece in fitted.pieces:
        start = writing.tokens.length
        writing.add_tokens(piece)
        writing.add_item(start, piece.num_supervised, row.key, source, row.line, sampling)


def sampling_weight(row: Row) -> float:
    """How often an epoch sees a row, as its metadata say; 1 when they say nothing."""
    found = row.example.metadata.get(SAMPLING_WEIGHT, 1.0)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        step = "`tunesmith data balance --weights` writes it; it is a number above 0"
        where = f"line {row.line}, metadata.{SAMPLING_WEIGHT}"
        raise DataError("not a weight", value=str(found), where=where, next_step=step)
    return float(found)


def add_blocks(writing: Writing, begin: int, source: int, block_length: int) -> int:
    """Cut the documents of a source, which stand end to end, into blocks; returns tokens of a short last one.

    Documents keep the data set's order; inside a block each token sees the documents before its own, as in
    the pre-training of GPT-2 and its successors (Radford et al. 2019): the end token tells it to forget them.
    The last block may be short; it is used, and counted.
    """
    end = writing.tokens.length
    for number, start in enumerate(range(begin, end, block_length)):
        row_hash = hash_json(["block", source, number])[: 2 * KEY_BYTES]
        writing.add_item(start, 0, row_hash, source, 0)
    return (end - begin) % block_length


def count_blocks(folder: Path, accounts: Sequence[Account]) -> None:
    """Fill in the learned tokens of every block, reading the weights a part at a time."""
    weights, starts, sources = (
        open_array(folder / f"{name}.npy") for name in ("weights", "starts", "sources")
    )
    learned = np.zeros(len(sources), dtype=np.int32)
    num_weights = np.zeros(len(accounts), dtype=np.int64)
    for block, (start, stop) in enumerate(pairwise(starts.tolist())):
        block_weights = weights[start:stop]
        learned[block] = np.count_nonzero(block_weights[1:])
        num_weights[sources[block]] += np.count_nonzero(block_weights)
    np.save(folder / "learned.npy", learned)
    for number, account in enumerate(accounts):
        account.add_blocks(learned[sources == number], int(num_weights[number]))
