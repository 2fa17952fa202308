"""The fast step against the plain one, in one piece against in many, packed against alone.

Legend of tensor names: R reads, D hidden width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tunesmith.core.recipe.objectives import TokenLoss
from tunesmith.runtime.proofs import plain
from tunesmith.runtime.proofs.state import (
    Gap,
    Gradient,
    gap,
    in_float32,
    take_gradient,
    undisturbed,
)
from tunesmith.runtime.ragged import FLOAT32_BELOW_TOKENS
from tunesmith.runtime.readouts import Head, ReadChunk, TargetLogProbability
from tunesmith.runtime.session import Objective, Session
from tunesmith.runtime.step import Encoded

Step = Sequence[Encoded]


class StepGap(NamedTuple):
    """Two ways to compute one step."""

    loss: float
    """Difference of the losses over the larger of 1 and the loss."""
    gradient: Gap


@dataclass(frozen=True)
class StepGaps:
    """What a comparison of steps found; a gap in float32 is None where there is no room for it."""

    float32: StepGap | None
    own_type: StepGap
    """The fast step in the run's type."""
    plain_own: StepGap
    """The plain step in the run's type, against the same; without float32, against itself computed otherwise.
    """


def fast_gradient(session: Session, step: Step, objective: Objective) -> tuple[float, Gradient]:
    """Loss and gradient of the session's own step."""
    loss = session.forward_backward(step, objective).loss
    return loss, take_gradient(session)


def step_gap(found: tuple[float, Gradient], expected: tuple[float, Gradient]) -> StepGap:
    """How far one computed step is from another."""
    return StepGap(abs(found[0] - expected[0]) / max(1.0, abs(expected[0])), gap(found[1], expected[1]))


def compare_with_plain(
    session: Session, step: Step, objective: Objective, settings: TokenLoss, *, wide: bool
) -> StepGaps:
    """The session's step and the plain one on the same examples, in the run's type and, if `wide`, float32.

    In float32 the two have to agree.  In the run's type rounding keeps them apart, and the yardstick is the
    plain step's own rounding.  The project's rule for it was "at most twice the plain step's own gap under
    another batch order"; but a row of a matrix product does not depend on its neighbours, so another order
    rounds nearly everything alike and measures less than rounding does.  Where float32 is at hand, both steps
    are therefore measured against the float32 gradient: the fast one may be twice as far from it as the plain
    one.  On SmolLM2-135M in bfloat16 they are 0.042 and 0.049 away.

    Without room for float32 the plain step is measured against itself: rows in the other order, each row
    alone, and transformers' other attention (0.045 there, the fast step 0.047).
    """
    with undisturbed(session):
        session.microbatch_tokens = in_both_branches(step)
        if wide:
            with in_float32(session):
                exact = plain.gradient_of(session, [step], settings)
                float32 = step_gap(fast_gradient(session, step, objective), exact)
        expected = plain.gradient_of(session, [step], settings)
        found = fast_gradient(session, step, objective)
        if wide:
            return StepGaps(float32, step_gap(found, exact), step_gap(expected, exact))
        orders = [[list(reversed(step))], [[example] for example in step]]
        others = [plain.gradient_of(session, order, settings) for order in orders]
        others.append(plain.gradient_of(session, [step], settings, attention="eager"))
    return StepGaps(None, step_gap(found, expected), largest([step_gap(other, expected) for other in others]))


def in_both_branches(step: Step) -> int:
    """Tokens of a micro-batch under which short examples are packed, and apart from one that is long.

    The attention computes micro-batches of short examples in float32 and others in their own type.
    """
    longest = max(len(example.token_ids) for example in step)
    return longest if longest >= FLOAT32_BELOW_TOKENS else num_tokens(step)


def largest(gaps: Sequence[StepGap]) -> StepGap:
    """The gap with the largest difference of gradients."""
    return max(gaps, key=lambda found: found.gradient.whole)


def compare_microbatches(session: Session, step: Step, objective: Objective, *, wide: bool) -> StepGaps:
    """One micro-batch of the whole step, against one for each example."""
    with undisturbed(session):
        float32 = None
        if wide:
            with in_float32(session):
                float32 = cut_gap(session, step, objective)
        own_type = cut_gap(session, step, objective)
    return StepGaps(float32, own_type, own_type)


def cut_gap(session: Session, step: Step, objective: Objective) -> StepGap:
    """The gap between the step in one piece and the step example by example."""
    session.microbatch_tokens = num_tokens(step)
    whole = fast_gradient(session, step, objective)
    session.microbatch_tokens = 1
    return step_gap(fast_gradient(session, step, objective), whole)


