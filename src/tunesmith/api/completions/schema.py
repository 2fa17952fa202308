"""What clients ask about stored completions."""

from pydantic import Field

from tunesmith.api.query import Order, Query
from tunesmith.serve.protocol.body import Metadata, Strict


class ListCompletions(Query):
    """Which completions to list."""

    model: str | None = None
    after: str | None = None
    limit: int = Field(20, ge=0, le=1000)
    order: Order = "asc"


class ListMessages(Query):
    """Which messages of a completion to list."""

    after: str | None = None
    limit: int = Field(20, ge=0, le=1000)
    order: Order = "asc"


class UpdateCompletion(Strict):
    """What of a completion can be changed."""

    metadata: Metadata | None
