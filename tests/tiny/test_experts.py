"""A mixture of experts: its experts are parameters in three dimensions, which "all linear layers" misses."""

from pathlib import Path
from types import SimpleNamespace

import peft
import pytest
import torch
from test_methods import BEGIN, STEP, learn, loaded, logits, session
from tiny_models import SHAPE, tiny_tokenizer
from transformers import MixtralConfig, MixtralForCausalLM

from tunesmith.core.errors import ConfigError
from tunesmith.core.recipe import Adapter, Freeze, Full, Lora, Peft, Qlora, Recipe, Sft
from tunesmith.runtime.methods import attach
from tunesmith.runtime.models import Loaded, describe, load_for_inference, prepare_for_training
from tunesmith.train.objectives import supervised
from tunesmith.train.preflight import steps

EXPERTS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
ON_EXPERTS = Peft(
    peft_type="LORA",
    config={"r": 2, "lora_alpha": 8, "target_modules": ["q_proj"], "target_parameters": list(EXPERTS)},
)
NUM_EXPERTS, WIDTH, INNER = 4, 32, 48
ON_EXPERTS_COUNT = 2 * 2 * (2 * WIDTH + NUM_EXPERTS * ((WIDTH + 2 * INNER) + (INNER + WIDTH)))
"""Two layers, rank 2: A and B of the query, and for each expert A and B of its two products."""


def plain_model(dtype: torch.dtype = torch.float32) -> MixtralForCausalLM:
    """Four experts of which each token asks two."""
    config = MixtralConfig(**SHAPE, num_local_experts=NUM_EXPERTS, num_experts_per_tok=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MixtralForCausalLM(config)
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.2)
    return model.to(dtype).eval()


def ready(dtype: torch.dtype = torch.float32) -> Loaded:
    """The model set up to learn in the packed layout, which is proved equal to the plain one on the way."""
    model = plain_model(dtype)
    model.set_attn_implementation("sdpa")
    prepare_for_training(model)
    return Loaded(model, tiny_tokenizer(), describe(model, "tiny", str(dtype).removeprefix("torch.")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_target_parameters_reach_the_experts_and_plain_peft_loads_them(tmp_path: Path, dtype):
    base = plain_model(dtype)
    base.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    before = logits(base)
    model = ready(dtype)
    made = attach(model, ON_EXPERTS, BEGIN)
    assert made.unchanged_at_start
    assert made.expected_parameters == ON_EXPERTS_COUNT
    assert sum("experts" in entry.name for entry in made.trainable) == 2 * 2 * 2
    start = {entry.name: entry.parameter.detach().clone() for entry in made.trainable}
    opened = learn(made, steps=3, rate=1.0)
    assert opened.num_trainable == ON_EXPERTS_COUNT
    assert [entry.name for entry in made.trainable if torch.equal(entry.parameter, start[entry.name])] == []
    made.publish(tmp_path / "adapter")
    found = logits(model.model)
    assert not torch.allclose(found, before, atol=1e-3)
    theirs = peft.PeftModel.from_pretrained(plain_model(dtype), tmp_path / "adapter").get_base_model()
    near = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(logits(theirs), found, rtol=near, atol=near)
    served = load_for_inference(
        tmp_path / "base", adapter=tmp_path / "adapter", dtype=str(dtype).removeprefix("torch.")
    )
    torch.testing.assert_close(logits(served.model), found, rtol=near, atol=near)


def test_the_start_on_experts_is_the_base_to_the_bit():
    model = ready()
    attach(model, ON_EXPERTS, BEGIN)
    assert torch.equal(logits(model.model), logits(plain_model()))


@pytest.mark.parametrize(
    "names", [["experts.gate_proj"], [*EXPERTS, "experts.up_proj"]], ids=["none matches", "one of three"]
)
def test_a_target_parameter_that_matches_nothing_is_refused(names: list[str]):
    settings = Peft(peft_type="LORA", config={"target_parameters": names})
    with pytest.raises(
        ConfigError, match=rf"target_parameters: no parameter .*'{names[-1]}'\n.*did you mean"
    ):
        attach(ready(), settings, BEGIN)


@pytest.mark.parametrize(
    "settings",
    [Full(), Freeze(layers=1), Lora(rank=2), Qlora(rank=2), Adapter(reduction_factor=4), ON_EXPERTS],
    ids=lambda settings: settings.kind,
)
def test_every_method_learns_on_a_mixture_of_experts_whatever_the_micro_batches(settings):
    found = []
    for microbatch_tokens in (64, 1):
        made = attach(ready(), settings, BEGIN)
        assert made.expected_parameters == sum(entry.parameter.numel() for entry in made.trainable)
        opened = session(made)
        opened.microbatch_tokens = microbatch_tokens
        loss = opened.forward_backward(STEP, supervised(Sft())).loss
        gradients = [parameter.grad.clone() for parameter in opened.masters.parameters]
        opened.optim_step(learning_rate=0.3, max_norm=None)
        assert opened.forward_backward(STEP, supervised(Sft())).loss < loss
        found.append(gradients)
    for whole, cut in zip(*found, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ({"kind": "lora", "rank": 2}, "stay as they are: method peft"),
        ({"kind": "qlora", "rank": 2}, "stay as they are and wide: method peft"),
        ({"kind": "full"}, ""),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_the_proof_of_the_gradients_says_that_lora_passes_experts_by(method: dict, says: str):
    recipe = Recipe.model_validate({"data": "d", "method": method})
    engine = SimpleNamespace(session=session(attach(ready(), recipe.method, BEGIN)))
    said = steps.untouched_experts(SimpleNamespace(recipe=recipe, engine=engine))
    assert says in said
    assert ("4 stacks of experts (36,864 numbers, such as model.layers.0.mlp.experts" in said) == bool(says)


def test_a_dense_model_has_no_experts_to_mind():
    recipe = Recipe.model_validate({"data": "d", "method": {"kind": "lora", "rank": 2}})
    engine = SimpleNamespace(session=session(attach(loaded(), recipe.method, BEGIN)))
    assert steps.untouched_experts(SimpleNamespace(recipe=recipe, engine=engine)) == ""
