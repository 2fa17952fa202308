"""Our own engine: the ragged core, LoRA, and the supervised objective behind the loop's port."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tunesmith.core.conversation import Example
from tunesmith.core.errors import ModelError
from tunesmith.runtime.lora import LoraShape
from tunesmith.runtime.models import load_model, prepare_for_training
from tunesmith.runtime.render import Tokenizer, render
from tunesmith.runtime.session import AdamW, Session
from tunesmith.runtime.step import Encoded, StepReport
from tunesmith.train.engines.port import EngineSetup, Item
from tunesmith.train.objectives import SupervisedFineTuning


class RaggedEngine:
    """A session of `runtime` that learns conversations."""

    def __init__(self, setup: EngineSetup) -> None:
        if setup.model_folder is None:
            raise ModelError(
                "this engine needs a model", value=setup.model_name, next_step="use engine: fake"
            )
        recipe = setup.recipe
        loaded = load_model(setup.model_folder, dtype=recipe.dtype)
        self.base_name = setup.model_name
        self.tokenizer = loaded.tokenizer
        self.objective = SupervisedFineTuning()
        self.session = Session(
            loaded.model,
            head=prepare_for_training(loaded.model),
            shape=LoraShape(recipe.method.rank, recipe.method.alpha, recipe.method.rslora),
            optimiser=AdamW(recipe.optimiser.betas, recipe.optimiser.weight_decay),
            microbatch_tokens=recipe.microbatch_tokens,
            seed=recipe.seed,
        )
        self.num_trainable = self.session.num_trainable
        self.context_tokens = loaded.info.context_tokens

    def encode(self, example: Example) -> Encoded:
        """Through the model's own chat template."""
        return render(example, cast(Tokenizer, self.tokenizer))

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """Each token decoded alone."""
        return [str(self.tokenizer.decode([token])) for token in token_ids]

    def forward_backward(self, items: Sequence[Item]) -> StepReport:
        """Mean negative log-likelihood of the supervised tokens, nats."""
        return self.session.forward_backward([item.encoded for item in items], self.objective)

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        """One AdamW step on the float32 masters."""
        return self.session.optim_step(learning_rate=learning_rate, max_norm=max_norm)

    def evaluate(self, items: Sequence[Item]) -> float:
        """Mean negative log-likelihood over all supervised tokens of the items, nats."""
        values = self.session.forward([item.encoded for item in items], self.objective.readouts)
        return -float(values["logprob"].double().mean())

    def save_state(self, folder: Path) -> None:
        """Masters, optimiser, random state."""
        self.session.save_state(folder)

    def load_state(self, folder: Path) -> None:
        """The same."""
        self.session.load_state(folder)

    def publish(self, folder: Path) -> None:
        """A PEFT adapter."""
        self.session.publish(folder, base_name=self.base_name)
