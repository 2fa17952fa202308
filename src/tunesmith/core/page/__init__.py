"""What pages that are passed on share: numbers as people read them, drawings, word diffs, the style sheet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOOK = Path(__file__).with_name("look.css")
"""Colours, letters, tables, drawings: a page's own sheet comes after it."""


def render(folder: Path, globals_: Mapping[str, Any], **values: Any) -> str:
    """A folder's `report.html.jinja` with its `report.css` behind the common one, both inside the page.

    Every value is escaped, and a name that is missing is an error; `globals_` are what macros see too.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= dict(globals_)
    css = "".join(path.read_text(encoding="utf-8") for path in (LOOK, folder / "report.css"))
    template = environment.get_template("report.html.jinja")
    return template.render(css=Markup(css), **values)  # noqa: S704  our own files
