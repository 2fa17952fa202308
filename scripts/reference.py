"""Write docs/reference.md (every command, option, result field, key of a file), checks.md and scorers.md.

Run it with `make docs`; a test fails when a page and the code differ.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tunesmith.cli.options import Shape, kebab, plain
from tunesmith.cli.verbs import VERBS, Verb, load
from tunesmith.core.config import Schema, is_argument, schemas_in
from tunesmith.core.recipe import Recipe
from tunesmith.core.scorers import SCORERS, Scorer
from tunesmith.data.check.port import FAMILIES, Check
from tunesmith.data.check.registry import CHECKS
from tunesmith.evaluate.gate.schema import Rule
from tunesmith.evaluate.suite import Suite

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
CHECKS_PAGE = PAGE.with_name("checks.md")
SCORERS_PAGE = PAGE.with_name("scorers.md")
INTRODUCTION = """\
# Reference

Made from the code by `make docs`; a test keeps it true.

Every command also takes `--config FILE` (YAML or JSON with the same settings; options win), `--workspace`
(where folders go, `.tunesmith` by default), `--json` (one JSON object on standard output and nothing else
there) and `--quiet`. Commands that make a folder take `--out`. Exit codes: 0 done, 1 the check or run
failed, 2 a mistake to mend, 130 interrupted with everything saved.
"""
CHECKS_INTRODUCTION = """\
# Data checks

What `tunesmith data check` looks for; [data.md](data.md) is the guide.  Made from the code by `make docs`."""
SCORERS_INTRODUCTION = """\
# Scorers

What a suite can score answers with; [evaluation.md](evaluation.md) is the guide.  Made from the code by
`make docs`.

A scorer is written by its name, or with options as `{type: numeric, tolerance: 0.01}`; a function of your own
is `module:function`, of (right answer, answer) or of one case, and gives a number from 0 to 1.  An item can
accept more than one answer: `accepted` in its metadata."""
ASKED = {
    "answer": "From the answer",
    "choices": "From the likelihood of each choice",
    "likelihood": "From the likelihood of the right answer",
}


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## Commands\n", *(section(verb) for verb in VERBS), recipe_section()]
    parts += [file_section("Suite", Suite), file_section("Rule of a gate", Rule)]
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
        spoken = name.upper() if is_argument(field) else f"--{kebab(name)}"
        choices = (
            f" ({', '.join(Shape(field.annotation).choices)})" if Shape(field.annotation).choices else ""
        )
        yield f"| `{spoken}`{choices} | {default(field)} | {flat(field.description)} |"


def result_rows(result: type[Schema]) -> Iterator[str]:
    """A row for each field of a result."""
    for name, field in result.model_fields.items():
        yield f"| `{name}` | {flat(field.description)} |"


def file_section(title: str, schema: type[Schema]) -> str:
    """Every key of a file, nested ones with their path."""
    return f"## {title}\n\n{flat(schema.__doc__)}\n\n{table(key_rows(schema, ''))}"


def recipe_section() -> str:
    """Every key of a recipe, nested ones with their path; a union has a table for each of its kinds."""
    parts = [f"## Recipe\n\n{flat(Recipe.__doc__)}\n", table(key_rows(Recipe, ""))]
    for name, members in unions(Recipe).items():
        parts.append(f"### `{name}:` of a recipe\n")
        shared = shared_keys(members)
        if shared:
            rows = (row for key in shared for row in field_rows(members[0], key, f"{name}."))
            parts += ["Every kind has:\n", table(rows)]
        for member in members:
            parts.append(f"`{name}.kind: {kind_of(member)}`: {flat(member.__doc__)}\n")
            own = [key for key in member.model_fields if key not in (*shared, "kind")]
            if own:
                parts.append(table(row for key in own for row in field_rows(member, key, f"{name}.")))
    return "\n".join(parts)


def table(rows: Iterable[str]) -> str:
    """A table of keys."""
    return "\n".join(["| key | default | |", "|---|---|---|", *rows, ""])


def unions(schema: type[Schema]) -> dict[str, list[type[Schema]]]:
    """Fields that hold one of several kinds, each a schema with a tag."""
    found = {name: list(schemas_in(field.annotation)) for name, field in schema.model_fields.items()}
    return {name: members for name, members in found.items() if len(members) > 1}


def kind_of(member: type[Schema]) -> str:
    """The tag of a union's member."""
    return str(member.model_fields["kind"].default)


