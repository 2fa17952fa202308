"""What clients ask about files."""

from typing import Literal

from pydantic import Field

from tunesmith.api.query import Order, Query

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""What a client may upload a file for."""
SHORTEST_SECONDS, LONGEST_SECONDS = 3600, 2_592_000
"""How long a file may be kept that expires: an hour to thirty days."""


class ExpiresAfter(Query):
    """When a file expires."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS)


class CreateFile(Query):
    """The fields of an upload beside the file itself."""

    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class ListFiles(Query):
    """Which files to list."""

    purpose: str | None = None
    limit: int = Field(10_000, ge=0, le=10_000)
    order: Order = "desc"
    after: str | None = None


class FileContent(Query):
    """How to send a file's content: results are base64 text of a CSV at OpenAI, and here unless asked."""

    format: Literal["base64", "csv"] | None = None
