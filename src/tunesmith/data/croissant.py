"""A data set in Croissant 1.1, JSON-LD that data set search and loaders read.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html, and Croissant RAI 1.0 for what is
known of collection, limits and synthetic rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.core.dataset import COLUMNS

VERSION = "http://mlcommons.org/croissant/1.1"
RAI_VERSION = "http://mlcommons.org/croissant/RAI/1.0"
PARQUET = "application/x-parquet"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
FIELDS = {
    "row_hash": ("sc:Text", "SHA-256 of the example, metadata aside"),
    "group_id": ("sc:Text", "Rows of one group stand in one split"),
    "line": ("sc:Integer", "Line or row in the source"),
    "example": ("sc:Text", "The example as JSON, in OpenAI's chat format"),
}
assert tuple(FIELDS) == COLUMNS


class Published(NamedTuple):
    """What the description says."""

    name: str
    description: str
    licence: str
    date: str
    """Day on which the data were made, ISO 8601."""
    url: str
    creator: str
    version: str
    languages: Sequence[str]
    splits: Mapping[str, str]
    """SHA-256 of each split's file."""
    collection: str
    limits: Sequence[str]
    synthetic: bool


def croissant(about: Published) -> dict[str, Any]:
    """The JSON-LD document."""
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [VERSION, RAI_VERSION],
        "name": about.name,
        "description": about.description,
        "license": about.licence,
        "url": about.url,
        "creator": {"@type": "sc:Organization", "name": about.creator},
        "datePublished": about.date,
        "version": about.version,
        "citeAs": f"{about.name}, {about.date[:4]}, {about.url}",
        "distribution": [*map(file_object, about.splits.items()), file_set()],
        "recordSet": [split_names(list(about.splits)), rows()],
        "rai:dataCollection": about.collection,
        "rai:dataLimitations": list(about.limits) or "none known",
        "rai:hasSyntheticData": about.synthetic,
    }
    if about.languages:
        described["inLanguage"] = list(about.languages)
    return described


def file_object(split: tuple[str, str]) -> dict[str, Any]:
    """One split's file."""
    name, sha256 = split
    file = f"{name}.parquet"
    identity = {"@type": "cr:FileObject", "@id": file, "name": file, "contentUrl": file}
    return {**identity, "encodingFormat": PARQUET, "sha256": sha256}


def file_set() -> dict[str, Any]:
    """All splits' files."""
    identity = {"@type": "cr:FileSet", "@id": "parquet-files", "name": "parquet-files"}
    return {**identity, "encodingFormat": PARQUET, "includes": "*.parquet"}


def split_names(names: Sequence[str]) -> dict[str, Any]:
    """The splits, as records."""
    field = {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [field],
        "data": [{"splits/name": name} for name in names],
    }


def rows() -> dict[str, Any]:
    """The rows, with the split that each file's name gives."""
    source = {"fileSet": {"@id": "parquet-files"}}
    from_name = {
        **source,
        "extract": {"fileProperty": "fullpath"},
        "transform": {"regex": r"([a-z_]+)\.parquet$"},
    }
    split = {
        "@type": "cr:Field",
        "@id": "rows/split",
        "name": "split",
        "dataType": "sc:Text",
        "references": {"field": {"@id": "splits/name"}},
        "source": from_name,
    }
    columns = [
        {
            "@type": "cr:Field",
            "@id": f"rows/{name}",
            "name": name,
            "description": about,
            "dataType": kind,
            "source": {**source, "extract": {"column": name}},
        }
        for name, (kind, about) in FIELDS.items()
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "rows",
        "name": "rows",
        "key": {"@id": "rows/row_hash"},
        "field": [split, *columns],
    }
