"""Asking a judge, and what became of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tunesmith.core.conversation import Message
from tunesmith.core.endpoint import Answer, ChatRequest
from tunesmith.core.judge.criteria import Criteria
from tunesmith.core.judge.prompts import pairwise_prompt, pointwise_prompt
from tunesmith.core.judge.reading import Better, read_choice, read_grade

MAX_TOKENS = 256
Ask = Callable[[ChatRequest], Answer]
"""One completion of the judge, such as `Endpoint.ask`."""


@dataclass(frozen=True, slots=True)
class Grade:
    """What a judge says of one answer; `error` says why there is no score."""

    score: float | None
    reply: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a judge says of two answers, asked in both orders."""

    better: Literal["first", "second", "tie"] | None
    """None when either order has no verdict."""
    consistent: bool
    """Whether both orders named the same answer, or both a tie."""
    said_first: Better | None
    """The verdict with the answers in their order, as it was meant: first, second, tie."""
    said_swapped: Better | None
    """The verdict with the answers swapped, turned back."""
    replies: tuple[str, str]
    error: str | None = None


def grade(
    ask: Ask, prompt: Sequence[Message], answer: str, criteria: Criteria, *, reference: str | None = None
) -> Grade:
    """One answer's grade as a score from 0 to 1."""
    messages = pointwise_prompt(prompt, answer, criteria, reference=reference)
    said = ask(ChatRequest(messages, MAX_TOKENS))
    if said.error is not None:
        return Grade(None, "", said.error)
    found = read_grade(said.text, criteria.highest)
    if found is None:
        return Grade(None, said.text, f"no verdict from 1 to {criteria.highest} in the judge's reply")
    return Grade(criteria.score(found), said.text)


def prefer(
    ask: Ask,
    prompt: Sequence[Message],
    first: str,
    second: str,
    criteria: Criteria,
    *,
    reference: str | None = None,
) -> Choice:
    """Which of two answers is better: both orders are asked, and a conflict is a tie.

    Equal answers are a tie without asking.
    """
    if first.strip() == second.strip():
        return Choice("tie", True, "tie", "tie", ("", ""))
    answers = [
        ask(ChatRequest(pairwise_prompt(prompt, *order, criteria, reference=reference), MAX_TOKENS))
        for order in ((first, second), (second, first))
    ]
    error = next((answer.error for answer in answers if answer.error is not None), None)
    replies = answers[0].text, answers[1].text
    straight, swapped = read_choice(replies[0]), turned(read_choice(replies[1]))
    if error is None and (straight is None or swapped is None):
        error = "no verdict in the judge's reply"
    if error is not None:
        return Choice(None, False, straight, swapped, replies, error)
    better: Better | None = straight if straight == swapped else "tie"
    return Choice(better, straight == swapped, straight, swapped, replies)


def turned(said: Better | None) -> Better | None:
    """A verdict on swapped answers, in their own order."""
    return {"first": "second", "second": "first"}.get(said, said) if said is not None else None  # type: ignore[return-value]
