"""Float32 masters: what the optimiser moves, whatever type the model computes in.

A bfloat16 weight of 1 has no neighbour nearer than 0.0078, so most steps of fine-tuning would round away.
The master keeps them; the model gets its rounded copy after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tunesmith.runtime.methods.port import Trainable

Hook = Callable[[Tensor], None]


class Masters:
    """A float32 master for each trainable: itself when it is float32 already, else a copy."""

    def __init__(self, trainable: Sequence[Trainable]) -> None:
        self.entries: list[Trainable] = []
        """The trainables with their masters as parameters."""
        self._copies: list[tuple[nn.Parameter, nn.Parameter]] = []
        for entry in trainable:
            if entry.parameter.dtype == torch.float32:
                self.entries.append(entry)
                continue
            master = nn.Parameter(entry.parameter.detach().float())
            entry.parameter.register_post_accumulate_grad_hook(gather_into(master))
            self._copies.append((entry.parameter, master))
            self.entries.append(entry.with_parameter(master))

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The masters, in the order of the trainables."""
        return [entry.parameter for entry in self.entries]

    def round_back(self) -> None:
        """Give the model its rounded copies."""
        with torch.no_grad():
            for parameter, master in self._copies:
                parameter.copy_(master)

    def tensors(self) -> dict[str, Tensor]:
        """Masters by name, as a checkpoint holds them."""
        return {entry.name: entry.parameter.detach() for entry in self.entries}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `tensors` gave, and round it into the model."""
        with torch.no_grad():
            for entry in self.entries:
                entry.parameter.copy_(tensors[entry.name])
        self.round_back()


def gather_into(master: nn.Parameter) -> Hook:
    """A hook that adds each gradient of the rounded copy to the master's in float32, and frees it."""

    def gather(parameter: Tensor) -> None:
        assert parameter.grad is not None
        wide = parameter.grad.float()
        master.grad = wide if master.grad is None else master.grad.add_(wide)
        parameter.grad = None

    return gather
