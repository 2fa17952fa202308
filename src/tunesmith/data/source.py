"""`tunesmith data fetch`: a public data set as rows in OpenAI's chat format."""

from typing import Any

from tunesmith.core.files import write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.packages import fetch_package, read_member
from tunesmith.core.workspace import Input
from tunesmith.data import addresses
from tunesmith.data.schema import FetchConfig, FetchResult


def fetch(config: FetchConfig, job: Job) -> FetchResult:
    """Download the package that holds the rows (once, into the cache) and write them to a source folder.

    The folder gets rows.jsonl, messy.jsonl and accounting.json.  Raises UserError when it cannot be had.
    """
    package = addresses.PACKAGE
    archive = Input("package", "package", package.sha256, package.requirement)
    settings = {"name": config.name, "instruction": addresses.INSTRUCTION}
    with job.folder(
        verb="data fetch", kind="source", name=config.name, config=settings, inputs={"package": archive}
    ) as folder:
        path = fetch_package(package, job.progress)
        accounting: dict[str, Any] = {}
        for name, member in (("rows", addresses.LABELLED), ("messy", addresses.MESSY)):
            items = addresses.parse_labels(read_member(path, member), member)
            rows, aside = addresses.to_rows(items)
            write_jsonl(folder / f"{name}.jsonl", rows)
            accounting[name] = {
                "file": member,
                "read": len(items),
                "written": len(rows),
                "set_aside": len(aside),
                "set_aside_items": [item._asdict() for item in aside],
            }
            job.progress.say(f"{member}: {len(items)} addresses, {len(rows)} rows, {len(aside)} set aside")
        write_json(folder / "accounting.json", accounting)
        folder.summary = {
            "rows": accounting["rows"]["written"],
            "messy": accounting["messy"]["written"],
            "set_aside": accounting["rows"]["set_aside"] + accounting["messy"]["set_aside"],
            "origin": f"PyPI {package.requirement} ({package.file_name}), training labels",
            "licence": package.licence,
        }
    return FetchResult(**FetchResult.fields_from(folder.summary, folder.path))
