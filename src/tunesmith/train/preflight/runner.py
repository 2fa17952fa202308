"""Runs the proofs in order, shows each, and refuses the run when one that is not waived fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tunesmith.core.errors import CheckFailed, OutOfSpace, UserError
from tunesmith.core.recipe.recipe import PROOFS
from tunesmith.train.preflight import memory, rendering, rows, steps
from tunesmith.train.preflight.context import PreflightContext
from tunesmith.train.preflight.schema import MARKS, Finding, ProofResult, as_json, write_results

MOST_SECONDS: Final = 30.0
MOST_SHARE: Final = 0.05
"""The pre-flight may take 30 s, or 5 % of the planned run where that is more."""

PART: Final = "the pre-flight"
"""What the run is doing meanwhile, for whoever watches it."""
STEP_PHASE: Final = "forward and backward"
NOTHING_STANDS: Final[Mapping[str, ProofResult]] = {}
NO_MODEL: Final = "needs a real model, the fake engine computes no gradients"


class Proof(NamedTuple):
    """One proof, and what to say when it fails."""

    check: Callable[[PreflightContext], Finding]
    means: str
    """What would happen if the run went on."""
    mend: str
    needs_model: bool = True
    """The fake engine has no tensors: there it does not apply."""


TABLE: Final[Mapping[str, Proof]] = {
    "mask": Proof(
        rendering.check_mask,
        "the run would learn other tokens than the recipe says, or none",
        "look at the examples with `tunesmith data show RECIPE`; check `learn`, `weight` and the template",
    ),
    "end_of_turn": Proof(
        rendering.check_end_of_turn,
        "the trained model would not know when to stop, or the server would not hear it",
        "use a chat template that ends each turn with a token of its own, such as `template: chatml`",
    ),
    "generation_prompt": Proof(
        rendering.check_generation_prompt,
        "the model would learn to answer after other tokens than those that a server sends",
        "use a chat template that renders a conversation the same whether or not it goes on",
    ),
    "packing": Proof(
        steps.check_packing,
        "examples that stand in one micro-batch would see each other",
        "choose a model with plain causal attention, such as smollm2-135m-instruct",
    ),
    "plain_step": Proof(
        steps.check_plain_step,
        "the fast step would not learn what a plain step of transformers learns",
        "choose another model or method, and report this model: the fast step is wrong for it",
    ),
    "microbatches": Proof(
        steps.check_microbatches,
        "microbatch_tokens would change what is learned, not only how much memory it takes",
        "report this model and method; microbatch_tokens as large as the step goes round it",
    ),
    "gradients": Proof(
        steps.check_gradients,
        "parts of the model that should learn would not, or parts that should stay would change",
        "check method.target_modules, method.train and method.layers against the model's names",
    ),
    "rows": Proof(
        rows.check_rows,
        "much of the data would not be learned from as it was written",
        "raise max_length, shorten or mend the rows that are named, or choose another too_long",
        needs_model=False,
    ),
    "memory": Proof(
        memory.check_memory,
        "the run would be killed at its longest batch, without a word",
        "lower microbatch_tokens or max_length, or choose a method that holds less",
    ),
    "leaks": Proof(
        rows.check_leaks,
        "the scores on held-out rows would be too good",
        "run `tunesmith data prepare` again, or take the source that overlaps out of the mixture",
        needs_model=False,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A failed proof, with what to say about it."""

    result: ProofResult
    mend: str


def run(
    context: PreflightContext,
    names: Sequence[str] = PROOFS,
    standing: Mapping[str, ProofResult] = NOTHING_STANDS,
) -> list[ProofResult]:
    """Run the proofs, write `preflight.json`, and return what they found.

    Those that stand already, from an earlier run, are shown and not tried again.

    Raises CheckFailed with every failure that the recipe does not waive: its evidence, what it means, how to
    mend it, and how to waive it.
    """
    started = time.monotonic()
    results: list[ProofResult] = []
    failures: list[Failure] = []
    context.say({"event": "part", "part": PART})
    without_model = [name for name in names if not applies(context, name)]
    if without_model:
        text = f"{MARKS['not applicable']} {', '.join(without_model)}: not applicable, {NO_MODEL}"
        context.say({"event": "message", "text": text})
    for name in names:
        context.stop_here()
        result, mend = (standing[name], "") if name in standing else prove(context, name)
        results.append(result)
        if result.outcome == "failed":
            failures.append(Failure(result, mend))
        if name not in without_model:
            event = {"event": "message", "text": result.line(), "proof": name, "outcome": result.outcome}
            context.say({**event, "evidence": result.evidence, "seconds": result.seconds})
        write_results(context.folder, results)
    text = closing(results, time.monotonic() - started, allowed_seconds(results, context.planned_tokens))
    context.say({"event": "message", "text": text})
    if failures:
        raise CheckFailed(complaint(failures))
    return results


def applies(context: PreflightContext, name: str) -> bool:
    """Whether a proof can be tried on the engine at all."""
    return context.recipe.engine != "fake" or not TABLE[name].needs_model


def prove(context: PreflightContext, name: str) -> tuple[ProofResult, str]:
    """One proof, timed; a complaint about the user's own files inside it is a failure of that proof."""
    started = time.monotonic()
    try:
        found = TABLE[name].check(context) if applies(context, name) else Finding("not applicable", NO_MODEL)
    except OutOfSpace:
        raise  # no proof failed: there was no room to try it, and a waiver would make none
    except UserError as error:
        found = Finding("failed", str(error))
    waived = found.outcome == "failed" and name in context.recipe.waive
    outcome = "waived" if waived else found.outcome
    seconds = time.monotonic() - started
    result = ProofResult(name, outcome, found.evidence, as_json(found.details), round(seconds, 3))
    return result, found.mend or TABLE[name].mend


def allowed_seconds(results: Sequence[ProofResult], planned_tokens: int) -> float:
    """What the pre-flight may take, by the speed of the memory trial's micro-batch."""
    details = next(result.details for result in results if result.name == "memory")
    seconds = details.get("seconds", {}).get(STEP_PHASE)
    planned = planned_tokens * seconds / details["tokens"] if seconds else 0.0
    return max(MOST_SECONDS, MOST_SHARE * planned)


def closing(results: Sequence[ProofResult], seconds: float, allowed: float) -> str:
    """The last line: how many held, and what they cost."""
    counts = {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in ("failed", "waived", "not applicable")
    }
    rest = "".join(f", {count} {outcome}" for outcome, count in counts.items() if count)
    num_passed = sum(result.passed for result in results)
    slow = f", more than the {allowed:.0f} s that it should take" if seconds > allowed else ""
    return f"pre-flight: {num_passed} of {len(results)} proofs passed{rest} in {seconds:.1f} s{slow}"


def complaint(failures: Sequence[Failure]) -> str:
    """One message for all failures."""
    parts = [
        f"{failure.result.name}: {failure.result.evidence}\n"
        f"  this means: {TABLE[failure.result.name].means}\n"
        f"  → {failure.mend}"
        for failure in failures
    ]
    names = ", ".join(failure.result.name for failure in failures)
    what = "a proof" if len(failures) == 1 else f"{len(failures)} proofs"
    return (
        f"the pre-flight refuses the run: {what} failed\n"
        + "\n".join(parts)
        + f"\n  → or go on at your own risk with `waive: [{names}]` in the recipe"
    )
