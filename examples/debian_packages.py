"""Debian's packages as documents and questions: `apt-cache dumpavail | python debian_packages.py FOLDER`.

Of the packages in the larger sections 640 are drawn by hash.  documents.jsonl holds a text for each;
questions.jsonl and asked.jsonl ask for the section of one half each.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

PACKAGES = 640
ASKED = 160
FEWEST_IN_SECTION = 400
SHOWN = ("Package", "Section", "Description", "Tag", "Homepage")


def packages(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The fields of each package."""
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif line[0].isspace():
            fields[name] += " " + line.strip()
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()


def chosen(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same packages every time, of sections that are large enough."""
    sections = Counter(one["Section"] for one in found)
    large = [one for one in found if sections[one["Section"]] >= FEWEST_IN_SECTION]
    unique = {one["Package"]: one for one in large if one.get("Description")}
    names = sorted(unique, key=lambda name: sha256(name.encode()).hexdigest())
    return [unique[name] for name in names[:PACKAGES]]


def document(one: dict[str, str]) -> dict[str, str]:
    """A package as plain text."""
    return {"text": "\n".join(f"{name}: {one[name]}" for name in SHOWN if name in one)}


def question(one: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """What section a package is in."""
    asked = f"In which section of Debian is the package {one['Package']}? Answer with the section alone."
    return {
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": one["Section"]}]
    }


def main() -> None:
    """Write the three files."""
    folder = Path(sys.argv[1])
    found = chosen([one for one in packages(sys.stdin) if "Section" in one])
    if len(found) < PACKAGES:
        sys.exit(f"{len(found)} packages are known here; run `apt-get update` first")
    half = len(found) // 2
    files = {
        "documents": [document(one) for one in found],
        "questions": [question(one) for one in found[:half]],
        "asked": [question(one) for one in found[half : half + ASKED]],
    }
    for name, rows in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
