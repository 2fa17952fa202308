"""A training session on the ragged core: one model, its adapter, its optimiser.

Legend of tensor names: T tokens, R reads, D hidden width.

A step is handed over whole.  It is cut into micro-batches here, by a limit that is memory only: the
objective's denominators are those of the step and its loss is a sum, so the gradient does not depend
on the cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunesmith.core.errors import FolderError
from tunesmith.core.files import explain_disk_errors, write_bytes
from tunesmith.runtime import lora
from tunesmith.runtime.ragged import Ragged, cut, pack
from tunesmith.runtime.readouts import Head, ReadChunk, Readout, read_backward, read_values
from tunesmith.runtime.step import Encoded, StepFacts, StepReport

STATE_NAME: Final = "state.safetensors"


class Objective(Protocol):
    """What the model learns from: a loss that is a sum over reads, divided by denominators of the step."""

    @property
    def readouts(self) -> tuple[Readout, ...]:
        """What is read off the output layer."""

    @property
    def coupling(self) -> Literal["read"]:
        """How far the loss couples values; "read": the loss at a read depends on that read alone."""

    def denominators(self, facts: StepFacts) -> Mapping[str, float]:
        """What sums are divided by, over the whole step."""

    def loss(self, values: Mapping[str, Tensor], reads: ReadChunk, den: Mapping[str, float]) -> Tensor:
        """The share of the loss of these reads: a sum, never a mean."""


@dataclass(frozen=True)
class AdamW:
    """AdamW's constants (Loshchilov & Hutter 2019); the learning rate comes with each step."""

    betas: tuple[float, float]
    weight_decay: float


class Session:
    """One model in training; see the module's docstring for what a step is."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        head: Head,
        shape: lora.LoraShape,
        optimiser: AdamW,
        microbatch_tokens: int,
        seed: int,
    ) -> None:
        self.model, self.shape, self.microbatch_tokens = model, shape, microbatch_tokens
        self.heads: Mapping[str, Head] = {"output": head}
        self.trainable: list[nn.Parameter] = lora.attach(model, shape, seed=seed)
        self.optimiser = torch.optim.AdamW(
            self.trainable, lr=0.0, betas=optimiser.betas, weight_decay=optimiser.weight_decay, fused=True
        )
        model.train()

    @property
    def num_trainable(self) -> int:
        """Numbers that learn."""
        return sum(parameter.numel() for parameter in self.trainable)

    def forward_backward(self, step: Sequence[Encoded], objective: Objective) -> StepReport:
        """Add the gradient of one whole step to the masters and report its loss."""
        facts = StepFacts(len(step), sum(example.num_supervised for example in step))
        den = objective.denominators(facts)
        total = 0.0
        for part in cut(step, max_tokens=self.microbatch_tokens):
            micro = pack(part)
            total += read_backward(
                self._hidden(micro),
                reads_of(micro),
                readouts=objective.readouts,
                heads=self.heads,
                loss=lambda values, reads: objective.loss(values, reads, den),
            )
        num_tokens = sum(len(example.token_ids) for example in step)
        return StepReport(total, num_tokens, facts.num_reads)

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        """Clip to `max_norm`, take one AdamW step, clear the gradient; returns the norm before clipping."""
        limit = float("inf") if max_norm is None else max_norm
        norm = float(torch.nn.utils.clip_grad_norm_(self.trainable, limit))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return norm

    def forward(self, examples: Sequence[Encoded], readouts: Sequence[Readout]) -> dict[str, Tensor]:
        """Values of every read of all examples, in order, without gradient and off the random state."""
        self.model.eval()
        with torch.no_grad():
            parts = [
                self._read(pack(part), readouts) for part in cut(examples, max_tokens=self.microbatch_tokens)
            ]
        self.model.train()
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _read(self, micro: Ragged, readouts: Sequence[Readout]) -> dict[str, Tensor]:
        return read_values(self._hidden(micro), reads_of(micro), readouts=readouts, heads=self.heads)

    def _hidden(self, micro: Ragged) -> Tensor:
        """Hidden states (R, D) before the output layer, at the positions that are read."""
        backbone = self.model.get_decoder()
        output = backbone(
            input_ids=micro.token_T[None],
            position_ids=micro.position_T[None],
            use_cache=False,
            segments=micro.segments,
        )
        hidden_RD: Tensor = output.last_hidden_state[0][micro.read_R]
        return hidden_RD

    def save_state(self, folder: Path) -> None:
        """Write masters, optimiser, and random state: all that the next step depends on."""
        tensors = {f"trainable.{row}": parameter.detach() for row, parameter in enumerate(self.trainable)}
        for row, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{row}.{name}": value for name, value in state.items()}
        tensors["random"] = torch.get_rng_state()
        write_bytes(folder / STATE_NAME, save({name: value.contiguous() for name, value in tensors.items()}))

    def load_state(self, folder: Path) -> None:
        """Take up what `save_state` wrote; raises FolderError when it is of another shape."""
        with explain_disk_errors(folder):
            tensors = load_file(folder / STATE_NAME)
        masters = [tensors.get(f"trainable.{row}") for row in range(len(self.trainable))]
        if [None if tensor is None else tensor.shape for tensor in masters] != [
            parameter.shape for parameter in self.trainable
        ]:
            raise FolderError("the checkpoint belongs to another adapter or model", where=folder)
        with torch.no_grad():
            for row, parameter in enumerate(self.trainable):
                parameter.copy_(tensors[f"trainable.{row}"])
        # The constants of the groups come from the recipe, and the learning rate with each step.
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": optimiser_state(tensors), "param_groups": groups})
        torch.set_rng_state(tensors["random"])

    def publish(self, folder: Path, *, base_name: str) -> None:
        """Write the adapter in PEFT's format."""
        lora.save_adapter(self.model, self.shape, folder, base_name=base_name)


def optimiser_state(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimiser's running means and counts by parameter, from the names in a checkpoint."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part == "optimiser":
            row, _, what = rest.partition(".")
            state.setdefault(int(row), {})[what] = tensor
    return state


def reads_of(micro: Ragged) -> ReadChunk:
    """All reads of a micro-batch."""
    return ReadChunk(micro.target_R, micro.sequence_R, micro.weight_R)
