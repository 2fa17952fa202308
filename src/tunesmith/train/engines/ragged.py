"""Our own engine: a training session of `runtime` behind the loop's port."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

import torch

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.encoding import Encoder, open_encoder
from tunesmith.runtime.generate import greedy_answers
from tunesmith.runtime.masters import Masters
from tunesmith.runtime.methods import attach
from tunesmith.runtime.methods.port import Attached, Begin
from tunesmith.runtime.models import (
    Loaded,
    enable_activation_checkpointing,
    load_model,
    output_head,
    prepare_for_training,
)
from tunesmith.runtime.neftune import Neftune
from tunesmith.runtime.optimisers import make_optimiser
from tunesmith.runtime.session import Session
from tunesmith.runtime.step import Encoded, ExampleLoss, StepReport
from tunesmith.runtime.vocabulary import add_tokens, has_tokenizer, save_tokenizer, tokenizer_folder
from tunesmith.train.engines.port import EngineSetup, Item
from tunesmith.train.objectives import supervised

FIRST_MICROBATCH_TOKENS = 2048
"""Until the corpus is known, where the recipe says `auto`."""
NUM_SAMPLE_ROWS = 64
"""Enough tokens to find the main directions of a layer's inputs."""


class RaggedEngine:
    """A model that learns conversations or text."""

    def __init__(self, setup: EngineSetup) -> None:
        if setup.model_folder is None:
            raise ModelError(
                "this engine needs a model", value=setup.model_name, next_step="use engine: fake"
            )
        recipe = setup.recipe
        torch.manual_seed(recipe.seed)
        loaded = load_model(
            setup.model_folder,
            dtype=recipe.dtype,
            tokenizer=tokenizer_folder(setup.model_folder, setup.adapter),
        )
        self.encoder = open_encoder(recipe, loaded.tokenizer)
        self.loaded, self.tokenizer = loaded, loaded.tokenizer
        self.own_template = recipe.template != "model"
        self.encoding_key = self.encoder.key
        self.objective = supervised(recipe.objective)
        self.session = open_session(loaded, self.encoder, setup)
        self.num_trainable = self.session.num_trainable
        self.context_tokens = loaded.info.context_tokens

    def encode(self, example: Example, key: str) -> Encoded:
        """Through the chat template, or verbatim."""
        return self.encoder.encode(example, key=key)

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """Each token decoded alone."""
        return [str(self.tokenizer.decode([token])) for token in token_ids]

    def forward_backward(self, items: Sequence[Item]) -> StepReport:
        """The objective's loss, a mean over the step's learned tokens."""
        return self.session.forward_backward([item.encoded for item in items], self.objective)

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        """One step on the float32 masters."""
        return self.session.optim_step(learning_rate=learning_rate, max_norm=max_norm)

    def losses(self, items: Sequence[Item]) -> list[ExampleLoss]:
        """How well each item's learned tokens are predicted."""
        return self.session.losses([item.encoded for item in items], self.objective.readouts)

    def generate(self, examples: Sequence[Example], max_tokens: int) -> list[str]:
        """Greedy answers of the model as it stands."""
        return greedy_answers(self.session, self.tokenizer, examples, max_tokens=max_tokens)

    def set_microbatch_tokens(self, num_tokens: int) -> None:
        """Memory only: the gradient stays the same."""
        self.session.microbatch_tokens = num_tokens

    def recompute_activations(self) -> None:
        """Memory only: the gradient stays the same."""
        enable_activation_checkpointing(self.session.attached.model)

    def save_state(self, folder: Path) -> None:
        """Masters, optimiser, random state."""
        self.session.save_state(folder)

    def load_state(self, folder: Path) -> None:
        """The same."""
        self.session.load_state(folder)

    def publish(self, folder: Path) -> None:
        """An adapter folder, or a model folder; with the tokenizer where its template is not the base's."""
        self.session.attached.publish(folder)
        if self.encoder.recipe.template != "model":  # the base model has another template, or none
            self.tokenizer.save_pretrained(folder)
        if self.own_template and not has_tokenizer(folder):
            save_tokenizer(self.loaded, folder)


def open_session(loaded: Loaded, encoder: Encoder, setup: EngineSetup) -> Session:
    """A session of the recipe's method, objective and optimiser on a loaded model."""
    recipe = setup.recipe
    new_token_ids = add_tokens(loaded, encoder.new_tokens)
    prepare_for_training(loaded.model)
    begin = Begin(
        seed=recipe.seed,
        base_name=setup.model_name,
        new_token_ids=new_token_ids,
        adapter=setup.adapter,
        mode=recipe.init_from.mode if recipe.init_from else "continue",
        num_steps=recipe.max_steps or None,
        sample_rows=sample_rows(recipe, encoder),
    )
    attached = attach(loaded, recipe.method, begin)
    if recipe.activation_checkpointing == "on":
        enable_activation_checkpointing(attached.model)
    masters = Masters(attached.trainable)
    asked = recipe.microbatch_tokens
    return Session(
        attached,
        # Asked after the method: rows of new tokens that learn have replaced the output layer.
        heads={"output": output_head(attached.model)},
        microbatch_tokens=FIRST_MICROBATCH_TOKENS if asked == "auto" else asked,
        masters=masters,
        optimiser=make_optimiser(recipe.optimiser, masters.entries),
        neftune=neftune(attached, recipe.objective.neftune_alpha),
    )


def sample_rows(recipe: Recipe, encoder: Encoder) -> tuple[tuple[int, ...], ...]:
    """Token ids of the first training rows, for a method whose first values are found from data."""
    if recipe.method.kind != "peft" or not recipe.method.begins_from_data:
        return ()
    sources = [DataSet.open(source.path) for source in recipe.data if source.weight]
    rows = chain.from_iterable(source.rows("train") for source in sources)
    encoded = (encoder.encode(row.example, key=row.key) for row in islice(rows, NUM_SAMPLE_ROWS))
    return tuple(tuple(example.token_ids[: recipe.max_length]) for example in encoded)


def neftune(attached: Attached, alpha: float) -> Neftune | None:
    """Noise on the embeddings, when the recipe asks for it."""
    if not alpha:
        return None
    noise = Neftune(alpha)
    noise.attach(attached.model.get_input_embeddings())
    return noise