def num_tokens(step: Step) -> int:
    """Tokens of a step."""
    return sum(len(example.token_ids) for example in step)


@dataclass(frozen=True)
class HiddenRows:
    """The hidden rows themselves, as a readout."""

    outputs: tuple[str, ...] = ("hidden",)

    def __call__(
        self, hidden_CD: Tensor, heads: Mapping[str, Head], reads: ReadChunk
    ) -> Mapping[str, Tensor]:
        """``hidden``: (C, D) as the model computed them."""
        return {"hidden": hidden_CD}


class PackingGap(NamedTuple):
    """Examples in one micro-batch, against each alone, and against other neighbours."""

    hidden: float
    """Root mean square of the difference to the hidden rows of examples alone, over that of the rows."""
    logprob: float
    """Largest difference of a log-probability, nats."""
    leak: float
    """The same as `hidden`, for rows whose neighbour's tokens were changed; 0 is bit for bit."""


def compare_packing(session: Session, step: Step, *, vocabulary: int) -> PackingGap:
    """Hidden rows and log-probabilities of examples packed together and alone; every token is read."""
    readouts = (TargetLogProbability(), HiddenRows())
    step = [example._replace(weights=(1.0,) * len(example.token_ids)) for example in step]
    with undisturbed(session):
        session.microbatch_tokens = num_tokens(step)
        packed = session.forward(step, readouts)
        leak = max(leak_from(session, step, row, packed["hidden"], vocabulary) for row in range(len(step)))
        session.microbatch_tokens = 1
        alone = session.forward(step, readouts)
    return PackingGap(
        relative(packed["hidden"], alone["hidden"]),
        float((packed["logprob"] - alone["logprob"]).abs().max()),
        leak,
    )


def leak_from(session: Session, step: Step, row: int, hidden_RD: Tensor, vocabulary: int) -> float:
    """How much the rows of all other examples change when one example has other tokens."""
    changed = list(step)
    shifted = tuple((int(token) + 1) % vocabulary for token in step[row].token_ids)
    changed[row] = step[row]._replace(token_ids=shifted)
    found_RD = session.forward(changed, (HiddenRows(),))["hidden"]
    counts = torch.tensor([len(example.token_ids) - 1 for example in step])
    others_R = torch.arange(len(step)).repeat_interleave(counts) != row
    return relative(found_RD[others_R], hidden_RD[others_R])


def relative(found_RD: Tensor, expected_RD: Tensor) -> float:
    """Root mean square of a difference over that of what was expected."""
    apart = (found_RD.double() - expected_RD.double()).square().mean().sqrt()
    return float(apart / expected_RD.double().square().mean().sqrt())


@dataclass(frozen=True)
class Reached:
    """Which parameters a backward pass reaches."""

    num_trainable_tensors: int
    not_reached: tuple[str, ...]
    """Trainable tensors whose gradient is absent or zero in every number."""
    frozen_reached: tuple[str, ...]
    """Parameters that do not learn and got a gradient, or ask for one."""
    num_trainable: int
    expected_parameters: int
    not_finite: tuple[str, ...]


def reached(session: Session, steps: Sequence[Step], objective: Objective) -> Reached:
    """Run steps until every trainable has had a gradient that is not zero, at most all of them."""
    with undisturbed(session, learning=True):
        missing = {entry.name for entry in session.masters.entries}
        broken: set[str] = set()
        frozen: set[str] = set()
        for step in steps:
            session.forward_backward(step, objective)
            for entry in session.masters.entries:
                gradient = entry.parameter.grad
                if gradient is not None and bool(gradient.any()):
                    missing.discard(entry.name)
                if gradient is not None and not bool(gradient.isfinite().all()):
                    broken.add(entry.name)
            frozen |= frozen_with_gradient(session)
            session.clear_gradient()
            if not missing:
                break
    return Reached(
        len(session.masters.entries),
        tuple(sorted(missing)),
        tuple(sorted(frozen)),
        session.num_trainable,
        session.attached.expected_parameters,
        tuple(sorted(broken)),
    )


def frozen_with_gradient(session: Session) -> set[str]:
    """Names of parameters that are not declared to learn and ask for a gradient or have one; clears it."""
    learning = {id(entry.parameter) for entry in session.attached.trainable}
    found = set()
    for name, parameter in session.model.named_parameters():
        if id(parameter) not in learning and (parameter.requires_grad or parameter.grad is not None):
            found.add(name)
            parameter.grad = None
    return found
