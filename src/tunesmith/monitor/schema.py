"""Configuration and result of the door `monitor`."""

from pathlib import Path

from pydantic import Field

from tunesmith.core.config import Schema


class MonitorConfig(Schema):
    """Reads the record that `tunesmith serve` writes into this workspace; changes nothing."""

    since: str | None = None
    """How far back: 30m, 24h, 7d, or a date such as 2027-01-31; default is everything."""
    model: str | None = None
    """Only requests to this model."""
    last_errors: int = Field(5, ge=0)
    """How many of the last errors to list."""


class Quantiles(Schema):
    """Seconds that half and nineteen of twenty requests stayed below; None without any."""

    p50: float | None
    """Median."""
    p95: float | None
    """95th percentile."""


class Health(Schema):
    """Figures of some requests."""

    requests: int
    """All of them."""
    errors: int
    """Those that ended in an error (status 400 and above)."""
    cancelled: int
    """Those whose client left before the answer was whole."""
    error_rate: float | None
    """Errors by requests that were not cancelled; None without any."""
    error_rate_low: float
    """Lower end of its 95 % Wilson interval."""
    error_rate_high: float
    """Upper end."""
    total_seconds: Quantiles
    """Time to the whole answer, of requests that were answered."""
    first_token_seconds: Quantiles
    """Time to the first token, of requests that were answered."""
    prompt_tokens: int
    """Tokens read."""
    completion_tokens: int
    """Tokens written."""


class ModelHealth(Health):
    """Figures of one model version."""

    model: str
    """Name; empty for requests that named none that exists."""
    version: str
    """Content id."""


class HourHealth(Health):
    """Figures of one hour."""

    hour: str
    """Its start, UTC, ISO 8601."""


class Failure(Schema):
    """One request that ended in an error."""

    time: str
    """When, UTC, ISO 8601."""
    id: str
    """The id that the client was given."""
    model: str
    """The model asked for."""
    status: int
    """HTTP status."""
    error_type: str
    """Kind of the error."""
    message: str
    """What the client was told."""


class MonitorResult(Schema):
    """Health of what was served."""

    record: Path
    """Where the record is."""
    since: str | None
    """Start of the window as asked for."""
    first: str | None
    """Time of the first request in the window, UTC, ISO 8601."""
    last: str | None
    """Time of the last one."""
    overall: Health
    """All requests."""
    by_model: tuple[ModelHealth, ...]
    """By model version, busiest first."""
    by_hour: tuple[HourHealth, ...]
    """By hour, oldest first; hours without requests are left out."""
    error_types: dict[str, int]
    """Number of errors by kind, most frequent first."""
    finish_reasons: dict[str, int]
    """Number of answers by why they ended."""
    last_errors: tuple[Failure, ...]
    """Newest first."""
    dropped_contents: int
    """Requests whose content the record could not keep up with."""
    dropped_requests: int
    """Requests missing from the record for the same reason."""
    advice: str | None
    """What to do when there is nothing to see."""
