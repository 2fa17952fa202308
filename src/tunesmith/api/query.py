"""Parameters of URLs and forms."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

Order = Literal["asc", "desc"]


class Query(BaseModel):
    """Parameters of a URL: text that is read as numbers where numbers are due."""

    model_config = ConfigDict(extra="forbid", frozen=True)


METADATA = "metadata"


def metadata_of(given: Mapping[str, str]) -> tuple[dict[str, str | None], dict[str, str]]:
    """Pairs of metadata that a URL asks for, and its other parameters.

    `metadata[key]=value`; `metadata=null` is an empty key: things that have none.
    """
    found: dict[str, str | None] = {}
    rest: dict[str, str] = {}
    for name, value in given.items():
        if name.startswith(METADATA + "[") and name.endswith("]"):
            found[name[len(METADATA) + 1 : -1]] = value
        elif name == METADATA and value == "null":
            found[""] = None
        else:
            rest[name] = value
    return found, rest
