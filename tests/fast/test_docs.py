"""The docs say what is there: generated pages are fresh, commands and recipes in them exist."""

import re
import runpy
import shlex
from pathlib import Path
from typing import get_args

import pytest

from tunesmith.cli.main import root
from tunesmith.cli.verbs import VERBS, load
from tunesmith.core.config import load as load_yaml
from tunesmith.core.config import read_mapping
from tunesmith.core.formats.shapes.mapping import load_mapping
from tunesmith.core.recipe import Recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
RECIPES = sorted(ROOT.glob("recipes/*.yaml"))


def test_the_generated_pages_are_what_the_code_says():
    made = runpy.run_path(str(ROOT / "scripts" / "reference.py"))
    assert (ROOT / "docs" / "reference.md").read_text() == made["page"](), "run `make docs`"
    assert (ROOT / "docs" / "scorers.md").read_text() == made["scorers_page"](), "run `make docs`"
    assert (ROOT / "docs" / "checks.md").read_text() == made["checks_page"](), "run `make docs`"


def test_every_command_is_in_the_reference():
    text = (ROOT / "docs" / "reference.md").read_text()
    assert [verb.name for verb in VERBS if f"### `tunesmith {verb.name}" not in text] == []


def commands(text):
    """Command lines that begin with `tunesmith` inside fenced blocks."""
    for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, flags=re.S):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ").split(" #")[0].split(" > ")[0].split(" | ")[0].strip()
            if line.startswith("tunesmith "):
                yield line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_docs_has_only_known_words_and_options(page):
    for line in commands(page.read_text()):
        check_command(line)


def check_command(line):
    words = shlex.split(line)[1:]
    command, context = root(), None
    while words and not words[0].startswith("-") and hasattr(command, "get_command"):
        command = command.get_command(context, words.pop(0))
        assert command is not None, line
    known = {
        option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]
    }
    used = {word.split("=")[0] for word in words if word.startswith("--")}
    assert used <= known | {"--help", "--version"}, line


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_loads(path):
    assert load_yaml(path, Recipe).name


def test_there_are_recipes():
    assert RECIPES


def test_the_journey_script_is_the_quickstart_command_by_command():
    quickstart = load("tunesmith.cli.quickstart:journey")(load("tunesmith.cli.quickstart:QuickstartConfig")())
    script = (ROOT / "examples" / "journey.sh").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in script.splitlines() if re.match(r"\s*(\w+=\$\()?\s*\$TUNESMITH ", line)]
    verbs = [step.verb for step in quickstart]
    assert len(lines) >= len(verbs)
    for verb, line in zip(verbs, lines, strict=False):
        assert f"$TUNESMITH {verb} " in line


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} → {target}"


def test_links_into_a_page_lead_to_one_of_its_headings():
    for page in PAGES:
        for target, place in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
            aim = page.parent / target if target else page
            headings = re.findall(r"^#+ (.*)$", aim.read_text(), flags=re.M)
            assert place in map(anchor, headings), f"{page.name} → {target}#{place}"


def anchor(heading):
    """A heading as a link names it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_annotated_recipe_names_every_key_at_its_default():
    recipe = load_yaml(ROOT / "recipes" / "lora.yaml", Recipe)
    assert recipe == Recipe(data=recipe.data)
    value, _ = read_mapping(ROOT / "recipes" / "lora.yaml")
    sections = {name: getattr(recipe, name) for name in ("method", "objective", "optimiser", "generation")}
    assert set(value) == set(Recipe.model_fields)
    for name, section in sections.items():
        assert set(value[name]) == set(type(section).model_fields)


def test_every_method_and_every_objective_has_a_recipe_of_its_own():
    recipes = [load_yaml(path, Recipe) for path in RECIPES]
    assert {recipe.method.kind for recipe in recipes} == set(kinds_of("method"))
    assert {recipe.objective.kind for recipe in recipes} == set(kinds_of("objective"))


def kinds_of(field):
    """Tags of a tagged union of the recipe."""
    members = get_args(Recipe.model_fields[field].annotation)
    return [member.model_fields["kind"].default for member in members]


def test_the_mapping_in_the_guide_to_data_is_one(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), flags=re.S)
    (tmp_path / "mapping.yaml").write_text(block)
    mapping = load_mapping(tmp_path / "mapping.yaml").config
    assert mapping.label_names == {"0": "sport", "1": "politics"}
