"""Words about what answers cost."""

from collections.abc import Sequence

from tunesmith.core.page import numbers
from tunesmith.evaluate.report.facts import RunFacts
from tunesmith.evaluate.report.facts_models import ModelFacts, Score, SpeedFacts
from tunesmith.evaluate.report.notes import in_sentence


def any_answers(models: Sequence[ModelFacts]) -> bool:
    """Whether a model was asked for an answer, and not only for likelihoods."""
    return any(model.speed.num_answers for model in models)


def tokens(total: int, speed: SpeedFacts) -> str:
    """Mean tokens of one answer; a dash where the server did not say."""
    return numbers.count(total / speed.num_answers) if total and speed.num_answers else numbers.NOT_MEASURED


def rate(speed: SpeedFacts) -> str:
    """Tokens a second of one answer."""
    found = speed.tokens_per_second
    if found is None:
        return numbers.NOT_MEASURED
    return numbers.count(found) if found >= 10 else f"{found:.2g}"


def share(found: Score | None) -> str:
    """'2 %', a dash of nothing."""
    return numbers.percent(found.value) if found else numbers.NOT_MEASURED


def share_range(found: Score | None) -> str:
    """The interval of a share that is not zero."""
    return numbers.percent_range(found.low, found.high) if found and found.value else ""


def totals(models: Sequence[ModelFacts]) -> str:
    """What all answers together took."""
    told = [
        f"{in_sentence(model.label)} {numbers.count(model.speed.prompt_tokens)} and"
        f" {numbers.count(model.speed.answer_tokens)}"
        for model in models
        if model.speed.prompt_tokens or model.speed.answer_tokens
    ]
    return f"Tokens of all prompts and of all answers: {'; '.join(told)}." if told else ""


def reading(models: Sequence[ModelFacts]) -> list[str]:
    """How the numbers are to be read."""
    found = [
        "Seconds are those of requests under way at once, as the evaluation asked them: one alone is faster."
        " Tokens a second are the tokens of the answers over the seconds of their requests, prompt included."
    ]
    known = [
        f"{in_sentence(model.label)} {numbers.count(model.speed.num_known)} of"
        f" {numbers.count(model.speed.num_answers)}"
        for model in models
        if model.speed.num_known
    ]
    if known:
        found.append(f"Answers that were known from before, with the times of then: {'; '.join(known)}.")
    return found


def training(run: RunFacts) -> str:
    """What came before the first answer of the tuned model."""
    memory = numbers.size(run.memory_bytes)
    return f"Training took {numbers.seconds(run.seconds)} and at most {memory} of memory, once."
