"""What clients ask about uploads."""

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.api.files.schema import LONGEST_SECONDS, SHORTEST_SECONDS, Purpose
from tunesmith.serve.protocol.body import Strict

MOST_BYTES = 8 << 30
MOST_PART_BYTES = 64 << 20
MOST_PARTS = 10_000


class KeptFor(Strict):
    """When the file expires."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS)


class CreateUpload(Strict):
    """What will come, and how much of it."""

    filename: str = Field(min_length=1)
    purpose: Purpose
    bytes: int = Field(ge=0, le=MOST_BYTES)
    mime_type: str
    expires_after: KeptFor | None = None


class CompleteUpload(Strict):
    """The parts in order, and the MD5 of all bytes where the client knows it."""

    part_ids: Annotated[list[str], Field(max_length=MOST_PARTS)]
    md5: str | None = None
