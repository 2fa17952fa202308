"""Training sessions on a tiny model, with every parameter learning, and the plain step to compare with."""

import torch
from tiny_models import tiny_llama
from torch.nn.functional import cross_entropy

from tunesmith.core.recipe import AdamW, Optimiser
from tunesmith.runtime.masters import Masters
from tunesmith.runtime.methods.port import Attached, Trainable
from tunesmith.runtime.models import prepare_for_training
from tunesmith.runtime.optimisers import make_optimiser
from tunesmith.runtime.session import Session
from tunesmith.runtime.step import Encoded


def rows(*lengths: int, seed: int = 1) -> list[Encoded]:
    """Random tokens, the second half of each row learned."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Encoded(
            tuple(torch.randint(0, 256, (length,), generator=generator).tolist()),
            tuple(float(index >= length // 2) for index in range(length)),
        )
        for length in lengths
    ]


def tiny_session(
    *, microbatch_tokens: int = 1000, optimiser: Optimiser | None = None, only: str = "", **changes: object
) -> Session:
    """A session in which the parameters learn whose name contains `only` (all by default)."""
    model = tiny_llama(**changes)  # type: ignore[arg-type]  # settings of LlamaConfig
    head = prepare_for_training(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(only in name)
    trainable = [
        Trainable(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]
    masters = Masters(trainable)
    return Session(
        Attached(model, trainable, publish=lambda folder: None, expected_parameters=0),
        heads={"output": head},
        microbatch_tokens=microbatch_tokens,
        masters=masters,
        optimiser=make_optimiser(optimiser or AdamW(), masters.entries),
    )


def gradients(session: Session) -> dict[str, torch.Tensor]:
    """The gradient of each master, by name."""
    return {entry.name: entry.parameter.grad for entry in session.masters.entries}


def plain_step(session: Session, step: list[Encoded]) -> float:
    """The same step as anyone would write it: one row at a time, transformers' attention, all logits."""
    session.model.set_attn_implementation("eager")
    num_reads = sum(row.num_supervised for row in step)
    total = 0.0
    for row in step:
        logits_TV = session.model(input_ids=torch.tensor([row.token_ids])).logits[0]
        labels_T = torch.tensor([token if on else -100 for token, on in zip(*row, strict=True)])
        loss = cross_entropy(logits_TV[:-1], labels_T[1:], ignore_index=-100, reduction="sum") / num_reads
        loss.backward()
        total += float(loss.detach())
    return total


def assert_equal_gradients(
    found: Session, wanted: Session, *, rtol: float = 1e-3, atol: float = 1e-6
) -> None:
    """Every master has the same gradient in both sessions."""
    expected = gradients(wanted)
    for name, gradient in gradients(found).items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}"
        )
