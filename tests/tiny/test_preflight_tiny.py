from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CHATML, tiny_model_folder
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from train_folders import corpora, data_set, greeting, greetings
from transformers import AttentionInterface

from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.errors import CheckFailed, OutOfSpace
from tunesmith.core.recipe import Recipe
from tunesmith.core.recipe.recipe import PROOFS
from tunesmith.runtime import ragged
from tunesmith.runtime.lora import layer as lora_layer
from tunesmith.runtime.methods.port import Trainable
from tunesmith.runtime.step import Encoded
from tunesmith.train.corpus import open_sources
from tunesmith.train.engines.port import EngineSetup
from tunesmith.train.engines.ragged import RaggedEngine
from tunesmith.train.objectives import SupervisedFineTuning
from tunesmith.train.preflight import (
    PreflightContext,
    activation_checkpointing,
    memory,
    read_results,
    rendering,
    rows,
    run,
    steps,
    trial,
)
from tunesmith.train.preflight.memory import Trial
from tunesmith.train.preflight.runner import prove
from tunesmith.train.preflight.schema import Finding

LORA = {"kind": "lora", "rank": 4, "alpha": 8}
STEP_PROOFS = (
    steps.check_packing,
    steps.check_plain_step,
    steps.check_microbatches,
    steps.check_gradients,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def ready(tmp_path: Path, model: Path) -> Callable[..., PreflightContext]:
    """Makes a run on greetings that is about to begin; keywords are the recipe's."""

    def make(*, splits: Any = None, **settings: Any) -> PreflightContext:
        folders = [data_set(tmp_path, split) for split in (splits or [greetings(12)])]
        named = [{"path": str(path), "name": f"s{place}"} for place, path in enumerate(folders)]
        recipe = Recipe.model_validate(
            {"data": named, "model": str(model), "dtype": "float32", "threads": 1, "method": LORA} | settings
        )
        setup = EngineSetup(recipe, "tiny", model)
        engine = RaggedEngine(setup)
        data = open_sources(recipe)
        train, validation = corpora(tmp_path, recipe, data, engine)
        return PreflightContext(
            recipe=recipe,
            setup=setup,
            engine=engine,
            train=train,
            validation=validation,
            data=data,
            folder=tmp_path,
            planned_tokens=1000,
            say=told.append,
        )

    told: list[Any] = []
    return make


def reweighted(engine: RaggedEngine, change: Callable[[Encoded], Sequence[float]]) -> None:
    """From now on the engine gives other weights."""
    encode = engine.encode

    def changed(example, key):
        encoded = encode(example, key)
        return encoded._replace(weights=tuple(change(encoded)))

    engine.encode = changed


def state(engine: RaggedEngine) -> dict[str, torch.Tensor]:
    """Everything that the next step depends on, and everything else in the model."""
    session = engine.session
    tensors = {f"master.{name}": tensor for name, tensor in session.masters.tensors().items()}
    tensors |= {f"optimiser.{name}": tensor for name, tensor in session.optimiser.state().items()}
    tensors |= {f"model.{name}": tensor for name, tensor in session.model.named_parameters()}
    tensors |= {f"buffer.{name}": tensor for name, tensor in session.model.named_buffers()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()} | {
        "random": torch.get_rng_state()
    }


def test_a_healthy_run_passes_every_proof(ready):
    context = ready()
    told: list[Any] = []
    results = run(replace(context, say=told.append))
    assert [result.outcome for result in results] == ["passed"] * 10, told
    assert read_results(context.folder) == results
    assert activation_checkpointing(results) is False
    proved = [event for event in told if "proof" in event]
    assert [event["proof"] for event in proved] == [result.name for result in results]
    assert proved[0]["text"].startswith("✓ mask  ")
    assert told[-1]["text"].startswith("pre-flight: 10 of 10 proofs passed in ")
    peaks = results[8].details["peak_bytes"]
    assert list(peaks) == ["load", "optimiser", "forward and backward", "evaluation", "save"]
    assert not (context.folder / "logs" / "trial").exists()


@pytest.mark.parametrize(
    ("method", "dtype"),
    [
        ({"kind": "full"}, "bfloat16"),
        ({"kind": "freeze", "layers": 1}, "float32"),
        ({"kind": "adapter"}, "float32"),
        (LORA | {"dropout": 0.2, "layers": 1}, "bfloat16"),
        ({"kind": "peft", "peft_type": "IA3"}, "float32"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
def test_the_step_of_each_method_passes(ready, method, dtype):
    context = ready(method=method, dtype=dtype)
    for check in (
        steps.check_packing,
        steps.check_plain_step,
        steps.check_microbatches,
        steps.check_gradients,
    ):
        assert check(context).outcome == "passed", check(context).evidence


@pytest.mark.parametrize(
    "objective",
    [{"loss": "dft"}, {"label_smoothing": 0.1}, {"z_loss": 1e-3}, {"neftune_alpha": 5}, {"learn": "all"}],
    ids=str,
)
def test_the_plain_step_knows_every_loss(ready, objective):
    assert steps.check_plain_step(ready(objective=objective)).outcome == "passed"


def test_a_method_that_pads_packs_nothing_and_passes_the_rest(ready):
    context = ready(
        method={"kind": "peft", "peft_type": "PROMPT_TUNING", "config": {"num_virtual_tokens": 3}}
    )
    packing = steps.check_packing(context)
    assert packing.outcome == "not applicable"
    assert "one example a row" in packing.evidence
    assert steps.check_plain_step(context).outcome == "passed"
    assert steps.check_gradients(context).outcome == "passed"


# mask


def test_a_mask_that_is_shifted_by_one_fails(ready):
    context = ready()
    reweighted(context.engine, lambda encoded: (0.0, *encoded.weights[:-1]))
    found = rendering.check_mask(context)
    assert found.outcome == "failed"
    assert "s0, line 1: 2 tokens have another weight" in found.evidence


def test_a_mask_that_learns_nothing_fails(ready):
    context = ready()
    reweighted(context.engine, lambda encoded: (0.0,) * len(encoded.weights))
    assert "no token of 12 rows is learned" in rendering.check_mask(context).details["faults"]


def test_a_corpus_that_holds_other_weights_than_the_encoding_fails(ready):
    context = ready()
    context.train.arrays["weights"][:] = 1
    found = rendering.check_mask(context)
    assert found.outcome == "failed"
    assert "the corpus holds other tokens or weights than its encoding" in found.evidence


def test_a_mask_with_weights_and_parts_passes(ready):
    parts = (("think ", 0.0), ("say", 1.0))
    example = Example(
        (
            Message("user", "a"),
            Message("assistant", "b", weight=0.0),
            Message("user", "c"),
            Message("assistant", "think say", parts=parts),
        )
    )
    context = ready(splits=[{"train": [example], "validation": []}])
    found = rendering.check_mask(context)
    assert found.outcome == "passed", found.evidence
    assert found.details["learned_tokens"] == len("say") + 1


# end_of_turn


def test_an_end_of_turn_that_is_not_learned_fails(ready):
    context = ready()
    end = context.engine.tokenizer.convert_tokens_to_ids("<|im_end|>")

    def without_pad(encoded: Encoded) -> list[float]:
        """As trainers do that mask every pad token, when pad and end are one."""
        pairs = zip(encoded.token_ids, encoded.weights, strict=True)
        return [0.0 if token == end else weight for token, weight in pairs]

    reweighted(context.engine, without_pad)
    found = rendering.check_end_of_turn(context)
    assert found.outcome == "failed"
    assert "1 learned turns, 0 of their ends are learned" in found.evidence


def test_a_turn_that_is_learned_beyond_its_end_fails(ready):
    context = ready()

    def one_more(encoded: Encoded) -> list[float]:
        return [max(pair) for pair in zip(encoded.weights, (0.0, *encoded.weights[:-1]), strict=True)]

    reweighted(context.engine, one_more)
    assert "a learned turn goes on behind its end" in rendering.check_end_of_turn(context).evidence


def test_an_end_that_the_server_does_not_stop_at_fails(ready, monkeypatch):
    context = ready()
    monkeypatch.setattr("tunesmith.runtime.generate.end_of_turn", lambda model, tokenizer: frozenset({256}))
    assert rendering.check_end_of_turn(context).outcome == "failed"


# generation_prompt


def test_a_generation_prompt_other_than_what_training_has_fails(ready):
    context = ready()
    encoded = {row.key: row.encoded for row in rendering.shown_rows(context)}
    context.engine.encode = lambda example, key: encoded[key]
    context.engine.tokenizer.chat_template = CHATML.replace(
        "'<|im_start|>assistant\n' }}{% endif", "'<|im_start|>assistant\n<think>' }}{% endif"
    )
    found = rendering.check_generation_prompt(context)
    assert found.outcome == "failed"
    assert "the server sends" in found.evidence
    assert "<th" in found.evidence


def test_an_answer_whose_first_token_is_not_learned_fails(ready):
    context = ready()

    def without_first(encoded: Encoded) -> list[float]:
        first = encoded.weights.index(1.0)
        return [0.0 if place == first else weight for place, weight in enumerate(encoded.weights)]

    reweighted(context.engine, without_first)
    assert "behind the prompt is not learned" in rendering.check_generation_prompt(context).evidence


# packing


def test_an_attention_that_leaks_between_segments_fails(ready):
    def leaky(module, query, key, value, attention_mask, *, segments=None, scaling=None, **others):
        """Causal over the whole micro-batch."""
        found = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return found.transpose(1, 2), None

    context = ready()
    AttentionInterface.register(ragged.ATTENTION_NAME, leaky)
    try:
        found = steps.check_packing(context)
        plain = steps.check_plain_step(context)
    finally:
        ragged.register()
    assert found.outcome == plain.outcome == "failed"
    assert found.details["leak"] > 1e-3
    assert found.details["hidden"] > 1e-3


# plain_step


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_backward_that_is_one_hundredth_too_large_fails(ready, monkeypatch, dtype):
    right = lora_layer._LoraProduct.backward

    def wrong(ctx, *grads):
        grad_x, nothing, grad_a, grad_b = right(ctx, *grads)
        return grad_x, nothing, grad_a, grad_b * 1.01

    context = ready(dtype=dtype)
    monkeypatch.setattr(lora_layer._LoraProduct, "backward", staticmethod(wrong))
    found = steps.check_plain_step(context)
    assert found.outcome == "failed"
    assert 1e-3 < found.details["float32"]["gradient"]["whole"] < 1e-2
    assert "lora_B" in found.evidence


def test_a_backward_that_is_wrong_only_in_the_runs_type_fails(ready, monkeypatch):
    right = lora_layer._LoraProduct.backward

    def wrong(ctx, *grads):
        grad_x, nothing, grad_a, grad_b = right(ctx, *grads)
        return grad_x, nothing, grad_a, grad_b * (1.0 if grad_b.dtype == torch.float32 else 1.1)

    context = ready(dtype="bfloat16")
    monkeypatch.setattr(lora_layer._LoraProduct, "backward", staticmethod(wrong))
    found = steps.check_plain_step(context)
    assert found.outcome == "failed"
    assert found.details["float32"]["gradient"]["whole"] < 1e-5


LONG_SPLITS = {
    "train": [
        *map(greeting, range(9)),
        *(chat([("user", f"q{number}"), ("assistant", "a long answer " * 24)]) for number in range(3)),
    ],
    "validation": [],
}


def test_a_long_example_is_among_those_compared_where_the_corpus_has_one(ready):
    context = ready(dtype="bfloat16", splits=[LONG_SPLITS])
    step = steps.with_a_long_one(context, steps.windows(context, steps.NUM_EXAMPLES))
    assert len(step[0].token_ids) == ragged.FLOAT32_BELOW_TOKENS
    assert step[0].num_supervised
    found = steps.check_plain_step(context)
    assert found.outcome == "passed", found.evidence


def test_a_product_that_is_a_tenth_too_large_in_bfloat16_alone_fails(ready, monkeypatch):
    right = lora_layer._LoraProduct.forward

    def wrong(ctx, x, base, a, b):
        return right(ctx, x, base, a, b if b.dtype == torch.float32 else b * 1.1)

    context = ready(dtype="bfloat16")
    monkeypatch.setattr(lora_layer._LoraProduct, "forward", staticmethod(wrong))
    found = steps.check_plain_step(context)
    assert found.outcome == "failed"
    assert found.details["float32"]["gradient"]["whole"] < 1e-5
    assert found.details["own_type"]["gradient"]["scale"] > 0.05


def test_an_attention_that_is_wrong_in_bfloat16_alone_fails_on_a_long_example(ready, monkeypatch):
    def without_its_own_key(query, key, value, **settings):
        if query.dtype == torch.bfloat16:
            num_tokens = query.shape[2]
            seen = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril(-1)
            seen[0, 0] = True
            settings |= {"attn_mask": seen, "is_causal": False}
        return scaled_dot_product_attention(query, key, value, **settings)

    short = ready(dtype="bfloat16")
    monkeypatch.setattr(ragged, "scaled_dot_product_attention", without_its_own_key)
    assert steps.check_plain_step(short).outcome == "passed"  # short examples attend in float32
    long = ready(dtype="bfloat16", splits=[LONG_SPLITS])
    assert steps.check_plain_step(long).outcome == "failed"


def test_a_corpus_of_one_example_has_nothing_to_pack(ready):
    context = ready(splits=[greetings(1)])
    assert steps.check_packing(context).outcome == "not applicable"
    assert steps.check_plain_step(context).outcome == "passed"


@pytest.mark.parametrize("peft_type", ["POLY", "PVERA"])
def test_a_method_that_draws_while_it_learns_passes(ready, peft_type):
    context = ready(method={"kind": "peft", "peft_type": peft_type})
    for check in STEP_PROOFS:
        assert check(context).outcome == "passed", check(context).evidence


def test_a_loss_that_is_not_what_the_recipe_says_fails(ready):
    context = ready()
    context.engine.objective = SupervisedFineTuning(label_smoothing=0.01)
    assert steps.check_plain_step(context).outcome == "failed"


# microbatches


def test_a_denominator_for_each_microbatch_fails(ready):
    class MeanOfMeans(SupervisedFineTuning):
        """Each part's own mean, over the number of parts: what accumulation of means gives."""

        def loss(self, values, reads, den):
            return self.token_loss(values).mean() / (4 if len(reads.target_C) < 90 else 1)

    context = ready()
    context.engine.objective = MeanOfMeans()
    found = steps.check_microbatches(context)
    assert found.outcome == "failed"
    assert found.details["float32"]["gradient"]["whole"] > 0.01


# gradients


def test_a_trainable_without_a_gradient_fails(ready):
    context = ready()
    session = context.engine.session
    session.masters.entries.append(Trainable("stray.weight", nn.Parameter(torch.ones(3))))
    found = steps.check_gradients(context)
    assert found.outcome == "failed"
    assert "1 got no gradient: stray.weight" in found.evidence
    assert "the method's formula says" in found.evidence


def test_a_frozen_tensor_with_a_gradient_fails(ready):
    context = ready()
    context.engine.session.model.get_parameter("model.norm.weight").requires_grad_(True)
    found = steps.check_gradients(context)
    assert found.outcome == "failed"
    assert "1 are frozen and got a gradient: model.norm.weight" in found.evidence


def test_a_target_that_matches_nothing_that_learns_fails(ready):
    context = ready()
    named = context.recipe.method.model_copy(update={"target_modules": ("q_proj", "qkv_proj")})
    found = steps.check_gradients(
        replace(context, recipe=context.recipe.model_copy(update={"method": named}))
    )
    assert found.outcome == "failed"
    assert "match nothing that learns: qkv_proj" in found.evidence


def test_a_gradient_that_is_not_a_number_fails(ready):
    context = ready()
    with torch.no_grad():
        context.engine.session.model.get_parameter("model.norm.weight").fill_(float("nan"))
    assert "not finite" in steps.check_gradients(context).evidence
    assert steps.check_plain_step(context).outcome == "failed"
    assert steps.check_packing(context).outcome == "failed"


# rows


def test_a_corpus_with_a_fifth_of_its_rows_truncated_fails(ready):
    long = [chat([("user", "q"), ("assistant", "word " * 40 + str(number))]) for number in range(5)]
    splits = {"train": [*map(greeting, range(20)), *long], "validation": []}
    context = ready(splits=[splits], max_length=100, too_long="truncate_right")
    found = rows.check_rows(context)
    assert found.outcome == "failed"
    assert "s0: 20% of rows are cut or left out for their length (limit 5%)" in found.evidence
    assert "of learned tokens are cut away (limit 1%)" in found.evidence
    assert "5 truncated (s0: lines 21, 22, 23, 24, 25)" in found.evidence


def test_a_corpus_with_rows_that_teach_nothing_fails(ready):
    mute = [
        replace(
            greeting(number), messages=(Message("user", str(number)), Message("assistant", "x", weight=0))
        )
        for number in range(3)
    ]
    context = ready(splits=[{"train": [*map(greeting, range(17)), *mute], "validation": []}])
    found = rows.check_rows(context)
    assert found.outcome == "failed"
    assert "s0: 15% of rows teach nothing (limit 5%)" in found.evidence


# memory


def test_a_memory_limit_below_the_need_fails_and_says_what_would_fit(ready):
    context = ready(activation_checkpointing="off")
    found = memory.judge(context, limit=60_000_000)
    assert found.outcome == "failed"
    assert "stopped in load at 0.0" in found.evidence
    assert "0.06 GB may be taken" in found.evidence
    assert "activation_checkpointing: on" in found.mend


def test_checkpointing_is_chosen_where_only_that_fits(ready, monkeypatch):
    tried = []

    def trial(context, examples, checkpointing, *, limit):
        tried.append(checkpointing)
        return Trial(checkpointing == "on", {"load": 5}, "forward and backward", 7, {})

    monkeypatch.setattr(memory, "try_in_child", trial)
    found = memory.judge(ready(), limit=6)
    assert tried == ["off", "on"]
    assert found.outcome == "passed"
    assert found.details["activation_checkpointing"] is True
    forced = memory.judge(ready(activation_checkpointing="off"), limit=6)
    assert forced.outcome == "failed"
    assert "activation_checkpointing: on" in forced.mend


def test_what_was_tried_is_not_advised(ready, monkeypatch):
    never = Trial(False, {"load": 5}, "forward and backward", 7, {})
    monkeypatch.setattr(memory, "try_in_child", lambda *args, **limit: never)
    found = memory.judge(ready(), limit=6)
    assert found.outcome == "failed"
    assert "activation_checkpointing" not in found.mend


@pytest.mark.parametrize("middle", [None, {"rate": 0.5}], ids=["plain", "rearranged"])
def test_packed_text_passes(ready, middle):
    bodies = [f"def f{number}(x):\n    return x + {number}\n" * 3 for number in range(12)]
    texts = [Example((Message("text", body),)) for body in bodies]
    objective = {"kind": "text", "block_length": 64, "fill_in_the_middle": middle}
    context = ready(splits=[{"train": texts, "validation": []}], objective=objective)
    outcomes = {name: prove(context, name)[0] for name in PROOFS if name != "memory"}
    assert outcomes.pop("generation_prompt").outcome == "not applicable"
    assert all(result.passed for result in outcomes.values()), outcomes


def test_a_trial_that_fails_for_another_reason_says_so(ready, monkeypatch):
    def here(folder, limit, stop_here):
        """The trial in this process."""
        (folder / "said.log").touch()
        return trial.main([str(folder / "order.json")]), 1

    monkeypatch.setattr(memory, "watch", here)
    monkeypatch.setattr(trial, "prefer_me_to_others", lambda: None)
    context = ready()
    (context.folder / "gone").mkdir()
    setup = replace(context.setup, model_folder=context.folder / "gone")
    found = memory.judge(replace(context, setup=setup), limit=10**12)
    assert found.outcome == "failed"
    assert "the trial failed in load" in found.evidence
    assert "gone" in found.evidence


def test_a_trial_that_finds_the_disk_full_asks_for_space_not_for_a_waiver(ready, monkeypatch):
    def full(folder, limit, stop_here):
        (folder / "said.log").touch()
        return trial.main([str(folder / "order.json")]), 1

    def save_state(self, folder):
        raise OutOfSpace("no space left on the disk", where=folder)

    monkeypatch.setattr(memory, "watch", full)
    monkeypatch.setattr(trial, "prefer_me_to_others", lambda: None)
    monkeypatch.setattr(RaggedEngine, "save_state", save_state)
    with pytest.raises(OutOfSpace) as refused:
        prove(ready(waive=["memory"]), "memory")
    assert "found none in save" in str(refused.value)
    assert "free some space" in str(refused.value)
    assert "waive" not in str(refused.value)


@pytest.mark.parametrize(
    "said",
    [
        "ImportError: libtorch_cpu.so: failed to map segment from shared object",
        "Traceback (most recent call last):\nMemoryError",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "libgomp: out of memory\nSystemError: error return without exception set",
    ],
)
def test_a_trial_that_cannot_even_be_loaded_lacks_memory(ready, monkeypatch, said):
    def no_room(folder, limit, stop_here):
        (folder / "said.log").write_text(said)
        return 1, 1000

    monkeypatch.setattr(memory, "watch", no_room)
    found = memory.judge(ready(), limit=10**12)
    assert found.outcome == "failed"
    assert "stopped in load at 0.00 GB" in found.evidence
    assert "Traceback" not in found.evidence
    assert "try " in found.mend


def test_the_trial_fills_a_microbatch_but_no_more_than_a_step(ready):
    context = ready(step_examples=2)
    longest = int(max(context.train.lengths))
    assert total(memory.largest_microbatch(context)[0]) == 2 * longest
    context.engine.set_microbatch_tokens(longest + 5)
    examples, found = memory.largest_microbatch(context)
    assert (total(examples), found) == (longest + 5, longest)
    context.engine.set_microbatch_tokens(1)
    assert total(memory.largest_microbatch(context)[0]) == longest


def total(examples: Sequence[Encoded]) -> int:
    return sum(len(example.token_ids) for example in examples)


# leaks


def test_a_validation_row_of_one_source_in_the_training_of_another_fails(ready):
    context = ready(
        splits=[
            {"train": [greeting(1), greeting(2)], "validation": [greeting(9)]},
            {"train": [greeting(3), greeting(9)], "validation": [greeting(8)]},
        ]
    )
    found = rows.check_leaks(context)
    assert found.outcome == "failed"
    assert (
        "1 held-out row shares a row or group with training (s0, validation, line 1: same row)"
        in found.evidence
    )


# all of them


def test_the_proofs_leave_no_trace(ready):
    context = ready(method=LORA | {"dropout": 0.1}, objective={"neftune_alpha": 5}, dtype="bfloat16")
    engine = context.engine
    items = context.train[:4]
    engine.forward_backward(items)
    engine.optim_step(learning_rate=0.01, max_norm=1.0)
    before = state(engine)
    for name in (
        "mask",
        "end_of_turn",
        "generation_prompt",
        "packing",
        "plain_step",
        "microbatches",
        "gradients",
    ):
        assert prove(context, name)[0].passed, name
    after = state(engine)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in engine.session.masters.parameters)
    assert all(parameter.grad is None for parameter in engine.session.model.parameters())
    assert engine.session.model.training
    assert engine.session.neftune is not None


@pytest.mark.parametrize("method", [{"kind": "full"}, LORA | {"dropout": 0.1}], ids=["full", "lora"])
def test_a_run_after_the_proofs_makes_the_same_bits(ready, method):
    def learned(prove_first: bool) -> dict[str, torch.Tensor]:
        context = ready(method=method, objective={"neftune_alpha": 5}, dtype="bfloat16")
        if prove_first:
            for check in (
                steps.check_packing,
                steps.check_plain_step,
                steps.check_microbatches,
                steps.check_gradients,
            ):
                assert check(context).outcome == "passed"
        for _ in range(3):
            context.engine.forward_backward(context.train[:4])
            context.engine.optim_step(learning_rate=0.01, max_norm=1.0)
        return state(context.engine)

    with_proofs, without = learned(True), learned(False)
    assert with_proofs.keys() == without.keys()
    assert all(torch.equal(with_proofs[name], without[name]) for name in without)


def test_a_failure_refuses_the_run_and_a_waived_one_is_shown_as_waived(ready, monkeypatch):
    monkeypatch.setattr(
        memory, "try_in_child", lambda *args, **limit: Trial(True, {"load": 5}, "save", 7, {})
    )
    context = ready()
    reweighted(context.engine, lambda encoded: (0.0, *encoded.weights[:-1]))
    waived = replace(
        context,
        recipe=context.recipe.model_copy(update={"waive": ("mask", "end_of_turn", "generation_prompt")}),
    )
    results = {result.name: result for result in run(waived)}
    assert results["mask"].outcome == "waived"
    assert not results["mask"].passed
    assert results["mask"].line().startswith("! mask  WAIVED by the recipe: ")
    with pytest.raises(CheckFailed) as refused:
        run(context)
    text = str(refused.value)
    assert "mask: 24 faults in 12 rows" in text
    assert "this means: the run would learn other tokens than the recipe says" in text
    assert "waive: [mask, end_of_turn, generation_prompt]" in text
    assert [result.outcome for result in read_results(context.folder)].count("failed") == 3


def test_a_complaint_about_the_data_inside_a_proof_is_its_failure(ready):
    context = ready()
    context.engine.tokenizer.chat_template = None
    result, _ = prove(context, "generation_prompt")
    assert result.outcome == "failed"
    assert isinstance(Finding(result.outcome, result.evidence), Finding)
