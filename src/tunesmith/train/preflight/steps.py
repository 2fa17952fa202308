"""Proofs on the step itself: packing, the plain step, micro-batches, gradients.

They run on a few short windows of the corpus's own examples.  How many tokens those are depends on the size
of the model, so that the proofs of any model take seconds; the evidence says how many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, cast

from tunesmith.core.recipe.objectives import TokenLoss
from tunesmith.runtime.step import Encoded
from tunesmith.train.preflight.context import PreflightContext
from tunesmith.train.preflight.room import room_bytes
from tunesmith.train.preflight.schema import Finding

if TYPE_CHECKING:
    from tunesmith.runtime.proofs.compare import StepGaps
    from tunesmith.train.engines.ragged import RaggedEngine

MULTIPLICATIONS: Final = 2e10
"""Tokens times parameters that one backward pass may cost: about a second on two cores.  The proofs make
about a dozen."""
FEWEST_TOKENS, MOST_TOKENS = 48, 1024
NUM_EXAMPLES: Final = 4
MORE_EXAMPLES: Final = 32
"""Tried when a tensor gets no gradient from the first examples: an expert may not have been asked."""

FLOAT32_LIMIT: Final = 1e-5
"""Largest relative gap in float32, whose own rounding is 6e-8, through the depth of a model."""
WORST_FACTOR: Final = 10
"""In float32 the gradient of each tensor has to agree too, within so many times the limit of the whole."""
OWN_TYPE_FACTOR: Final = 2.0
"""In the run's type the fast step may be so many times as far from the float32 gradient as the plain one is,
or, without room for float32, so many times as far from the plain one as that is from itself."""
SCALE_LIMIT: Final = 0.04
"""Largest error of a gradient's length along the right one, by kind of tensor, in the run's type; or as many
times the plain step's as above.  On SmolLM2-135M in bfloat16 both have 0.015 at most, 0.027 against each
other; a factor of 1.1 in one kind of tensor is 0.09."""
MICROBATCH_LIMITS: Final = {"float32": 1e-4, "bfloat16": 0.02}
"""Largest relative gap by type.  A matrix product of another shape adds up in another order: through 30
layers that was 8e-6 in float32 and 2e-3 in bfloat16 (SmolLM2-135M).  A wrong denominator is a gap of 0.1."""
PACKING_LIMITS: Final = {"float32": 1e-4, "bfloat16": 0.05}
"""The same for hidden rows, which are not averaged over a step."""


def engine_of(context: PreflightContext) -> RaggedEngine:
    """The engine with its session; only called by proofs that need a model."""
    return cast("RaggedEngine", context.engine)


def has_room(engine: RaggedEngine) -> bool:
    """Whether half of the free memory holds a float32 copy of every number of the model."""
    return 4 * num_parameters(engine) <= room_bytes() / 2


def num_parameters(engine: RaggedEngine) -> int:
    """Numbers of the model (a quantised layer counts its bytes)."""
    model = engine.session.model
    return sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))


def windows(context: PreflightContext, count: int, *, scale: float = 1.0) -> list[Encoded]:
    """At most `count` windows of examples, of different lengths, each with something to learn.

    All are short enough for one branch of the attention: the two round differently, which no proof but that
    on the plain step allows for (`with_a_long_one`).
    """
    from tunesmith.runtime.ragged import FLOAT32_BELOW_TOKENS

    affordable = scale * MULTIPLICATIONS / num_parameters(engine_of(context))
    budget = int(min(MOST_TOKENS, max(FEWEST_TOKENS, affordable)))
    places = context.sample(count)
    # Unequal on purpose: a mean of means is right as long as all parts are of one size.
    shares = [1 + place % 3 for place in range(len(places))]
    lengths = [max(8, min(FLOAT32_BELOW_TOKENS - 1, budget * share // sum(shares))) for share in shares]
    found = [
        window(context.train[place].encoded, length) for place, length in zip(places, lengths, strict=True)
    ]
    return [example for example in found if example.num_supervised]


def window(example: Encoded, length: int) -> Encoded:
    """So many tokens of an example, around the first one that is learned."""
    first = next((place for place, weight in enumerate(example.weights) if place and weight), 1)
    begin = max(0, min(first - length // 2, len(example.token_ids) - length))
    part = slice(begin, begin + length)
    return Encoded(
        tuple(int(token) for token in example.token_ids[part]), tuple(float(w) for w in example.weights[part])
    )


def check_packing(context: PreflightContext) -> Finding:
    """Examples in one micro-batch are computed as if each were alone."""
    from tunesmith.runtime.proofs.compare import compare_packing

    session = engine_of(context).session
    if session.attached.layout == "padded":
        return Finding("not applicable", "this method computes one example a row: nothing is packed")
    step = windows(context, NUM_EXAMPLES, scale=2.0)
    if len(step) < 2:
        return Finding("not applicable", "the corpus has a single example")
    found = compare_packing(session, step, vocabulary=session.model.config.vocab_size)
    limit = PACKING_LIMITS[context.recipe.dtype]
    isolated = "no bit" if found.leak == 0 else f"{found.leak:.1e}"
    evidence = (
        f"{len(step)} examples together and alone: hidden rows {found.hidden:.1e} apart (limit {limit:.0e}), "
        f"log-probabilities {found.logprob:.1e} nats; other neighbours change {isolated}"
    )
    good = found.hidden <= limit and found.leak <= limit
    return Finding("passed" if good else "failed", evidence, {**found._asdict(), "limit": limit})


def check_plain_step(context: PreflightContext) -> Finding:
    """The fast step's loss and gradient are those of the step that transformers' users write."""
    from tunesmith.runtime.proofs.compare import compare_with_plain

    engine = engine_of(context)
    settings = cast(TokenLoss, context.recipe.objective)
    step = with_a_long_one(context, windows(context, NUM_EXAMPLES))
    gaps = compare_with_plain(engine.session, step, engine.objective, settings, wide=has_room(engine))
    fast, plain = gaps.own_type, gaps.plain_own
    limit = max(FLOAT32_LIMIT, OWN_TYPE_FACTOR * plain.gradient.whole)
    good = (
        fast.gradient.whole <= limit
        and fast.gradient.scale <= max(SCALE_LIMIT, OWN_TYPE_FACTOR * plain.gradient.scale)
        and fast.loss <= max(limit, OWN_TYPE_FACTOR * plain.loss)
        and float32_good(gaps, FLOAT32_LIMIT)
    )
    parts = [f"{describe(step)} against a padded batch of transformers"]
    parts += float32_evidence(gaps, FLOAT32_LIMIT)
    if context.recipe.dtype != "float32" or gaps.float32 is None:
        other = "plain against plain otherwise computed" if gaps.float32 is None else "the plain step's"
        parts.append(
            f"{context.recipe.dtype}: gradients {fast.gradient.whole:.1e} "
            f"({other} {plain.gradient.whole:.1e}), "
            f"scale {fast.gradient.scale:.1e} in {fast.gradient.scale_kind}"
        )
    return Finding("passed" if good else "failed", "; ".join(parts), details_of(gaps, limit))


def with_a_long_one(context: PreflightContext, step: list[Encoded]) -> list[Encoded]:
    """A long window and two of the step's, where the attention has another branch for long examples.

    Only where the corpus has such an example and it costs at most twice what the step may.
    """
    from tunesmith.runtime.ragged import FLOAT32_BELOW_TOKENS

    longest = context.train.longest
    affordable = 2 * MULTIPLICATIONS / num_parameters(engine_of(context))
    if (
        context.recipe.dtype == "float32"
        or context.train.lengths[longest] < FLOAT32_BELOW_TOKENS
        or affordable < FLOAT32_BELOW_TOKENS
    ):
        return step
    return [window(context.train[longest].encoded, FLOAT32_BELOW_TOKENS), *step[-2:]]


def float32_good(gaps: StepGaps, limit: float) -> bool:
    """Whether the gap in float32, if it was taken, keeps its limit: whole, loss, and tensor by tensor."""
    found = gaps.float32
    return found is None or (
        found.loss <= limit and found.gradient.whole <= limit and found.gradient.worst <= WORST_FACTOR * limit
    )


def float32_evidence(gaps: StepGaps, limit: float) -> list[str]:
    """The gap in float32 in words."""
    found = gaps.float32
    if found is None:
        return ["not compared in float32: no room for a wide copy of the model"]
    return [
        f"float32: loss {found.loss:.1e}, gradients {found.gradient.whole:.1e} (limit {limit:.0e}), "
        f"worst {found.gradient.worst:.1e} in {found.gradient.worst_name}"
    ]


def details_of(gaps: StepGaps, limit: float) -> Mapping[str, object]:
    """Gaps for programs."""
    named = {"float32": gaps.float32, "own_type": gaps.own_type, "plain_own": gaps.plain_own}
    return {"limit": limit} | {
        name: None if gap is None else {"loss": gap.loss, "gradient": asdict(gap.gradient)}
        for name, gap in named.items()
    }


def describe(step: Sequence[Encoded]) -> str:
    """'4 examples, 148 tokens'."""
    return f"{len(step)} examples, {sum(len(example.token_ids) for example in step)} tokens"


def check_microbatches(context: PreflightContext) -> Finding:
    """One micro-batch for each example gives the gradient of one for all."""
    from tunesmith.runtime.proofs.compare import compare_microbatches

    engine = engine_of(context)
    step = windows(context, NUM_EXAMPLES)
    if len(step) < 2:
        return Finding("not applicable", "the corpus has a single example")
    gaps = compare_microbatches(engine.session, step, engine.objective, wide=has_room(engine))
    limit = MICROBATCH_LIMITS[context.recipe.dtype]
    found = gaps.own_type
    parts = [
        f"{describe(step)} in 1 and in {len(step)} micro-batches",
        *float32_evidence(gaps, MICROBATCH_LIMITS["float32"]),
    ]
    if context.recipe.dtype != "float32" or gaps.float32 is None:
        parts.append(f"{context.recipe.dtype}: {found.gradient.whole:.1e} (limit {limit:.0e})")
    good = found.gradient.whole <= limit and found.loss <= limit
    good = good and float32_good(gaps, MICROBATCH_LIMITS["float32"])
    return Finding("passed" if good else "failed", "; ".join(parts), details_of(gaps, limit))


def check_gradients(context: PreflightContext) -> Finding:
    """Every tensor that should learn gets a gradient, no other does, and all names in the recipe match."""
    from tunesmith.runtime.proofs.compare import reached

    engine = engine_of(context)
    examples = windows(context, MORE_EXAMPLES, scale=MORE_EXAMPLES / NUM_EXAMPLES)
    steps = [examples[begin : begin + NUM_EXAMPLES] for begin in range(0, len(examples), NUM_EXAMPLES)]
    found = reached(engine.session, steps, engine.objective)
    names = [entry.name for entry in engine.session.attached.trainable]
    anywhere = context.recipe.method.kind == "freeze"
    unmatched = [
        pattern
        for pattern in patterns(context)
        if not any(matches(pattern, name, anywhere=anywhere) for name in names)
    ]
    faults = {
        "got no gradient": found.not_reached,
        "got one that is not finite": found.not_finite,
        "are frozen and got a gradient": found.frozen_reached,
        "are named in the recipe and match nothing that learns": tuple(unmatched),
    }
    said = [f"{len(rows)} {what}: {shown(rows)}" for what, rows in faults.items() if rows]
    if found.num_trainable != found.expected_parameters:
        said.append(
            f"{found.num_trainable:,} numbers learn, the method's formula says {found.expected_parameters:,}"
        )
    evidence = (
        f"each of {found.num_trainable_tensors} tensors that learn ({found.num_trainable:,} numbers) gets a "
        f"gradient, no frozen one does{untouched_experts(context)}"
    )
    details = asdict(found) | {"unmatched": unmatched}
    return Finding("failed", "; ".join(said), details) if said else Finding("passed", evidence, details)


def untouched_experts(context: PreflightContext) -> str:
    """What to mind where experts, held in three dimensions, are no linear layers: LoRA passes them by."""
    method = context.recipe.method
    if method.kind not in ("lora", "qlora"):
        return ""
    model = engine_of(context).session.model
    stacks = {name: value for name, value in model.named_parameters() if value.dim() == 3}
    if not stacks:
        return ""
    numbers, wide = sum(value.numel() for value in stacks.values()), " and wide" * (method.kind == "qlora")
    return (
        f"; {len(stacks)} stacks of experts ({numbers:,} numbers, such as {next(iter(stacks))}) stay as they "
        f"are{wide}: method peft, LORA, with target_parameters reaches them"
    )


def patterns(context: PreflightContext) -> list[str]:
    """Every name or expression in the recipe's method that has to match something that learns."""
    method = context.recipe.method
    if method.kind == "freeze":
        return list(method.train)
    if method.kind in ("lora", "qlora"):
        return [
            *method.target_modules,
            *method.modules_to_save,
            *method.rank_pattern,
            *method.alpha_pattern,
        ]
    return []


def matches(pattern: str, name: str, *, anywhere: bool) -> bool:
    """Whether a pattern means a trainable: found anywhere in its name, or as the end of a path to it."""
    if anywhere:
        return re.search(pattern, name) is not None
    parts = name.split(".")
    places = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return any(re.fullmatch(rf"(.*\.)?({pattern})", place) for place in places)


def shown(names: Sequence[str], *, most: int = 3) -> str:
    """The first few of many."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
