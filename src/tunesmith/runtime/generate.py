"""Answers of a model in training, and the tokens at which an answer ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tunesmith.core.conversation import Example
from tunesmith.core.errors import ModelError
from tunesmith.runtime import ragged
from tunesmith.runtime.render import end_of_turn_id, render_prompt
from tunesmith.runtime.sampling.engine import Sampler, sample
from tunesmith.runtime.sampling.port import Request
from tunesmith.runtime.session import Session


def end_of_turn(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: the model's, the tokenizer's, and what the template ends a turn with."""
    own = model.generation_config.eos_token_id
    found = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
    if tokenizer.chat_template is not None:
        found.add(end_of_turn_id(tokenizer))
    return frozenset(token for token in found if token is not None)


def greedy_answers(
    session: Session, tokenizer: Any, examples: Sequence[Example], *, max_tokens: int
) -> list[str]:
    """The model's likeliest answers to the prompts of examples; training goes on as if nothing had happened.

    Raises ModelError for a method whose layout the sampler cannot run.
    """
    if session.attached.layout == "padded":
        raise ModelError(
            "prompt-learning methods cannot be sampled from while they train",
            next_step="set generation.prompts to 0; the validation loss is measured anyway",
        )
    end_ids = end_of_turn(session.model, tokenizer)
    prompts = [tuple(render_prompt(example.prompt, tokenizer, tools=example.tools)) for example in examples]
    with sampling_attention(session):
        sampler = Sampler(session.model, tokenizer)
        room = sampler.limits.most_tokens
        requests = [
            # An answer ends where the context does; a prompt that leaves no room for one is refused.
            Request(prompt, max(1, min(max_tokens, room - len(prompt))), stop_token_ids=end_ids)
            for prompt in prompts
        ]
        return sample(sampler, requests)


@contextmanager
def sampling_attention(session: Session) -> Iterator[None]:
    """Switch a session's model to the sampler's attention and back; the random state stays as it was."""
    state = torch.get_rng_state()
    if session.neftune is not None:
        session.neftune.lengths = ()
    try:
        yield
    finally:
        session.model.set_attn_implementation(ragged.ATTENTION_NAME)
        session.model.train()
        torch.set_rng_state(state)
