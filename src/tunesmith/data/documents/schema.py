"""What the door of documents takes and gives."""

from pathlib import Path

from pydantic import Field, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult

DEFAULT_WORDS = 350


class DocumentsConfig(Schema):
    """Reads txt, md, html, docx and pdf (its text layer) into rows of plain text, for `data prepare`.

    Chunks end at headings, else between paragraphs, else between sentences, never inside a word.
    """

    source: Path = argument()
    """A document, or a folder of documents."""
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Start of the folder's name; the source's name when not given."""
    tokenizer: str | None = None
    """Model whose tokens are counted (see `tunesmith models`); without one, words are counted."""
    chunk_tokens: int | None = Field(None, ge=16)
    """Longest chunk in tokens of --tokenizer; 512 when not given."""
    chunk_words: int | None = Field(None, ge=8)
    """Longest chunk in words, where no --tokenizer is given; 350 when not given."""

    @model_validator(mode="after")
    def _one_measure(self) -> "DocumentsConfig":
        if self.chunk_tokens is not None and self.tokenizer is None:
            raise ValueError("--chunk-tokens needs --tokenizer: tokens are a model's own (or --chunk-words)")
        if self.chunk_words is not None and self.tokenizer is not None:
            raise ValueError("--chunk-words and --tokenizer exclude each other: give --chunk-tokens")
        return self

    @property
    def limit(self) -> int:
        """The longest chunk, in `unit`."""
        return (self.chunk_tokens or 512) if self.tokenizer else (self.chunk_words or DEFAULT_WORDS)

    @property
    def unit(self) -> str:
        """What is counted."""
        return "tokens" if self.tokenizer else "words"


class DocumentsResult(FolderResult):
    """A source folder."""

    rows: int
    """Chunks in rows.jsonl."""
    documents: int
    """Documents that were read."""
    refused: dict[str, str]
    """Documents that cannot be read, and why."""
    passed_over: int
    """Other files, such as pictures and tables (accounting.json names them)."""
    pages: int
    """Pages of PDFs."""
    pages_without_text: int
    """Pages of them that have no text layer: scans or pictures."""
    unit: str
    """What is counted: tokens or words."""
    limit: int
    """Longest chunk that was asked for, in that unit."""
    total: int
    """Length of all chunks together, in that unit."""
    too_long: int
    """Chunks over the limit: a word is never cut."""
    remarks: dict[str, list[str]]
    """What was changed or left out, by document."""
