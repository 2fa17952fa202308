"""LoRA and QLoRA in a session: resumed to the bit, micro-batches that change nothing, one proof each."""

from pathlib import Path

import pytest
import torch
from lora_training import attached, logits, tiny_loaded
from tiny_models import tiny_llama
from tiny_sessions import rows

from tunesmith.core.recipe import AdamW, Lora, Qlora, Sft
from tunesmith.runtime import lora
from tunesmith.runtime.masters import Masters
from tunesmith.runtime.models import output_head, prepare_for_training
from tunesmith.runtime.optimisers import make_optimiser
from tunesmith.runtime.session import Session
from tunesmith.train.objectives import supervised

RICH = {
    "rank": 4,
    "lora_plus_ratio": 4,
    "dropout": 0.1,
    "modules_to_save": ("norm",),
    "trainable_tokens": ("a", "<b>"),
}
EVERY = pytest.mark.parametrize(
    "settings",
    [Lora(**RICH), Qlora(**RICH), Qlora(**RICH, bits=8), Lora(rank=4, modules_to_save=("embed_tokens",))],
    ids=["lora", "qlora", "qlora 8", "embedding"],
)
STEPS = [rows(9, 14, 6, seed=seed) for seed in range(3)]
OBJECTIVE = supervised(Sft())


def session(
    settings: Lora | Qlora, *, microbatch_tokens: int = 20, dtype: torch.dtype = torch.bfloat16
) -> Session:
    loaded = tiny_loaded(dtype=dtype)
    prepare_for_training(loaded.model)
    made = attached(settings, loaded)
    masters = Masters(made.trainable)
    return Session(
        made,
        heads={"output": output_head(made.model)},
        microbatch_tokens=microbatch_tokens,
        masters=masters,
        optimiser=make_optimiser(AdamW(), masters.entries),
    )


def train(running: Session, steps) -> list[float]:
    losses = []
    for step in steps:
        losses.append(running.forward_backward(step, OBJECTIVE).loss)
        running.optim_step(learning_rate=0.05, max_norm=1.0)
    return losses


@EVERY
def test_a_resumed_run_ends_as_the_unbroken_one_to_the_bit(tmp_path: Path, settings):
    torch.manual_seed(3)
    unbroken = session(settings)
    torch.manual_seed(3)
    expected = train(unbroken, STEPS)
    torch.manual_seed(3)
    first = session(settings)
    torch.manual_seed(3)
    losses = train(first, STEPS[:1])
    first.forward(STEPS[0], OBJECTIVE.readouts)  # an evaluation before the checkpoint
    first.save_state(tmp_path)
    torch.manual_seed(99)
    second = session(settings)
    second.load_state(tmp_path)
    losses += train(second, STEPS[1:])
    assert losses == expected
    for one, other in zip(unbroken.masters.entries, second.masters.entries, strict=True):
        assert torch.equal(one.parameter, other.parameter), one.name
    unbroken.attached.publish(tmp_path / "one")
    second.attached.publish(tmp_path / "two")
    files = [(tmp_path / name / lora.WEIGHTS_NAME).read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


@EVERY
def test_every_master_moves_and_the_published_adapter_is_what_the_session_computes(tmp_path: Path, settings):
    running = session(settings)
    before = [entry.parameter.detach().clone() for entry in running.masters.entries]
    train(running, STEPS)
    for entry, start in zip(running.masters.entries, before, strict=True):
        assert entry.parameter.dtype == torch.float32
        assert not torch.equal(entry.parameter, start), entry.name
    running.attached.publish(tmp_path)
    served = tiny_llama(dtype=torch.bfloat16)
    lora.load_adapter(served, tmp_path)
    running.model.set_attn_implementation("sdpa")
    assert torch.equal(logits(served), logits(running.model))


@pytest.mark.parametrize(
    "settings", [Lora(**{**RICH, "dropout": 0}), Qlora(**{**RICH, "dropout": 0})], ids=["lora", "qlora"]
)
def test_micro_batches_give_the_gradient_of_one_batch(settings):
    found = []
    for microbatch_tokens in (1000, 1):
        running = session(settings, microbatch_tokens=microbatch_tokens, dtype=torch.float32)
        for entry in running.masters.entries:
            generator = torch.Generator().manual_seed(entry.parameter.numel())
            entry.parameter.data += 0.1 * torch.randn(entry.parameter.shape, generator=generator)
        running.forward_backward(STEPS[1], OBJECTIVE)
        found.append({entry.name: entry.parameter.grad for entry in running.masters.entries})
    for name, grad in found[0].items():
        assert (found[1][name] - grad).norm() < 1e-5 * grad.norm(), name
