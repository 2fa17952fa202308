"""bfloat16 on the embedded model: greedy answers against transformers' own."""

import pytest
import torch

from tunesmith.core.conversation import Message
from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace
from tunesmith.runtime.catalogue import locate
from tunesmith.runtime.models import load_for_inference, load_model, use_own_attention
from tunesmith.runtime.render import render_prompt
from tunesmith.runtime.sampling.open import open_sampler
from tunesmith.runtime.sampling.port import Request

ASKED = (
    "What is the capital of France?", "Write a haiku about rain.", "Name three metals.",
    "What is 12 times 12?",
    "Explain photosynthesis in one sentence.", "Who wrote Hamlet?", "Translate 'good morning' into Spanish.",
    "List the days of the week.", "What do bees make?", "Give a synonym of happy.",
    "How many legs has a spider?", "What is the boiling point of water?", "Tell me a short joke.",
    "What is the largest planet?", "Describe a cat.", "What is a noun?", "Why is the sky blue?",
    "Give me a recipe for toast.", "What comes after Thursday?", "Is the earth flat?",
)  # fmt: skip
NUM_TOKENS = 24
TIE = 0.125
"""Logits between 16 and 32 lie this far apart in bfloat16: two that differ by less are equal to it."""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """The embedded model's folder."""
    return locate("smollm2-135m-instruct", Job(Workspace(tmp_path_factory.mktemp("w")))).model_folder


def tokens_of(sampler, prompts):
    """Greedy tokens of each prompt."""
    keys = [sampler.submit(Request(prompt, NUM_TOKENS, logprobs=0)) for prompt in prompts]
    found = {key: [] for key in keys}
    while sampler.busy:
        for event in sampler.step():
            found[event.key] += [known.token_id for known in event.logprobs]
    return [found[key] for key in keys]


def test_greedy_answers_in_bfloat16_are_those_of_transformers_or_part_where_two_tokens_tie(model_folder):
    reference = load_model(model_folder, dtype="bfloat16")
    use_own_attention(reference.model)
    reference.model.generation_config.eos_token_id = None
    prompts = [tuple(render_prompt((Message("user", text),), reference.tokenizer)) for text in ASKED]

    def generate(prompt):
        ids = torch.tensor([prompt])
        out = reference.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NUM_TOKENS, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
        return out[0, len(prompt) :].tolist()

    expected = [generate(prompt) for prompt in prompts]
    alone = tokens_of(open_sampler(load_for_inference(model_folder, dtype="bfloat16"), max_batch=1), prompts)
    same = sum(one == other for one, other in zip(expected, alone, strict=True))
    print(f"{same} of {len(prompts)} greedy answers in bfloat16 equal those of transformers")
    assert same >= 0.95 * len(prompts)
    for prompt, theirs, ours in zip(prompts, expected, alone, strict=True):
        if theirs == ours:
            continue
        at = next(index for index, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        with torch.inference_mode():
            logits_V = reference.model(torch.tensor([[*prompt, *theirs[:at]]])).logits[0, -1].float()
        gap = float(logits_V[theirs[at]] - logits_V[ours[at]])
        assert abs(gap) <= TIE, f"{gap} apart after {at} tokens"
