"""Parameters of URLs and forms."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Order = Literal["asc", "desc"]


class Query(BaseModel):
    """Parameters of a URL: text that is read as numbers where numbers are due."""

    model_config = ConfigDict(extra="forbid", frozen=True)
