"""What a reader of a report sees: the page, its Markdown, its facts."""

import re
from html import unescape

from tunesmith.core.files import read_json
from tunesmith.core.page import numbers


def text_of(result) -> str:
    """The words of the page, without the style sheet."""
    page = (result.folder / result.page).read_text(encoding="utf-8").partition("<body>")[2]
    return plain(unescape(re.sub(r"<[^>]+>", " ", page)))


def markdown_of(result) -> str:
    """The Markdown as it is read: without what escapes."""
    source = (result.folder / result.markdown).read_text(encoding="utf-8")
    return plain(unescape(re.sub(r"\\([\\`*_\[\]|~])", r"\1", source.replace("<!-- -->", ""))))


def facts_of(result) -> dict:
    """The facts for programs."""
    return read_json(result.folder / "report.json")


def plain(text: str) -> str:
    """One space between words, minus signs as typed."""
    return " ".join(text.replace(numbers.THIN, " ").replace(numbers.MINUS, "-").split())
