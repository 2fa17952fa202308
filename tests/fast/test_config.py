from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from tunesmith.core.config import Schema, load, parse_mapping
from tunesmith.core.errors import ConfigError
from tunesmith.core.recipe import Recipe

RECIPE = """\
# a recipe
data: some/folder
epochs: 2
optimiser:
  learning_rate: 0.001
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_recipe_loads_with_its_defaults(tmp_path):
    recipe = load(write(tmp_path, RECIPE), Recipe)
    assert (recipe.epochs, recipe.optimiser.learning_rate, recipe.method.kind) == (2, 0.001, "lora")


def test_an_unknown_key_names_file_line_and_the_nearest_key(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, RECIPE + "  wieght_decay: 0.1\n"), Recipe)
    message = str(caught.value)
    assert "recipe.yaml:6: unknown key 'optimiser.wieght_decay'" in message
    assert "did you mean 'weight_decay'?" in message


def test_a_wrong_value_names_line_key_and_value(tmp_path):
    with pytest.raises(ConfigError, match=r"recipe\.yaml:3: epochs: .*got 'many'"):
        load(write(tmp_path, RECIPE.replace("epochs: 2", "epochs: many")), Recipe)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(ConfigError, match="the key 'data' is missing"):
        load(write(tmp_path, "epochs: 1\n"), Recipe)


def test_all_complaints_come_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "data: x\nepochs: -1\nseed: a\n"), Recipe)
    assert len(str(caught.value).splitlines()) == 2


def test_overrides_reach_into_sections_and_are_named_in_complaints(tmp_path):
    path = write(tmp_path, RECIPE)
    recipe = load(path, Recipe, overrides=["optimiser.learning_rate=0.5", "method.rank=4"])
    assert (recipe.optimiser.learning_rate, recipe.method.rank) == (0.5, 4)
    with pytest.raises(ConfigError, match="--set: epochs"):
        load(path, Recipe, overrides=["epochs=none"])
    with pytest.raises(ConfigError, match="expected key=value"):
        load(path, Recipe, overrides=["epochs"])


def test_a_missing_file_and_a_file_that_is_no_mapping_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "absent.yaml", Recipe)
    with pytest.raises(ConfigError, match="expected keys and values"):
        load(write(tmp_path, "- a\n- b\n"), Recipe)


def test_yaml_that_builds_objects_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(write(tmp_path, "data: !!python/object/apply:os.system ['true']\n"), Recipe)


class Cat(Schema):
    kind: Literal["cat"]
    lives: int = 9


class Dog(Schema):
    kind: Literal["dog"]
    tricks: int = 0


class Owner(Schema):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


def test_a_tagged_union_names_the_keys_of_the_members(tmp_path):
    with pytest.raises(ConfigError, match=r"recipe\.yaml:3: unknown key 'pet\.trick'; did you mean 'tricks'"):
        load(write(tmp_path, "pet:\n  kind: dog\n  trick: 1\n"), Owner)


@given(st.text(max_size=200))
def test_no_text_crashes_the_reader(text):
    try:
        value, _ = parse_mapping(text, source="x.yaml")
    except ConfigError as error:
        said = str(error)
    else:
        said = "x.yaml" if isinstance(value, dict) else ""
    assert "x.yaml" in said
