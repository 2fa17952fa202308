"""An engine without a neural network: counts words by field, in standard Python, and really learns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from tunesmith.core.conversation import Example
from tunesmith.core.fake import FakeModel, pair
from tunesmith.core.files import read_json, write_json
from tunesmith.runtime.step import Encoded, ExampleLoss, StepReport
from tunesmith.train.engines.port import EngineSetup, Item

STATE_NAME = "fake_state.json"
MODEL_NAME = "fake_model.json"
PIECES = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")


class FakeEngine:
    """Learns every pair of question and answer at the optimiser step after it was seen."""

    def __init__(self, setup: EngineSetup) -> None:
        begun = setup.adapter
        self.model = FakeModel() if begun is None else FakeModel.from_json(read_json(begun / MODEL_NAME))
        self.gathered: list[tuple[str, str]] = []
        self.vocabulary: dict[str, int] = {}
        self.num_trainable = 0
        self.context_tokens: int | None = None
        self.encoding_key = ""  # the pairs have to be seen again
        self.pairs: dict[str, tuple[str, str]] = {}

    def encode(self, example: Example, key: str) -> Encoded:
        """Words and punctuation marks; the assistant's are learned."""
        self.pairs[key] = pair(example)
        pieces = [
            (
                self.vocabulary.setdefault(text, len(self.vocabulary)),
                turn.role == "assistant" and turn.weight != 0,
            )
            for turn in example.messages
            for text in PIECES.findall(turn.content or "")
        ]
        return Encoded(tuple(piece for piece, _ in pieces), tuple(float(on) for _, on in pieces))

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """The words themselves."""
        texts = list(self.vocabulary)
        return [texts[token] for token in token_ids]

    def forward_backward(self, items: Sequence[Item]) -> StepReport:
        """Remember the pairs; the loss is the share of them that the model answers wrongly."""
        losses = self.losses(items)
        self.gathered += [self.pairs[item.row_hash] for item in items]
        encoded = [item.encoded for item in items]
        num_reads = sum(row.num_supervised for row in encoded)
        loss = sum(one.nll for one in losses) / num_reads if num_reads else 0.0
        return StepReport(loss, sum(len(row.token_ids) for row in encoded), num_reads, tuple(losses))

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        """Learn what was gathered; the norm is the square root of its count."""
        norm = math.sqrt(len(self.gathered))
        self.model.learn(self.gathered)
        self.gathered = []
        return norm

    def losses(self, items: Sequence[Item]) -> list[ExampleLoss]:
        """Each example's learned words are all right, when it is answered rightly, or each costs 1."""
        return [self.loss(item) for item in items]

    def loss(self, item: Item) -> ExampleLoss:
        """One example's."""
        question, answer = self.pairs[item.row_hash]
        words = item.encoded.num_supervised
        return (
            ExampleLoss(0.0, words) if self.model.reply(question) == answer else ExampleLoss(float(words), 0)
        )

    def generate(self, examples: Sequence[Example], max_tokens: int) -> list[str]:
        """Its answers, uncut: it has no tokens of its own."""
        return [self.model.reply(pair(example)[0]) for example in examples]

    def set_microbatch_tokens(self, num_tokens: int) -> None:
        """It computes one example at a time."""

    def recompute_activations(self) -> None:
        """There are none."""

    def save_state(self, folder: Path) -> None:
        """Everything learned, as JSON."""
        write_json(folder / STATE_NAME, self.model.to_json())

    def load_state(self, folder: Path) -> None:
        """Everything learned, from JSON."""
        self.model = FakeModel.from_json(read_json(folder / STATE_NAME))

    def publish(self, folder: Path) -> None:
        """The file that the fake server loads."""
        write_json(folder / MODEL_NAME, self.model.to_json())
