"""Which requests a sampler can never answer: they are refused at once, with numbers and the next step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tunesmith.core.errors import nearest
from tunesmith.runtime.sampling.port import MAX_SEED, MAX_TOP_LOGPROBS, CannotAdmit, Request


class Limits(NamedTuple):
    """What a sampler has to offer."""

    vocab_size: int
    context_tokens: int | None
    """Positions that the model was made for; None: its configuration does not say."""
    memory_tokens: int
    memory_bytes: int
    adapters: tuple[str, ...]

    @property
    def most_tokens(self) -> int:
        """Prompt and answer together, of one request."""
        return min(self.memory_tokens, self.context_tokens or self.memory_tokens)


def check(request: Request, limits: Limits) -> None:
    """Raise CannotAdmit with the first reason against a request."""
    for reason_against in CHECKS:
        if (reason := reason_against(request, limits)) is not None:
            raise reason


def prompt_is_empty(request: Request, _limits: Limits) -> CannotAdmit | None:
    """There is nothing to go on from."""
    return None if request.token_ids else CannotAdmit("a request needs at least one prompt token")


def token_is_unknown(request: Request, limits: Limits) -> CannotAdmit | None:
    """A token id outside the vocabulary, in the prompt or the bias."""
    for where, tokens in (("prompt", request.token_ids), ("logit_bias", request.logit_bias)):
        low, high = min(tokens, default=0), max(tokens, default=0)
        if low < 0 or high >= limits.vocab_size:
            return CannotAdmit(
                f"a token id is outside the vocabulary of {limits.vocab_size:,}",
                where=where,
                value=low if low < 0 else high,
                next_step="take the token ids of this model's own tokenizer",
            )
    return None


def is_too_long(request: Request, limits: Limits) -> CannotAdmit | None:
    """More tokens than the model's context, or than the memory, can hold."""
    num_prompt, wanted = len(request.token_ids), len(request.token_ids) + request.max_tokens
    if limits.context_tokens is not None and wanted > limits.context_tokens:
        return CannotAdmit(
            f"{num_prompt:,} prompt tokens and {request.max_tokens:,} to generate are more than the model's"
            f" context of {limits.context_tokens:,}",
            next_step=shorter(num_prompt, limits.context_tokens),
        )
    if wanted > limits.memory_tokens:
        return CannotAdmit(
            f"{wanted:,} tokens do not fit the sampler's memory of {limits.memory_bytes / 2**20:,.0f} MiB,"
            f" which holds {limits.memory_tokens:,}",
            next_step=f"{shorter(num_prompt, limits.memory_tokens)}, or give the sampler more memory_bytes",
        )
    return None


def shorter(num_prompt: int, most: int) -> str:
    """What would fit."""
    if num_prompt < most:
        return f"ask for at most {most - num_prompt:,} tokens"
    return f"shorten the prompt by {num_prompt - most + 1:,} tokens"


def seed_is_out_of_range(request: Request, _limits: Limits) -> CannotAdmit | None:
    """A seed that random numbers are not made from."""
    if request.seed is None or 0 <= request.seed <= MAX_SEED:
        return None
    return CannotAdmit("the seed is out of range", value=request.seed, next_step=f"give 0 to {MAX_SEED}")


def adapter_is_unknown(request: Request, limits: Limits) -> CannotAdmit | None:
    """An adapter that is not loaded."""
    if request.adapter is None or request.adapter in limits.adapters:
        return None
    return CannotAdmit(
        "no adapter of this name is loaded",
        value=request.adapter,
        next_step=nearest(request.adapter, limits.adapters),
    )


def number_is_out_of_range(request: Request, _limits: Limits) -> CannotAdmit | None:
    """A number that means nothing."""
    for name, value, low, high in (
        ("max_tokens", request.max_tokens, 0, None),
        ("temperature", request.temperature, 0, None),
        ("top_k", request.top_k, 0, None),
        ("top_p", request.top_p, 0, 1),
        ("min_p", request.min_p, 0, 1),
        ("logprobs", request.logprobs or 0, 0, MAX_TOP_LOGPROBS),
        ("prompt_logprobs", request.prompt_logprobs or 0, 0, MAX_TOP_LOGPROBS),
        ("prompt_logprobs_from", request.prompt_logprobs_from, 1, None),
    ):
        if not (low <= value and (high is None or value <= high)):  # not-a-number fails too
            allowed = f"at least {low}" if high is None else f"{low} to {high}"
            return CannotAdmit(f"{name} is out of range", value=value, next_step=f"give {allowed}")
    if not request.repetition_penalty > 0:
        return CannotAdmit("repetition_penalty must be above 0", value=request.repetition_penalty)
    return None


CHECKS: Sequence[Callable[[Request, Limits], CannotAdmit | None]] = (
    prompt_is_empty,
    token_is_unknown,
    number_is_out_of_range,
    is_too_long,
    seed_is_out_of_range,
    adapter_is_unknown,
)
