"""The guides say what is there: their commands parse, their recipes load, their names exist."""

import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from tunesmith.cli.main import root
from tunesmith.cli.options import configuration, given
from tunesmith.cli.verbs import BY_NAME
from tunesmith.core.config import build, load, parse_mapping
from tunesmith.core.errors import ConfigError, UserError
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.detect import read_any as read_row
from tunesmith.core.recipe import Recipe
from tunesmith.core.recipe.recipe import PROOFS

ROOT = Path(__file__).parents[2]
README, TRAINING, ENGINE = ROOT / "README.md", ROOT / "docs" / "training.md", ROOT / "docs" / "engine.md"
GUIDES = [README, TRAINING]
COMMON = ("config", "out", "workspace", "json", "quiet")
CHANGES = {"data": "data/mine"}
"""A snippet may leave out the one key that a recipe has to have."""
SHELL = ("tunesmith", "make", "git", "cd", "source", "python")


class Block(NamedTuple):
    """One fenced block."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    text = page.read_text()
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", text, flags=re.S | re.M):
        if found[1] in languages:
            yield Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])


class Line(NamedTuple):
    """What a reader types, and the first line that he then sees."""

    name: str
    text: str
    answer: str


def shell_lines(block: Block) -> Iterator[Line]:
    """Every line of a bash block, the lines after a `$` of a console block."""
    lines = block.text.replace("\\\n", " ").splitlines()
    for line, answer in pairwise([*lines, ""]):
        if block.language == "console" and not line.startswith("$ "):
            continue
        for part in line.removeprefix("$ ").split(" && "):
            if words := shlex.split(part, comments=True):
                yield Line(block.name, shlex.join(words), answer)


SHELL_BLOCKS = [block for page in GUIDES for block in blocks(page, "bash", "sh", "console")]
LINES = [line for block in SHELL_BLOCKS for line in shell_lines(block)]
YAML_BLOCKS = [block for page in GUIDES for block in blocks(page, "yaml")]


def check_command(line: str) -> None:
    """Parse a `tunesmith` line as the program would, down to the configuration, and run nothing."""
    _, *words = shlex.split(line)
    command: click.Command = root()
    place = []
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None, line
        command = found
        place.append(command.name or "")
    values = command.make_context(place[-1], words).params
    config = configuration(
        BY_NAME[" ".join(place)],
        given({name: value for name, value in values.items() if name not in COMMON}),
        values["config"],
    )
    if place == ["train"]:
        check_recipe_of(config.to_json())


def complaint_about(line: str) -> str:
    """What the program says of a line that it refuses."""
    try:
        check_command(line)
    except UserError as error:
        return f"tunesmith: {error}"
    return ""


def check_recipe_of(config: dict) -> None:
    """The recipe that a train command names loads with what the command sets; a run folder is not here."""
    path = ROOT / config["recipe"]
    if path.suffix == ".yaml":
        load(path, Recipe, overrides=config["set"])


def check_snippet(text: str) -> None:
    """A recipe, or a part of one that a reader may paste into his own."""
    value, lines = parse_mapping(text, source="snippet")
    build(Recipe, {**CHANGES, **value}, source="snippet", lines=lines)


@pytest.mark.parametrize("line", LINES, ids=[line.name for line in LINES])
def test_every_command_of_the_guides_parses_or_fails_with_the_words_that_stand_under_it(line: Line):
    program, *words = shlex.split(line.text)
    assert program in SHELL, f"a reader cannot run {program}"
    if program == "tunesmith":
        complaint = complaint_about(line.text)
        assert complaint in ("", line.answer)
    if program == "python":
        assert (ROOT / words[0]).is_file()
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M)
        assert {word for word in words if "=" not in word} - {"…"} <= set(targets)


@pytest.mark.parametrize("block", YAML_BLOCKS, ids=lambda block: block.name)
def test_every_snippet_of_the_guides_is_a_recipe_or_a_part_of_one(block: Block):
    check_snippet(block.text)


def test_every_row_of_data_in_the_guides_is_read_without_complaint():
    for block in blocks(TRAINING, "json"):
        for line in block.text.splitlines():
            found = Findings()
            assert read_row(json.loads(line), found) is not None
            assert found == Findings(), f"{block.name}: {line}"


def test_the_guides_have_what_is_checked_here():
    assert len(LINES) > 25
    assert len(YAML_BLOCKS) > 15
    assert list(blocks(TRAINING, "json"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tunesmith train recipes/lora.yaml --chek", "--chek"),
        ("tunesmith runs lst", "unknown command"),
        ("tunesmith runs list --limit many", "limit"),
        ("tunesmith train recipes/lora.yaml --set method.rnk=8", "did you mean 'rank'"),
        ("tunesmith train recipes/absent.yaml", "no such file"),
        ("tunesmith train", "missing: RECIPE"),
    ],
)
def test_a_command_that_does_not_parse_would_be_found(line: str, words: str):
    with pytest.raises((click.ClickException, UserError)) as found:
        check_command(line)
    error = found.value
    assert words in (error.format_message() if isinstance(error, click.ClickException) else str(error))


@pytest.mark.parametrize(
    "text", ["metod: {kind: lora}", "method: {kind: freeze}", "waive: [masks]", "objective: {kind: dpo}"]
)
def test_a_snippet_that_is_no_part_of_a_recipe_would_be_found(text: str):
    with pytest.raises(ConfigError):
        check_snippet(text)


def first_column(page: Path, header: str) -> list[str]:
    """Names in backticks in the first column of the table whose header begins so."""
    table = page.read_text().split(f"| {header} |")[1].split("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def kinds_of(field: str) -> list[str]:
    """Tags of a tagged union."""
    schema = Recipe.model_json_schema()["properties"][field]
    return list(schema["discriminator"]["mapping"])


def test_the_tables_of_the_training_guide_have_every_kind():
    assert first_column(TRAINING, "proof") == list(PROOFS)
    assert set(first_column(TRAINING, "`method.kind`")) == set(kinds_of("method"))
    assert set(first_column(README, "method")) == set(kinds_of("method"))
    assert set(first_column(TRAINING, "`optimiser.kind`")) == set(kinds_of("optimiser"))


@pytest.mark.parametrize("page", [*GUIDES, ENGINE], ids=lambda page: page.name)
def test_tests_and_files_that_a_guide_names_exist(page: Path):
    text = page.read_text()
    tests = "\n".join(path.read_text() for path in ROOT.glob("tests/*/test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)", tests, flags=re.M))
    assert set(re.findall(r"`(test_\w+)`", text)) <= defined
    for name in re.findall(r"`(?:python )?([\w/.-]+/[\w.-]+\.(?:py|sh|yaml))`", text):
        assert any((ROOT / start / name).exists() for start in ("", "src/tunesmith")), name


def test_the_engine_guide_stays_short():
    assert len(ENGINE.read_text().splitlines()) <= 250
