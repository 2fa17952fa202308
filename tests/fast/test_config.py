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


def test_what_an_option_set_is_complained_about_at_the_option(tmp_path):
    path = write(tmp_path, RECIPE)
    for override in ("waive=[rowz]", "optimizer.learning_rate=1", "optimiser.schedule=[]"):
        with pytest.raises(ConfigError, match=r"^--set: "):
            load(path, Recipe, overrides=[override])
    with pytest.raises(ConfigError, match=r"recipe\.yaml:4: optimiser"):
        load(write(tmp_path, RECIPE.split("optimiser:")[0] + "optimiser: 3\n"), Recipe, overrides=["seed=1"])


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


def complaint(tmp_path: Path, text: str, *, overrides: tuple[str, ...] = ()) -> str:
    """What is said about a recipe with a data folder and these lines, without the path of the file."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), Recipe, overrides=overrides)
    return str(caught.value).replace(f"{tmp_path}/recipe.yaml", "")


WRONG = [
    # unions: the tag, the members' keys, the ways of a plain union
    (
        "data: x\nmethod:\n  kind: lorra\n",
        ":3: method.kind: should be one of lora, qlora, full, freeze, adapter, peft, got 'lorra'; "
        "did you mean 'lora'?",
    ),
    (
        "data: x\nmethod: lorra\n",
        ":2: method.kind: should be one of lora, qlora, full, freeze, adapter, peft, got 'lorra'; "
        "did you mean 'lora'?",
    ),
    ("data: x\nmethod:\n", ":2: method: should be a section of keys and values, got nothing"),
    (
        "data: x\nmethod: {kind: full, rank: 16}\n",
        ":2: unknown key 'method.rank'; it belongs to method kinds lora and qlora, not full",
    ),
    (
        "data: x\nmethod:\n  kind: full\n  bits: 8\n",
        ":4: unknown key 'method.bits'; it belongs to method kind qlora, not full",
    ),
    (
        "data: x\nmethod:\n  rnak: 8\n",
        ":3: unknown key 'method.rnak'; did you mean 'rank'?",
    ),
    (
        "data: x\noptimiser:\n  learning_rate: fast\n",
        ":3: optimiser.learning_rate: should be a number or auto, got 'fast'",
    ),
    (
        "data: x\noptimiser:\n  kind: sgd\n  learning_rate: -1\n",
        ":4: optimiser.learning_rate: should be greater than 0 or auto, got -1",
    ),
    (
        "data: x\nmicrobatch_tokens: 1.5\n",
        ":2: microbatch_tokens: should be a whole number or auto, got 1.5",
    ),
    (
        "data: x\nobjective:\n  fill_in_the_middle: {rate: 1}\n",
        ":3: unknown key 'objective.fill_in_the_middle'; it belongs to objective kind text, not sft",
    ),
    (
        "data: x\nobjective:\n  kind: text\n  fill_in_the_middle:\n    rat: 1\n",
        ":5: unknown key 'objective.fill_in_the_middle.rat'; did you mean 'rate'?",
    ),
    # a key of a section at the top
    (
        "data: x\nlearning_rate: 1\n",
        ":2: unknown key 'learning_rate'; did you mean 'optimiser.learning_rate'?",
    ),
    ("data: x\nrank: 1\n", ":2: unknown key 'rank'; did you mean 'method.rank'?"),
    # words to choose from
    (
        "data: x\ntoo_long: cut\n",
        ":2: too_long: should be one of refuse, drop, truncate_left, truncate_right, split, got 'cut'",
    ),
    (
        "data: x\npublish: bset\n",
        ":2: publish: should be one of best, last, got 'bset'; did you mean 'best'?",
    ),
    # lists
    ("data: []\n", ":1: data: has too few entries (at least 1), got []"),
    ("data: [{pth: x}]\n", ":1: unknown key 'data.0.pth'; did you mean 'path'?"),
    (
        "data:\n- path: x\n- path: y\n  weight: -1\n",
        ":4: data.1.weight: should be at least 0, got -1",
    ),
    ("data: 3\n", ":1: data: should be a list, got 3"),
    (
        "data: x\noptimiser: {betas: [0.9]}\n",
        ":2: optimiser.betas: has too few entries, got [0.9]",
    ),
    (
        "data: x\noptimiser: {betas: [0.9, 0.9, 0.9]}\n",
        ":2: optimiser.betas: has too many entries (at most 2), got [0.9, 0.9, 0.9]",
    ),
    (
        "data: x\nmethod:\n  rank_pattern:\n    q_proj: 0\n",
        ":4: method.rank_pattern.q_proj: should be greater than 0, got 0",
    ),
    ("data: x\nepochs:\n", ":2: epochs: should be a number, got nothing"),
    (
        "data: x\ninit_from: {mode: stack}\n",
        ":2: the key 'init_from.path' is missing; add `path: …`",
    ),
    # combinations that no model is needed to see through
    (
        "data: x\nmethod:\n  kind: qlora\n  bits: 8\n  quant_type: fp4\n",
        ":2: method: quant_type belongs to 4 bits: leave it out, or set bits to 4",
    ),
    (
        "data: x\nmethod: freeze\n",
        ": method freeze learns nothing: give method.train or method.layers",
    ),
    (
        "data: x\nobjective: {loss: dft, label_smoothing: 0.1}\n",
        ":2: objective: loss dft and label_smoothing exclude each other: keep one of the two",
    ),
    (
        "data: x\nobjective: {kind: text}\ntoo_long: drop\n",
        ": objective text packs documents into blocks: set objective.block_length, not too_long",
    ),
    (
        "data: x\noptimiser: {decay_share: 0.5}\n",
        ":2: optimiser: decay_share belongs to schedule wsd: leave it out",
    ),
    (
        "data: x\noptimiser: {schedule: wsd, decay_share: 0.99}\n",
        ":2: optimiser: warmup_share and decay_share are more than all steps together",
    ),
    (
        "data: x\nengine: fake\nobjective: {neftune_alpha: 5}\n",
        ": engine fake has no neural network: leave objective.neftune_alpha out, or take engine ragged",
    ),
    (
        "data: x\nengine: fake\nobjective: text\n",
        ": engine fake learns from conversations only, not by objective text",
    ),
    (
        "data: x\nengine: fake\noptimiser: {learning_rate: auto}\n",
        ": engine fake has no neural network: give optimiser.learning_rate a number",
    ),
    (
        "data: x\nengine: fake\ntemplate: chatml\n",
        ": engine fake reads words without a chat template: leave template out, or take engine ragged",
    ),
    (
        "data: x\nmethod: full\ninit_from: {path: run, mode: stack}\n",
        ": init_from.mode stack puts a new adapter over the old, method full has none: "
        "take continue or merge_then_new, or an adapter method",
    ),
    ("data: [a/x, b/x]\n", ": two sources are called 'x': give each its own data.name"),
    (
        "data: {path: x, weight: 0}\n",
        ": no source of data is learned: give at least one a weight above 0",
    ),
    (
        "data: x\neval_every: 5\nevaluations: 2\n",
        ": evaluations and eval_every both say when to evaluate: keep one of the two",
    ),
    (
        "data: x\nstep_tokens: 512\nstep_examples: 2\n",
        ": step_examples and step_tokens both define a step: keep one of the two",
    ),
    (
        "data: x\npatience: 2\nevaluations: 0\n",
        ": patience and generation.prompts need evaluations: give evaluations or eval_every",
    ),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said.split(": ", 1)[1][:60] for _, said in WRONG])
def test_a_wrong_recipe_gets_one_complaint_in_words_of_the_file(tmp_path, text, said):
    assert complaint(tmp_path, text) == said


def test_a_kind_set_on_the_command_line_explains_which_keys_of_the_file_it_strands(tmp_path):
    said = complaint(
        tmp_path, "data: x\nmethod:\n  kind: lora\n  rank: 16\n", overrides=("method.kind=full",)
    )
    assert said == (
        ":4: unknown key 'method.rank'; it belongs to method kinds lora and qlora, not full "
        "(which --set asks for)"
    )


def test_a_wrong_kind_on_the_command_line_is_said_to_stand_there(tmp_path):
    said = complaint(tmp_path, "data: x\n", overrides=("method.kind=fulll",))
    assert said.startswith("--set: method.kind: should be one of")
    assert said.endswith("got 'fulll'; did you mean 'full'?")


def test_a_word_for_a_section_is_its_kind(tmp_path):
    path = write(tmp_path, "data: x\nmethod: full\n")
    assert load(path, Recipe).method.kind == "full"
    assert load(path, Recipe, overrides=["method=qlora"]).method.kind == "qlora"


KINDS = [
    {},
    {"method": "qlora", "optimiser": "adamw8bit"},
    {"method": {"kind": "freeze", "layers": 2}, "optimiser": {"kind": "muon", "schedule": "wsd"}},
    {"method": {"kind": "peft", "peft_type": "IA3", "config": {"a": [1]}}, "optimiser": "adafactor"},
    {"method": "adapter", "optimiser": {"kind": "sgd", "learning_rate": "auto"}},
    {"objective": {"kind": "text", "fill_in_the_middle": {"rate": 0.9}, "z_loss": 1e-4}},
    {"objective": {"learn": "last", "label_smoothing": 0.1}, "eval_every": 3, "step_tokens": 99},
    {"data": [{"path": "a", "weight": 0.5}, "b"], "init_from": {"path": "run"}, "waive": ["rows"]},
]


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_a_resolved_recipe_loads_again_unchanged(changes):
    recipe = Recipe.model_validate({"data": "x", **changes})
    assert Recipe.model_validate(recipe.to_json()) == recipe


@given(st.text(max_size=200))
def test_no_text_crashes_the_reader(text):
    try:
        value, _ = parse_mapping(text, source="x.yaml")
    except ConfigError as error:
        said = str(error)
    else:
        said = "x.yaml" if isinstance(value, dict) else ""
    assert "x.yaml" in said
