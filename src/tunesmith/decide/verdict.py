"""The verdict, from what was measured: pure rules, each with its numbers.

In this order: what needs no training, then what training is expected to bring, then what is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tunesmith.core.progress import counted, duration
from tunesmith.core.stats import required_items
from tunesmith.decide.measure import best_of
from tunesmith.decide.schema import Gain, Measurement, MethodCost, Quality, Training, Verdict

FEWEST_ROWS = 50
"""OpenAI's guide: start with 50 well-made examples; with fewer, more data is the better investment."""
WARNED_ROWS = 100
"""OpenAI's guide: gains are usually clear from 50 to 100 examples on; below that they are luck."""
ENOUGH_GOOD_ROWS = 500
"""500 good rows teach more than 5,000 noisy ones."""
NOISY_SHARE = 0.1
"""With a larger share of faulty rows, mending them comes before everything else."""
FEWEST_MEASURED = 30
"""With fewer validation items every interval is wide."""
DEFAULT_GAIN, HIGHEST_TARGET = 0.05, 0.95


@dataclass(frozen=True)
class Evidence:
    """All that was measured."""

    primary: str
    target: float
    target_from: str
    rows: Mapping[str, int]
    measurements: Sequence[Measurement]
    bigger: Sequence[Measurement]
    probed: bool
    """Whether short trainings were wanted; they may have failed for time."""
    methods: Sequence[MethodCost] = ()
    training: Training | None = None
    forecast: Sequence[Gain] = ()
    rows_needed: int | None = None
    quality: Quality | None = None
    unasked: int = 0
    """Prompts that nobody had the time to ask: the best of the others need not be the best."""

    @property
    def train_rows(self) -> int:
        """Rows to learn from."""
        return self.rows["train"]

    @property
    def best(self) -> Measurement:
        """The best prompt."""
        return best_of(self.measurements)

    @property
    def reached(self) -> Gain | None:
        """What all the rows are expected to bring."""
        return next((gain for gain in self.forecast if gain.rows == self.train_rows), None)

    @property
    def noisy(self) -> float:
        """Share of the rows with a finding that does harm."""
        return self.quality.rows_with_errors / max(1, self.quality.rows) if self.quality else 0.0


@dataclass(frozen=True)
class Decision:
    """The verdict and its one sentence."""

    verdict: Verdict
    sentence: str


Rule = Callable[[Evidence], Decision | None]


def default_target(measurements: Sequence[Measurement]) -> float:
    """5 points more than the best prompt reaches; where fewer are left to gain, 95 %."""
    return min(best_of(measurements).value + DEFAULT_GAIN, HIGHEST_TARGET)


def enough(evidence: Evidence) -> bool:
    """Whether the target is reached without training."""
    return base_is_enough(evidence) is not None or prompt_is_enough(evidence) is not None


def decide_by(evidence: Evidence) -> Decision:
    """The first rule that applies; where prompts were not asked, one of them may be better than the best."""
    found = next(
        (decision for rule in RULES if (decision := rule(evidence)) is not None), undecided(evidence)
    )
    if not evidence.unasked or enough(evidence):
        return found
    missed = counted(evidence.unasked, "prompt")
    said = f"{missed} could not be asked in the time: allow more with --budget-minutes."
    return replace(found, sentence=f"{found.sentence} {said}")


def base_is_enough(evidence: Evidence) -> Decision | None:
    """Enough needs the lower bound to reach the target, not the estimate."""
    bare = evidence.measurements[0]
    if bare.safe_low < evidence.target:
        return None
    claim = f"The base model does it already: {measured_in_words(bare, evidence.primary)}"
    return Decision(
        "base_is_enough",
        f"{claim}, and even its lower bound ({bare.safe_low:.1%}) reaches {wanted(evidence)}.",
    )


def prompt_is_enough(evidence: Evidence) -> Decision | None:
    """The same for the surest prompt."""
    surest = max(evidence.measurements, key=lambda one: (one.safe_low, -one.prompt_tokens))
    if surest.safe_low < evidence.target:
        return None
    claim = f"A prompt is enough: {measured_in_words(surest, evidence.primary)}"
    return Decision(
        "prompt_is_enough",
        f"{claim}, and even its lower bound ({surest.safe_low:.1%}) reaches {wanted(evidence)}.",
    )


def nothing_fits(evidence: Evidence) -> Decision | None:
    """No method runs here."""
    if evidence.training is not None:
        return None
    why = "; ".join(f"{cost.method}: {cost.problem}" for cost in evidence.methods)
    return Decision("bigger_model", f"Use a bigger machine or a remote service: no method fits here ({why}).")