def shared_keys(members: Sequence[type[Schema]]) -> list[str]:
    """Keys that all members have alike."""
    first, *others = members
    return [
        name
        for name in first.model_fields
        if name != "kind" and all(same_field(name, first, other) for other in others)
    ]


def same_field(name: str, one: type[Schema], other: type[Schema]) -> bool:
    """Whether a key means the same in two schemas."""
    if name not in other.model_fields:
        return False
    fields = [schema.model_fields[name] for schema in (one, other)]
    return default(fields[0]) == default(fields[1]) and fields[0].description == fields[1].description


def key_rows(schema: type[Schema], prefix: str) -> Iterator[str]:
    """A row for each key, depth first."""
    for name in schema.model_fields:
        yield from field_rows(schema, name, prefix)


def field_rows(schema: type[Schema], name: str, prefix: str) -> Iterator[str]:
    """The row of a key; of a section, the rows of its keys; of a union, where to look."""
    field = schema.model_fields[name]
    below = list(schemas_in(field.annotation))
    if len(below) > 1:
        kinds = ", ".join(f"`{kind_of(member)}`" for member in below)
        tag = field.get_default(call_default_factory=True, validated_data={}).kind
        yield f"| `{prefix}{name}.kind` | `{tag}` | {flat(field.description)} One of {kinds}; see below. |"
    elif below:
        if not field.is_required() and field.default is None:
            yield f"| `{prefix}{name}` | | {flat(field.description)} |"
        yield from key_rows(below[0], f"{prefix}{name}.")
    else:
        yield f"| `{prefix}{name}` | {default(field)} | {flat(field.description)} |"


def default(field: Any) -> str:
    """A default as the page shows it, and as YAML has it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    text = str(value).lower() if isinstance(value, bool) else plain(value)
    return f"`{flat(text)}`" if text not in ("", "None") else ""


def flat(text: str | None) -> str:
    """A docstring on one line, safe inside a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


def checks_page() -> str:
    """Every data check, by family."""
    parts = [CHECKS_INTRODUCTION]
    for family in FAMILIES:
        checks = [check for check in CHECKS.values() if check.family == family]
        rows = [
            f"| `{check.name}` | {limit(check.threshold)} | {flat(check.about)}{needs(check)} |"
            for check in checks
        ]
        parts.append(
            f"## {family.capitalize()}\n\n| check | threshold | what it finds |\n|---|---|---|\n"
            + "\n".join(rows)
        )
    return "\n\n".join(parts) + "\n"


def scorers_page() -> str:
    """Every scorer, by what has to be asked of the model."""
    parts = [SCORERS_INTRODUCTION]
    for asked, title in ASKED.items():
        rows = [scorer_row(scorer) for scorer in SCORERS.values() if scorer.needs == asked]
        head = "| scorer | options | values | what it gives |\n|---|---|---|---|\n"
        parts.append(f"## {title}\n\n{head}" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def scorer_row(scorer: Scorer) -> str:
    """Name, options with their defaults, values, and what it measures."""
    options = [
        f"`{name}`" + ("" if field.is_required() else f" ({default(field) or 'none'})")
        for name, field in scorer.options().model_fields.items()
    ]
    values = {"share": "0 or 1", "unit": "0 to 1", "number": "any"}[scorer.kind]
    better = {"higher": "", "lower": ", lower is better", None: ", neither is better"}[scorer.better]
    return f"| `{scorer.name}` | {', '.join(options)} | {values}{better} | {flat(scorer.what)} |"


def limit(threshold: float) -> str:
    """A threshold; nothing where there is none."""
    return f"{threshold:g}" if threshold else ""


def needs(check: Check) -> str:
    """What it cannot do without, when that is a model."""
    return " Needs `--model`." if check.needs & {"model", "tokenizer"} else ""


if __name__ == "__main__":
    for path, text in ((PAGE, page()), (CHECKS_PAGE, checks_page()), (SCORERS_PAGE, scorers_page())):
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(Path.cwd())}")
