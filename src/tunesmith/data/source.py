"""`tunesmith data fetch`: a public data set as rows that `data prepare` reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.files import write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.packages import Package, fetch_package, members, read_member
from tunesmith.core.workspace import Input
from tunesmith.data import addresses, books, commands, verses
from tunesmith.data.schema import FetchConfig, FetchResult


class Part(NamedTuple):
    """Rows out of one member of a package, with what became of everything in it."""

    rows: list[dict[str, Any]]
    read: int
    set_aside: int
    set_aside_items: list[dict[str, Any]]
    member: str


class Source(NamedTuple):
    """A public data set: its package, what its rows depend on, and how they are read."""

    packages: tuple[Package, ...]
    settings: dict[str, Any]
    read: Callable[..., dict[str, Part]]
    """Archives → the part for each file of rows."""
    licence: str
    about: str


def fetch(config: FetchConfig, job: Job) -> FetchResult:
    """Download the package that holds the rows (once, into the cache) and write them to a source folder.

    The folder gets rows.jsonl (and messy.jsonl where there are hard cases) and accounting.json.  Raises
    UserError when it cannot be had.
    """
    source = SOURCES[config.name]
    archives = {
        role: Input(role, "package", package.sha256, package.requirement)
        for role, package in zip(("package", "second_package"), source.packages, strict=False)
    }
    settings = {"name": config.name, **source.settings}
    with job.folder(
        verb="data fetch", kind="source", name=config.name, config=settings, inputs=archives
    ) as folder:
        parts = source.read(*(fetch_package(package, job.progress) for package in source.packages))
        accounting: dict[str, Any] = {}
        for name, part in parts.items():
            write_jsonl(folder / f"{name}.jsonl", part.rows)
            accounting[name] = {
                "file": part.member,
                "read": part.read,
                "written": len(part.rows),
                "set_aside": part.set_aside,
                "set_aside_items": part.set_aside_items,
            }
            counts = f"{part.read} read, {len(part.rows)} rows, {part.set_aside} set aside"
            job.progress.say(f"{part.member}: {counts}")
        write_json(folder / "accounting.json", accounting)
        folder.summary = {
            "rows": len(parts["rows"].rows),
            "messy": len(parts["messy"].rows) if "messy" in parts else 0,
            "set_aside": sum(part.set_aside for part in parts.values()),
            "origin": f"PyPI {', '.join(origin_of(one) for one in source.packages)}, {source.about}",
            "licence": source.licence,
        }
    return FetchResult(**FetchResult.fields_from(folder.summary, folder.path))


def origin_of(package: Package) -> str:
    """'eg==1.2.3 (eg-1.2.3.tar.gz)'."""
    return f"{package.requirement} ({package.file_name})"


def read_addresses(archive: Path) -> dict[str, Part]:
    """Human-labelled addresses, and the messiest of them apart."""
    parts = {}
    for name, member in (("rows", addresses.LABELLED), ("messy", addresses.MESSY)):
        items = addresses.parse_labels(read_member(archive, member), member)
        rows, aside = addresses.to_rows(items)
        parts[name] = Part(rows, len(items), len(aside), [item._asdict() for item in aside], member)
    return parts


def read_books(archive: Path) -> dict[str, Part]:
    """Passages of general English prose."""
    found = [books.passages(read_member(archive, book.member), book) for book in books.BOOKS]
    headings = [{"text": text, "reason": "not prose"} for part in found for text in part.left_out]
    return {
        "rows": Part(
            [row for part in found for row in part.rows],
            sum(part.paragraphs for part in found),
            len(headings),
            headings,
            ", ".join(book.member for book in books.BOOKS),
        )
    }


def read_commands(archive: Path) -> dict[str, Part]:
    """Every page of the archive."""
    names = [name for name in members(archive) if commands.PAGES.match(name)]
    found = [
        commands.rows_of(
            read_member(archive, name).decode("utf-8"), name.rsplit("/", 1)[1].removesuffix(".md")
        )
        for name in sorted(names)
    ]
    rows = [row for page in found for row in page.rows]
    aside = [block for page in found for block in page.left_out]
    return {"rows": Part(rows, len(rows) + len(aside), len(aside), aside, f"{len(names)} pages")}


def read_verses(old: Path, new: Path) -> dict[str, Part]:
    """The verses that both texts have."""
    texts = [
        verses.verses(read_member(archive, member), member)
        for archive, member in zip((old, new), verses.MEMBERS, strict=True)
    ]
    rows, aside = verses.aligned(*texts)
    return {"rows": Part(rows, len(rows) + len(aside), len(aside), aside, ", ".join(verses.MEMBERS))}


SOURCES = {
    "addresses": Source(
        (addresses.PACKAGE,),
        {"instruction": addresses.INSTRUCTION},
        read_addresses,
        addresses.PACKAGE.licence,
        "training labels",
    ),
    "books": Source((books.PACKAGE,), {}, read_books, "public domain", "two books among its test files"),
    "commands": Source(
        (commands.PACKAGE,),
        {"instruction": commands.INSTRUCTION},
        read_commands,
        commands.PACKAGE.licence,
        "pages of examples",
    ),
    "verses": Source(
        (verses.OLD, verses.NEW),
        {"instruction": verses.INSTRUCTION},
        read_verses,
        "public domain",
        "the texts of two translations",
    ),
}
"""What `data fetch` knows, by name."""