def tuning_wins(evidence: Evidence) -> Decision | None:
    """A gain that excludes zero, and an expected score that reaches the target."""
    gain, training = evidence.reached, evidence.training
    if gain is None or training is None or gain.gain_low <= 0 or gain.score < evidence.target:
        return None
    if training.steps < training.steps_wanted:
        return None
    claim = f"Fine-tune with {training.method}: {gain_in_words(gain, evidence.primary)}"
    return Decision(
        "fine_tune",
        f"{claim}, against {measured_in_words(evidence.best, evidence.primary)}; {cost_in_words(training)}.",
    )


def time_is_short(evidence: Evidence) -> Decision | None:
    """All the data would do it, and the time allowed does not let all of it be learned."""
    gain, training = evidence.reached, evidence.training
    if gain is None or training is None or training.steps >= training.steps_wanted:
        return None
    if gain.gain_low <= 0 or gain.score < evidence.target:
        return None
    share = training.steps / training.steps_wanted
    whole = training.steps_wanted * training.seconds_per_step
    reached = interpolated(evidence, share)
    if reached is not None and reached.gain_low > 0 and reached.score >= evidence.target:
        claim = f"Fine-tune with {training.method} on the {share:.0%} of the steps that the time allows"
        return Decision(
            "fine_tune",
            f"{claim}: {gain_in_words(reached, evidence.primary)} at least; {cost_in_words(training)}.",
        )
    return Decision(
        "bigger_model",
        f"Use a bigger machine or a remote service, or allow more time: all steps"
        f" take {duration(whole)} here and only {share:.0%} of them fit into the time allowed;"
        f" all of them are expected to reach {gain.score:.1%}.",
    )


def data_are_noisy(evidence: Evidence) -> Decision | None:
    """Faulty rows come before more rows."""
    if evidence.quality is None or evidence.noisy < NOISY_SHARE or tuning_wins(evidence) is not None:
        return None
    found = evidence.quality
    good = found.rows - found.rows_with_errors
    return Decision(
        "better_data",
        f"Clean the data first: {found.rows_with_errors:,} of {found.rows:,} rows"
        f" ({evidence.noisy:.0%}) have a fault that does harm ({'; '.join(found.worst)});"
        f" {good:,} rows are left without one. tunesmith data clean mends them.",
    )


def more_rows(evidence: Evidence) -> Decision | None:
    """More rows than there are would reach the target, or there are too few to tell."""
    needed, total = evidence.rows_needed, evidence.train_rows
    gain = evidence.reached
    if needed is not None and needed > total:
        now = f"{total:,} are expected to reach {gain.score:.1%}" if gain else f"there are {total:,}"
        return Decision(
            "better_data",
            f"Collect more data first: about {needed:,} training rows are expected"
            f" to reach {wanted(evidence)}, and {now}.",
        )
    if total < FEWEST_ROWS:
        return Decision(
            "better_data",
            f"Collect more data first: {total} training rows are too few (at least"
            f" {FEWEST_ROWS}, better {WARNED_ROWS} and more); the best prompt reaches"
            f" {evidence.best.value:.1%}.",
        )
    return None


def out_of_reach(evidence: Evidence) -> Decision | None:
    """Not even many times the data would do it with this model."""
    gain = evidence.reached
    if gain is None or gain.high >= evidence.target:
        return None
    best = max(evidence.bigger, key=lambda one: one.safe_low, default=None)
    seen = (
        f" {best.model} reaches {measured_in_words(best, evidence.primary)}."
        if best is not None
        else " Measure one with --bigger and --bigger-endpoint."
    )
    return Decision(
        "bigger_model",
        f"Use a bigger model or a remote service: {gain_in_words(gain, evidence.primary)},"
        f" and not even 16 times the rows are expected to reach {wanted(evidence)}.{seen}",
    )


def unprobed(evidence: Evidence) -> Decision | None:
    """Nothing was trained: the guide's counts are all there is."""
    if evidence.probed or evidence.training is None:
        return None
    claim = f"Fine-tune: the best prompt ({measured_in_words(evidence.best, evidence.primary)})"
    return Decision(
        "fine_tune",
        f"{claim} leaves {wanted(evidence)} out of reach, and"
        f" {evidence.train_rows:,} training rows can teach the rest (what they bring was not probed).",
    )


