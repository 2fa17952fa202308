"""Write docs/reference.md: every command, option, result field and recipe key, from the schemas.

Run it with `make docs`; a test fails when the page and the code differ.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.cli.options import Shape, plain
from tunesmith.cli.verbs import VERBS, Verb, load
from tunesmith.core.config import Schema, is_argument, schemas_in
from tunesmith.core.recipe import Recipe

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
INTRODUCTION = """\
# Reference

Made from the code by `make docs`; a test keeps it true.

Every command also takes `--config FILE` (YAML or JSON with the same settings; options win), `--workspace`
(where folders go, `.tunesmith` by default), `--json` (one JSON object on standard output and nothing else
there) and `--quiet`. Commands that make a folder take `--out`. Exit codes: 0 done, 1 the check or run
failed, 2 a mistake to mend, 130 interrupted with everything saved.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## Commands\n", *(section(verb) for verb in VERBS), recipe_section()]
    return "\n".join(parts)


def section(verb: Verb) -> str:
    """A verb: summary, what its schema says, options, result."""
    schema, result = load(verb.schema), load(verb.result)
    arguments = [name.upper() for name, field in schema.model_fields.items() if is_argument(field)]
    lines = [f"### `tunesmith {' '.join([verb.name, *arguments])}`\n", f"{verb.summary}\n"]
    if schema.__doc__:
        lines.append(f"{flat(schema.__doc__)}\n")
    if schema.model_fields:
        lines += ["| option | default | |", "|---|---|---|", *option_rows(schema), ""]
    if verb.makes:
        lines.append(f"Makes a folder of kind `{verb.makes}`.\n")
    lines += ["| result (`--json`) | |", "|---|---|", *result_rows(result), ""]
    return "\n".join(lines)


def option_rows(schema: type[Schema]) -> Iterator[str]:
    """A row for each field."""
    for name, field in schema.model_fields.items():
        spoken = name.upper() if is_argument(field) else f"--{name.replace('_', '-')}"
        choices = (
            f" ({', '.join(Shape(field.annotation).choices)})" if Shape(field.annotation).choices else ""
        )
        yield f"| `{spoken}`{choices} | {default(field)} | {flat(field.description)} |"


def result_rows(result: type[Schema]) -> Iterator[str]:
    """A row for each field of a result."""
    for name, field in result.model_fields.items():
        yield f"| `{name}` | {flat(field.description)} |"


def recipe_section() -> str:
    """Every key of a recipe, nested ones with their path."""
    lines = [
        "## Recipe\n",
        f"{flat(Recipe.__doc__)}\n",
        "| key | default | |",
        "|---|---|---|",
        *key_rows(Recipe, ""),
    ]
    return "\n".join(lines) + "\n"


def key_rows(schema: type[Schema], prefix: str) -> Iterator[str]:
    """A row for each key, depth first."""
    for name, field in schema.model_fields.items():
        below = list(schemas_in(field.annotation))
        if not below:
            yield f"| `{prefix}{name}` | {default(field)} | {flat(field.description)} |"
        for nested in below:
            yield from key_rows(nested, f"{prefix}{name}.")


def default(field: Any) -> str:
    """A default as the page shows it."""
    if field.is_required():
        return "required"
    value = plain(field.get_default(call_default_factory=True, validated_data={}))
    return f"`{value}`" if value not in ("", "None") else ""


def flat(text: str | None) -> str:
    """A docstring on one line, safe inside a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(Path.cwd())}")
