"""How unsure a model is of its answer to a prompt: entropy of its words, and how its answers differ."""

import os
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.conversation import Example
from tunesmith.core.errors import ModelError
from tunesmith.core.job import Job
from tunesmith.core.similarity import jaccard, shingles
from tunesmith.data.pool.strategies import Floats


def open_uncertainty(
    model: str, job: Job, *, samples: int, max_tokens: int, seed: int
) -> Callable[[Sequence[Example]], Floats]:
    """A function from prompts to uncertainty: mean ranks of token entropy and disagreement, from 0 to 1.

    Raises ModelError for the fake model, and for one that cannot be loaded.
    """
    from tunesmith.runtime.catalogue import locate
    from tunesmith.runtime.threads import apply_threads, resolve_threads, worker_environment

    located = locate(model, job)
    if located.model_folder is None:
        raise ModelError(
            "the fake model is sure of everything", value=model, next_step="name another --model"
        )
    threads = resolve_threads(0)
    os.environ.update(worker_environment(threads))  # before torch is imported
    from tunesmith.runtime.generate import end_of_turn
    from tunesmith.runtime.models import load_for_inference
    from tunesmith.runtime.render import render_prompt
    from tunesmith.runtime.sampling.open import open_sampler
    from tunesmith.runtime.sampling.port import Request

    apply_threads(threads)
    job.progress.say(f"loading {located.name} ({located.id[:8]})")
    loaded = load_for_inference(located.model_folder, adapter=located.adapter)
    sampler = open_sampler(loaded)
    ends = end_of_turn(loaded.model, loaded.tokenizer)

    def ask(examples: Sequence[Example]) -> Floats:
        owner: dict[int, int] = {}
        texts: dict[int, str] = {}
        costs: list[list[float]] = [[] for _ in examples]
        for number, example in enumerate(examples):
            prompt = tuple(render_prompt(example.messages, loaded.tokenizer, tools=example.tools))
            for draw in range(samples):
                request = Request(
                    prompt, max_tokens, temperature=1.0, seed=seed + 1000 * number + draw,
                    stop_token_ids=ends, logprobs=0,
                )  # fmt: skip
                owner[key := sampler.submit(request)] = number
                texts[key] = ""
        with job.progress.task("asking the model", total=len(owner), unit="answers") as task:
            while sampler.busy:
                for event in sampler.step():
                    texts[event.key] += event.text
                    costs[owner[event.key]] += [-token.logprob for token in event.logprobs]
                    if event.ended_by is not None:
                        costs[owner[event.key]].append(-event.ended_by.logprob)
                    task.advance(event.finish_reason is not None)
        answers: list[list[str]] = [[] for _ in examples]
        for key, text in texts.items():
            answers[owner[key]].append(text)
        # The cost of a token drawn from the model's own distribution is on average its entropy.
        entropy = np.array([np.mean(found) if found else 0.0 for found in costs])
        return (ranks(entropy) + ranks(np.array([disagreement(found) for found in answers]))) / 2

    return ask


def disagreement(answers: Sequence[str]) -> float:
    """1 − the mean likeness of two answers (Jaccard, runs of 4 characters); 0 when all are equal."""
    sets = [shingles(answer) for answer in answers]
    pairs = [
        1.0 if len(one) and len(other) and answers[i] == answers[j] else likeness(one, other)
        for (i, one), (j, other) in combinations(enumerate(sets), 2)
    ]
    return 1 - float(np.mean(pairs)) if pairs else 0.0


def likeness(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> float:
    """Jaccard; two empty answers are alike."""
    if not len(one) or not len(other):
        return float(len(one) == len(other))
    return jaccard(one, other)


def ranks(values: Floats) -> Floats:
    """Each value's place among all, from 0 to 1; equal ones share it."""
    order = np.sort(values)
    middle = (np.searchsorted(order, values, "left") + np.searchsorted(order, values, "right") - 1) / 2
    return np.asarray(middle / max(1, len(values) - 1))