def undecided(evidence: Evidence) -> Decision:
    """The intervals hold both."""
    gain = evidence.reached
    if gain is None:
        return Decision(
            "cannot_say",
            f"Cannot say: nothing could be learned from {evidence.train_rows:,} training"
            f" rows in the time, and the best prompt ({measured_in_words(evidence.best, evidence.primary)})"
            f" does not surely reach {wanted(evidence)}. Allow more time with --budget-minutes.",
        )
    items = required_items(max(0.01, abs(gain.gain)), max(0.05, abs(gain.gain)))
    return Decision(
        "cannot_say",
        f"Cannot say from this much data: {gain_in_words(gain, evidence.primary)} holds both"
        f" a gain and none, or both sides of {wanted(evidence)}; about {items:,} validation items would"
        f" show a gain of that size, and there are {evidence.rows['validation']:,}.",
    )


RULES: tuple[Rule, ...] = (
    base_is_enough,
    prompt_is_enough,
    nothing_fits,
    tuning_wins,
    time_is_short,
    data_are_noisy,
    more_rows,
    out_of_reach,
    unprobed,
)


def interpolated(evidence: Evidence, share: float) -> Gain | None:
    """The largest forecast size that so large a share of the steps sees."""
    seen = [gain for gain in evidence.forecast if gain.rows <= share * evidence.train_rows]
    return seen[-1] if seen else None


def reasons_for(evidence: Evidence) -> list[str]:
    """Why, each with its measured number."""
    reasons = [measured_in_words(one, evidence.primary) for one in evidence.measurements]
    reasons += [f"{one.model}, {measured_in_words(one, evidence.primary)}" for one in evidence.bigger]
    surest = max(one.safe_low for one in evidence.measurements)
    reasons.append(
        f"the highest lower bound of a prompt is {surest:.1%}; {wanted(evidence)} ({evidence.target_from})"
    )
    reasons.append(f"there are {evidence.train_rows:,} training rows to learn from")
    reasons += [f"{gain.rows:,} rows: {gain_in_words(gain, evidence.primary)}" for gain in evidence.forecast]
    if evidence.rows_needed is not None:
        reasons.append(f"about {evidence.rows_needed:,} rows are expected to reach the target")
    if evidence.quality is not None:
        found = evidence.quality
        reasons.append(f"{found.rows_with_errors:,} of {found.rows:,} rows have a fault that does harm")
    if evidence.training is not None:
        reasons.append(cost_in_words(evidence.training))
    return reasons


def warnings_on(evidence: Evidence) -> list[str]:
    """What makes the plan less sure."""
    warnings = []
    total = sum(count for name, count in evidence.rows.items() if name != "held_out")
    if total < WARNED_ROWS:
        warnings.append(f"only {total} examples in all: gains are usually clear from {WARNED_ROWS} on")
    if (asked := evidence.measurements[0].n) < FEWEST_MEASURED:
        warnings.append(f"only {asked} validation items were asked: the intervals are wide")
    if evidence.quality is not None and evidence.noisy >= NOISY_SHARE:
        good = evidence.quality.rows - evidence.quality.rows_with_errors
        few = "" if good < ENOUGH_GOOD_ROWS else f"; the {good:,} others may teach more without them"
        warnings.append(f"{evidence.noisy:.0%} of the rows have a fault that does harm{few}")
    return warnings + [
        f"{one.prompt}: {one.errors} of {one.n} items have no answer and score 0"
        for one in (*evidence.measurements, *evidence.bigger)
        if one.errors
    ]


def wanted(evidence: Evidence) -> str:
    """'the target of 90 %'."""
    return f"the target of {evidence.target:.0%}"


def measured_in_words(one: Measurement, primary: str) -> str:
    """'few_shot_4: exact_json 12.0% (95 % interval 5.6–23.8%, 50 validation items)'."""
    interval = f"95 % interval {100 * one.low:.1f}–{100 * one.high:.1f}%"
    return f"{one.prompt}: {primary} {one.value:.1%} ({interval}, {one.n} validation items)"


def gain_in_words(gain: Gain, primary: str) -> str:
    """'exact_json 71.0% (55.0–80.1%) expected, a gain of +60.0 points (+44.0 to +70.3)'."""
    score = f"{primary} {gain.score:.1%} ({100 * gain.low:.1f}–{100 * gain.high:.1f}%) expected"
    low, high = 100 * gain.gain_low, 100 * gain.gain_high
    return f"{score}, a gain of {100 * gain.gain:+.1f} points ({low:+.1f} to {high:+.1f})"


def cost_in_words(training: Training) -> str:
    """Time, memory and what was cut."""
    speed = f"{training.tokens_per_second:,.0f} tokens/s measured on a few steps"
    memory = f"{training.peak_memory_bytes / 1e9:.1f} GB of memory"
    sentence = f"training takes about {duration(60 * training.minutes)} here ({speed}) and {memory}"
    if training.steps < training.steps_wanted:
        sentence += (
            f"; {training.steps:,} of the {training.steps_wanted:,} steps wanted fit into the time allowed"
        )
    return sentence
